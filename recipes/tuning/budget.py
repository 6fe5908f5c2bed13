"""What a search may spend."""

import re
from typing import NamedTuple

from recipes.contract.arguments import seconds


class Budget(NamedTuple):
    """Seconds, or epochs over all trials; None is no limit."""

    seconds: float | None = None
    epochs: int | None = None

    def is_spent(self, seconds: float, epochs: int) -> bool:
        """Whether so much is all that there was."""
        return (self.seconds is not None and seconds >= self.seconds) or (
            self.epochs is not None and epochs >= self.epochs
        )


UNLIMITED = Budget()


def read_budget(budget: float | str | None) -> Budget:
    """A time, 90, "90", "90s", "20m", "1h30m", or epochs, "200 epochs"; None for no limit.

    Raises:
        ValueError: anything else, or nothing.
    """
    if budget is None:
        return UNLIMITED
    epochs = re.fullmatch(r" *(\d+) *epochs? *", str(budget))
    if epochs and int(epochs[1]):
        return Budget(epochs=int(epochs[1]))
    return Budget(seconds=seconds(budget, ', or "200 epochs"'))
