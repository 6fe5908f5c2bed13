"""Find the families: every `.py` file directly under `recipes/`, dunders aside."""

import ast
import importlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

import recipes
from recipes.contract.arguments import unknown


@dataclass(frozen=True)
class Family:
    """What can be said of a family without importing it (and a backend with it)."""

    name: str
    summary: str  # first line of the module's docstring
    variants: tuple[str, ...]


@cache
def families() -> dict[str, Family]:
    """Every family by name, read from the source, not imported.

    Returns:
        Name to `Family(name, summary, variants)`, in alphabetical order.
    """
    found = {}
    for name in recipes._family_names():
        tree = ast.parse((Path(recipes.__file__).parent / f"{name}.py").read_text("utf-8"))
        summary = (ast.get_docstring(tree) or "").partition("\n")[0]
        found[name] = Family(name, summary, _variant_names(tree))
    return found


def _variant_names(tree: ast.Module) -> tuple[str, ...]:
    """Keys of the module's `VARIANTS = {...}`."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "VARIANTS":
            return tuple(ast.literal_eval(key) for key in node.value.keys)
    return ()


def family(name: str | ModuleType) -> ModuleType:
    """The module of a family, given its name or the module itself.

    Raises:
        ValueError: there is no such family; the message lists those there are.
    """
    label = name.__name__.rpartition(".")[2] if isinstance(name, ModuleType) else name
    if label not in families():
        raise unknown("family", label, families())
    return importlib.import_module(f"recipes.{label}")
