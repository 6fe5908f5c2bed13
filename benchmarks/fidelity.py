"""How far each family is from independent implementations, as `tests/fidelity` finds it.

    python benchmarks/fidelity.py               # all families
    python benchmarks/fidelity.py gpt resnet    # some; the others' rows stay

Runs the tests of `tests/fidelity` (extra `peers`) and keeps, for each file, the largest difference
of all arrays that were found to be close to a peer's: outputs, gradients, weights after steps of an
optimizer, as a share of the largest number of the array. What allows for two thousandths or more is
left out: means of random draws, gensim's tabulated sigmoid, moves so small that rounding shows.
Writes `benchmarks/results/fidelity.json` and `fidelity.md`.
"""

import ast
import json
import sys
from importlib.metadata import packages_distributions, version
from pathlib import Path
from unittest import mock

import measures
import numpy as np
import peers
import pytest

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "fidelity.json"
TITLES = {module: title for title, module in peers.MODULES.items()}
COARSE = 2e-3  # what is allowed for, as a share of the largest number, that is left out


class Recorder:
    """A plugin of pytest that notes differences and outcomes by file."""

    def __init__(self):
        self.found: dict[str, dict] = {}

    def row(self, path: str) -> dict:
        """Of a file, which is named after its family."""
        empty = {"passed": 0, "failed": 0, "skipped": 0, "compared": 0, "difference": 0.0}
        return self.found.setdefault(Path(path).stem.removeprefix("test_"), empty)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item):
        """Listen to what is compared."""
        row, compare = self.row(item.path), np.testing.assert_allclose

        def listened(actual, desired, rtol=1e-7, atol=0, **kwargs):
            __tracebackhide__ = True
            compare(actual, desired, rtol, atol, **kwargs)
            a, b = np.asarray(actual, "float64"), np.asarray(desired, "float64")
            largest = np.abs(b).max(initial=0)
            if rtol * largest + atol < COARSE * largest:
                row["compared"] += 1
                row["difference"] = max(row["difference"], float(np.abs(a - b).max() / largest))

        with mock.patch("numpy.testing.assert_allclose", listened):
            return (yield)

    def pytest_runtest_logreport(self, report):
        """Count."""
        if report.when == "call" or report.outcome == "skipped":
            self.row(report.fspath)[report.outcome] += 1


def peers_of(path: Path) -> list[str]:
    """The modules that a test file, and what it asks of pytest, imports of others."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        called = getattr(getattr(node, "func", None), "attr", "") == "importorskip"
        names += [node.args[0].value] if called else []
        # keras.applications comes with Keras.
        names += ["keras.applications"] * (getattr(node, "attr", "") == "applications")
        found += [name if "applications" in name else name.partition(".")[0] for name in names]
    return [name for name in dict.fromkeys(found) if name in TITLES or "applications" in name]


def table(rows: dict[str, dict]) -> str:
    """The results in Markdown."""
    lines = ["Largest difference from another implementation's arrays (outputs, gradients, weights"]
    lines += ["after steps of an optimizer), as a share of the largest number of the array, of all"]
    lines += [
        f"whose test allows for less than {COARSE:g}. By `python benchmarks/fidelity.py`.",
        "",
    ]
    titles = ["family", "beside", "tests passed", "skipped", "arrays", "largest difference"]
    cells = []
    for name, row in rows.items():
        beside = ", ".join(f"{peer} {number}" for peer, number in row["peers"].items())
        counts = [row[key] for key in ("passed", "skipped", "compared")]
        cells.append([f"`{name}`", beside, *counts, f"{row['difference']:.0e}"])
    return "\n".join([*lines, *measures.markdown(titles, cells)]) + "\n"


def main() -> None:
    files = sorted((ROOT / "tests" / "fidelity").glob("test_*.py"))
    known = {path.stem.removeprefix("test_"): path for path in files}
    asked = sys.argv[1:] or list(known)
    if unknown := set(asked) - set(known):
        sys.exit(f"unknown {sorted(unknown)}; known: {', '.join(known)}")
    recorder = Recorder()
    given = ["-q", "-n0", "-m", "", "-p", "no:cacheprovider", f"--rootdir={ROOT}"]
    code = pytest.main([*given, *(str(known[name]) for name in asked)], [recorder])
    if code:
        sys.exit(code)
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name, row in recorder.found.items():
        beside = {}
        of_file = peers_of(known[name])
        for peer in of_file or peers_of(known[name].with_name("conftest.py")):
            package = packages_distributions()[peer.partition(".")[0]][0]
            beside[TITLES.get(peer, peer)] = version(package)
        rows[name] = {"peers": beside, **row}
    rows = {name: rows[name] for name in known if name in rows}
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    RESULTS.with_suffix(".md").write_text(table(rows))
    print(table(rows))


if __name__ == "__main__":
    main()
