"""Every family has a notebook that runs from its first cell; the committed ones are as executed."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest

from recipes.contract import families

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def pictures(cells):
    """PNG outputs of code cells, as arrays (height, width, 3)."""
    from PIL import Image

    for cell in cells:
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", {}):
                data = base64.b64decode("".join(output["data"]["image/png"]))
                yield np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def check_pictures(cells):
    found = list(pictures(cells))
    assert len(found) >= 3
    for picture in found:
        colours = picture.reshape(-1, 3).astype(int) @ (65536, 256, 1)
        assert len(np.unique(colours)) > 3, "an empty plot"


def test_every_family_has_a_notebook():
    assert {path.stem for path in NOTEBOOKS} == set(families())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_notebook_is_executed_and_clean(path):
    cells = json.loads(path.read_text("utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not any(output["output_type"] == "error" for output in outputs)
    assert not any(output.get("name") == "stderr" for output in outputs)
    check_pictures(code)
    source = "".join("".join(cell["source"]) for cell in cells)
    for call in (f"{path.stem}.load_data(", f"{path.stem}.build_model(", ".fit(", ".evaluate("):
        assert call in source
    said = json.dumps([cell["source"] for cell in cells] + outputs)
    for machine in ("/root/", "/home/", "/tmp/", "/Users/"):
        assert machine not in said.replace("image/png", "")
    assert path.stat().st_size < 1_500_000


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_from_its_first_cell(path, tmp_path):
    """With short trainings: the committed outputs are of whole ones."""
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in code:
        cell.outputs = []
    counts = {n for cell in code for n in re.findall(r"\bepochs=(\d+)", cell.source)}
    for count in counts if path.stem != "dbn" else ():  # whose first epochs only pre-train
        for cell in code:
            cell.source = re.sub(rf"\bepochs={count}\b", "epochs=1", cell.source)
            # axes of what is drawn by epoch
            cell.source = cell.source.replace(f"range(1, {int(count) + 1})", "range(1, 2)")
    client = nbclient.NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()  # raises at the first error
    check_pictures(notebook.cells)
