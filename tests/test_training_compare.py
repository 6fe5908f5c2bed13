"""Comparing families: same split, own processes, a table that says what was measured."""

import csv
import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

import recipes
from recipes import cnn, dnn
from recipes.reports import comparison as reports
from recipes.training import compare as comparing
from recipes.training.runs import read_config, read_history


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A real one, whose last family fails in its own process."""
    entries = comparing._entries

    def sabotaged(*args):
        made = entries(*args)
        made[-1].given["patience"] = -1
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparing, "_entries", sabotaged)
        return recipes.compare(
            ["dnn:tiny", "perceptron", "cnn:tiny"], "digits", epochs=2, verbose=0,
            directory=tmp_path_factory.mktemp("compared") / "three",
        )  # fmt: skip


def test_rows_hold_what_the_runs_hold(compared):
    tiny, perceptron, _ = compared.rows
    assert [row["name"] for row in compared.rows] == ["dnn:tiny", "perceptron", "cnn:tiny"]
    assert compared.metric == ("accuracy", "max")
    for row in (tiny, perceptron):
        assert row["reason"] is None
        folder = compared.directory / row["name"].replace(":", "-")
        assert row["folder"] == str(folder)
        config, history = read_config(folder), read_history(folder)
        data = recipes.contract.family(row["family"]).load_data("digits")
        scored = recipes.load(folder).evaluate(data.test, verbose=0, return_dict=True)
        assert row["test"] == pytest.approx(scored["accuracy"], abs=1e-6)
        assert row["validation"] == history["val_accuracy"][row["best_epoch"] - 1]
        assert [value for _, value in row["curve"]] == history["val_accuracy"]
        assert 0 < row["curve"][0][0] < row["curve"][1][0]
        assert row["epochs"] == 2 == config["epochs"]
        assert 50e6 < row["memory"] < 8e9
        assert 0 < row["latency"] < 1
        assert row["rate"] > 100
    assert perceptron["parameters"] == 650  # 64 x 10 + 10
    # The same examples to learn from and to be tested on
    configs = [read_config(row["folder"])["data"] for row in (tiny, perceptron)]
    assert configs[0]["labels"] == configs[1]["labels"]


def test_one_that_fails_is_a_row_with_its_reason(compared):
    failed = compared.rows[-1]
    assert failed["reason"] == "patience=-1: must be an integer of at least 0"
    assert {failed[name] for name in reports.NUMBERS} == {None}
    assert failed["curve"] == []


def test_the_directory_has_files_for_people_and_programs(compared):
    names = {path.name for path in compared.directory.iterdir() if path.is_file()}
    wanted = {"comparison.csv", "comparison.json", "comparison.png", "README.md"}
    assert wanted <= names
    about = json.loads((compared.directory / "comparison.json").read_text())
    assert about["rows"] == json.loads(json.dumps(compared.rows))
    with (compared.directory / "comparison.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["dnn:tiny", "perceptron", "cnn:tiny"]
    assert float(rows[1]["test"]) == compared.rows[1]["test"]
    page = (compared.directory / "README.md").read_text()
    assert f"| perceptron | {compared.rows[1]['test']:.4f} |" in page
    assert "- cnn:tiny failed: patience=-1" in page
    raw = dnn.load_data("digits").test.x[:3]
    assert len(recipes.predict(compared.rows[0]["folder"], raw)) == 3  # its runs are runs


@pytest.mark.parametrize(("budget", "epochs", "ran"), [("0.001", None, 1), ("1h", 2, 2)])
def test_the_budget_ends_a_training_after_an_epoch(budget, epochs, ran, monkeypatch):
    def here(entry, directory, progress):
        told = []
        made = entry.run(comparing.Place(directory / "run"), lambda *args: told.append(args))
        assert [epoch for epoch, _ in told] == list(range(1, ran + 1))
        return row_of(entry, **made)

    monkeypatch.setattr(comparing, "_run", here)
    found = recipes.compare(["dnn:tiny"], "digits", budget=budget, epochs=epochs, verbose=0)
    assert str(found.directory) == "compare/digits-1"
    assert found.rows[0]["epochs"] == ran
    assert read_config("compare/digits-1/run")["epochs"] == (epochs or comparing.MOST_EPOCHS)


def row_of(entry, *args, **numbers):
    row = dict.fromkeys(reports.NUMBERS, 1)
    row |= {"name": entry.name, "family": entry.family, "variant": entry.variant}
    row |= {"reason": None, "curve": [(0.5, 0.1)], "folder": "none"}
    return row | numbers


def test_ctrl_c_leaves_what_is_done(monkeypatch, capsys):
    def run(entry, *args):
        if entry.name == "cnn:tiny":
            raise KeyboardInterrupt
        return row_of(entry)

    monkeypatch.setattr(comparing, "_run", run)
    with pytest.raises(KeyboardInterrupt):
        recipes.compare(["dnn:tiny", "cnn:tiny"], "digits", directory="here")
    with open("here/comparison.csv") as file:
        assert [row["name"] for row in csv.DictReader(file)] == ["dnn:tiny"]
    out = capsys.readouterr().out
    assert "1/2  dnn:tiny  test accuracy 1.0000  1 epoch in 1.0 s" in out
    assert "Stopped; 1 of 2 are in here." in out


def test_where_all_fail_it_is_an_error(monkeypatch):
    failed = dict.fromkeys(reports.NUMBERS) | {"reason": "no luck"}
    monkeypatch.setattr(comparing, "_run", lambda entry, *args: row_of(entry, **failed))
    with pytest.raises(RuntimeError, match="all of compare/digits-1 failed; the first: no luck"):
        recipes.compare(["dnn:tiny"], "digits", verbose=0)


def test_wrong_arguments_are_told_before_anything_trains(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes").touch()
    series = np.zeros((50, 3), "float32"), np.linspace(0, 1, 50)
    other = dnn.load_data("digits", seed=1)
    for families, arguments, message in (
        ("cnn", {}, r"families='cnn': must be a list of families"),
        ([], {}, r"families=\[\]: must be a list"),
        (["cnn", "dnnn"], {}, r"unknown family 'dnnn'.*Did you mean 'dnn'"),
        (["cnn:tinny"], {}, r"unknown variant of cnn 'tinny'.*Did you mean 'tiny'"),
        (["cnn", "cnn"], {}, r"families='cnn': is there twice; name its variants"),
        (["cnn", "gpt"], {"data": "digits"}, r"gpt: source='digits' holds images; this family"),
        (["perceptron", "dnn"], {"data": series}, r"perceptron: "),  # a number is no class
        (["cnn:tiny", "vae:tiny"], {"data": "digits"},
         r"different tasks, without a metric to compare: cnn:tiny reports .*accuracy.*; vae:tiny"),
        (["cnn"], {"budget": "soon"}, r"budget='soon': must be a number of seconds"),
        (["cnn"], {"epochs": 0}, r"epochs=0: must be a positive integer"),
        (["cnn"], {"directory": "full"}, r"directory='full': is not empty; name a new directory$"),
        (["cnn:tiny"], {"data": other, "precision": "float7"}, r"unknown precision 'float7'"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            recipes.compare(families, **arguments)
    assert {path.name for path in tmp_path.iterdir()} == {"full"}


def test_another_split_is_an_error():
    data = {"dnn": dnn.load_data("digits", seed=0), "cnn": cnn.load_data("digits", seed=1)}
    entries = [comparing.Entry(name, "dnn", "tiny", made, None, {}) for name, made in data.items()]
    with pytest.raises(
        ValueError, match=r"data='digits': cnn splits or labels it otherwise than dnn does"
    ):
        comparing._check_same_split(entries)


def test_the_table_fits_and_puts_the_best_first():
    entries = [SimpleNamespace(name=n, family=n, variant="") for n in ("a", "resnet:resnet20", "c")]
    numbers = [{"test": 0.5}, {"test": 0.75, "parameters": 25_557_032, "memory": 1.2e9}]
    fast = {"latency": 0.0123, "rate": 114_743.2, "epochs": 100, "seconds": 599.9}
    numbers.append({**dict.fromkeys(reports.NUMBERS), "reason": "out of memory"})
    rows = [
        row_of(entry, **{**fast, **given}) for entry, given in zip(entries, numbers, strict=True)
    ]
    console = Console(width=80, file=io.StringIO())
    console.print(reports.table(rows, ("accuracy", "max"), "title"))
    lines = console.file.getvalue().splitlines()
    assert "…" not in console.file.getvalue()
    best = next(i for i, line in enumerate(lines) if "resnet:resnet20" in line)
    assert "25.6M" in lines[best] and "1200" in lines[best]
    assert lines[best + 1].split()[:2] == ["a", "0.5000"]
    assert lines[best + 2].split() == ["c", "failed"]
    assert "c failed: out of memory" in console.file.getvalue()
    assert reports.ranked(rows, ("loss", "min"))[0]["name"] == "a"
    made = reports.plot(rows, ("accuracy", "max"))
    assert [text.get_text() for text in made.axes[0].get_legend().get_texts()] == [
        "a", "resnet:resnet20"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("number", "text"),
    [(7, "7"), (650, "650"), (999.6, "1k"), (61_706, "61.7k"), (114_743, "115k"), (2.5e9, "2.5G")],
)
def test_numbers_are_rounded_to_three_digits(number, text):
    assert reports._rounded(number) == text
