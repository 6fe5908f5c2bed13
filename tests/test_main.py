"""The command line, as a person uses it."""

import contextlib
import inspect
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

import recipes
from recipes import __main__ as command_line
from recipes import data
from recipes.__main__ import main
from recipes.contract import describe, families, family
from recipes.training import checkpoints

ROOT = Path(recipes.__file__).parent
FAMILIES = list(families())


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def called(monkeypatch):
    """What the command line asked of `recipes.train`, `tune` or `compare`, which do nothing."""
    calls = []

    def fake(*args, **kwargs):
        calls.append((args, kwargs))
        raise KeyboardInterrupt

    monkeypatch.setattr(recipes, "train", fake, raising=False)
    monkeypatch.setattr(recipes, "tune", fake, raising=False)
    monkeypatch.setattr(recipes, "compare", fake, raising=False)
    return calls


def shell(words: str) -> int:
    return main(shlex.split(words))


# --- help -----------------------------------------------------------------------------------------


def test_alone_it_prints_its_help(capsys):
    assert main([]) == 0
    alone = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == alone
    for command in ("list", "show", "train", "tune", "predict", "export", "compare", "check"):
        assert f"    {command} " in alone


def test_list_names_all_families_and_variants(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    words = re.findall(r"[\w]+", out)
    for name in FAMILIES:
        assert name in words
        assert set(family(name).VARIANTS) <= set(words)


@pytest.mark.parametrize("name", FAMILIES)
def test_show_describes_a_family(name, capsys):
    assert main(["show", name]) == 0
    out = capsys.readouterr().out
    module = family(name)
    assert module.__doc__.strip() in out
    for variant in module.VARIANTS:
        assert f"\n    {variant}: " in out
    for argument, parameter in inspect.signature(module.build_model).parameters.items():
        if argument != "variant":
            assert f"\n    {argument}={parameter.default!r}: " in out


def test_show_prints_layers_with_their_parameters(capsys):
    assert main(["show", "cnn", "lenet5"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    for words in ("Conv2D", "(None, 28, 28, 6)", "48,120", "61,706"):  # 400 x 120 + 120
        assert words in out


@pytest.mark.parametrize("command", ["train", "tune"])
@pytest.mark.parametrize("name", FAMILIES)
def test_help_lists_every_argument_of_model_and_data(command, name, capsys):
    assert main([command, name, "--help"]) == 0
    out = capsys.readouterr().out
    module = family(name)
    arguments = {*inspect.signature(module.build_model).parameters, *data.options_of(module.KINDS)}
    arguments |= {"kind"} if len(module.KINDS) > 1 else set()
    for argument in arguments - {"class_names"}:  # arrays are none of a shell's
        flag = f"  --{argument.replace('_', '-')} "
        assert out.count(f"\n{flag}") == 1, argument


@pytest.mark.parametrize("name", FAMILIES)
def test_signatures_are_read_without_an_import(name):
    module = family(name)
    pairs = [(ROOT / f"{name}.py", "build_model", module.build_model)]
    pairs += [(ROOT / f"data/{k}.py", "load", data.module_of(k).load) for k in module.KINDS]
    for file, function, real in pairs:
        found = command_line._read(file, function)
        assert describe(found) == describe(real)
        wanted = inspect.signature(real).parameters
        for argument, parameter in inspect.signature(found).parameters.items():
            assert parameter.default == wanted[argument].default
            assert parameter.kind == wanted[argument].kind
    assert command_line._read(ROOT / f"{name}.py", "KINDS") == module.KINDS


QUICK = """
import sys
from recipes.__main__ import main
for words in ("", "list", "train --help", "tune dnn --help", "train cnn --epoch 3", "show cnnn",
              "compare cnnn", "compare cnn:tinny", "export run"):
    main(words.split())
assert not {"keras", "numpy", "tensorflow", "jax", "torch"} & set(sys.modules), sys.modules
"""


def test_help_and_wrong_flags_need_no_backend():
    assert subprocess.run([sys.executable, "-c", QUICK], capture_output=True).returncode == 0


def test_a_closed_pipe_is_no_error():
    made = subprocess.run(
        f"{shlex.quote(sys.executable)} -m recipes list | true; echo ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", capture_output=True, text=True,
    )  # fmt: skip
    assert (made.stdout, made.stderr) == ("0\n", "")


# --- flags ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1e-3", 1e-3),
        ("-0.5", -0.5),
        ("32,64", (32, 64)),
        ("(32, 64)", (32, 64)),
        ("(8,8),16", ((8, 8), 16)),
        ("true", True),
        ("False", False),
        ("none", None),
        ("relu", "relu"),
        ("a,1", ("a", 1)),
        ("()", ()),
    ],
)
def test_values_are_read_as_python_does(text, value):
    found = command_line._value(text)
    assert found == value
    assert type(found) is type(value)


def test_flags_become_arguments(called, capsys):
    words = (
        "train cnn --data photos --variant simple --epochs 3 --batch-size 16 --precision float32 "
        "--seed 4 --patience 2 --run-dir out --units 64 --filters (8,8),16 --batch-norm "
        "--learning-rate 1e-2 --activation none --decay-steps 10,20 --image-size 32 "
        "--standardize false --test-fraction 0.3"
    )
    assert shell(words) == command_line.PAUSED
    assert called == [
        (
            ("cnn",),
            {
                "data": "photos", "variant": "simple", "epochs": 3, "batch_size": 16,
                "precision": "float32", "seed": 4, "patience": 2, "run_dir": "out",
                "units": (64,), "filters": ((8, 8), 16), "batch_norm": True,
                "learning_rate": 0.01, "activation": "none", "decay_steps": (10, 20),
                "data_options": {"image_size": 32, "standardize": False, "test_fraction": 0.3},
            },
        )
    ]  # fmt: skip
    assert capsys.readouterr().err == ""


def test_texts_stay_texts(called):
    words = "train dnn --data t.csv --target 3 --ignore id,7 --normalization none --task regression"
    assert shell(words) == command_line.PAUSED
    ((_, arguments),) = called
    assert arguments["normalization"] == "none"  # not None
    assert arguments["data_options"] == {"target": "3", "ignore": ("id", "7"), "task": "regression"}


def test_resume_passes_what_may_change(called):
    assert shell("train --resume runs/one --epochs 9 --patience 3") == command_line.PAUSED
    wanted = {"resume": "runs/one", "epochs": 9, "patience": 3, "data_options": None}
    assert called == [((None,), wanted)]


def test_flags_of_tune(called):
    words = (
        "tune dnn --data iris --algorithm random --max-trials 3 --objective val_accuracy "
        "--directory out --epochs 2 --batch-size 8 --activation relu --seed 1 --test-fraction 0.4 "
        "--workers 2 --budget 1h30m --search units,activation --space s.yaml --shrink-batch "
        "--folds 5 --start searches/one --cluster auto"
    )
    assert shell(words) == command_line.PAUSED
    (((name, found), arguments),) = called
    assert name == "dnn"
    assert (found.name, found.test.size) == ("iris", 60)
    assert arguments == {
        "algorithm": "random", "max_trials": 3, "objective": "val_accuracy", "directory": "out",
        "epochs": 2, "batch_size": 8, "activation": "relu", "seed": 1, "workers": 2,
        "budget": "1h30m", "search": ("units", "activation"), "space": "s.yaml",
        "shrink_batch": True, "folds": 5, "start": "searches/one", "cluster": "auto",
    }  # fmt: skip
    assert shell("tune --resume searches/one --max-trials 9") == command_line.PAUSED
    assert called[1] == ((None, None), {"resume": "searches/one", "max_trials": 9})


def test_flags_of_compare(called, capsys):
    words = "compare cnn dnn:tiny --data digits --budget 10m --seed 3 --directory out"
    assert shell(words) == command_line.PAUSED
    wanted = {"budget": "10m", "epochs": None, "batch_size": None, "precision": "auto", "seed": 3}
    wanted |= {"patience": None, "directory": "out"}
    assert called == [((["cnn", "dnn:tiny"], "digits"), wanted)]
    assert shell("compare cnn dnn:tinny") == 1
    assert "unknown variant of dnn 'tinny'" in capsys.readouterr().err


# --- whole commands -------------------------------------------------------------------------------


def said(out: str) -> dict[str, list[str]]:
    """The commands to go on with, by their second word."""
    lines = [line.strip() for line in out.splitlines() if line.startswith("  recipes ")]
    return {words[1]: words[1:] for words in map(shlex.split, lines)}


def test_train_and_what_it_says_to_go_on_with(capsys):
    from sklearn.datasets import load_iris

    words = "train dnn --data iris --variant tiny --epochs 2 --test-fraction 0.4 --run-dir 'a run'"
    assert shell(words) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert re.search(r"test accuracy +0\.\d{4} \(\d+\.\d\d%\)", out)
    assert re.search(r"best epoch +[12] of 2, val_loss \d", out)
    assert re.search(r"run directory +a run", out)
    assert Path("a run/README.md").exists()
    commands = said(out)
    assert set(commands) == {"predict", "train", "tune"}

    assert main(commands["train"]) == 0  # for as many epochs again
    assert "best epoch" in capsys.readouterr().out
    assert checkpoints.read_state("a run/last.keras")["epoch"] == 4

    load_iris(as_frame=True).data[:3].to_csv("TABLE.csv", index=False)
    assert main(commands["predict"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == ["0", "1", "2"]
    assert all(re.fullmatch(r"(setosa|versicolor|virginica) \d+\.\d%", row[1]) for row in rows)
    assert main([*commands["predict"], "--top", "3"]) == 0
    for line in capsys.readouterr().out.splitlines():
        shares = [float(word.rstrip("%")) for word in re.findall(r"[\d.]+%", line)]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(100, abs=0.2)

    assert shlex.join(commands["tune"]) == "tune dnn --data iris --variant tiny --test-fraction 0.4"


def test_export_says_what_the_file_takes(capsys):
    assert shell("train dnn --data iris --variant tiny --epochs 1 --run-dir run") == 0
    capsys.readouterr()
    assert shell("export run --format keras") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert (
        "exported run/export/model.keras takes x: float32 (n, 4) gives float32 (n, 3), log" in out
    )
    assert "difference 0.0e+00 (0.0001 allowed), on 16 examples of the test part" in out
    assert Path("run/export/model.keras.json").exists()
    assert shell("export run --format keras --output 'an export'") == 0
    assert recipes.load("an export.keras").input_shape == (None, 4)
    assert shell("export run --format onx") == 1
    assert "Did you mean 'onnx'?" in capsys.readouterr().err


def test_predict_names_pictures_and_values(monkeypatch, capsys):
    rows = [
        {"input": "a.png", "class": "cat", "probabilities": {"dog": 0.25, "cat": 0.75}},
        {"input": 7, "value": 151.23456789},
    ]
    monkeypatch.setattr(recipes, "predict", lambda run, inputs: rows, raising=False)
    assert main(["predict", "run", "a.png"]) == 0
    assert capsys.readouterr().out == "a.png\tcat 75.0%\n7\t151.235\n"


def test_tune_says_how_to_train_the_best(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    search = SimpleNamespace(table=lambda: "the table", best_score=0.5, directory=Path("one of"))
    search.default_trial = {"score": 0.75}
    monkeypatch.setattr(recipes, "tune", lambda *args, **kwargs: search, raising=False)
    assert shell("tune dnn --data iris --test-fraction 0.4") == 0
    out = capsys.readouterr().out
    assert "the table" in out and "Best 0.5000, the defaults 0.7500" in out
    search.directory.mkdir()
    source = {"source": "iris", "test_fraction": 0.4, "batch_size": 32}
    config = {"family": "dnn", "data": {"source": source}, "epochs": 3, "precision": "float32"}
    (search.directory / "search.json").write_text(json.dumps(config))
    best = {"variant": "tiny", "units": [64, 32], "dropout_rate": 0.1, "batch_size": 8}
    best["precision"] = "bfloat16"
    train = []
    monkeypatch.setattr(
        recipes, "train", lambda *args, **kwargs: train.append((args, kwargs)), raising=False
    )
    monkeypatch.setattr(command_line, "_print_run", lambda run: None)
    assert main(said(out)["train"]) == 1
    assert "--from='one of': has no trial with a score" in capsys.readouterr().err
    (search.directory / "best.json").write_text(json.dumps({"arguments": best}))
    assert main(said(out)["train"]) == 0
    wanted = {**best, "data": "iris", "data_options": {"test_fraction": 0.4, "batch_size": 32}}
    wanted |= {"epochs": 3}
    assert train == [(("dnn",), wanted)]
    # what is given wins
    assert main(["train", "dnn", "--from", "one of", "--data", "wine", "--units", "7"]) == 0
    wanted |= {"data": "wine", "units": (7,), "data_options": None}
    assert train[1:] == [(("dnn",), wanted)]
    assert main(["train", "cnn", "--from", "one of"]) == 1
    assert "--from='one of': is of dnn, not of cnn" in capsys.readouterr().err


def test_check_says_what_is_there(monkeypatch, capsys, tmp_path):
    import keras

    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert main(["check"]) == 0
    out = capsys.readouterr().out
    assert f"recipes {recipes.__version__}" in out
    assert f"keras {keras.version()}" in out
    assert f"Backend: {keras.backend.backend()}" in out
    assert re.search(r"Devices: (cpu|gpu|tpu) ", out)
    assert re.search(r"`auto` chooses: (float32|bfloat16|float16)", out)
    assert "mnist5k" in out
    assert f"Prepared TensorFlow Datasets in {tmp_path}: nothing" in out


def test_pictures_from_a_folder_to_a_prediction(capsys):
    from sklearn.datasets import load_digits

    digits = load_digits()
    for i in range(120):
        folder = Path("photos") / ("odd" if digits.target[i] % 2 else "even")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((digits.images[i] * 15).astype("uint8")).save(folder / f"{i}.png")
    assert shell("train perceptron --data photos --epochs 3 --run-dir run") == 0
    capsys.readouterr()
    assert main(["predict", "run", "photos/odd"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == sum(digits.target[:120] % 2)
    assert sum("\todd " in line for line in lines) > 0.8 * len(lines)


# --- errors and interruptions ---------------------------------------------------------------------


def fail(error: BaseException, warning: str = ""):
    def run(*args, **kwargs):
        if warning:
            warnings.warn(warning, stacklevel=1)
        raise error

    return run


def test_errors_are_one_line(monkeypatch, capsys):
    for error, line in (
        (ValueError("wrong\n  value"), "wrong value"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (ImportError("no module pyarrow"), "no module pyarrow"),
        (KeyError("x" * 900), f"KeyError: '{'x' * 499} (--traceback shows where)"),
        (RuntimeError(), "RuntimeError: RuntimeError (--traceback shows where)"),
    ):
        monkeypatch.setattr(recipes, "train", fail(error), raising=False)
        assert main(["train", "cnn"]) == 1
        assert capsys.readouterr().err == f"recipes: error: {line}\n"
        with pytest.raises(type(error)):
            main(["train", "--traceback", "cnn"])


def test_warnings_are_one_line(monkeypatch, capsys):
    shown = warnings.showwarning
    monkeypatch.setattr(recipes, "train", fail(KeyboardInterrupt(), "the\n rule"), raising=False)
    assert main(["train", "perceptron"]) == 130
    assert capsys.readouterr().err == "recipes: warning: the rule\n"
    assert warnings.showwarning is shown


@pytest.mark.slow
def test_ctrl_c_leaves_a_run_that_resumes(capsys):
    words = "-m recipes train dnn --data digits --variant tiny --epochs 100000 --run-dir run"
    process = subprocess.Popen(
        [sys.executable, *shlex.split(words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ,
    )  # fmt: skip
    with contextlib.closing(process.stdout):
        for line in process.stdout:
            if line.startswith("Epoch 3/"):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stdout.read()
        error = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 130
    assert error == ""
    told = re.search(r"Paused after epoch (\d+). To continue: recipes (.*)", rest)
    epochs = int(told[1]) + 1
    assert epochs >= 3
    assert main([*told[2].split(), "--epochs", str(epochs)]) == 0
    assert re.search(rf"best epoch +\d+ of {epochs}", capsys.readouterr().out)
