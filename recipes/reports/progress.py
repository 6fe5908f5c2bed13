"""What a search is at, below the lines of the trials that ended, where there is a terminal."""

import time
from collections.abc import Callable

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table


class Progress:
    """A live table of the trials that run, and the time left; nothing where there is no terminal.

    Args:
        ended: how many trials of the search have ended.
        of: number of trials that there will be.
        budget: seconds, or None.
        show: whether to show anything.
        console: to show it on; default the standard output.
        clock: seconds.
        what: it is that ends.
    """

    def __init__(
        self,
        ended: Callable[[], int],
        of: int,
        budget: float | None,
        show: bool = True,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
        what: str = "trial",
    ):
        self.ended, self.of, self.budget, self.clock = ended, of, budget, clock
        self.before, self.start, self.what = ended(), clock(), what
        self.running: dict[int | str, tuple[int, int, str]] = {}
        console = console or Console()
        self._live = Live(self, console=console, transient=True) if show else None
        if not console.is_terminal:
            self._live = None

    def __enter__(self) -> "Progress":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *error) -> None:
        if self._live is not None:
            self._live.stop()

    def epoch(self, number: int | str, epoch: int, of: int, result: str) -> None:
        """An epoch of a trial ended; `result` is shown beside it."""
        self.running[number] = (epoch, of, result)

    def end(self, number: int | str) -> None:
        """A trial ended."""
        self.running.pop(number, None)

    @property
    def seconds_left(self) -> float | None:
        """As long as the trials that ended took, or the budget; None before the first."""
        spent, done = self.clock() - self.start, self.ended() - self.before
        left = [spent / done * (self.of - self.ended())] if done else []
        left += [] if self.budget is None else [max(0.0, self.budget - spent)]
        return min(left, default=None)

    def __rich__(self) -> Group:
        left = self.seconds_left
        said = "" if left is None else f", about {duration(left)} left"
        made = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for title in (self.what, "epoch", "result"):
            made.add_column(title, justify="right", no_wrap=True)
        for number, (epoch, of, result) in sorted(self.running.items()):
            made.add_row(str(number), f"{epoch}/{of}", result)
        return Group(f"{self.ended()} of {self.of} {self.what}s{said}", made)


def duration(seconds: float) -> str:
    """45 s, 12 min or 3 h 5 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
