"""Recipes for neural networks in Keras: build, load, fit and tune any family in five lines.

>>> from recipes import cnn
>>> data = cnn.load_data()
>>> model = cnn.build_model(**data.spec)
>>> model.fit(data.train, validation_data=data.validation, epochs=5)

Each module directly in this package is one family of networks; `recipes.families()` names them.
Everything is imported on first use, so that `import recipes` loads neither Keras nor a backend.
"""

import importlib
import importlib.util
import os
from pathlib import Path

__version__ = "0.1.0"

# public function -> the module that defines it
_FUNCTIONS = {
    "families": "recipes.contract.families",
    "train": "recipes.training.train",
    "load": "recipes.training.checkpoints",
    "tune": "recipes.tuning.tune",
    "predict": "recipes.training.predict",
    "export": "recipes.training.export",
    "compare": "recipes.training.compare",
}

# Keras asks for TensorFlow unless told otherwise, and fails without it. Where another backend is
# all there is, use that one. A choice that the user made (variable or keras.json) is never touched.
if (
    "KERAS_BACKEND" not in os.environ
    and not (Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "keras.json").exists()
    and importlib.util.find_spec("tensorflow") is None
):
    for _backend in ("jax", "torch"):
        if importlib.util.find_spec(_backend):
            os.environ["KERAS_BACKEND"] = _backend
            break


def _family_names() -> list[str]:
    """Names of the families: each module directly in this package, dunders aside."""
    return sorted(p.stem for p in Path(__file__).parent.glob("*.py") if p.stem[:2] != "__")


def __getattr__(name: str):
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(_FUNCTIONS[name]), name)
    if name in _family_names():
        return importlib.import_module(f"recipes.{name}")
    raise AttributeError(
        f"module 'recipes' has no attribute {name!r}; "
        f"families: {', '.join(_family_names())}; functions: {', '.join(_FUNCTIONS)}"
    )


def __dir__() -> list[str]:
    return sorted([*_FUNCTIONS, *_family_names(), "__version__"])
