"""The command line: what a person sees, and exit codes: 0, 1 for an error, 2 for wrong usage."""

import os
import signal
import subprocess
import sys
import time

import pytest

import recipes
from recipes.__main__ import main


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")


def run(capsys, *arguments):
    """(exit code, standard output, standard error)."""
    try:
        code = main(list(arguments))
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    return code, out, err


def test_list_names_every_family_and_variant(capsys):
    code, out, _ = run(capsys, "list")
    assert code == 0
    for family in recipes.families().values():
        for word in (family.name, *family.variants):
            assert word in out


def test_without_arguments_it_prints_the_help(capsys):
    code, out, err = run(capsys)
    assert code == 0
    assert "recipes train cnn" in out + err


def test_show_gives_papers_variants_and_arguments(capsys):
    code, out, _ = run(capsys, "show", "cnn")
    assert code == 0
    for word in ("LeCun", "Krizhevsky", "vgg19", "dropout_rate=0.0", "recipes train cnn"):
        assert word in out
    code, out, _ = run(capsys, "show", "cnn", "lenet5")
    assert code == 0
    assert "61,706" in out


def test_flags_come_from_build_model_and_the_data(capsys):
    code, out, _ = run(capsys, "train", "resnet", "--help")
    assert code == 0
    for flag in ("--num-blocks", "--preactivation", "--image-size", "--epochs", "--resume"):
        assert flag in out


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What `recipes train` printed, and its run directory."""
    folder = tmp_path_factory.mktemp("cli")
    command = "train cnn --data digits --variant tiny --epochs 2 --filters 4,8 --units 16"
    result = subprocess.run(
        [sys.executable, "-m", "recipes", *command.split()],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return result, folder / "runs" / "cnn-tiny-digits-1"


def test_train_ends_with_the_result_and_the_next_commands(trained):
    result, directory = trained
    assert (directory / "best.keras").exists()
    for word in (
        "test accuracy",
        "runs/cnn-tiny-digits-1",
        "recipes predict runs/cnn-tiny-digits-1",
        "recipes train --resume runs/cnn-tiny-digits-1",
        "recipes tune cnn",
    ):
        assert word in result.stdout
    # 3x3x4+4, 3x3x4x8+8, (2x2x8)x16+16, 16x10+10
    assert "1,034 parameters" in result.stdout
    assert "cuda" not in result.stderr.lower(), "TensorFlow's start-up messages came through"


def test_resume_goes_on_for_more_epochs(trained, capsys):
    _, directory = trained
    code, out, _ = run(capsys, "train", "--resume", str(directory), "--epochs", "3")
    assert code == 0
    assert "of 3" in out
    assert len((directory / "history.csv").read_text().splitlines()) == 4


def test_predict_names_a_class_for_each_picture(trained, capsys):
    from PIL import Image

    from recipes import cnn

    _, directory = trained
    data = cnn.load_data("digits")
    for number in range(3):
        Image.fromarray(data.test.x[number, ..., 0]).save(f"{number}.png")
    code, out, _ = run(capsys, "predict", str(directory), "0.png", "1.png", "2.png", "--top", "2")
    assert code == 0
    lines = out.strip().splitlines()
    assert [line.split()[0] for line in lines] == ["0.png", "1.png", "2.png"]
    expected = recipes.predict(directory, data.test.x[:3])
    for line, row in zip(lines, expected, strict=True):
        assert f"{row['class']} {row['probability']:.1%}" in line


def test_tune_ends_with_a_command_that_trains(capsys):
    code, out, _ = run(
        capsys, "tune", "dnn", "--data", "iris", "--variant", "tiny", "--max-trials", "2",
        "--epochs", "1", "--algorithm", "random",
    )  # fmt: skip
    assert code == 0
    (command,) = [line for line in out.splitlines() if line.strip().startswith("recipes train dnn")]
    import shlex

    code, out, _ = run(capsys, *shlex.split(command)[1:], "--epochs", "1")
    assert code == 0


def test_check_says_what_is_there(capsys):
    code, out, _ = run(capsys, "check")
    assert code == 0
    for word in (recipes.__version__, "keras ", "Backend:", "cpu", "float32", "mnist5k"):
        assert word in out


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("fly", 2, ["invalid choice", "train"]),
        ("list --all", 2, ["--all"]),
        ("show", 2, ["family"]),
        ("show cmm", 1, ["'cmm'", "cnn"]),
        ("show cnn lenet", 1, ["'lenet'", "lenet5"]),
        ("train", 2, ["name a family first", "cnn"]),
        ("train cmm", 1, ["'cmm'", "cnn"]),
        ("train cnn --lerning-rate 3", 2, ["--lerning-rate", "--learning-rate"]),
        ("train cnn --epochs three", 2, ["--epochs", "three"]),
        ("train cnn --epochs 0", 1, ["epochs=0"]),
        ("train cnn --variant lenet", 1, ["'lenet'", "lenet5"]),
        ("train cnn --data nowhere", 1, ["'nowhere'", "mnist5k"]),
        ("train cnn --variant vgg11", 1, ["32x32", "image_size=32"]),
        ("train cnn --filters big", 1, ["filters=", "big"]),
        ("train --resume nowhere", 1, ["nowhere", "config.json"]),
        ("tune", 2, ["name a family first", "cnn"]),
        ("tune cnn --algorithm guess", 1, ["'guess'", "bayesian"]),
        ("tune cnn --max-trials 0", 1, ["max_trials=0"]),
        ("predict nowhere x.png", 1, ["nowhere", "config.json"]),
        ("predict", 2, ["RUN", "INPUT"]),
    ],
)
def test_wrong_commands_get_one_line(capsys, tmp_path, command, code, words):
    found, _, err = run(capsys, *command.split())
    assert found == code
    lines = [line for line in err.splitlines() if not line.endswith("...")]
    assert len(lines) == 1, err
    assert lines[0].startswith("recipes: error: ")
    for word in words:
        assert word in lines[0]
    assert not list(tmp_path.iterdir())


def test_traceback_is_shown_where_asked_for(capsys):
    with pytest.raises(ValueError, match="cmm"):
        main(["show", "cmm", "--traceback"])


def test_ctrl_c_leaves_a_run_that_resumes(tmp_path):
    command = "train cnn --data digits --variant tiny --epochs 5000"
    process = subprocess.Popen(
        [sys.executable, "-m", "recipes", *command.split()],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ},
    )
    history = tmp_path / "runs" / "cnn-tiny-digits-1" / "history.csv"
    deadline = time.monotonic() + 240
    while not history.exists() and time.monotonic() < deadline and process.poll() is None:
        select_for_a_moment()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "recipes train --resume runs/cnn-tiny-digits-1" in out
    assert "Traceback" not in err
    assert (history.parent / "last.keras").exists()


def select_for_a_moment() -> None:
    """Wait for a fiftieth of a second without holding a core."""
    import select

    select.select([], [], [], 0.02)
