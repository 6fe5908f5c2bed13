"""Bad input to every public function and command: one clear error, and nothing left behind."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

import recipes
from recipes import (
    autoencoder,
    cnn,
    dbn,
    diffusion,
    dnn,
    dqn,
    gan,
    gnn,
    hopfield,
    lstm,
    neat,
    perceptron,
    rbm,
    resnet,
    snn,
    vae,
)
from recipes.__main__ import main
from recipes.contract import families
from recipes.reports.spikes import raster

rng = np.random.default_rng(0)
PICTURES = rng.integers(0, 256, (60, 8, 8, 1), "uint8")
LABELS = np.arange(60, dtype="int32") % 3
ROWS = rng.normal(size=(60, 4)).astype("float32")
GRAPH = {
    "features": ROWS, "edges": np.stack([np.arange(59), np.arange(1, 60)], axis=1),
    "labels": LABELS,
}  # fmt: skip
NODES = np.arange(60)
SCHEDULE = keras.optimizers.schedules.ExponentialDecay(0.1, 100, 0.9)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Each test works in a folder of its own, which holds these files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "prepared"))
    files = {
        "empty.csv": "",
        "head.csv": "a,b,y\n",
        "one_column.csv": "y\n1\n2\n",
        "no_head.csv": "0.5,1.5,2.5\n1.5,2.5,3.5\n",
        "names.csv": "name,y\n" + "".join(f"n{i},{i % 2}\n" for i in range(300)),
        "good.csv": "a,b,y\n" + "".join(f"{i},{i * 7 % 5},{i % 2}\n" for i in range(60)),
        "lacking.csv": "a,y\n1,0\n",
        "letters.csv": "sepal length (cm),sepal width (cm),petal length (cm),petal width (cm)\n"
        "1,2,3,long\n",
        "broken.parquet": "no parquet",
        "photos/only/1.png": "",
        "bad_photos/a/1.png": "no picture",
        "bad_photos/b/1.png": "no picture",
        "corrupt.png": "no picture",
        "notes.txt": "some notes",
        "model.keras": "no model",
        "full/file": "something",
        "no_pictures/a/x.txt": "",
        "no_pictures/b/x.txt": "",
        "folder/x.txt": "",
        "one.wav": "no sound",
        "broken.gml": "graph [ node [ id",
        "strangers/nodes.csv": "name,x,label\na,1,u\nb,2,v\n",
        "strangers/edges.csv": "source,target\na,b\na,z\n",
    }
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Small runs: of iris, of pictures, of arrays in memory."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recipes.reports.run.write_reports", lambda run: None)
        for name, source in (("iris", "iris"), ("digits", "digits"), ("arrays", (ROWS, LABELS))):
            with pytest.warns():  # that a perceptron does not separate them
                recipes.train("perceptron", source, epochs=2, run_dir=folder / name, verbose=0)
    (folder / "iris" / "other").mkdir()
    whole = (folder / "iris" / "best.keras").read_bytes()
    (folder / "iris" / "cut.keras").write_bytes(whole[: len(whole) // 2])
    return folder


# (what is called; words that the error must have: the argument, the value, what would do)
MODELS: dict[str, tuple[Callable, tuple[str, ...]]] = {
    "variant unknown": (lambda: cnn.build_model("vgg17"), ("variant 'vgg17'", "vgg16", "lenet5")),
    "variant no text": (lambda: resnet.build_model(50), ("variant 50", "resnet50")),
    "argument unknown": (
        lambda: dnn.build_model(dropout=0.5), ("argument 'dropout'", "'dropout_rate'"),
    ),
    "argument of another family": (
        lambda: perceptron.build_model(units=(3,)), ("argument 'units'", "learning_rate"),
    ),
    "input_shape with the batch": (
        lambda: cnn.build_model(input_shape=(None, 28, 28, 1)),
        ("input_shape=(None", "(28, 28, 1)"),
    ),
    "input_shape a number": (lambda: dnn.build_model(input_shape=30), ("input_shape=30", "tuple")),
    "input_shape empty": (lambda: dnn.build_model(input_shape=()), ("input_shape=()", "tuple")),
    "input_shape without channels": (
        lambda: cnn.build_model(input_shape=(28, 28)),
        ("input_shape=(28, 28)", "(height, width, channels)"),
    ),
    "input_shape of a table": (
        lambda: resnet.build_model(input_shape=(30,)),
        ("input_shape=(30,)", "(height, width, channels)"),
    ),
    "input_shape too small for VGG": (
        lambda: cnn.build_model("vgg16", input_shape=(16, 16, 3)),
        ("input_shape=(16, 16, 3)", "at least 32x32"),
    ),
    "input_shape too small for AlexNet": (
        lambda: cnn.build_model("alexnet", input_shape=(28, 28, 1)),
        ("input_shape=(28, 28, 1)", "at least 67x67"),
    ),
    "input_shape too small for ResNet-50": (
        lambda: resnet.build_model("resnet50", input_shape=(28, 28, 1)),
        ("input_shape=(28, 28, 1)", "at least 32x32"),
    ),
    "num_classes 1": (lambda: cnn.build_model(num_classes=1), ("num_classes=1", "at least 2")),
    "num_classes a text": (
        lambda: perceptron.build_model(num_classes="ten"), ("num_classes='ten'", "integer"),
    ),
    "num_classes true": (
        lambda: dnn.build_model(num_classes=True), ("num_classes=True", "integer"),
    ),
    "num_targets 0": (
        lambda: dnn.build_model(num_classes=None, num_targets=0), ("num_targets=0", "positive"),
    ),
    "filters negative": (
        lambda: cnn.build_model(filters=(6, -16)), ("filters=(6, -16)", "positive integer"),
    ),
    "filters a number": (lambda: cnn.build_model(filters=6), ("filters=6", "(6, 16)")),
    "filters of AlexNet": (
        lambda: cnn.build_model("alexnet", filters=(6, 16)), ("filters=(6, 16)", "five"),
    ),
    "filters of another number of stages": (
        lambda: resnet.build_model(filters=(16, 32)), ("num_blocks=(3, 3, 3)", "needs 2"),
    ),
    "filters that fall": (
        lambda: resnet.build_model(filters=(64, 32, 16)), ("filters=(64, 32, 16)", "shortcut"),
    ),
    "kernel_size 0": (lambda: cnn.build_model(kernel_size=0), ("kernel_size=0", "positive")),
    "kernel_size a fraction": (
        lambda: cnn.build_model("tiny", kernel_size=2.5), ("kernel_size=2.5", "integer"),
    ),
    "units a number": (lambda: dnn.build_model(units=64), ("units=64", "tuple")),
    "units texts": (lambda: cnn.build_model(units=("a",)), ("units=('a',)", "integer")),
    "activation unknown": (
        lambda: dnn.build_model(activation="rellu"), ("activation", "rellu"),
    ),
    "activation a number": (lambda: cnn.build_model(activation=3), ("activation", "3")),
    "padding": (lambda: cnn.build_model(padding="full"), ("padding='full'", "'same'")),
    "pooling": (lambda: cnn.build_model(pooling="sum"), ("pooling='sum'", "average")),
    "groups outside of AlexNet": (lambda: cnn.build_model(groups=2), ("groups=2", "alexnet")),
    "filters of 1998": (
        lambda: cnn.build_model("lenet5_1998", filters=(8, 16)), ("filters=(8, 16)", "(6, 16)"),
    ),
    "batch_norm of 1998": (
        lambda: cnn.build_model("lenet5_1998", batch_norm=True), ("batch_norm=True", "False"),
    ),
    "dropout_rate 1": (lambda: dnn.build_model(dropout_rate=1.0), ("dropout_rate=1.0", "[0, 1)")),
    "dropout_rate a text": (
        lambda: cnn.build_model(dropout_rate="half"), ("dropout_rate='half'", "[0, 1)"),
    ),
    "normalization": (
        lambda: dnn.build_model(normalization="group"), ("normalization='group'", "layer"),
    ),
    "block": (lambda: resnet.build_model(block="dense"), ("block='dense'", "bottleneck")),
    "stem": (lambda: resnet.build_model(stem="mnist"), ("stem='mnist'", "cifar, imagenet")),
    "shortcut": (lambda: resnet.build_model(shortcut="none"), ("shortcut='none'", "projection")),
    "num_blocks a number": (lambda: resnet.build_model(num_blocks=3), ("num_blocks=3", "tuple")),
    "crop_padding negative": (
        lambda: resnet.build_model(crop_padding=-1), ("crop_padding=-1", "at least 0"),
    ),
    "zero_init with preactivation": (
        lambda: resnet.build_model(zero_init=True, preactivation=True), ("zero_init=True", "False"),
    ),
    "optimizer unknown": (lambda: cnn.build_model(optimizer="adm"), ("optimizer 'adm'", "'adam'")),
    "optimizer a number": (lambda: dnn.build_model(optimizer=1), ("optimizer 1", "adam")),
    "learning_rate 0": (
        lambda: resnet.build_model(learning_rate=0), ("learning_rate=0", "positive"),
    ),
    "learning_rate a text": (
        lambda: perceptron.build_model(learning_rate="fast"), ("learning_rate='fast'", "positive"),
    ),
    "decay_steps of a schedule": (
        lambda: cnn.build_model(learning_rate=SCHEDULE, decay_steps=(10,)),
        ("decay_steps", "learning_rate", "number"),
    ),
    "decay_steps texts": (
        lambda: resnet.build_model(decay_steps=("10",)), ("decay_steps", "'10'", "integer"),
    ),
    "decay_steps a number": (lambda: dnn.build_model(decay_steps=10), ("decay_steps=10", "tuple")),
    "momentum 1": (lambda: resnet.build_model(momentum=1), ("momentum=1", "[0, 1)")),
    "weight_decay negative": (
        lambda: cnn.build_model(weight_decay=-0.1), ("weight_decay=-0.1", "at least 0"),
    ),
    "seed negative": (lambda: dnn.build_model(seed=-1), ("seed=-1", "at least 0")),
    "layer of graphs": (lambda: gnn.build_model(layer="gnc"), ("layer 'gnc'", "gcn, gat")),
    "task of graphs": (lambda: gnn.build_model(task="edges"), ("task 'edges'", "nodes, links")),
    "units of graphs a tuple": (
        lambda: gnn.build_model(units=(16, 8)), ("units=(16, 8)", "integer"),
    ),
    "input_shape of a graph": (
        lambda: gnn.build_model(input_shape=(34, 5)), ("input_shape=(34, 5)", "(features,)"),
    ),
    "variational without links": (
        lambda: gnn.build_model(variational=True), ("variational=True", "links"),
    ),
    "attention_dropout 1": (
        lambda: gnn.build_model("gat", attention_dropout=1), ("attention_dropout=1", "[0, 1)"),
    ),
    "readout": (lambda: gnn.build_model("gin", readout="median"), ("readout 'median'", "mean")),
}  # fmt: skip

DATA: dict[str, tuple[Callable, tuple[str, ...]]] = {
    "name unknown": (lambda: cnn.load_data("mnist6k"), ("'mnist6k'", "mnist5k")),
    "name not prepared": (
        lambda: cnn.load_data("mnist"), ("source='mnist'", "not prepared", "Prepare it"),
    ),
    "path not there": (lambda: cnn.load_data("no/such/folder"), ("'no/such/folder'",)),
    "table for pictures": (
        lambda: cnn.load_data("iris"), ("'iris'", "tables", "images", "mnist5k"),
    ),
    "a number": (lambda: dnn.load_data(5), ("int", "arrays", "mnist5k")),
    "option unknown": (lambda: cnn.load_data(image_sise=8), ("'image_sise'", "'image_size'")),
    "option of another kind": (
        lambda: dnn.load_data("iris", image_size=8), ("'image_size'", "target"),
    ),
    "batch_size 0": (lambda: cnn.load_data("digits", batch_size=0), ("batch_size=0", "positive")),
    "batch_size a text": (lambda: dnn.load_data("iris", batch_size="32"), ("batch_size='32'",)),
    "seed negative": (lambda: cnn.load_data("digits", seed=-3), ("seed=-3", "at least 0")),
    "test_fraction 1": (
        lambda: perceptron.load_data("iris", test_fraction=1), ("test_fraction=1", "[0, 1)"),
    ),
    "fractions of all": (
        lambda: dnn.load_data("iris", test_fraction=0.5, validation_fraction=0.5),
        ("test_fraction", "1.0", "less than 1"),
    ),
    "image_size a text": (
        lambda: cnn.load_data("digits", image_size="big"), ("image_size='big'", "(height, width)"),
    ),
    "channels 2": (lambda: cnn.load_data("digits", channels=2), ("channels=2", "1 (grey)")),
    "on_corrupt": (
        lambda: cnn.load_data("bad_photos", on_corrupt="ignore"), ("on_corrupt='ignore'", "'skip'"),
    ),
    "arrays of different lengths": (
        lambda: cnn.load_data((PICTURES, LABELS[:50])), ("60 examples", "50"),
    ),
    "arrays of one class": (
        lambda: cnn.load_data((PICTURES, LABELS * 0)), ("y", "class 0", "at least 2"),
    ),
    "arrays of text": (
        lambda: dnn.load_data((np.array([["a", "b"]] * 9), LABELS[:9])), ("x", "(9, 2)", "numbers"),
    ),
    "arrays with five axes": (
        lambda: cnn.load_data((PICTURES[None], LABELS[:1])), ("x", "(1, 60, 8, 8, 1)", "channels"),
    ),
    "arrays with 5 channels": (
        lambda: cnn.load_data((np.zeros((9, 4, 4, 5)), LABELS[:9])), ("(9, 4, 4, 5)", "1 or 3"),
    ),
    "pictures with NaN": (
        lambda: cnn.load_data((np.full((9, 4, 4), np.nan), LABELS[:9])), ("x", "NaN"),
    ),
    "labels that are fractions": (
        lambda: cnn.load_data((PICTURES, LABELS + 0.5)), ("y", "fractions", "whole numbers"),
    ),
    "arrays empty": (lambda: dnn.load_data((ROWS[:0], LABELS[:0])), ("source", "(0, 4)", "(x, y)")),
    "a list of three": (lambda: dnn.load_data((1, 2, 3)), ("source", "(x, y)")),
    "class_names too few": (
        lambda: cnn.load_data((PICTURES, LABELS), class_names=["a", "b"]),
        ("class_names=('a', 'b')", "0 .. 2"),
    ),
    "folder of one class": (
        lambda: cnn.load_data("photos"), ("photos", "1 sub-folder", "at least two"),
    ),
    "folder of corrupt pictures": (
        lambda: cnn.load_data("bad_photos"), ("bad_photos/a/1.png", "on_corrupt='skip'"),
    ),
    "folder without pictures": (lambda: cnn.load_data("no_pictures"), ("no_pictures/a", ".png")),
    "recordings of no rate": (
        lambda: lstm.load_data(([ROWS[0]] * 9, LABELS[:9])), ("sample_rate=None", "Hz"),
    ),
    "folder without recordings": (
        lambda: lstm.load_data("no_pictures", num_mels=20), ("no_pictures/a", ".wav"),
    ),
    "one recording": (
        lambda: lstm.load_data("one.wav"), ("one.wav", "one sub-folder a class"),
    ),
    "hop longer than a frame": (
        lambda: lstm.load_data("no_pictures", hop=0.05), ("hop=0.05", "frame=0.025"),
    ),
    "csv empty": (lambda: dnn.load_data("empty.csv"), ("empty.csv", "not readable")),
    "csv without rows": (lambda: dnn.load_data("head.csv"), ("head.csv", "no rows")),
    "csv without names": (
        lambda: dnn.load_data("no_head.csv"), ("no_head.csv", "name the columns"),
    ),
    "csv of one column": (lambda: dnn.load_data("one_column.csv"), ("one_column.csv", "'y'")),
    "csv of names": (lambda: dnn.load_data("names.csv"), ("'name'", "ignore=['name']")),
    "csv without the target": (
        lambda: dnn.load_data("good.csv", target="z"), ("target 'z'", "a, b, y"),
    ),
    "csv not there": (lambda: dnn.load_data("gone.csv"), ("gone.csv", "no such file")),
    "parquet broken": (lambda: dnn.load_data("broken.parquet"), ("broken.parquet", "not readable")),
    "edges to nodes that are not there": (
        lambda: gnn.load_data({**GRAPH, "edges": GRAPH["edges"] + 1}),
        ("edges=[[59, 60]]", "the nodes are 0 .. 59"),
    ),
    "edges from negative nodes": (
        lambda: gnn.load_data({**GRAPH, "edges": GRAPH["edges"] - 1}),
        ("edges=[[-1, 0]]", "0 .. 59"),
    ),
    "edges the other way round": (
        lambda: gnn.load_data({**GRAPH, "edges": GRAPH["edges"].T}),
        ("edges", "(2, 59)", "must be integers (e, 2)"),
    ),
    "edges that are fractions": (
        lambda: gnn.load_data({**GRAPH, "edges": GRAPH["edges"] + 0.5}), ("edges", "integers"),
    ),
    "masks that overlap": (
        lambda: gnn.load_data(
            {**GRAPH, "train": NODES < 30, "validation": NODES > 40, "test": NODES >= 28}
        ),
        ("train, validation and test", "overlap", "28, 29"),
    ),
    "masks too short": (
        lambda: gnn.load_data({**GRAPH, "train": NODES[:9] < 5, "test": NODES > 9}),
        ("train", "(9,)", "(60,)"),
    ),
    "a mask without nodes": (
        lambda: gnn.load_data({**GRAPH, "train": NODES < 9, "test": NODES < 0}),
        ("test", "no nodes"),
    ),
    "labels of fewer nodes": (
        lambda: gnn.load_data({**GRAPH, "labels": LABELS[:50]}), ("50 labels", "60 nodes"),
    ),
    "weights of fewer edges": (
        lambda: gnn.load_data({**GRAPH, "weights": np.ones(5)}), ("weights", "(5,)", "(59,)"),
    ),
    "weights negative": (
        lambda: gnn.load_data({**GRAPH, "weights": -np.ones(59)}), ("weights", "at least 0"),
    ),
    "features with NaN": (
        lambda: gnn.load_data({**GRAPH, "features": ROWS * np.nan}), ("features", "NaN"),
    ),
    "key of a graph unknown": (
        lambda: gnn.load_data({**GRAPH, "lables": LABELS}), ("'lables'", "'labels'"),
    ),
    "a graph without labels": (
        lambda: gnn.load_data({"edges": GRAPH["edges"]}, task="nodes"), ("labels", "task='links'"),
    ),
    "a graph without nodes": (
        lambda: gnn.load_data({"edges": np.zeros((0, 2), int)}), ("source", "without nodes"),
    ),
    "graphs for one graph": (
        lambda: gnn.load_data("karate", task="graphs"), ("task='graphs'", "1 graph"),
    ),
    "neighbours a number": (
        lambda: gnn.load_data("karate", neighbours=5), ("neighbours=5", "(25, 10)"),
    ),
    "neighbours of links": (
        lambda: gnn.load_data("karate", task="links", neighbours=(5,)),
        ("neighbours", "nodes only"),
    ),
    "folder without a graph": (
        lambda: gnn.load_data("folder"), ("folder", "nodes.csv and edges.csv", ".graphml"),
    ),
    "text file for a graph": (lambda: gnn.load_data("notes.txt"), ("notes.txt", ".graphml")),
    "graph file broken": (
        lambda: gnn.load_data("broken.gml"), ("broken.gml", "not readable as a graph"),
    ),
    "table for a graph": (lambda: gnn.load_data("iris"), ("'iris'", "tables", "graphs", "karate")),
    "a number for a graph": (lambda: gnn.load_data(5), ("source", "int", "NetworkX")),
    "edge list with a stranger": (
        lambda: gnn.load_data("strangers"), ("edges=['z']", "node table"),
    ),
    "task": (lambda: dnn.load_data("good.csv", task="guess"), ("task='guess'", "regression")),
}  # fmt: skip

TRAIN: dict[str, tuple[Callable, tuple[str, ...]]] = {
    "no family": (lambda: recipes.train(), ("family=None", "name a family")),
    "family unknown": (lambda: recipes.train("cnnn"), ("family 'cnnn'", "'cnn'?")),
    "family a number": (lambda: recipes.train(3), ("family 3", "autoencoder, cnn")),
    "variant unknown": (lambda: recipes.train("cnn", variant="lenet"), ("'lenet'", "'lenet5'")),
    "argument unknown": (lambda: recipes.train("dnn", epoch=3), ("'epoch'", "'epochs'")),
    "argument of build_model": (
        lambda: recipes.train("dnn", "iris", variant="tiny", units=()[:0], dropout_rate=2),
        ("dropout_rate=2", "[0, 1)"),
    ),
    "data unknown": (lambda: recipes.train("dnn", "irish"), ("'irish'", "'iris'")),
    "data of another kind": (lambda: recipes.train("cnn", "iris"), ("'iris'", "tables", "images")),
    "loaded data of another kind": (
        lambda: recipes.train("cnn", dnn.load_data("iris")), ("tables", "images"),
    ),
    "data option unknown": (
        lambda: recipes.train("dnn", "iris", data_options={"tarket": "y"}),
        ("'tarket'", "'target'"),
    ),
    "data options no dictionary": (
        lambda: recipes.train("dnn", "iris", data_options=["target"]), ("data_options=['target']",),
    ),
    "data options of loaded data": (
        lambda: recipes.train("dnn", dnn.load_data("iris"), data_options={"seed": 1}),
        ("data_options={'seed': 1}", "load_data"),
    ),
    "epochs 0": (lambda: recipes.train("dnn", epochs=0), ("epochs=0", "positive integer")),
    "epochs a text": (lambda: recipes.train("dnn", epochs="3"), ("epochs='3'", "positive integer")),
    "epochs true": (lambda: recipes.train("dnn", epochs=True), ("epochs=True", "positive integer")),
    "batch_size a fraction": (lambda: recipes.train("dnn", batch_size=0.5), ("batch_size=0.5",)),
    "patience negative": (lambda: recipes.train("dnn", patience=-1), ("patience=-1", "at least 0")),
    "seed a text": (lambda: recipes.train("dnn", seed="one"), ("seed='one'", "integer")),
    "precision unknown": (
        lambda: recipes.train("dnn", precision="float8"), ("precision 'float8'", "bfloat16"),
    ),
    "precision a number": (lambda: recipes.train("dnn", precision=16), ("precision 16", "float16")),
    "callbacks one": (
        lambda: recipes.train("dnn", callbacks=keras.callbacks.Callback()), ("callbacks", "list"),
    ),
    "shape that contradicts the data": (
        lambda: recipes.train("cnn", "digits", input_shape=(28, 28, 1)),
        ("input_shape=(28, 28, 1)", "digits needs (8, 8, 1)"),
    ),
    "shape a number": (
        lambda: recipes.train("cnn", "digits", input_shape=28), ("input_shape=28", "(8, 8, 1)"),
    ),
    "classes that contradict the data": (
        lambda: recipes.train("dnn", "iris", num_classes=10), ("num_classes=10", "iris needs 3"),
    ),
    "pictures too small": (
        lambda: recipes.train("cnn", "digits", variant="vgg16"),
        ("input_shape=(8, 8, 1)", "at least 32x32", "image_size=32"),
    ),
    "run_dir not empty": (
        lambda: recipes.train("dnn", run_dir="full"), ("run_dir='full'", "resume"),
    ),
    "run_dir a file": (lambda: recipes.train("dnn", run_dir="notes.txt"), ("run_dir='notes.txt'",)),
    "run_dir below a file": (
        lambda: recipes.train("dnn", "iris", variant="tiny", run_dir="notes.txt/run"),
        ("run_dir='notes.txt/run'", "directory"),
    ),
    "run_dir a number": (lambda: recipes.train("dnn", run_dir=5), ("run_dir=5", "path")),
    "resume of nothing": (
        lambda: recipes.train(resume="runs/none"), ("run='runs/none'", "no run directory"),
    ),
    "resume of another folder": (
        lambda: recipes.train(resume="full"), ("run='full'", "config.json"),
    ),
    "resume of a number": (lambda: recipes.train(resume=3), ("run=3", "no run directory")),
}  # fmt: skip

# Called with a folder of runs.
RUNS: dict[str, tuple[Callable, tuple[str, ...]]] = {
    "resume with a family": (
        lambda runs: recipes.train("dnn", resume=runs / "iris"), ("resume", "family", "epochs"),
    ),
    "resume with arguments": (
        lambda runs: recipes.train(resume=runs / "iris", averaged=True, batch_size=3),
        ("resume", "batch_size, averaged", "epochs"),
    ),
    "resume with another seed": (
        lambda runs: recipes.train(resume=runs / "iris", seed=3), ("resume", "keeps its seed"),
    ),
    "resume with another precision": (
        lambda runs: recipes.train(resume=runs / "iris", precision="float16"),
        ("resume", "keeps its precision"),
    ),
    "resume for fewer epochs": (
        lambda runs: recipes.train(resume=runs / "iris", epochs=1), ("epochs=1", "2 epochs"),
    ),
    "resume of arrays without them": (
        lambda runs: recipes.train(resume=runs / "arrays", epochs=5), ("resume", "pass the same"),
    ),
    "resume of arrays with others": (
        lambda runs: recipes.train(resume=runs / "arrays", data=(ROWS[:30], LABELS[:30]), epochs=5),
        ("data='arrays'", "sizes", "42", "21"),
    ),
    "load nothing": (lambda runs: recipes.load("none.keras"), ("path='none.keras'", "no such")),
    "load a number": (lambda runs: recipes.load(7), ("path=7", ".keras file")),
    "load a text file": (lambda runs: recipes.load("notes.txt"), ("notes.txt", "not a whole")),
    "load a false model": (
        lambda runs: recipes.load("model.keras"), ("model.keras", "not a whole"),
    ),
    "load half a model": (
        lambda runs: recipes.load(runs / "iris/cut.keras"), ("cut.keras", "not a whole .keras"),
    ),
    "load a folder": (lambda runs: recipes.load("full"), ("best.keras", "no such model file")),
    "predict from nothing": (
        lambda runs: recipes.predict("none", ROWS), ("run='none'", "no run directory"),
    ),
    "predict from None": (
        lambda runs: recipes.predict(None, ROWS), ("run=None", "no run directory"),
    ),
    "predict nothing": (
        lambda runs: recipes.predict(runs / "iris", []), ("inputs=[]", "at least one"),
    ),
    "predict a file that is not there": (
        lambda runs: recipes.predict(runs / "iris", "gone.csv"),
        ("inputs='gone.csv'", "no such file"),
    ),
    "predict a wrong shape": (
        lambda runs: recipes.predict(runs / "iris", np.zeros((2, 5))),
        ("inputs", "(2, 5)", "(n, 4)"),
    ),
    "predict pictures of a wrong shape": (
        lambda runs: recipes.predict(runs / "digits", np.zeros((2, 28, 28))),
        ("inputs", "(2, 28, 28, 1)", "(n, 8, 8, 1)"),
    ),
    "predict texts": (
        lambda runs: recipes.predict(runs / "iris", [["a", "b", "c", "d"]]), ("inputs", "numbers"),
    ),
    "predict uneven rows": (
        lambda runs: recipes.predict(runs / "iris", [[1, 2], [1, 2, 3]]), ("inputs", "(n, 4)"),
    ),
    "predict a number": (lambda runs: recipes.predict(runs / "iris", 3), ("inputs", "(n, 4)")),
    "predict a corrupt picture": (
        lambda runs: recipes.predict(runs / "digits", "corrupt.png"),
        ("corrupt.png", "not a readable"),
    ),
    "predict a folder without pictures": (
        lambda runs: recipes.predict(runs / "digits", "folder"), ("inputs='folder'", "no pictures"),
    ),
    "predict a table for pictures": (
        lambda runs: recipes.predict(runs / "digits", "good.csv"), ("good.csv", "not a readable"),
    ),
    "predict a table that lacks a column": (
        lambda runs: recipes.predict(runs / "iris", "lacking.csv"),
        ("lacking.csv", "'sepal length (cm)'", "columns: a, y"),
    ),
    "predict a table of letters": (
        lambda runs: recipes.predict(runs / "iris", "letters.csv"), ("petal width", "numbers"),
    ),
    "predict with batch_size 0": (
        lambda runs: recipes.predict(runs / "iris", ROWS, batch_size=0),
        ("batch_size=0", "positive"),
    ),
}  # fmt: skip

TUNE: dict[str, tuple[Callable, tuple[str, ...]]] = {
    "family unknown": (lambda: recipes.tune("renset"), ("family 'renset'", "'resnet'")),
    "variant unknown": (lambda: recipes.tune("dnn", variant="mpl"), ("variant 'mpl'", "'mlp'")),
    "algorithm unknown": (
        lambda: recipes.tune("dnn", "iris", algorithm="annealing"), ("'annealing'", "bayesian"),
    ),
    "max_trials 0": (
        lambda: recipes.tune("dnn", "iris", max_trials=0), ("max_trials=0", "at least 1"),
    ),
    "max_trials a text": (
        lambda: recipes.tune("dnn", max_trials="5"), ("max_trials='5'", "integer"),
    ),
    "epochs 0": (lambda: recipes.tune("dnn", epochs=0), ("epochs=0", "positive integer")),
    "precision unknown": (lambda: recipes.tune("dnn", precision="int8"), ("'int8'", "bfloat16")),
    "data unknown": (lambda: recipes.tune("dnn", "irish"), ("'irish'", "'iris'")),
    "argument unknown": (
        lambda: recipes.tune("perceptron", "iris", units=(3,)), ("'units'", "learning_rate"),
    ),
    "objective unknown": (
        lambda: recipes.tune("perceptron", "iris", objective="val_f1"),
        ("'val_f1'", "val_accuracy"),
    ),
    "objective without a direction": (
        lambda: recipes.tune("perceptron", "iris", objective=("val_accuracy", "up")),
        ("'up'", '"max"'),
    ),
    "space of nothing": (
        lambda: recipes.tune("dnn", "iris", space={}), ("space={}", "learning_rate: {log:"),
    ),
    "space with an unknown argument": (
        lambda: recipes.tune("dnn", "iris", space={"unit": [3]}), ("'unit'", "'units'?"),
    ),
    "space the wrong way round": (
        lambda: recipes.tune("dnn", "iris", space={"learning_rate": {"log": [0.1, 0.001]}}),
        ("learning_rate", "[0.1, 0.001]", "low end below"),
    ),
    "space in no file": (lambda: recipes.tune("dnn", space="no.yaml"), ("'no.yaml'", "no such")),
    "search for an unknown argument": (
        lambda: recipes.tune("dnn", "iris", search=["unit"]), ("'unit'", "'units'?"),
    ),
    "budget a word": (lambda: recipes.tune("dnn", budget="long"), ("budget='long'", '"20m"')),
    "workers -1": (lambda: recipes.tune("dnn", workers=-1), ("workers=-1", "at least 0")),
    "folds 1": (lambda: recipes.tune("dnn", "iris", folds=1), ("folds=1", "at least 2")),
    "folds of a series": (
        lambda: recipes.tune("lstm", "sunspots", folds=5), ("folds=5", "series", "only images"),
    ),
    "start outside of the space": (
        lambda: recipes.tune("dnn", "iris", start=[{"learning_rate": 9.0}]),
        ("learning_rate=9.0", "from 0.0001 to 0.01"),
    ),
    "start no search": (
        lambda: recipes.tune("dnn", "iris", start="gone"), ("search='gone'", "search.json"),
    ),
    "cluster a number": (lambda: recipes.tune("dnn", cluster=3), ("cluster=3", '"local"')),
    "cluster without workers": (
        lambda: recipes.tune("dnn", cluster="local", workers=0), ("workers=0", "at least 1"),
    ),
    "resume no search": (lambda: recipes.tune(resume="gone"), ("search='gone'", "search.json")),
    "resume with a variant": (
        lambda: recipes.tune(resume="gone", variant="mlp"), ("keeps its variant", "max_trials"),
    ),
    "directory a file": (
        lambda: recipes.tune("perceptron", "iris", directory="corrupt.png"),
        ("directory='corrupt.png'", "no search"),
    ),
    "shape that contradicts the data": (
        lambda: recipes.tune("dnn", "iris", input_shape=(5,)), ("input_shape=(5,)", "(4,)"),
    ),
    "directory not empty": (
        lambda: recipes.tune("perceptron", "iris", directory="full"),
        ("directory='full'", "not empty"),
    ),
}  # fmt: skip

UNIT = (PICTURES / 255).astype("float32")
SIGNS = np.where(rng.random((4, 30)) < 0.5, -1, 1).astype("float32")


def small(family, variant="tiny", **arguments):
    return family.build_model(variant, input_shape=(8, 8, 1), **arguments)


def memory(patterns, count=4):
    return hopfield.build_model("tiny", input_shape=(30,), num_patterns=count).fit(patterns)


# Networks that learn without labels
UNLABELLED: dict[str, tuple[Callable, tuple[str, ...]]] = {
    **{
        f"images of 0 .. 255 for {family.__name__[8:]}": (
            lambda family=family: small(family).fit(PICTURES.astype("float32")),
            ("x='values in 0 .. 255'", "values in [0, 1]"),
        )
        for family in (autoencoder, vae, gan, diffusion, rbm, dbn)
    },
    **{
        f"latent_dim 0 for {family.__name__[8:]}": (
            lambda family=family: family.build_model(latent_dim=0),
            ("latent_dim=0", "positive integer"),
        )
        for family in (autoencoder, vae, gan)
    },
    **{
        f"labels for an unconditional {family.__name__[8:]}": (
            lambda family=family: small(family).generate(4, labels=3),
            ("labels=3", "unconditional"),
        )
        for family in (vae, gan, diffusion, rbm)
    },
    **{
        f"conditional {family.__name__[8:]} without classes": (
            lambda family=family: small(family, conditional=True),
            ("num_classes",),
        )
        for family in (vae, gan, diffusion)
    },
    "images of another size": (
        lambda: small(autoencoder).fit(UNIT[:, :4]), ("array of shape (60, 4, 8, 1)", "8, 8, 1"),
    ),
    "images with NaN": (lambda: small(vae).fit(UNIT * np.nan), ("x='values in nan", "[0, 1]")),
    "a label that is not there": (
        lambda: small(vae, conditional=True, num_classes=3).generate(2, labels=3),
        ("labels=3", "0 .. 2"),
    ),
    "more sampling steps than there are": (
        lambda: small(diffusion).generate(2, steps=51), ("steps=51", "from 1 to", "50"),
    ),
    "no samples": (lambda: small(gan).generate(0), ("count=0", "positive integer")),
    "seed a text": (lambda: small(gan).generate(1, seed="x"), ("seed='x'", "integer")),
    "images with unknown range": (
        lambda: gan.load_data(UNIT - 0.5), ("source='arrays'", "in [0, 1]"),
    ),
    "standardised data": (
        lambda: vae.load_data(dnn.load_data("digits")), ("source='digits'", "not standardised"),
    ),
    "binarize unknown": (
        lambda: vae.load_data(binarize="dither"), ("binarize='dither'", "'sample' or 'threshold'"),
    ),
    "pictures that are none": (lambda: gan.load_data("folder"), ("folder", "no pictures")),
    "patterns that are not binary": (
        lambda: memory(0.5 * SIGNS), ("values such as", "-1 and +1"),
    ),
    "patterns of another length": (
        lambda: memory(SIGNS[:, :20]), ("array of shape (4, 20)", "30"),
    ),
    "patterns of unequal lengths": (
        lambda: hopfield.load_data([[1, -1, 1], [1, -1]]), ("unequal length", "-1 and +1"),
    ),
    "patterns that are too many": (lambda: memory(SIGNS, 3), ("4 patterns", "3")),
    "rule unknown": (
        lambda: hopfield.build_model(rule="oja"), ("rule 'oja'", "hebb", "storkey"),
    ),
}  # fmt: skip


def spiking(**arguments):
    return snn.build_model("tiny", input_shape=(8, 8, 1), num_classes=3, **arguments)


# Networks that go through time
SPIKING: dict[str, tuple[Callable, tuple[str, ...]]] = {
    "no time steps": (lambda: spiking(num_steps=0), ("num_steps=0", "positive integer")),
    "time steps a fraction": (lambda: spiking(num_steps=2.5), ("num_steps=2.5", "integer")),
    "encoder unknown": (
        lambda: spiking(encoder="poison"), ("encoder 'poison'", "rate", "latency"),
    ),
    "neuron unknown": (lambda: spiking(neuron="lft"), ("neuron 'lft'", "'lif'", "adaptive")),
    "surrogate unknown": (
        lambda: spiking(surrogate="arctangent"), ("surrogate 'arctangent'", "'arctan'"),
    ),
    "readout unknown": (lambda: spiking(readout="counts"), ("readout 'counts'", "'count'")),
    "learning unknown": (lambda: spiking(learning="spdt"), ("learning 'spdt'", "stdp")),
    "beta 0": (lambda: spiking(beta=0), ("beta=0", "(0, 1]")),
    "beta above 1": (lambda: spiking(beta=1.1), ("beta=1.1", "(0, 1]")),
    "threshold negative": (lambda: spiking(threshold=-1.0), ("threshold=-1.0", "positive")),
    "two layers of STDP": (
        lambda: spiking(learning="stdp", units=(3, 3)), ("units=(3, 3)", "one layer"),
    ),
    "spikes of another length": (
        lambda: snn.build_model("tiny", input_shape=(5, 4), encoder="spikes").fit(ROWS[:, None]),
        ("x", "(60, 1, 4)", "(None, 5, 4)"),
    ),
    "spikes that are not binary": (
        lambda: snn.build_model("tiny", input_shape=(1, 4), encoder="spikes").fit(ROWS[:, None]),
        ("x='values such as", "0 and 1"),
    ),
    "a raster of what is not binary": (
        lambda: raster({"hidden": ROWS}), ("hidden='values such as", "0 and 1"),
    ),
    "pixels of 0 .. 255 for a code": (
        lambda: spiking(encoder="rate").fit(PICTURES.astype("float32"), LABELS),
        ("x='values in 0 .. 255'", "[0, 1]"),
    ),
    "pixels of 0 .. 255 for STDP": (
        lambda: spiking(learning="stdp").fit(PICTURES.astype("float32"), LABELS),
        ("x='values in 0 .. 255'", "[0, 1]"),
    ),
    "STDP without labels": (lambda: spiking(learning="stdp").fit(UNIT), ("x=", "needs y")),
    "conversion of another network": (
        lambda: snn.convert(cnn.build_model("tiny"), np.zeros((2, 28, 28, 1))),
        ("MaxPooling2D", "average pooling"),
    ),
    "conversion in no steps": (
        lambda: snn.convert(dnn.build_model("tiny"), UNIT, num_steps=0), ("num_steps=0",),
    ),
}  # fmt: skip


def act(source="CartPole-v1", variant="tiny", **arguments):
    """Play for an epoch of three rounds."""
    batch_size = arguments.pop("batch_size", 64)
    data = dqn.load_data(source)
    model = dqn.build_model(variant, **{**data.spec, **arguments})
    return model.fit(data.train, steps_per_epoch=96, batch_size=batch_size, verbose=0)


def values():
    """A network for CartPole."""
    return dqn.build_model("tiny")


# Networks that act
ACTING: dict[str, tuple[Callable, tuple[str, ...]]] = {
    "an environment that does not exist": (
        lambda: dqn.load_data("CartPool-v1"), ("source='CartPool-v1'", "CartPole"),
    ),
    "a version that does not exist": (
        lambda: dqn.load_data("CartPole-v7"), ("source='CartPole-v7'", "v0", "v1"),
    ),
    "continuous actions": (
        lambda: dqn.load_data("Pendulum-v1"), ("source='Pendulum-v1'", "discrete actions", "Box"),
    ),
    "a data set to act in": (lambda: dqn.load_data("iris"), ("tables", "environments")),
    "an array to act in": (lambda: dqn.load_data(ROWS), ("environments",)),
    "no test episodes": (
        lambda: dqn.load_data(test_episodes=0), ("test_episodes=0", "at least 1"),
    ),
    "fit on arrays": (lambda: values().fit(ROWS, LABELS), ("y='<ndarray>'", "by acting")),
    "fit on observations": (
        lambda: values().fit(ROWS), ("x='<ndarray>'", "dqn.load_data"),
    ),
    "fit on the whole data": (lambda: values().fit(dqn.load_data()), ("x='<Data>'", "a part of")),
    "evaluate observations": (lambda: values().evaluate(ROWS), ("x='<ndarray>'", "a part of")),
    "validate on observations": (
        lambda: values().fit(dqn.load_data().train, validation_data=ROWS),
        ("validation_data='<ndarray>'", "a part of"),
    ),
    "observations of another shape": (
        lambda: values().fit(dqn.load_data("Acrobot-v1").train), ("Acrobot-v1", "(6,)", "(4,)"),
    ),
    "another number of actions": (
        lambda: act(num_actions=3), ("CartPole-v1", "2 actions", "3 actions"),
    ),
    "a batch larger than the buffer": (
        lambda: act(buffer_size=100, batch_size=101), ("batch_size=101", "buffer_size=100"),
    ),
    "a buffer smaller than the warm-up": (
        lambda: act(buffer_size=50), ("buffer_size=50", "warmup_steps=64"),
    ),
    "a warm-up of too few steps": (
        lambda: act(warmup_steps=10, num_steps=5), ("warmup_steps=10", "at least 24"),
    ),
    "gamma 0": (lambda: act(gamma=0), ("gamma=0", "(0, 1]")),
    "gamma above 1": (lambda: act(gamma=1.01), ("gamma=1.01", "(0, 1]")),
    "epsilon above 1": (lambda: act(epsilon_end=2), ("epsilon_end=2", "[0, 1]")),
    "rounds that are no multiple": (
        lambda: act(train_every=30), ("train_every=30", "num_envs=4"),
    ),
    "no steps of an epoch": (
        lambda: values().fit(dqn.load_data().train, steps_per_epoch=0), ("steps_per_epoch=0",),
    ),
    "convolutions of a vector": (
        lambda: dqn.build_model("nature", input_shape=(4,)), ("input_shape=(4,)", "height"),
    ),
    "frames too small": (
        lambda: dqn.build_model("nature", input_shape=(20, 20, 4)), ("(20, 20, 4)", "too small"),
    ),
    "strides lacking": (
        lambda: dqn.build_model("nature", strides=(4, 2)), ("filters=(32, 64, 64)", "strides"),
    ),
    "double a number": (lambda: dqn.build_model(double=2), ("double=2", "True or False")),
}  # fmt: skip


def evolve(x=None, y=None, **arguments):
    """A generation of a small population, by default on XOR."""
    model = neat.build_model("tiny", **{"input_shape": (2,), "seed": 0, **arguments})
    data = neat.load_data()
    return model.fit(*((x, y) if x is not None else (data.train,)), epochs=1, verbose=0)


# Networks that evolve
EVOLVING: dict[str, tuple[Callable, tuple[str, ...]]] = {
    "a population of one": (
        lambda: evolve(population_size=1), ("population_size=1", "at least 2"),
    ),
    "a fitness of NaN": (
        lambda: evolve(fitness=lambda y, outputs: np.full(len(outputs), np.nan)),
        ("fitness=nan", "20 of 20 networks", "finite"),
    ),
    "a fitness of all networks together": (
        lambda: evolve(fitness=lambda y, outputs: 1.0), ("fitness='gave an array of shape ()'",),
    ),
    "a threshold of zero": (
        lambda: evolve(compatibility_threshold=0.0), ("compatibility_threshold=0.0", "positive"),
    ),
    "a rate above 1": (lambda: evolve(add_node_rate=1.2), ("add_node_rate=1.2", "[0, 1]")),
    "a rate below 0": (
        lambda: evolve(weight_mutation_rate=-0.1), ("weight_mutation_rate=-0.1", "[0, 1]"),
    ),
    "no place for the outputs": (
        lambda: evolve(max_nodes=3), ("max_nodes=3", "at least 4", "inputs, a bias and outputs"),
    ),
    "another environment's observations": (
        lambda: evolve(neat.load_data("Acrobot-v1").train, num_actions=3),
        ("observations (6,) and 3 actions", "(2,) and 3 actions"),
    ),
    "an environment to classify": (
        lambda: evolve(neat.load_data("CartPole-v1").train), ("an environment", "num_actions"),
    ),
    "arrays to act in": (lambda: evolve(ROWS, LABELS, num_actions=2), ("an environment's data",)),
    "examples without targets": (lambda: evolve(np.zeros((4, 2))), ("y=None", "targets")),
    "labels out of range": (
        lambda: evolve(np.zeros((4, 2)), np.arange(4)), ("values in 0 .. 3", "labels 0 .. 1"),
    ),
    "weights of examples": (
        lambda: neat.build_model("tiny").fit(np.zeros((2, 2)), LABELS[:2], sample_weight=[1, 2]),
        ("sample_weight", "not supported"),
    ),
}  # fmt: skip
CALLS = {
    f"{group}: {name}": row
    for group, rows in (
        ("model", MODELS),
        ("data", DATA),
        ("train", TRAIN),
        ("tune", TUNE),
        ("unlabelled", UNLABELLED),
        ("spiking", SPIKING),
        ("acting", ACTING),
        ("evolving", EVOLVING),
    )
    for name, row in rows.items()
}

# (the command's words, its exit code, words that the one line of error must have)
COMMANDS: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "command unknown": ("trian", 2, ("'trian'", "train", "--help")),
    "generate without a run": ("generate gone", 1, ("gone",)),
    "generate to a text": ("generate full --output x.txt", 1, ("--output='x.txt'", ".png")),
    "flag unknown": ("list --all", 2, ("--all", "--help")),
    "show nothing": ("show", 2, ("family",)),
    "show an unknown family": ("show cnnn", 1, ("family 'cnnn'", "'cnn'?")),
    "show an unknown variant": ("show cnn lenet6", 1, ("variant 'lenet6'", "'lenet5'")),
    "show too much": ("show cnn tiny 3", 2, ("3", "--help")),
    "train nothing": ("train", 2, ("family", "cnn", "--help")),
    "train an unknown family": ("train cnnn", 1, ("family 'cnnn'", "'cnn'?")),
    "train an unknown variant": ("train dnn --variant mlq", 1, ("'mlq'", "'mlp'")),
    "train with an unknown flag": ("train cnn --epoch 3", 2, ("--epoch 3", "--epochs?")),
    "train with a flag of another family": ("train dnn --kernel-size 3", 2, ("--kernel-size",)),
    "train with a flag without a value": ("train dnn --units", 2, ("--units", "one argument")),
    "train for a word of epochs": ("train cnn --epochs three", 2, ("--epochs", "'three'", "int")),
    "train for no epochs": ("train cnn --epochs 0", 1, ("epochs=0", "positive integer")),
    "train with a word for a number": (
        "train dnn --data iris --variant tiny --learning-rate fast", 1, ("learning_rate='fast'",),
    ),
    "train on nothing": ("train cnn --data nothing_like_it", 1, ("'nothing_like_it'", "mnist5k")),
    "train on a wrong option": ("train cnn --data digits --channels 2", 1, ("channels=2", "grey")),
    "train into a full directory": ("train dnn --run-dir full", 1, ("run_dir='full'",)),
    "train two families": ("train cnn dnn", 2, ("dnn",)),
    "resume nothing": ("train --resume gone", 1, ("run='gone'", "no run directory")),
    "resume with a family": ("train dnn --resume full", 1, ("family",)),
    "resume with a build argument": ("train --resume gone --units 3", 2, ("--units",)),
    "tune nothing": ("tune", 2, ("family", "cnn", "--help")),
    "tune with an unknown flag": ("tune cnn --max-trial 3", 2, ("--max-trial 3", "--max-trials?")),
    "tune with an unknown algorithm": ("tune dnn --data iris --algorithm best", 1, ("'best'",)),
    "tune a word of trials": ("tune dnn --max-trials few", 2, ("--max-trials", "'few'")),
    "tune a word of workers": ("tune dnn --workers all", 2, ("--workers", "'all'")),
    "tune for a word": ("tune dnn --budget long", 1, ("budget='long'", "20m")),
    "tune again what is no search": ("tune --resume gone", 1, ("search='gone'", "search.json")),
    "train from no search": ("train dnn --from gone", 1, ("search='gone'", "search.json")),
    "predict nothing": ("predict", 2, ("RUN", "INPUT")),
    "predict without input": ("predict gone", 2, ("INPUT",)),
    "predict from nothing": ("predict gone corrupt.png", 1, ("run='gone'", "no run directory")),
    "predict no class": ("predict gone corrupt.png --top 0", 1, ("--top=0", "at least 1")),
    "check too much": ("check twice", 2, ("twice",)),
}  # fmt: skip


def files() -> set[Path]:
    return set(Path().rglob("*"))


def assert_clear(message: str, words: tuple[str, ...]) -> None:
    assert "\n" not in message.strip(), f"more than one line: {message}"
    assert len(message) < 800
    for word in words:
        assert word in message, f"{word!r} is not in: {message}"


def assert_raises(call: Callable, words: tuple[str, ...]) -> None:
    before = files()
    with pytest.raises(ValueError) as caught:
        call()
    assert_clear(str(caught.value), words)
    assert files() == before


@pytest.mark.parametrize("name", CALLS)
def test_call(name):
    assert_raises(*CALLS[name])


@pytest.mark.parametrize("name", RUNS)
def test_call_on_a_run(name, run):
    call, words = RUNS[name]
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert_raises(lambda: call(run), words)
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", COMMANDS)
def test_command(name, capfd):
    command, code, words = COMMANDS[name]
    before = files()
    assert main(command.split()) == code
    error = capfd.readouterr().err
    assert error.startswith("recipes: error: ")
    assert_clear(error, words)
    assert files() == before


def test_traceback_shows_where():
    with pytest.raises(ValueError, match="no run directory"):
        main(["predict", "gone", "corrupt.png", "--traceback"])


def test_an_unknown_attribute_names_families_and_functions():
    with pytest.raises(AttributeError, match="'nonsense'") as caught:
        recipes.nonsense  # noqa: B018
    for name in (*families(), "train", "tune", "load", "predict"):
        assert name in str(caught.value)


def test_there_are_enough_of_them():
    assert len(CALLS) + len(RUNS) + len(COMMANDS) >= 60
