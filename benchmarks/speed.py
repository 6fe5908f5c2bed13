"""Time of a training step and of inference, side by side with the same network elsewhere.

    python benchmarks/speed.py --list
    python benchmarks/speed.py --family cnn resnet --backend jax --rounds 9
    python benchmarks/speed.py --names resnet50 --device gpu

Peers are the same network written by hand in plain Keras or taken from `keras.applications`, on the
same backend, with the same optimizer, loss, metric and `jit_compile` ("auto"); and in PyTorch as
its users write it (eager, channels first). All are fed by the same batches of random numbers in
memory. Each contender has a process of its own; after a warm-up, which compiles, they take turns.
Results go to `benchmarks/results/speed.json`, one row for each (network, backend, device, peer),
and `speed.md` is written from them.
"""

import argparse
import importlib.util
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
BACKENDS = ("tensorflow", "jax", "torch")


@dataclass
class Case:
    """A network of ours and the peers to compare it with."""

    family: str
    variant: str
    input_shape: tuple[int, ...]
    batch_size: int
    steps: int  # in each round
    peers: dict[str, tuple[Callable, Callable]]  # name -> (how to run it, how to build it)
    arguments: dict = field(default_factory=dict)  # of our build_model
    num_classes: int = 10

    def batches(self, channels_first: bool = False):
        """Random examples as `fit` takes them."""
        import numpy as np

        from recipes.data.core import Batches

        generator, n = np.random.default_rng(0), self.steps * self.batch_size
        x = generator.standard_normal((n, *self.input_shape), "float32")
        y = generator.integers(0, self.num_classes, n, "int32")
        x = np.ascontiguousarray(np.moveaxis(x, -1, 1)) if channels_first else x
        return Batches(x, y, np.arange(n), np.asarray, self.batch_size)


# How to run a contender: (build, case) -> train, predict (each all steps once), parameters.


def in_keras(build: Callable, case: Case) -> tuple:
    import keras

    model, batches = build(case, keras), case.batches()

    def train():
        model.fit(batches, shuffle=False, verbose=0)

    count = sum(math.prod(w.shape) for w in model.trainable_weights)
    return train, lambda: model.predict(batches, verbose=0), count


def in_torch(build: Callable, case: Case) -> tuple:
    import numpy as np
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("high")  # as TensorFlow has it on a GPU
    model, make_optimizer = build(case, torch)
    model.to(device)
    optimizer, criterion = make_optimizer(model.parameters()), torch.nn.CrossEntropyLoss()
    batches = case.batches(channels_first=len(case.input_shape) == 3)

    def train():
        model.train()
        loss_sum = correct = torch.zeros((), device=device)
        for i in range(len(batches)):
            x, y = (torch.from_numpy(array).to(device) for array in batches[i])
            optimizer.zero_grad()
            logits = model(x)
            loss = criterion(logits, y.long())
            loss.backward()
            optimizer.step()
            loss_sum = loss_sum + loss.detach()
            correct = correct + (logits.argmax(1) == y).sum()
        return loss_sum.item(), correct.item()  # waits for the device

    def predict():
        model.eval()
        with torch.inference_mode():
            parts = [model(torch.from_numpy(batches[i][0]).to(device)) for i in range(len(batches))]
            return np.concatenate([part.cpu().numpy() for part in parts])

    return train, predict, sum(p.numel() for p in model.parameters())


def in_sklearn(build: Callable, case: Case) -> tuple:
    model, (x, y) = build(case), case.batches().arrays()
    return lambda: model.fit(x, y), lambda: model.predict(x), (x.shape[1] + 1) * case.num_classes


# The contenders: (case, keras) -> a compiled model; (case, torch) -> a module and its optimizer.


def ours(case: Case, keras):
    import recipes

    shapes = {"input_shape": case.input_shape, "num_classes": case.num_classes}
    return getattr(recipes, case.family).build_model(case.variant, **shapes, **case.arguments)


def _compiled(keras, model, optimizer):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"])
    return model


def keras_dnn(case: Case, keras):
    dense, dropout = keras.layers.Dense, keras.layers.Dropout
    model = keras.Sequential([
        keras.Input(case.input_shape), keras.layers.Flatten(),
        dense(512, "relu"), dropout(0.2), dense(512, "relu"), dropout(0.2), dense(10),
    ])  # fmt: skip
    return _compiled(keras, model, keras.optimizers.Adam(1e-3))


def torch_dnn(case: Case, torch):
    nn = torch.nn
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(512, 512), nn.ReLU(), nn.Dropout(0.2), nn.Linear(512, 10),
    ), torch.optim.Adam  # fmt: skip


def keras_lenet5(case: Case, keras):
    conv, pool, dense = keras.layers.Conv2D, keras.layers.AveragePooling2D, keras.layers.Dense
    model = keras.Sequential([
        keras.Input(case.input_shape),
        conv(6, 5, padding="same", activation="tanh"), pool(2),
        conv(16, 5, activation="tanh"), pool(2),
        keras.layers.Flatten(), dense(120, "tanh"), dense(84, "tanh"), dense(10),
    ])  # fmt: skip
    return _compiled(keras, model, keras.optimizers.Adam(1e-3))


def torch_lenet5(case: Case, torch):
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
    ), torch.optim.Adam  # fmt: skip


def keras_simple(case: Case, keras):
    conv, pool, dense = keras.layers.Conv2D, keras.layers.MaxPooling2D, keras.layers.Dense
    model = keras.Sequential([
        keras.Input(case.input_shape),
        conv(32, 3, padding="same", activation="relu"), pool(2),
        conv(64, 3, padding="same", activation="relu"), pool(2),
        keras.layers.Flatten(), dense(128, "relu"), keras.layers.Dropout(0.5), dense(10),
    ])  # fmt: skip
    return _compiled(keras, model, keras.optimizers.Adam(1e-3))


def torch_simple(case: Case, torch):
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(64 * 7 * 7, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10),
    ), torch.optim.Adam  # fmt: skip


# (filters, blocks) of each stage
STAGES = {
    "resnet20": ((16, 3), (32, 3), (64, 3)),
    "resnet50": ((64, 3), (128, 4), (256, 6), (512, 3)),
}


def keras_resnet(case: Case, keras):
    layers, large = keras.layers, case.variant == "resnet50"
    decay = case.arguments.get("weight_decay", 1e-4)
    penalty = {"kernel_regularizer": keras.regularizers.L2(decay / 2)} if decay else {}

    def conv(x, width, size, strides=1, relu=True):
        padding = "same"
        if strides > 1 and size > 1:  # "same" would pad less before than behind
            x, padding = layers.ZeroPadding2D(size // 2)(x), "valid"
        x = layers.Conv2D(width, size, strides, padding, use_bias=False, **penalty)(x)
        x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
        return layers.ReLU()(x) if relu else x

    x = inputs = keras.Input(case.input_shape)
    x = conv(x, 64, 7, 2) if large else conv(x, 16, 3)
    x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x)) if large else x
    for stage, (width, count) in enumerate(STAGES[case.variant]):
        for i in range(count):
            strides = 2 if stage and not i else 1
            if large:
                y = conv(conv(conv(x, width, 1), width, 3, strides), 4 * width, 1, relu=False)
                x = x if i else conv(x, 4 * width, 1, strides, relu=False)
            else:
                y = conv(conv(x, width, 3, strides), width, 3, relu=False)
                if strides > 1:
                    new = (width // 4, width // 4)
                    x = keras.ops.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), new))
            x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(case.num_classes, **penalty)(x))
    return _compiled(keras, model, keras.optimizers.SGD(0.1, momentum=0.9))


def keras_applications_resnet50(case: Case, keras):
    model = keras.applications.ResNet50(
        weights=None, input_shape=case.input_shape, classes=case.num_classes,
        classifier_activation=None,
    )  # fmt: skip
    return _compiled(keras, model, keras.optimizers.SGD(0.1, momentum=0.9))


def torch_resnet(case: Case, torch):
    nn, large = torch.nn, case.variant == "resnet50"

    def conv(before, width, size, strides=1):
        convolution = nn.Conv2d(before, width, size, strides, size // 2, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(width))

    class Residual(nn.Module):
        def __init__(self, before, width, strides):
            super().__init__()
            self.strides, self.half, self.project = strides, (width - before) // 2, None
            if large:
                body = [conv(before, width, 1), nn.ReLU(), conv(width, width, 3, strides)]
                body += [nn.ReLU(), conv(width, 4 * width, 1)]
                if before != 4 * width:
                    self.project = conv(before, 4 * width, 1, strides)
            else:
                body = [conv(before, width, 3, strides), nn.ReLU(), conv(width, width, 3)]
            self.body = nn.Sequential(*body)

        def forward(self, x):
            y = self.body(x)
            if self.project is not None:
                x = self.project(x)
            elif self.strides > 1:
                x = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.half, self.half))
            return nn.functional.relu(x + y)

    before = 64 if large else 16
    stack = [conv(case.input_shape[-1], before, 7 if large else 3, 2 if large else 1), nn.ReLU()]
    stack += [nn.MaxPool2d(3, 2, 1)] if large else []
    for stage, (width, count) in enumerate(STAGES[case.variant]):
        for i in range(count):
            stack.append(Residual(before, width, 2 if stage and not i else 1))
            before = 4 * width if large else width
    stack += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, case.num_classes)]
    decay = case.arguments.get("weight_decay", 1e-4)
    return nn.Sequential(*stack), lambda weights: torch.optim.SGD(
        weights, 0.1, momentum=0.9, weight_decay=decay
    )


def sklearn_perceptron(case: Case):
    from sklearn.linear_model import Perceptron

    return Perceptron(shuffle=False, tol=None, max_iter=1)


def _peers(keras_build: Callable, torch_build: Callable) -> dict:
    return {"Keras by hand": (in_keras, keras_build), "PyTorch": (in_torch, torch_build)}


# A new family adds an entry.
CASES = {
    "dnn": Case("dnn", "mlp", (28, 28, 1), 128, 40, _peers(keras_dnn, torch_dnn)),
    "lenet5": Case("cnn", "lenet5", (28, 28, 1), 128, 40, _peers(keras_lenet5, torch_lenet5)),
    "simple": Case("cnn", "simple", (28, 28, 1), 128, 10, _peers(keras_simple, torch_simple)),
    "resnet20": Case("resnet", "resnet20", (28, 28, 1), 64, 10, _peers(keras_resnet, torch_resnet)),
    # keras.applications has no weight decay; it strides in the first 1x1 convolution of a block,
    # which is less work, and its convolutions have biases.
    "resnet50": Case(
        "resnet", "resnet50", (64, 64, 3), 8, 6,
        {**_peers(keras_resnet, torch_resnet),
         "keras.applications": (in_keras, keras_applications_resnet50)},
        {"weight_decay": 0.0},
    ),
    "perceptron": Case(
        "perceptron", "rosenblatt", (784,), 128, 16,
        {"scikit-learn": (in_sklearn, sklearn_perceptron)},
    ),
}  # fmt: skip


def work(case: Case, contender: str) -> None:
    """In a process of its own: warm up, then one round for each line that comes in."""
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever else is printed is no answer
    run, build = {"ours": (in_keras, ours), **case.peers}[contender]
    train, predict, parameters = run(build, case)
    train()
    predict()
    from recipes.training.precision import devices

    device = devices()[0]
    facts = {"parameters": parameters, "device": "CPU" if device.kind == "cpu" else device.name}
    print(json.dumps(facts), file=answers, flush=True)
    for _ in sys.stdin:
        times = {}
        for name, function in (("train", train), ("predict", predict)):
            start = time.perf_counter()
            function()
            times[name] = round(1000 * (time.perf_counter() - start) / case.steps, 4)
        print(json.dumps(times), file=answers, flush=True)


def compare(name: str, backend: str, device: str, rounds: int) -> list[dict]:
    """Our network and its peers in turns; returns a row for each peer."""
    case = CASES[name]
    environment = {
        **os.environ, "TF_CPP_MIN_LOG_LEVEL": "2",
        # several processes share the device
        "TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }  # fmt: skip
    if device == "cpu":
        environment |= {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}

    def start(contender: str) -> subprocess.Popen:
        own = "torch" if contender == "PyTorch" else backend
        return subprocess.Popen(
            [sys.executable, __file__, "--worker", name, contender],
            env={**environment, "KERAS_BACKEND": own},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def answer(contender: str) -> dict:
        line = workers[contender].stdout.readline()
        if not line:
            sys.exit(f"{name}, {contender}: the process ended with {workers[contender].wait()}")
        return json.loads(line)

    workers, facts = {}, {}
    for contender in ("ours", *case.peers):
        if contender != "PyTorch" or importlib.util.find_spec("torch"):
            workers[contender] = start(contender)
            facts[contender] = answer(contender)
    times = {contender: [] for contender in workers}
    for i in range(rounds):
        for contender in workers if i % 2 else reversed(workers):
            print(file=workers[contender].stdin, flush=True)
            times[contender].append(answer(contender))
    for worker in workers.values():
        worker.communicate()  # closes its input, which ends it

    packages = ("keras", "numpy", "tensorflow", "jax", "torch", "scikit-learn")
    installed = [p for p in packages if importlib.util.find_spec(p.replace("scikit-", "sk"))]
    common = {
        "name": name, "backend": backend, "device": device,
        "input_shape": case.input_shape, "batch_size": case.batch_size, "steps": case.steps,
        "machine": f"{facts['ours']['device']}, {platform.machine()}, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version()} | {p: version(p) for p in installed},
        "command": " ".join(["python", *sys.argv]),
    }  # fmt: skip
    return [
        {**common, "peer": peer, "parameters": [facts[c]["parameters"] for c in ("ours", peer)]}
        | {part: [[t[part] for t in times[c]] for c in ("ours", peer)] for part in times["ours"][0]}
        for peer in list(workers)[1:]
    ]


def record(rows: list[dict]) -> str:
    """Put rows in the results, in place of older ones of the same key; returns the table."""

    def key(row):
        order = BACKENDS.index(row["backend"]), list(CASES).index(row["name"])
        return row["device"], *order, list(CASES[row["name"]].peers).index(row["peer"])

    path = RESULTS / "speed.json"
    old = json.loads(path.read_text()) if path.exists() else []
    rows = sorted({key(row): row for row in [*old, *rows]}.values(), key=key)
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(rows, indent=1) + "\n")
    (RESULTS / "speed.md").write_text(table(rows))
    return table(rows)


def table(rows: list[dict]) -> str:
    """The results as Markdown, a line for each row."""
    columns = ("network", "input, batch", "backend", "peer", "parameters, ours / peer's",
               "training step, ms", "ratio (quartiles)", "inference, ms", "ratio (quartiles)",
               "rounds", "machine")  # fmt: skip
    lines = [
        f"Written by `{rows[-1]['command']}` and the like.",
        "Milliseconds for a batch, ours / the peer's, medians over the rounds; ratios are of the",
        "same round, below 1 where ours is faster. `speed.json` has the versions and every round.",
        "",
        f"| {' | '.join(columns)} |",
        "|" + "---|" * len(columns),
    ]
    for row in rows:
        cells = [row["name"], f"{'x'.join(map(str, row['input_shape']))}, {row['batch_size']}",
                 row["backend"], row["peer"], "{:,} / {:,}".format(*row["parameters"])]  # fmt: skip
        for part in ("train", "predict"):
            mine, theirs = row[part]
            ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
            cells.append(f"{statistics.median(mine):.2f} / {statistics.median(theirs):.2f}")
            cells.append(f"{middle:.2f} ({low:.2f} to {high:.2f})")
        lines.append(f"| {' | '.join([*cells, str(len(mine)), row['machine']])} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    families = sorted({case.family for case in CASES.values()})
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--names", nargs="+", choices=CASES, help="networks; default all")
    parser.add_argument("--family", nargs="+", choices=families, default=families)
    parser.add_argument("--backend", nargs="+", choices=BACKENDS, default=["tensorflow"])
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--list", action="store_true", help="list the networks and their peers")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rounds < 2:
        parser.error("--rounds must be at least 2")
    names = [n for n in options.names or CASES if CASES[n].family in options.family]
    if options.worker:
        work(CASES[options.worker[0]], options.worker[1])
    elif options.list:
        print("\n".join(f"{name}: {', '.join(CASES[name].peers)}" for name in names))
    else:
        for backend in options.backend:
            for name in names:
                print(record(compare(name, backend, options.device, options.rounds)), flush=True)


if __name__ == "__main__":
    main()
