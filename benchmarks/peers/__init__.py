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
from dataclasses import dataclass, field


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
    # of x: "normal", "unit" ([0, 1]), "binary" (0 and 1), "signs" (-1 and +1), "ids" (y: the next)
    values: str = "normal"
    generate: dict | None = None  # arguments of `generate`, where it is measured
    predict: str = "predict"  # the method that is measured

    def arrays(self):
        """Random examples: x float32 (n, *input_shape), y int32 (n,) or None; of ids both int32."""
        import numpy as np

        generator, n = np.random.default_rng(0), self.steps * self.batch_size
        shape = (n, *self.input_shape)
        if self.values == "ids":
            size = self.arguments["vocabulary_size"]
            ids = generator.integers(0, size, (n, self.input_shape[0] + 1), "int32")
            return ids[:, :-1], ids[:, 1:]
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

        x, y = self.arrays()
        return Batches(x, y, np.arange(len(x)), np.asarray, self.batch_size)

    def tensors(self) -> list[tuple]:
        """The same in batches for PyTorch: images channels first; on a GPU where there is one."""
        import torch

        x, y = (None if a is None else torch.from_numpy(a) for a in self.arrays())
        if x.ndim == 4:
            x = x.movedim(-1, 1).contiguous()
        x = (x.long() if self.values == "ids" else x).to(device())
        y = None if y is None else y.long().to(device())
        parts = [slice(i, i + self.batch_size) for i in range(0, len(x), self.batch_size)]
        return [(x[part], None if y is None else y[part]) for part in parts]


def device() -> str:
    """Where PyTorch's contenders compute."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def ours(case: Case) -> tuple:
    """The contender that is compared with all others."""
    import recipes

    arguments = {"input_shape": case.input_shape, **case.arguments}
    if case.values == "ids":
        arguments["sequence_length"] = arguments.pop("input_shape")[0]
    elif case.num_classes is not None:
        arguments["num_classes"] = case.num_classes
    model = getattr(recipes, case.family).build_model(case.variant, **arguments)
    return of_keras(model, case)


def of_keras(model, case: Case) -> tuple:
    """What a compiled Keras model can do."""
    batches = case.batches()

    def train():
        model.fit(batches, shuffle=False, verbose=0)

    def predict():
        if case.predict == "predict":
            return model.predict(batches, verbose=0)
        return getattr(model, case.predict)(batches.x, batch_size=case.batch_size)

    parts = {"train": train, "predict": predict}
    if case.generate is not None:
        what = [[1]] * case.batch_size if case.values == "ids" else case.batch_size
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
    return parts, sum(p.numel() for module in modules for p in module.parameters())


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
