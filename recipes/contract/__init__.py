"""The contract that every family keeps: how one is found, named, and given its arguments.

Nothing here imports Keras, so that `recipes list` answers at once.
"""

from recipes.contract.arguments import check, describe, recipe, unknown
from recipes.contract.families import families, family

__all__ = ["check", "describe", "families", "family", "recipe", "unknown"]
