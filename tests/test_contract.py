"""The contract of DESIGN section 3, held by every family that is found; there is no list to edit.

A family that cannot keep a part of it says why in its own file: `NO_GRADIENT` (it does not learn
by gradients), `NO_FALLING_LOSS` or `NO_MIXED_PRECISION`, each a sentence.
"""

import ast
import importlib
import inspect
import io
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import keras_tuner
import numpy as np
import pytest
from PIL import Image

import recipes
from recipes.contract import describe, families, family
from recipes.contract.arguments import VOCABULARY
from recipes.data.core import Batches, Data
from recipes.data.pairs import PairBatches
from recipes.training.compilation import create_variables
from recipes.training.train import reported
from recipes.training.unsupervised import Unsupervised

ROOT = Path(recipes.__file__).parent
FAMILIES = [pytest.param(name, id=name) for name in families()]
TRAINING_ARGUMENTS = ("batch_size", "epochs")
# Other names for what the vocabulary has a word for.
SYNONYMS = {
    "lr", "n_classes", "classes", "n_outputs", "dropout", "hidden_size", "hidden_units", "depth",
    "n_layers", "layers", "heads", "n_heads", "embed_dim", "embedding_dim", "d_model", "mlp_dim",
    "ff_dim", "channels", "num_filters", "kernel", "vocab_size", "seq_len", "max_len", "wd",
    "random_state", "bs", "shape", "act",
}  # fmt: skip


@pytest.fixture(scope="module")
def default_data():
    """Each family's default data, loaded once."""
    found: dict[str, Data] = {}

    def get(name: str) -> Data:
        if name not in found:
            found[name] = family(name).load_data()
        return found[name]

    return get


def some(part: Batches, count: int = 256) -> Batches:
    """The first examples of a part; pairs in one width, since JAX compiles for each."""
    part = part.first(count).with_batch_size(32)
    if isinstance(part, PairBatches):
        part = PairBatches(**{**part._arguments(), "widths": part.widths[-1:]})
    return part


def tiny(name: str, data: Data, **arguments) -> keras.Model:
    model = family(name).build_model("tiny", **{**data.spec, "seed": 1, **arguments})
    create_variables(model, some(data.train)[0])  # tracing twice would be much of the time
    return model


@pytest.mark.parametrize("name", FAMILIES)
def test_has_all_names(name):
    module = family(name)
    assert "tiny" in module.VARIANTS
    assert inspect.signature(module.build_model).parameters["variant"].default in module.VARIANTS
    assert all(isinstance(arguments, dict) for arguments in module.VARIANTS.values())
    metric, direction = module.OBJECTIVE
    assert metric.startswith("val_")
    assert direction in ("min", "max")
    assert module.EPOCHS >= 1
    assert set(module.KINDS) <= set(importlib.import_module("recipes.data").KINDS)
    assert callable(module.load_data)
    assert callable(module.search_space)
    for word in ("Paper", "Differences:"):
        assert word in module.__doc__, f"the docstring of {name} does not state {word}"
    assert families()[name].variants == tuple(module.VARIANTS)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_argument_is_documented_and_speaks_the_vocabulary(name):
    module = family(name)
    parameters = inspect.signature(module.build_model).parameters
    assert set(describe(module.build_model)) == set(parameters)
    assert not set(parameters) & SYNONYMS
    assert "seed" in parameters
    assert all(
        p.kind is p.KEYWORD_ONLY and p.default is not p.empty
        for p in parameters.values()
        if p.name != "variant"
    )
    for variant, arguments in module.VARIANTS.items():
        assert set(arguments) <= set(parameters) - {"variant", "seed"}, variant
    load = inspect.signature(module.load_data).parameters
    assert list(load)[:3] == ["source", "batch_size", "seed"]
    assert load["seed"].default == 0


@pytest.mark.parametrize("name", FAMILIES)
def test_default_model_fits_default_data(name, default_data):
    data = default_data(name)
    model = family(name).build_model()
    assert model.compiled
    x = data.train[0][0]
    if data.kind == "pairs":
        assert [part.dtype for part in x] == [np.int32, np.int32]
        assert x[0].shape[1] <= data.spec["source_length"]
        assert x[1].shape[1] <= data.spec["target_length"]
    elif data.kind == "graphs":
        assert set(x) == {tensor.name for tensor in model.inputs}
        assert x["features"].dtype == np.float32
        assert x["features"].shape[1:] == tuple(data.spec["input_shape"])
    elif "sequence_length" in data.spec:  # token ids
        assert x.dtype == np.int32
        assert x.shape[1:] == (data.spec["sequence_length"],)
        assert x.max() < data.spec["vocabulary_size"]
    else:
        assert x.dtype == np.float32
        assert model.input_shape == (None, *x.shape[1:])
        assert tuple(data.spec["input_shape"]) == x.shape[1:]
    output = model.predict_on_batch(x)
    assert output.dtype == np.float32
    if data.kind == "corpus":
        # Vectors of words, or logits of the next one.
        width = getattr(model, "hidden_dim", data.spec["vocabulary_size"])
        assert output.shape == (*x.shape, width)
    elif data.kind == "pairs":
        assert output.shape == (*x[1].shape, data.spec["target_vocabulary_size"])
    elif data.kind == "environments":  # a value for each action
        assert output.shape == (len(x), data.spec["num_actions"])
    elif isinstance(model, Unsupervised):  # reconstructions, or one number for each example
        assert output.shape in (x.shape, (len(x), 1))
    elif data.class_names is not None:
        assert output.shape == (len(data.train[0][1]), len(data.class_names))
        assert set(np.unique(data.train.targets)) == set(range(len(data.class_names)))
        assert data.train[0][1].dtype == np.int32


@pytest.mark.parametrize("name", FAMILIES)
def test_every_trainable_variable_has_a_gradient(name, default_data):
    module = family(name)
    if getattr(module, "NO_GRADIENT", ""):
        pytest.skip(module.NO_GRADIENT)
    data = default_data(name)
    parameters = inspect.signature(module.build_model).parameters
    # The penalty on weights would move a variable that the data does not reach.
    free = {"weight_decay": 0.0} if "weight_decay" in parameters else {}
    # Adam moves by its rate however small the gradient is, and not at all where there is none.
    optimizer = keras.optimizers.Adam(1e-3, epsilon=1e-12)
    model = tiny(name, data, optimizer=optimizer, **free)
    before = [keras.ops.convert_to_numpy(v).copy() for v in model.trainable_variables]
    # Behind weights that start at zero, nothing moves in the first step.
    if data.kind == "environments":  # a batch is not what is learnt from: it is met by playing
        model.fit(some(data.train), epochs=4, verbose=0)
    for _ in range(0 if data.kind == "environments" else 4):
        model.train_on_batch(*some(data.train)[0])
    assert all(np.isfinite(keras.ops.convert_to_numpy(v)).all() for v in model.variables)
    still = [
        v.path
        for v, old in zip(model.trainable_variables, before, strict=True)
        if np.array_equal(keras.ops.convert_to_numpy(v), old)
    ]
    assert not still, f"no gradient reaches {still}"


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("name", FAMILIES)
def test_trains_under_each_precision(name, policy, default_data):
    module = family(name)
    if policy != "float32" and getattr(module, "NO_MIXED_PRECISION", ""):
        pytest.skip(module.NO_MIXED_PRECISION)
    data = default_data(name)
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(1)
    model = tiny(name, data)
    half = policy.removeprefix("mixed_")
    layers = [
        layer
        for layer in model._flatten_layers(include_self=False)
        if layer.weights and not isinstance(layer, keras.Model)
    ]
    assert any(layer.compute_dtype == half for layer in layers)
    assert all(v.dtype == "float32" for v in model.trainable_variables)
    outputs = model.outputs if getattr(model, "outputs", None) else []
    assert all(output.dtype == "float32" for output in outputs)
    if policy == "mixed_float16":
        assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    history = model.fit(some(data.train), epochs=4, shuffle=False, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    falls = not getattr(module, "NO_FALLING_LOSS", "")
    assert history["loss"][-1] < history["loss"][0] or not falls
    prediction = model.predict(some(data.test), verbose=0)
    assert prediction.dtype == np.float32
    assert np.isfinite(prediction).all()
    if policy == "float32":
        test_trains_under_each_precision.losses[name] = history["loss"]
    elif falls and name in test_trains_under_each_precision.losses:
        exact = test_trains_under_each_precision.losses[name]
        # float16 may lose its first steps to the search for a loss scale.
        assert history["loss"][-1] < exact[0]
        assert history["loss"][-1] == pytest.approx(exact[-1], rel=0.25, abs=0.05)


test_trains_under_each_precision.losses = {}


@pytest.mark.parametrize("name", FAMILIES)
def test_pictures_show_something(name, default_data):
    """On every backend: what a run ends with is otherwise seen on one alone."""
    module = family(name)
    if not hasattr(module, "pictures"):
        pytest.skip("runs show its predictions, as any classifier's")
    data = default_data(name)
    found = module.pictures(tiny(name, data), data)
    assert found
    for made in found.values():
        if not isinstance(made, list):
            made.savefig(file := io.BytesIO(), format="png", dpi=50)
            made = [np.asarray(Image.open(file).convert("RGB"))]
        assert all(frame.shape[0] > 50 and frame.std() > 1 for frame in made)


@pytest.fixture(scope="module")
def loaded_elsewhere(request, tmp_path_factory, default_data):
    """A trained tiny model of each family asked for, saved here and loaded in one fresh process."""
    folder = tmp_path_factory.mktemp("saved")
    expected, models = {}, {}
    test = test_saves_and_loads_in_a_fresh_process.__name__
    asked = [i.callspec.params["name"] for i in request.session.items if i.originalname == test]
    for name in asked:
        data = default_data(name)
        model = tiny(name, data)
        model.fit(some(data.train, 64), epochs=1, verbose=0)
        x = data.test[0][0]
        model.save(folder / f"{name}.keras")
        np.savez(folder / f"{name}.npz", **x) if isinstance(x, dict) else np.savez(
            folder / f"{name}.npz", *keras.tree.flatten(x)
        )
        expected[name] = model.predict(x, verbose=0)
        models[name] = model
        keras.backend.clear_session(free_memory=False)
    code = """
import json, sys
from pathlib import Path
import numpy as np
import recipes
from recipes.training import compilation
compilation.XLA_ON_CPU = False  # as here: TensorFlow's random numbers differ under XLA
found = {}
for path in sorted(Path(sys.argv[1]).glob("*.keras")):
    model = recipes.load(path)
    x = dict(np.load(path.with_suffix(".npz")))
    if "arr_0" in x:  # a tensor, or a tuple of them
        x = tuple(x.values()) if len(x) > 1 else x["arr_0"]
    np.save(path.with_suffix(".out.npy"), model.predict(x, verbose=0))
    found[path.stem] = [model.compiled, int(model.optimizer.iterations) if model.optimizer else -1]
    model.fit(x[:8], np.zeros(8, "int32"), epochs=1, verbose=0) if "cnn" in path.stem else None
print(json.dumps(found))
"""
    result = _python(code, str(folder))
    found = json.loads(result.splitlines()[-1])
    return {
        name: (expected[name], np.load(folder / f"{name}.out.npy"), found[name], models[name])
        for name in asked
    }


@pytest.mark.parametrize("name", FAMILIES)
def test_saves_and_loads_in_a_fresh_process(name, loaded_elsewhere):
    expected, found, (compiled, iterations), model = loaded_elsewhere[name]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert compiled
    if model.optimizer is not None:
        assert iterations == int(model.optimizer.iterations)


def _bare(config: object) -> object:
    """A configuration without names, shapes and the layers' own, which are looked at themselves."""
    if isinstance(config, dict):
        drop = ("name", "build_config", "keras_history", "inbound_nodes", "layers",
                "input_layers", "output_layers", "trainable")  # fmt: skip
        return {k: _bare(v) for k, v in config.items() if k not in drop}
    if isinstance(config, list | tuple):
        return [_bare(v) for v in config]
    return config


def _description(model: keras.Model) -> str:
    layers = [
        (type(layer).__name__, _bare(layer.get_config()))
        for layer in model._flatten_layers(include_self=not hasattr(model, "operations"))
    ]
    optimizer = _bare(model.optimizer.get_config()) if model.optimizer else None
    return json.dumps([layers, optimizer], default=str, sort_keys=True)


@pytest.mark.parametrize("name", FAMILIES)
def test_search_space_defaults_reproduce_build_model(name):
    module = family(name)
    hp = keras_tuner.HyperParameters()
    drawn = module.search_space(hp)
    assert hp.space, "a search space needs something to search"
    parameters = inspect.signature(module.build_model).parameters
    assert set(drawn) <= set(parameters) | set(TRAINING_ARGUMENTS)
    load = inspect.signature(module.load_data).parameters
    assert drawn.get("batch_size", load["batch_size"].default) == load["batch_size"].default
    assert drawn.get("epochs", module.EPOCHS) == module.EPOCHS
    arguments = {k: v for k, v in drawn.items() if k not in TRAINING_ARGUMENTS}
    assert _description(module.build_model(**arguments)) == _description(module.build_model())


@pytest.mark.parametrize("name", FAMILIES)
def test_the_objective_is_found_before_a_search_begins(name, default_data):
    module, data = family(name), default_data(name)
    found = reported(lambda: module.build_model("tiny", **data.spec), data, "float32")
    assert module.OBJECTIVE[0] in found


@pytest.mark.parametrize("name", FAMILIES)
def test_search_space_draws_what_build_model_takes(name, default_data):
    module, data = family(name), default_data(name)
    hp = keras_tuner.HyperParameters()
    module.search_space(hp)
    descriptions = set()
    for seed in range(4):
        drawn = hp.copy()
        drawn.values = {p.name: p.random_sample(100 * seed + i) for i, p in enumerate(hp.space)}
        arguments = module.search_space(drawn)
        arguments = {k: v for k, v in arguments.items() if k not in TRAINING_ARGUMENTS}
        model = module.build_model(**{**data.spec, **arguments})
        descriptions.add(_description(model))
    assert len(descriptions) > 1


def _classes(name: str) -> list[type]:
    """Keras classes that a family defines and uses as they are, not as a base of others."""
    module = family(name)
    kinds = (
        keras.Layer, keras.Loss, keras.Metric, keras.initializers.Initializer,
        keras.optimizers.Optimizer, keras.constraints.Constraint, keras.regularizers.Regularizer,
    )  # fmt: skip
    found = [
        c
        for c in vars(module).values()
        if isinstance(c, type) and issubclass(c, kinds) and c.__module__ == module.__name__
    ]
    return [c for c in found if not any(c in other.__bases__ for other in found)]


def _required(cls: type) -> list[str]:
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in kinds]


def test_no_two_classes_are_registered_by_one_name():
    pattern = r'register_keras_serializable\("recipes"\)\s+(?:class|def) (\w+)'
    found = [n for file in ROOT.rglob("*.py") for n in re.findall(pattern, file.read_text())]
    assert len(found) > 50
    assert sorted(set(found)) == sorted(found), "Keras would load the one for the other"


@pytest.mark.parametrize("name", FAMILIES)
def test_classes_are_registered_and_get_config_covers_init(name):
    module = family(name)
    instances = {c: c() for c in _classes(name) if not _required(c)}
    for variant in ("tiny", *module.VARIANTS):
        wanted = set(_classes(name)) - set(instances)
        if not wanted:
            break
        model = module.build_model(variant)
        things = [model, model.loss, *model._flatten_layers()]
        instances |= {type(t): t for t in things if type(t) in wanted}
    missing = set(_classes(name)) - set(instances)
    assert not missing, f"no variant uses {missing}"
    for cls, instance in instances.items():
        assert keras.saving.get_registered_name(cls) == f"recipes>{cls.__name__}"
        config = instance.get_config()
        kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
        uncovered = {p.name for p in parameters if p.kind not in kinds} - set(config)
        if "input_layers" in config:  # a functional model, saved as its graph
            uncovered -= {"inputs", "outputs"}
        assert not uncovered, f"{cls.__name__}.get_config lacks {uncovered}"
        again = cls.from_config(config)
        found, wanted = (json.dumps(_bare(c), default=str) for c in (again.get_config(), config))
        assert found == wanted


@pytest.mark.parametrize("name", FAMILIES)
def test_seed_repeats_the_weights_and_leaves_other_state_alone(name, default_data):
    import random

    data = default_data(name)
    random.seed(7)
    expected = random.random()
    random.seed(7)
    first, second = tiny(name, data, seed=3), tiny(name, data, seed=3)
    assert random.random() == expected
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", FAMILIES)
def test_unknown_names_list_the_known_ones(name):
    module = family(name)
    with pytest.raises(ValueError, match=r"unknown variant 'tinny'; known: .*tiny.*Did you mean"):
        module.build_model("tinny")
    first = list(inspect.signature(module.build_model).parameters)[1]
    with pytest.raises(ValueError, match=rf"unknown argument '{first[:-1]}'.*{first}"):
        module.build_model(**{first[:-1]: 1})
    wrong = {
        "learning_rate": (-1, r"learning_rate=-1: must be a positive number"),
        "num_classes": (1, r"num_classes=1: must be an integer of at least 2"),
        "input_shape": ((0,), r"input_shape=\(0,\): must be a tuple of positive"),
    }
    for argument in set(wrong) & set(inspect.signature(module.build_model).parameters):
        value, message = wrong[argument]
        with pytest.raises(ValueError, match=message):
            module.build_model(**{argument: value})
    with pytest.raises(ValueError, match=r"no_such_data"):
        module.load_data("no_such_data")
    with pytest.raises(ValueError, match=r"unknown option of [\w ]+ 'batch_sise'.*batch_size"):
        module.load_data(batch_sise=3)


# The rules of the house, read from the sources.


def _imports(path: Path) -> set[str]:
    """Dotted names that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


SOURCES = sorted(ROOT.rglob("*.py"))


def test_no_module_imports_a_family():
    own = {f"recipes.{name}" for name in families()}
    for path in SOURCES:
        assert not _imports(path) & own, path


def test_backends_are_imported_only_by_files_named_after_them():
    for path in SOURCES:
        top = {name.partition(".")[0] for name in _imports(path)}
        for backend in top & {"tensorflow", "jax", "torch"}:
            assert backend in str(path.relative_to(ROOT)), f"{path} imports {backend}"


def test_every_folder_and_family_has_its_place():
    folders = {p.name for p in ROOT.iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert folders == {"contract", "data", "layers", "reports", "training", "tuning"}
    tests = Path(__file__).parent
    for name in families():
        assert (tests / f"test_{name}.py").exists()
        assert (tests / "fidelity" / f"test_{name}.py").exists()
        assert (tests.parent / "notebooks" / f"{name}.ipynb").exists()
        assert f"`{name}`" in (tests.parent / "README.md").read_text("utf-8")


def _python(code: str, *arguments: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", **environment},
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def test_importing_recipes_and_listing_families_loads_no_keras():
    heavy = "{'keras', 'numpy', 'tensorflow', 'jax', 'torch', 'matplotlib'} & set(sys.modules)"
    code = f"import sys, recipes; recipes.families(); print(sorted({heavy}))"
    assert _python(code).strip() == "[]"
    code = f"import sys; from recipes.__main__ import main; main(['list']); print(sorted({heavy}))"
    assert _python(code).strip().splitlines()[-1] == "[]"


def test_importing_families_does_no_work():
    code = """
import sys, keras
before = set(sys.modules)
import recipes
for name in recipes.families():
    getattr(recipes, name)
extra = {m.partition(".")[0] for m in set(sys.modules) - before}
heavy = {"pandas", "sklearn", "matplotlib", "tensorflow_datasets", "keras_tuner", "PIL", "rich"}
print(sorted(extra & heavy), keras.config.dtype_policy().name)
"""
    assert _python(code).strip().splitlines()[-1] == "[] float32"


def test_backend_is_found_where_tensorflow_is_not_installed():
    code = """
import importlib.util as u, os
find = u.find_spec
known = {"tensorflow": None, "jax": object()}
u.find_spec = lambda name, *a: known[name] if name in known else find(name, *a)
os.environ.pop("KERAS_BACKEND", None)
import recipes
print(os.environ.get("KERAS_BACKEND"))
"""
    environment = {"KERAS_HOME": "/nonexistent", "KERAS_BACKEND": ""}
    assert _python(code, **environment).strip() == "jax"


def test_vocabulary_messages_say_what_would_do():
    for name, (test, wanted) in VOCABULARY.items():
        assert not test(object()), name
        assert wanted.startswith("must be"), name
        assert not math.isnan(len(wanted))
