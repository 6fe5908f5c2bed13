"""What a run leaves for people: plots and a model card."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recipes.contract import family
from recipes.data.core import short
from recipes.reports import plots

if TYPE_CHECKING:
    from recipes.training.runs import Run

MOST_EXAMPLES = 10_000  # of the test part, for the plots


def write_reports(run: "Run") -> None:
    """Write `plots/` and `README.md` of a run directory anew."""
    folder = run.directory / "plots"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if run.history:
        plots.save(plots.learning_curves(run.history), folder / "learning_curves.png")
    module = family(run.family)
    if hasattr(module, "pictures"):  # the family's own
        for name, made in module.pictures(run.model, run.data).items():
            if isinstance(made, list):
                plots.save_frames(made, folder / f"{name}.gif")
            else:
                plots.save(made, folder / f"{name}.png")
    else:
        _plot_predictions(run, folder)
    (run.directory / "README.md").write_text(model_card(run), encoding="utf-8")


def _plot_predictions(run: "Run", folder: Path) -> None:
    part = run.data.test
    chosen = part.indices[:MOST_EXAMPLES]
    raw, truth = part.x[chosen], part.y[chosen]
    outputs = np.asarray(run.model.predict(part.transform(raw), verbose=0), "float64")
    names = run.data.class_names
    if names is None:
        mean, std = run.data.transform.target
        figure = plots.predicted_against_true(truth[:, 0] * std + mean, outputs[:, 0] * std + mean)
        plots.save(figure, folder / "predicted_against_true.png")
        return
    probabilities = softmax(outputs)
    predicted = probabilities.argmax(axis=1)
    plots.save(plots.confusion_matrix(truth, predicted, names), folder / "confusion_matrix.png")
    if run.data.kind == "images" and (predicted != truth).any():
        figure = plots.mistakes(raw, truth, probabilities, names)
        plots.save(figure, folder / "mistakes.png")


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def model_card(run: "Run") -> str:
    """A model card in Markdown: what it is, what it learnt from, how well it does, its use."""
    data, metrics, config = run.data, run.metrics, run.config
    module = family(run.family)
    about = (module.__doc__ or "").strip()
    sizes = ", ".join(f"{count:,} {name}" for name, count in data.sizes.items())
    scores = "\n".join(
        f"| {name.removeprefix('test_')} | {value:.4f} |"
        for name, value in metrics.items()
        if name.startswith("test_")
    )
    citation = data.citation.strip()
    if "\n" in citation:  # BibTeX
        citation = f"```\n{citation}\n```"
    arguments = "\n".join(
        f"- `{name}`: `{short(value)}`" for name, value in config["build"].items()
    )
    pictures = "\n".join(
        f"![{path.stem.replace('_', ' ')}](plots/{path.name})"
        for path in sorted((run.directory / "plots").iterdir())
    )
    return f"""# {run.family} ({config["variant"]}) on {data.name}

{about}

## Result

On the test part, by the model of epoch {metrics["best_epoch"]} of {metrics["epochs"]}, the best by
{metrics["objective"]} ({metrics["best"]:.4f}):

| metric | value |
|---|---|
{scores}

{metrics["parameters"]:,} trainable parameters, trained in {metrics["seconds"]:.0f} s
({config["precision"]}, batch size {config["batch_size"]}, seed {config["seed"]}).

{pictures}

## Data

{data.name}: {sizes}. Licence: {data.licence}.

{citation}

## Arguments

{arguments}

## Use

```python
import recipes

model = recipes.load("{run.directory}")
recipes.predict("{run.directory}", ["an_input"])
```

Limits: the figures above hold for data like the test part. Nothing is known about other data.
"""
