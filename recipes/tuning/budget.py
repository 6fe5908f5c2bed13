"""What a search may spend."""

import re
from typing import NamedTuple

from recipes.contract import check


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
    text = str(budget).strip()
    epochs = re.fullmatch(r"(\d+) *epochs?", text)
    time = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+\.?\d*)s?)?", text)
    parts = zip(time.groups() if time else (), (3600, 60, 1), strict=False)
    seconds = sum(float(number or 0) * unit for number, unit in parts)
    found = Budget(epochs=int(epochs[1])) if epochs else Budget(seconds=seconds)
    wanted = 'must be a number of seconds, a text such as "20m" or "1h30m", or "200 epochs"'
    check(seconds > 0 or found.epochs, "budget", budget, wanted)
    return found
