"""The directory of a search: whose it is, and that it can be written."""

import contextlib
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

from recipes.contract import check
from recipes.training.runs import write_json
from recipes.tuning.trial import cannot_write


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in one error that nothing can be written, and what is to be done."""
    try:
        yield
    except OSError as error:
        if not cannot_write(error) and not isinstance(error, PermissionError):
            raise
        why = f"cannot be written ({' '.join(str(error).split())[:200]})"
        then = "once it can, the same call continues the search"
        raise OSError(f"directory={str(path)!r}: {why}; {then}") from error


@contextlib.contextmanager
def claimed(directory: str | Path | None, name: str, config: dict[str, Any]) -> Iterator[Path]:
    """The search's directory, with its `search.json`: a new one, or that of the same search.

    Nobody else has it meanwhile; a process that is killed lets go of it.
    """
    if directory is None:
        name = re.sub(r"[^\w.-]+", "_", name)
        for number in itertools.count(1):
            directory = Path("searches") / f"{name}-{number}"
            with contextlib.suppress(FileExistsError), writing(directory):
                directory.mkdir(parents=True)
                break
    path = Path(directory)
    known = path / "search.json"
    # A search that could not write its first file has left its lock alone.
    if path.exists() and (not path.is_dir() or any(p.name != "lock" for p in path.iterdir())):
        wanted = "is not empty and holds no search; name a new one"
        check(known.is_file(), "directory", str(path), wanted)
        _check_same(path, json.loads(known.read_text()), config)
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / "lock").open("w")
    with lock:
        if fcntl is not None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                check(False, "directory", str(path), "another process is at this search")
        with writing(path):
            write_json(known, config)
        yield path


def _check_same(path: Path, found: dict[str, Any], config: dict[str, Any]) -> None:
    """Raise where a directory's search is another one than that asked for."""
    for key, ours in config.items():
        if key in ("recipes", "max_trials", "environment"):
            continue
        theirs = found.get(key)
        if key == "data":  # how it was loaded does not matter
            theirs, ours = (d | {"source": None} for d in (theirs, ours))
        if theirs != ours:
            what = (
                f"{key} is {theirs!r}, not {ours!r}" if len(repr(ours)) < 80 else f"{key} differs"
            )
            raise ValueError(
                f"directory={str(path)!r}: holds another search, whose {what}; name a new directory"
            )
