"""What `speed.py` runs: our networks and, beside each, the same in another implementation.

One module for each family, with `CASES`: a name to the `Case` to measure. A contender is a function
of the case that builds its network, and returns what it can do and its number of parameters:
({"train": ..., "predict": ..., "generate": ...}, parameters). "train" and "predict" go once over
the case's batches, "generate" makes one batch; each ends when its result is there.
"""

import importlib
import math
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace

# How the other implementations are called, and what is imported of them.
MODULES = {
    "PyTorch": "torch",
    "transformers": "transformers",
    "KerasHub": "keras_hub",
    "diffusers": "diffusers",
    "gensim": "gensim",
    "snnTorch": "snntorch",
    "stable-baselines3": "stable_baselines3",
    "neat-python": "neat",
    "torch-geometric": "torch_geometric",
    "scikit-learn": "sklearn",
}


# Why a network takes longer than its peer.
KERAS = "TensorFlow's own operations: by hand in Keras it takes no less"
STEP = "what each step of `fit` costs on TensorFlow, whatever the network"
CALLS = "a call of `fit` takes some milliseconds, whatever it does"


@dataclass
class Case:
    """A network of ours, the data it learns from, and the contenders."""

    family: str
    variant: str
    input_shape: tuple[int, ...]
    batch_size: int
    steps: int  # in each round
    peers: dict[str, Callable]  # name -> contender
    arguments: dict = field(default_factory=dict)  # of our build_model
    num_classes: int | None = 10  # None: there are no labels
    # of x: "normal", "unit" ([0, 1]), "binary" (0 and 1), "signs" (-1 and +1), "series" (y: the
    # steps that follow), "words" (ids with classes), "ids" (y: the next), "pairs" (x: source and
    # target so far, of lengths `input_shape`; y: the next of the target)
    values: str = "normal"
    generate: dict | None = None  # arguments of `generate`, where it is measured
    predict: str = "predict"  # the method that is measured
    epochs: int = 1  # in each round, over which the steps are divided
    depth: int = 1  # times as many layers; `layers` says which of our arguments that are
    layers: Callable[[int], dict] | None = None
    why: str = ""  # a step on TensorFlow takes longer than the fastest peer's

    def ours(self) -> tuple:
        """The contender that is compared with all others."""
        return of_keras(self.build_model(), self)

    def build_model(self):
        """Our network, compiled."""
        import recipes

        arguments = {"input_shape": self.input_shape, **self.arguments}
        if self.values in ("ids", "words"):
            arguments["sequence_length"] = arguments.pop("input_shape")[0]
        if self.values == "pairs":
            arguments["source_length"], arguments["target_length"] = arguments.pop("input_shape")
        elif self.values != "ids" and self.num_classes is not None:
            arguments["num_classes"] = self.num_classes
        return getattr(recipes, self.family).build_model(self.variant, **arguments)

    def larger(self, what: str, factor: int) -> "Case | None":
        """The same with larger batches ("batch"), more layers ("depth"), longer sequences
        ("length") or more of what a subclass says; None where it has no such thing.
        """
        if what == "depth" and self.layers is not None:
            arguments = {**self.arguments, **self.layers(factor)}
            return replace(self, depth=factor, arguments=arguments)
        if what == "batch":
            return replace(self, batch_size=self.batch_size * factor)
        if what == "length" and self.values in ("ids", "words", "pairs", "series"):
            length, last = self.input_shape[0] * factor, self.input_shape[1:]
            last = (last[0] * factor,) if self.values == "pairs" else last
            return replace(self, input_shape=(length, *last))
        return None

    def arrays(self):
        """Random examples: x float32 (n, *input_shape), y int32 (n,) or None.

        Ids are int32; of pairs x is (source, target so far). Sources are padded to their length,
        nothing else is.
        """
        import numpy as np

        generator, n = np.random.default_rng(0), self.steps * self.batch_size
        shape = (n, *self.input_shape)
        if self.values == "ids":
            size = self.arguments["vocabulary_size"]
            ids = generator.integers(0, size, (n, self.input_shape[0] + 1), "int32")
            return ids[:, :-1], ids[:, 1:]
        if self.values == "words":
            ids = generator.integers(1, self.arguments["vocabulary_size"], shape, "int32")
            return ids, generator.integers(0, self.num_classes, n, "int32")
        if self.values == "pairs":
            (most, written), size = self.input_shape, self.arguments["source_vocabulary_size"]
            source = generator.integers(4, size, (n, most), "int32")
            lengths = generator.integers(most // 2, most, (n, 1), endpoint=True)
            source[np.arange(most) >= lengths] = 0
            target = generator.integers(4, size, (n, written + 1), "int32")
            target[:, 0] = 2  # the start
            return (source, target[:, :-1]), target[:, 1:]
        if self.values == "series":
            steps, features = self.input_shape
            all_steps = (n, steps + self.arguments["horizon"], features)
            x = generator.standard_normal(all_steps, "float32")
            return x[:, :steps], x[:, steps:, 0]
        if self.values == "normal":
            x = generator.standard_normal(shape, "float32")
        else:
            x = generator.random(shape, "float32")
        if self.values in ("binary", "signs"):
            x = (x < 0.5).astype("float32")
        if self.values == "signs":
            x = 2 * x - 1
        labels = self.num_classes is not None
        return x, generator.integers(0, self.num_classes, n, "int32") if labels else None

    def batches(self):
        """The same as `fit` takes them."""
        import numpy as np

        from recipes.data.core import Batches
        from recipes.data.pairs import PairBatches

        (x, y), chosen = self.arrays(), np.arange(self.steps * self.batch_size)
        if self.values == "pairs":
            return PairBatches(x, y, chosen, [self.input_shape], self.batch_size)
        return Batches(x, y, chosen, np.asarray, self.batch_size)

    def tensors(self) -> list[tuple]:
        """The same in batches for PyTorch: images channels first; on a GPU where there is one."""
        import torch

        def put(a, part):
            if a is None:
                return None
            if isinstance(a, tuple):
                return tuple(put(each, part) for each in a)
            a = torch.from_numpy(a[part])
            a = a.movedim(-1, 1).contiguous() if a.ndim == 4 else a
            return (a if a.is_floating_point() else a.long()).to(device())

        x, y = self.arrays()
        starts = range(0, self.steps * self.batch_size, self.batch_size)
        parts = [slice(start, start + self.batch_size) for start in starts]
        return [(put(x, part), put(y, part)) for part in parts]


def device() -> str:
    """Where PyTorch's contenders compute."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def of_keras(model, case: Case) -> tuple:
    """What a compiled Keras model can do."""
    batches = case.batches()

    def train():
        model.fit(batches, epochs=case.epochs, shuffle=False, verbose=0)

    def predict():
        if case.predict == "predict":
            return [model.predict(batches, verbose=0) for _ in range(case.epochs)]
        return getattr(model, case.predict)(batches.x, batch_size=case.batch_size)

    parts = {"train": train, "predict": predict}
    if case.generate is not None:
        what = [[1]] * case.batch_size if case.values == "ids" else case.batch_size
        what = batches.x[0][: case.batch_size] if case.values == "pairs" else what
        parts["generate"] = lambda: model.generate(what, **case.generate)
    return parts, sum(math.prod(w.shape) for w in model.trainable_weights)


def of_torch(
    case: Case, step: Callable, predict: Callable, modules: list, generate: Callable | None = None
) -> tuple:
    """What PyTorch modules can do.

    Args:
        case: what is measured.
        step: (x, y) -> tensors to sum over the batches, such as the loss; it moves the weights.
        predict: x -> a tensor.
        modules: all that is trained.
        generate: count -> a tensor.
    """
    import torch

    batches = case.tensors()

    def train():
        for module in modules:
            module.train()
        sums = [sum(part) for part in zip(*(step(x, y) for x, y in batches), strict=True)]
        return [part.item() for part in sums]  # waits for the device

    def evaluated(function):
        def run(*arguments):
            for module in modules:
                module.eval()
            with torch.inference_mode():
                return function(*arguments).cpu().numpy()

        return run

    one = evaluated(predict)
    parts = {"train": train, "predict": lambda: [one(x) for x, _ in batches]}
    if generate is not None:
        parts["generate"] = lambda: evaluated(generate)(case.batch_size)
    weights = [p for module in modules for p in module.parameters() if p.requires_grad]
    return parts, sum(p.numel() for p in weights)


def keras_classifier(build: Callable) -> Callable:
    """The contender of a Keras model with logits; `build` gives it and its optimizer."""

    def contender(case: Case) -> tuple:
        import keras

        model, optimizer = build(case, keras)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"])
        return of_keras(model, case)

    return contender


def torch_classifier(build: Callable) -> Callable:
    """The contender of a PyTorch module with logits, eager, as its users write it.

    `build` gives the module and how to make its optimizer from the weights.
    """

    def contender(case: Case) -> tuple:
        import torch

        model, make_optimizer = build(case, torch)
        model.to(device())
        optimizer, criterion = make_optimizer(model.parameters()), torch.nn.CrossEntropyLoss()

        def step(x, y):
            optimizer.zero_grad()
            logits = model(x)
            loss = criterion(logits, y)
            loss.backward()
            optimizer.step()
            return loss.detach(), (logits.argmax(1) == y).sum()

        return of_torch(case, step, model, [model])

    return contender


def of_scikit_learn(build: Callable) -> Callable:
    """The contender of an estimator that is fitted in one pass over all examples."""

    def contender(case: Case) -> tuple:
        model, (x, y) = build(), case.arrays()
        parts = {"train": lambda: model.fit(x, y), "predict": lambda: model.predict(x)}
        return parts, (x.shape[1] + 1) * case.num_classes

    return contender


def cases() -> dict[str, Case]:
    """All cases, by name."""
    modules = sorted(found.name for found in pkgutil.iter_modules(__path__))
    return {
        name: case
        for module in modules
        for name, case in importlib.import_module(f"peers.{module}").CASES.items()
    }
