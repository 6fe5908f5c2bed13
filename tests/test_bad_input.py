"""Bad input over every public function: one ValueError of one line, and nothing left behind.

Each row: what is called, and the words that its message must hold: the argument, what came, what
would do. The data layer's own tables of bad sources are in `test_data_*.py`.
"""

import json
import math
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

import recipes
from recipes import cnn, dnn, perceptron, resnet
from recipes.data.core import Batches
from recipes.training.precision import choose, policy

IMAGES = (np.zeros((20, 8, 8, 1), "uint8"), np.arange(20) % 2)
ROWS = (np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A finished run on pictures in memory and one on a table, and files that are none."""
    folder = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    pictures = (rng.integers(0, 255, (40, 8, 8, 1), dtype="uint8"), np.arange(40) % 2)
    recipes.train(cnn, pictures, variant="tiny", epochs=1, run_dir=folder / "pictures", verbose=0)
    recipes.train(dnn, "iris", variant="tiny", epochs=1, run_dir=folder / "table", verbose=0)
    (folder / "empty").mkdir()
    (folder / "note.txt").write_text("no model")
    (folder / "note.keras").write_text("no model")
    whole = (folder / "table" / "best.keras").read_bytes()
    (folder / "cut.keras").write_bytes(whole[: len(whole) // 2])
    (folder / "photo.png").write_bytes(b"\x89PNG\r\n cut short")
    (folder / "table.csv").write_text("a,b\n1,2\n")
    with zipfile.ZipFile(folder / "other.keras", "w") as archive:
        archive.writestr("readme", "no model")
    return folder


def nan_in(x):
    x = np.array(x[0], "float32")
    x[0, 0] = math.nan
    return x


# id: (call of the runs folder, words of the message)
BAD = {
    # build_model: names
    "cnn variant": (lambda d: cnn.build_model("lenet"), ["variant 'lenet'", "lenet5"]),
    "resnet variant": (lambda d: resnet.build_model("resnet5"), ["'resnet5'", "resnet50"]),
    "dnn variant": (lambda d: dnn.build_model("mpl"), ["'mpl'", "Did you mean 'mlp'"]),
    "perceptron variant": (lambda d: perceptron.build_model("rosen"), ["'rosen'", "rosenblatt"]),
    "cnn argument": (lambda d: cnn.build_model(kernel=3), ["'kernel'", "kernel_size"]),
    "resnet argument": (lambda d: resnet.build_model(depth=20), ["'depth'", "num_blocks"]),
    "dnn argument": (lambda d: dnn.build_model(hidden=3), ["'hidden'", "units"]),
    "perceptron argument": (lambda d: perceptron.build_model(eta=1), ["'eta'", "learning_rate"]),
    # build_model: values of the vocabulary
    "input_shape number": (lambda d: cnn.build_model(input_shape=28), ["input_shape=28", "tuple"]),
    "input_shape zero": (lambda d: cnn.build_model(input_shape=(0, 28, 1)), ["(0, 28, 1)"]),
    "input_shape rank": (lambda d: cnn.build_model(input_shape=(28, 28)), ["height, width"]),
    "resnet rank": (lambda d: resnet.build_model(input_shape=(9,)), ["(9,)", "height, width"]),
    "one class": (lambda d: cnn.build_model(num_classes=1), ["num_classes=1", "at least 2"]),
    "classes text": (lambda d: resnet.build_model(num_classes="10"), ["num_classes='10'"]),
    "no classes": (lambda d: cnn.build_model(num_classes=None), ["num_classes=None"]),
    "rate zero": (lambda d: cnn.build_model(learning_rate=0), ["learning_rate=0", "positive"]),
    "rate text": (lambda d: dnn.build_model(learning_rate="fast"), ["learning_rate='fast'"]),
    "rate bool": (lambda d: perceptron.build_model(learning_rate=True), ["learning_rate=True"]),
    "dropout": (lambda d: dnn.build_model(dropout_rate=1.0), ["dropout_rate=1.0", "[0, 1)"]),
    "momentum": (lambda d: resnet.build_model(momentum=1.5), ["momentum=1.5", "[0, 1)"]),
    "weight decay": (lambda d: cnn.build_model(weight_decay=-1), ["weight_decay=-1", "at least 0"]),
    "seed": (lambda d: cnn.build_model(seed=-1), ["seed=-1", "at least 0"]),
    "seed text": (lambda d: dnn.build_model(seed="x"), ["seed='x'"]),
    "units zero": (lambda d: dnn.build_model(units=(0,)), ["units=(0,)", "positive"]),
    "units number": (lambda d: dnn.build_model(units=32), ["units=32", "tuple"]),
    "targets": (lambda d: dnn.build_model(num_targets=0), ["num_targets=0"]),
    "optimizer": (lambda d: cnn.build_model(optimizer="adem"), ["'adem'", "adam"]),
    "activation": (lambda d: cnn.build_model(activation="rely"), ["rely"]),
    "schedule twice": (
        lambda d: resnet.build_model(
            learning_rate=keras.optimizers.schedules.CosineDecay(0.1, 9), decay_steps=(3,)
        ),
        ["decay_steps", "number"],
    ),
    # build_model: what a network fixes or needs
    "too small for vgg": (
        lambda d: cnn.build_model("vgg11", input_shape=(28, 28, 1)),
        ["(28, 28, 1)", "32x32", "image_size=32"],
    ),
    "too small for alexnet": (
        lambda d: cnn.build_model("alexnet", input_shape=(60, 99, 3)),
        ["(60, 99, 3)", "67x67"],
    ),
    "too small for resnet": (
        lambda d: resnet.build_model("resnet18", input_shape=(16, 16, 3)),
        ["(16, 16, 3)", "32x32"],
    ),
    "too small for valid": (
        lambda d: cnn.build_model("simple", padding="valid", input_shape=(8, 8, 1)),
        ["(8, 8, 1)", "10x10"],
    ),
    "fixed filters": (
        lambda d: cnn.build_model("lenet5_1998", filters=(6, 20)),
        ["filters=(6, 20)", "(6, 16)"],
    ),
    "fixed pooling": (lambda d: cnn.build_model("lenet5_1998", pooling="max"), ["subsampling"]),
    "subsampling": (lambda d: cnn.build_model(pooling="subsampling"), ["max, average"]),
    "padding": (lambda d: cnn.build_model(padding="full"), ["padding='full'", "same"]),
    "towers": (lambda d: cnn.build_model(groups=2), ["groups=2", "alexnet"]),
    "five filters": (lambda d: cnn.build_model("alexnet", filters=(9,)), ["filters=(9,)", "five"]),
    "block": (lambda d: resnet.build_model(block="wide"), ["block='wide'", "bottleneck"]),
    "stem": (lambda d: resnet.build_model(stem="x"), ["stem='x'", "cifar"]),
    "shortcut": (lambda d: resnet.build_model(shortcut="a"), ["shortcut='a'", "projection"]),
    "stages": (lambda d: resnet.build_model(num_blocks=(2, 2)), ["num_blocks=(2, 2)", "3"]),
    "crop": (lambda d: resnet.build_model(crop_padding=-1), ["crop_padding=-1", "at least 0"]),
    "zero_init": (
        lambda d: resnet.build_model(zero_init=True, preactivation=True),
        ["zero_init", "preactivation"],
    ),
    "normalization": (lambda d: dnn.build_model(normalization="group"), ["'group'", "layer"]),
    # load_data
    "no such set": (lambda d: cnn.load_data("mnist6k"), ["'mnist6k'", "mnist5k"]),
    "table for cnn": (lambda d: cnn.load_data("iris"), ["tables", "images", "digits"]),
    "data option": (lambda d: cnn.load_data(image_sise=8), ["'image_sise'", "image_size"]),
    "option of others": (lambda d: dnn.load_data("iris", image_size=8), ["'image_size'"]),
    "batch size": (lambda d: cnn.load_data(batch_size=0), ["batch_size=0", "positive"]),
    "data seed": (lambda d: cnn.load_data(seed=1.5), ["seed=1.5"]),
    "fraction": (lambda d: cnn.load_data(test_fraction=1), ["test_fraction=1", "[0, 1)"]),
    "fractions": (
        lambda d: cnn.load_data(test_fraction=0.6, validation_fraction=0.5),
        ["validation_fraction + test_fraction", "less than 1"],
    ),
    "image size": (lambda d: cnn.load_data("digits", image_size=0), ["image_size", "positive"]),
    "channels": (lambda d: cnn.load_data("digits", channels=2), ["channels=2", "1 (grey)"]),
    "lengths": (lambda d: cnn.load_data((IMAGES[0], [0, 1])), ["20", "2"]),
    "rows for cnn": (lambda d: cnn.load_data(ROWS), ["tables", "images"]),
    "one label": (lambda d: cnn.load_data((IMAGES[0], np.zeros(20, int))), ["2 classes"]),
    "nan pixels": (lambda d: cnn.load_data((nan_in(IMAGES), IMAGES[1])), ["NaN"]),
    "number as source": (lambda d: cnn.load_data(7), ["int", "mnist5k"]),
    "no csv": (lambda d: dnn.load_data("none.csv"), ["none.csv", "no such file"]),
    "no target": (
        lambda d: dnn.load_data(str(d / "table.csv"), target="price"),
        ["'price'", "a, b"],
    ),
    "no classes folder": (lambda d: cnn.load_data(str(d / "empty")), ["empty", "sub-folder"]),
    # batches and precision
    "batches": (lambda d: Batches(*ROWS, np.arange(4), np.asarray, 0), ["batch_size=0"]),
    "precision": (lambda d: choose("half"), ["'half'", "bfloat16"]),
    "policy": (lambda d: policy("int8").__enter__(), ["'int8'", "float16"]),
    # train
    "no family": (lambda d: recipes.train(), ["family"]),
    "family": (lambda d: recipes.train("cmm"), ["'cmm'", "cnn"]),
    "train variant": (lambda d: recipes.train(cnn, variant="x"), ["variant 'x'", "lenet5"]),
    "train argument": (lambda d: recipes.train(cnn, lr=1), ["'lr'", "learning_rate"]),
    "train option": (
        lambda d: recipes.train(cnn, data_options={"imgsize": 3}),
        ["'imgsize'", "image_size"],
    ),
    "epochs zero": (lambda d: recipes.train(cnn, epochs=0), ["epochs=0", "positive"]),
    "epochs text": (lambda d: recipes.train(cnn, epochs="3"), ["epochs='3'"]),
    "train batch": (lambda d: recipes.train(cnn, batch_size=-1), ["batch_size=-1"]),
    "patience": (lambda d: recipes.train(cnn, patience=-1), ["patience=-1", "at least 0"]),
    "train precision": (lambda d: recipes.train(cnn, precision="f8"), ["'f8'", "float32"]),
    "train rate": (lambda d: recipes.train(cnn, learning_rate=-1), ["learning_rate=-1"]),
    "both shapes": (
        lambda d: recipes.train(cnn, "digits", input_shape=(28, 28, 1)),
        ["(28, 28, 1)", "(8, 8, 1)"],
    ),
    "both classes": (lambda d: recipes.train(cnn, "digits", num_classes=3), ["3", "10"]),
    "small pictures": (lambda d: recipes.train(cnn, variant="vgg16"), ["32x32", "image_size=32"]),
    "callbacks": (lambda d: recipes.train(cnn, callbacks=[3]), ["callbacks", "list"]),
    "used directory": (lambda d: recipes.train(cnn, run_dir=d / "table"), ["not empty", "resume"]),
    "resume nothing": (lambda d: recipes.train(resume="nowhere"), ["nowhere", "config.json"]),
    "resume empty": (lambda d: recipes.train(resume=d / "empty"), ["config.json"]),
    "resume changed": (
        lambda d: recipes.train(resume=d / "table", learning_rate=1.0),
        ["learning_rate", "epochs"],
    ),
    "resume fewer": (lambda d: recipes.train(resume=d / "table", epochs=0), ["epochs=0"]),
    "resume arrays": (lambda d: recipes.train(resume=d / "pictures"), ["in memory", "same"]),
    "resume others": (
        lambda d: recipes.train(resume=d / "pictures", data=IMAGES),
        ["sizes", "train"],
    ),
    # load
    "load nothing": (lambda d: recipes.load("none.keras"), ["none.keras", "no such"]),
    "load text": (lambda d: recipes.load(d / "note.keras"), ["note.keras", "whole .keras"]),
    "load cut": (lambda d: recipes.load(d / "cut.keras"), ["cut.keras", "whole .keras"]),
    "load zip": (lambda d: recipes.load(d / "other.keras"), ["other.keras", "whole .keras"]),
    "load folder": (lambda d: recipes.load(d / "empty"), ["best.keras", "no such"]),
    # predict
    "predict no run": (lambda d: recipes.predict("nowhere", "x.png"), ["nowhere", "config.json"]),
    "predict no file": (lambda d: recipes.predict(d / "pictures", "x.png"), ["x.png", "no such"]),
    "predict none": (lambda d: recipes.predict(d / "pictures", []), ["inputs", "at least one"]),
    "predict photo": (
        lambda d: recipes.predict(d / "pictures", d / "photo.png"),
        ["photo.png", "picture"],
    ),
    "predict folder": (lambda d: recipes.predict(d / "pictures", d / "empty"), ["no pictures"]),
    "predict shape": (
        lambda d: recipes.predict(d / "pictures", np.zeros((2, 9, 9, 1))),
        ["(2, 9, 9, 1)", "8, 8, 1"],
    ),
    "predict column": (
        lambda d: recipes.predict(d / "table", d / "table.csv"),
        ["sepal length", "a, b"],
    ),
    # tune
    "tune family": (lambda d: recipes.tune("cmm"), ["'cmm'", "cnn"]),
    "tune algorithm": (lambda d: recipes.tune(cnn, algorithm="x"), ["'x'", "bayesian"]),
    "tune trials": (lambda d: recipes.tune(cnn, max_trials=0), ["max_trials=0", "at least 1"]),
    "tune epochs": (lambda d: recipes.tune(cnn, epochs=-1), ["epochs=-1"]),
    "tune space": (lambda d: recipes.tune(cnn, space=3), ["space=3", "function"]),
    "tune variant": (lambda d: recipes.tune(cnn, variant="x"), ["variant 'x'"]),
    "tune directory": (
        lambda d: recipes.tune(
            dnn, "iris", variant="tiny", directory=d / "table", max_trials=1, epochs=1
        ),
        ["table", "no search"],
    ),
}


def test_there_are_at_least_sixty():
    assert len(BAD) >= 60


@pytest.mark.parametrize("name", BAD)
def test_one_clear_error(name, runs, tmp_path, monkeypatch):
    call, words = BAD[name]
    monkeypatch.chdir(tmp_path)
    before = sorted(p.relative_to(runs) for p in runs.rglob("*"))
    with pytest.raises(ValueError) as caught:
        call(runs)
    message = str(caught.value)
    assert "\n" not in message.strip()
    for word in words:
        assert word in message, message
    assert not list(tmp_path.iterdir()), "something was left behind"
    assert sorted(p.relative_to(runs) for p in runs.rglob("*")) == before


def test_unknown_attribute_of_the_package():
    with pytest.raises(AttributeError, match="families: cnn, dnn, perceptron, resnet"):
        _ = recipes.cmm


def test_config_of_a_run_is_whole(runs):
    config = json.loads(Path(runs / "table" / "config.json").read_text())
    assert config["family"] == "dnn"
    assert config["variant"] == "tiny"
