"""Which families can be exported to which formats, and how exactly.

    python benchmarks/exports.py                # all families
    python benchmarks/exports.py cnn gpt ...    # some; the others' rows stay

Each family's variant "tiny", as built, for its default data: `recipes.export` writes `model(x)`,
loads the file by the format's own runtime, and compares it with `model.predict` on 16 examples of
the test part and on one. Writes `benchmarks/results/exports.json` and `exports.md`.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import keras
import measures

import recipes
from recipes.contract import family
from recipes.training import compilation
from recipes.training.export import EXAMPLES, FORMATS

RESULTS = Path(__file__).parent / "results" / "exports.json"


def measure(name: str) -> dict[str, dict]:
    """Format -> difference, shapes of the inputs and seconds; or why it is not written."""
    module = family(name)
    data = module.load_data()
    model = module.build_model("tiny", **data.spec, seed=1)
    x = data.test.first(EXAMPLES).with_batch_size(EXAMPLES)[0][0]
    found = {}
    for kind in FORMATS:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            try:
                made = recipes.export(model, Path(folder) / "model", format=kind, examples=x)
                row = {"difference": made.difference, "inputs": made.inputs}
            except RuntimeError as error:
                row = {"reason": str(error.__cause__ or error).replace(folder, "")[:300]}
        found[kind] = row | {"seconds": round(time.perf_counter() - start, 1)}
    return found


def table(rows: dict[str, dict]) -> str:
    """The results in Markdown."""
    lines = ["Largest difference between the outputs of an exported network and the network's own,"]
    lines += [
        "as a share of the largest output where that is more than 1; 1e-4 is allowed. Variant"
    ]
    lines += ['"tiny" of each family, as built, on its default data; `(1)`: takes one example at a']
    lines += ["time; `-`: not possible, see below. By `python benchmarks/exports.py`.", ""]
    table_rows, reasons = [], []
    for name, row in rows.items():
        cells = []
        for kind in FORMATS:
            found = row["formats"][kind]
            if "reason" in found:
                cells.append("-")
                reasons.append(f"- `{name}`, {kind}: {found['reason']}")
            else:
                single = any(i["shape"][0] == 1 for i in found["inputs"])
                cells.append(f"{found['difference']:.0e}".replace("0e+00", "0") + " (1)" * single)
        table_rows.append([f"`{name}`", *cells])
    lines += measures.markdown(["family", *FORMATS], table_rows)
    return "\n".join([*lines, "", *reasons]) + "\n"


def main() -> None:
    compilation.XLA_ON_CPU = False  # compiling would be most of the time
    known = list(recipes.families())
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in sys.argv[1:] or known:
        formats = measure(name)
        rows[name] = {
            "formats": formats, "backend": keras.backend.backend(), "keras": keras.version()
        }  # fmt: skip
        rows = {n: rows[n] for n in known if n in rows}
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
        RESULTS.with_suffix(".md").write_text(table(rows))
        keras.backend.clear_session(free_memory=False)
        shown = {k: v.get("difference", v.get("reason", "")[:150]) for k, v in formats.items()}
        print(name, json.dumps(shown), flush=True)


if __name__ == "__main__":
    main()
