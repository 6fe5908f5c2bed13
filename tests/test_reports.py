"""Plots and model cards say what the numbers say."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recipes import dnn
from recipes.reports import plots
from recipes.reports.run import softmax, write_reports
from recipes.training.runs import Run

HISTORY = {
    "epoch": [1, 2, 3],
    "accuracy": [0.5, 0.7, 0.9],
    "loss": [1.5, 1.0, 0.5],
    "val_accuracy": [0.4, 0.8, 0.6],
    "val_loss": [1.6, 0.9, 1.1],
    "learning_rate": [0.1, 0.1, 0.1],
}


def test_learning_curves_draw_the_history():
    axes = plots.learning_curves(HISTORY).axes
    assert [ax.get_title() for ax in axes] == ["accuracy", "loss"]
    for ax, name, best in zip(axes, ("accuracy", "loss"), ("0.8", "0.9"), strict=True):
        drawn = {line.get_label(): line for line in ax.lines}
        assert set(drawn) == {"training", "validation"}
        assert list(drawn["training"].get_ydata()) == HISTORY[name]
        assert list(drawn["validation"].get_ydata()) == HISTORY[f"val_{name}"]
        assert list(drawn["validation"].get_xdata()) == [1, 2, 3]
        (note,) = ax.texts  # the highest accuracy, the lowest loss
        assert (note.get_text(), note.xy) == (best, (2, float(best)))


def test_learning_curves_of_one_epoch_without_validation():
    (ax,) = plots.learning_curves({"loss": [2.0]}).axes
    assert [list(line.get_ydata()) for line in ax.lines] == [[2.0]]
    assert not ax.texts


def test_confusion_matrix_counts():
    truth = np.array([0, 0, 0, 1, 1, 2])
    predicted = np.array([0, 0, 2, 1, 0, 1])
    (ax,) = plots.confusion_matrix(truth, predicted, ("ant", "bee", "cow")).axes
    # (column, row): counts, none where there are none
    counts = {text.get_position(): int(text.get_text()) for text in ax.texts}
    assert counts == {(0, 0): 2, (2, 0): 1, (1, 1): 1, (0, 1): 1, (1, 2): 1}
    assert ax.get_title() == "50.00% of 6 right"
    assert [label.get_text() for label in ax.get_xticklabels()] == ["ant", "bee", "cow"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["ant", "bee", "cow"]
    shares = ax.images[0].get_array()
    np.testing.assert_allclose(shares, [[2 / 3, 0, 1 / 3], [1 / 2, 1 / 2, 0], [0, 1, 0]])


def test_confusion_matrix_of_many_classes_has_no_numbers():
    labels = np.arange(50)
    (ax,) = plots.confusion_matrix(labels, labels, [str(i) for i in labels]).axes
    assert not ax.texts
    np.testing.assert_array_equal(ax.images[0].get_array(), np.eye(50))


def test_mistakes_are_the_wrong_ones_surest_first():
    images = np.arange(5, dtype="uint8").reshape(5, 1, 1, 1) * 50 + np.zeros((5, 2, 2, 1), "uint8")
    truth = np.array([0, 1, 0, 1, 1])
    #                         right       wrong 0.6   wrong 0.9   right       wrong 0.7
    probabilities = np.array([[0.8, 0.2], [0.6, 0.4], [0.1, 0.9], [0.3, 0.7], [0.7, 0.3]])
    made = plots.mistakes(images, truth, probabilities, ("cat", "dog"))
    shown = [ax for ax in made.axes if ax.images]
    assert [ax.get_title() for ax in shown] == [
        "dog  90%\ntrue: cat", "cat  70%\ntrue: dog", "cat  60%\ntrue: dog"
    ]  # fmt: skip
    pixels = [ax.images[0].get_array()[0, 0] * 255 for ax in shown]
    np.testing.assert_allclose(pixels, [100, 200, 50], atol=1e-3)
    assert made.get_suptitle() == "3 of 5 wrong; the surest mistakes"
    few = plots.mistakes(images, truth, probabilities, ("cat", "dog"), most=1)
    assert [ax.get_title() for ax in few.axes if ax.images] == ["dog  90%\ntrue: cat"]


@pytest.mark.parametrize(
    ("image", "shown"),
    [
        (np.array([[0, 255]], "uint8"), [0, 1]),
        (np.array([[10, 20]], "uint8"), [10 / 255, 20 / 255]),  # dark stays dark
        (np.array([[0.25, 0.5]]), [0.25, 0.5]),
        (np.array([[-2.0, 0.0, 2.0]]), [0, 0.5, 1]),
        (np.array([[0.0, 1000.0]]), [0, 1]),
        (np.array([[0, 1]], "uint8") * 0, [0, 0]),
    ],
)
def test_pictures_of_any_range_are_shown(image, shown):
    _, (ax,) = plots.figure(2, 2)
    plots.show(ax, image[..., None])
    np.testing.assert_allclose(ax.images[0].get_array(), [shown], atol=1e-6)
    assert ax.images[0].get_clim() == (0, 1)
    plots.show(ax, np.stack([image] * 3, axis=-1))
    np.testing.assert_allclose(ax.images[1].get_array()[..., 2], [shown], atol=1e-6)


def test_predictions_against_the_truth():
    truth, predicted = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 2.0, 3.0, 6.0])
    (ax,) = plots.predicted_against_true(truth, predicted).axes
    np.testing.assert_array_equal(
        ax.collections[0].get_offsets(), np.column_stack([truth, predicted])
    )
    assert "0.200" in ax.get_title()  # 1 - 4 / 5
    assert list(ax.lines[0].get_xdata()) == list(ax.lines[0].get_ydata()) == [1.0, 6.0]


def test_softmax_of_large_logits():
    np.testing.assert_allclose(
        softmax(np.array([[1e4, 1e4], [0.0, np.log(3)]])), [[0.5, 0.5], [0.25, 0.75]]
    )


# --- a run's directory ----------------------------------------------------------------------------


@pytest.fixture
def make_run(tmp_path, monkeypatch):
    """`make_run(data)`: what `recipes.train` hands to the reports, with an untrained network."""
    monkeypatch.chdir(tmp_path)

    def make(data, **metrics) -> Run:
        model = dnn.build_model("tiny", **data.spec, seed=0)
        found = {
            "objective": "val_loss", "best": 0.9, "best_epoch": 2, "epochs": 3, "stopped": "",
            "parameters": 4321, "seconds": 7.4,
        }  # fmt: skip
        config = {
            "variant": "tiny", "build": {"units": [32], "activation": "relu"},
            "precision": "float32", "batch_size": 16, "seed": 5,
        }  # fmt: skip
        directory = Path("runs/one")
        directory.mkdir(parents=True)
        return Run(directory, "dnn", model, data, HISTORY, found | metrics, config)

    return make


def test_model_card_has_what_a_reader_needs(make_run, tmp_path):
    data = dnn.load_data("digits")
    run = make_run(data, test_accuracy=0.87654, test_loss=0.4321)
    write_reports(run)
    card = (run.directory / "README.md").read_text("utf-8")
    for words in (
        "# dnn (tiny) on digits", dnn.__doc__.splitlines()[0],
        "epoch 2 of 3", "val_loss (0.9000)", "| accuracy | 0.8765 |", "| loss | 0.4321 |",
        "4,321 trainable parameters", "in 7 s", "float32, batch size 16, seed 5",
        f"{data.train.size:,} train, {data.validation.size} validation, {data.test.size} test",
        data.licence, data.citation, "- `units`: `[32]`", 'recipes.load("runs/one")', "Limits",
    ):  # fmt: skip
        assert words in card, words
    assert str(tmp_path) not in card
    assert str(Path(dnn.__file__).parent) not in card
    linked = {line.split("](")[1].rstrip(")") for line in card.splitlines() if line[:2] == "!["}
    files = {f"plots/{path.name}" for path in (run.directory / "plots").iterdir()}
    assert linked == files
    for name in files:
        picture = np.asarray(Image.open(run.directory / name).convert("L"))
        assert picture.std() > 5, f"{name} is empty"
        assert (picture == 255).mean() > 0.2


def test_reports_replace_older_ones(make_run):
    data = dnn.load_data("digits")
    run = make_run(data)
    write_reports(run)
    assert (run.directory / "plots/mistakes.png").exists()
    part = data.test  # a network that is always right
    part.y[part.indices] = run.model.predict(part, verbose=0).argmax(1)
    write_reports(run)
    assert sorted(path.stem for path in (run.directory / "plots").iterdir()) == [
        "confusion_matrix", "learning_curves"
    ]  # fmt: skip


def test_a_long_citation_is_set_apart(make_run):
    data = dnn.load_data("iris")
    data.citation = "@article{fisher,\n  year = {1936},\n}"
    run = make_run(data)
    write_reports(run)
    assert "```\n@article{fisher,\n  year = {1936},\n}\n```" in (
        run.directory / "README.md"
    ).read_text("utf-8")


def test_a_regression_is_plotted_in_the_units_of_the_target(make_run, monkeypatch):
    drawn = {}
    data = dnn.load_data("diabetes")
    run = make_run(data, test_mae_unscaled=55.5)

    def draw(truth, predicted):
        drawn.update(truth=truth, predicted=predicted)
        return plots.figure(1, 1)[0]

    monkeypatch.setattr(plots, "predicted_against_true", draw)
    write_reports(run)
    from sklearn.datasets import load_diabetes

    target = load_diabetes().target
    np.testing.assert_allclose(drawn["truth"], target[data.test.indices], rtol=1e-5)
    train = target[data.train.indices]
    wanted = run.model.predict(data.test, verbose=0)[:, 0] * train.std() + train.mean()
    np.testing.assert_allclose(drawn["predicted"], wanted, rtol=1e-4)
    assert "| mae_unscaled | 55.5000 |" in (run.directory / "README.md").read_text("utf-8")


def test_frames_become_a_gif_that_is_small_and_repeats(tmp_path):
    frames = [np.full((400, 600, 3), 255, "uint8") for _ in range(90)]
    for i, frame in enumerate(frames):
        frame[180:220, 5 * i : 5 * i + 40] = (200, 30, 10)
    plots.save_frames(frames, tmp_path / "play.gif", most=40)
    with Image.open(tmp_path / "play.gif") as found:
        assert (found.n_frames, found.size) == (30, (320, 213))  # every third
        assert found.info["loop"] == 0
        assert found.info["duration"] == 120
        for i in (0, 29):
            found.seek(i)
            picture = np.asarray(found.convert("RGB")).astype(int)
            red = picture[..., 0] - picture[..., 1] > 100
            centre = np.argwhere(red).mean(axis=0) * 600 / 320
            np.testing.assert_allclose(centre, [200, 15 * i + 20], atol=3)
    assert (tmp_path / "play.gif").stat().st_size < 30_000
