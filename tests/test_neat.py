"""NEAT: networks by hand, XOR as in the paper, environments, sequences, pictures."""

import keras
import numpy as np
import pytest
from keras import ops

import recipes
from recipes import neat
from recipes.neat import Network, settle, sweep

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float32")
Y = np.array([0, 1, 1, 0], "int32")


def sigmoid(z):
    return 1 / (1 + np.exp(-4.9 * z))


# Networks. Nodes are two inputs, the bias, one output, and hidden ones.
KERNEL = np.zeros((1, 7, 4), "float32")
KERNEL[0, [0, 4, 6], 0] = 0.5, -1.5, 2.0  # to the output
KERNEL[0, [0, 1, 2], 1] = 1.0, 1.0, -0.5
KERNEL[0, [1, 4], 3] = -1.0, 0.7  # the third hidden node stands behind the first
IN = np.array([[0.2, -0.4], [1.0, 0.5], [0.0, 0.0]], "float32")


def test_a_feed_forward_network_by_hand():
    a, b = IN.T
    first = sigmoid(a + b - 0.5)
    third = sigmoid(-b + 0.7 * first)
    expected = 0.5 * a - 1.5 * first + 2 * third  # of the second hidden node nobody knows
    z = ops.convert_to_numpy(settle(ops.convert_to_tensor(KERNEL), ops.convert_to_tensor(IN[None])))
    np.testing.assert_allclose(z[0, :, 0], expected, rtol=1e-5)
    network = Network(2, 1, 7)
    network.kernel.assign(KERNEL[0])
    np.testing.assert_allclose(ops.convert_to_numpy(network(IN))[:, 0], expected, rtol=1e-5)


def test_a_node_that_nothing_enters_rests_at_one_half():
    kernel = np.zeros((1, 5, 2), "float32")
    kernel[0, 4, 0] = 3.0
    z = settle(ops.convert_to_tensor(kernel), ops.convert_to_tensor(IN[None]))
    np.testing.assert_allclose(ops.convert_to_numpy(z)[0, :, 0], 1.5)


def test_the_longest_way_is_gone_to_its_end():
    count = 15  # hidden nodes, each behind the next one: the last one sees the input
    kernel = np.zeros((2, count + 3, count + 1), "float32")
    kernel[0, range(3, count + 3), range(count)] = 0.9
    kernel[0, 0, count] = 0.8
    kernel[1, 0, 0] = 1.0
    expected = np.float64(0.8)
    for _ in range(count):
        expected = 0.9 * sigmoid(expected)
    z = settle(ops.convert_to_tensor(kernel), ops.ones((1, 1, 1)))
    np.testing.assert_allclose(ops.convert_to_numpy(z)[:, 0, 0], [expected, 1.0], rtol=1e-4)


def test_a_recurrent_sweep_by_hand_and_sequences_step_by_step():
    kernel = np.zeros((1, 4, 2), "float32")  # one input, bias, output, one hidden node
    kernel[0, [2, 3], 0] = -0.3, 1.2
    kernel[0, [0, 1, 2, 3], 1] = 1.0, 0.1, 0.4, -0.6
    network = Network(1, 1, 4, recurrent=True)
    x = np.random.default_rng(0).normal(size=(5, 6, 1)).astype("float32")
    out = hidden = np.zeros(5)
    state, tensor = None, ops.convert_to_tensor(kernel)
    for i in range(6):
        z = -0.3 * out + 1.2 * hidden
        other = x[:, i, 0] + 0.1 + 0.4 * out - 0.6 * hidden
        out, hidden = sigmoid(z), sigmoid(other)
        found, state = network.respond(tensor, x[None, :, i], state)
        np.testing.assert_allclose(ops.convert_to_numpy(found)[0, :, 0], z, rtol=1e-4, atol=1e-5)
    whole, last = network.respond(tensor, x[None])
    np.testing.assert_allclose(ops.convert_to_numpy(whole)[0, :, 0], z, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ops.convert_to_numpy(last), ops.convert_to_numpy(state), rtol=1e-5)
    np.testing.assert_allclose(
        ops.convert_to_numpy(sweep(tensor, x[None, :, 0], None)[1])[0, :, 0], 0.5
    )


def test_networks_of_a_population_answer_as_each_alone():
    model = neat.build_model("tiny", input_shape=(2,), seed=0, add_node_rate=0.5,
                             add_connection_rate=0.5, fitness_threshold=99.0)  # fmt: skip
    model.fit(X, Y, epochs=12, verbose=0)
    together = model.answers(model.express(model.population), X)
    assert model.population.nodes_of(model.population.genomes).sum(axis=1).max() > 6
    for index in range(0, 20, 3):
        model.adopt(model.population, index)
        np.testing.assert_allclose(
            model.predict(X, verbose=0), together[index], rtol=1e-4, atol=1e-4
        )
        places = ops.convert_to_numpy(model.network.places)
        used = places >= 0
        kernel = ops.convert_to_numpy(model.network.kernel)
        assert not kernel[~used].any()
        start, to = np.argwhere(kernel).T
        assert (places[start] <= places[to + 3]).all()


def test_outputs_are_logits_values_or_actions():
    rows = np.zeros((3, 4), "float32")
    for arguments, outputs, width in (
        ({"num_classes": 2}, 1, 2),
        ({"num_classes": 3}, 3, 3),
        ({"num_classes": None}, 1, 1),
        ({"num_classes": None, "num_targets": 2}, 2, 2),
        ({"num_actions": 2}, 2, 2),
    ):
        model = neat.build_model(input_shape=(4,), **arguments)
        assert model.num_outputs == outputs
        assert model.predict(rows, verbose=0).shape == (3, width)
        assert not model.predict(rows, verbose=0).any()  # as yet without connections


# What it learns.


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_xor_is_solved_and_needs_hidden_nodes(seed):
    data = neat.load_data()
    model = neat.build_model(**data.spec, seed=seed)
    history = model.fit(data.train, epochs=150, verbose=0).history
    assert history["accuracy"][-1] == 1  # every output within 0.5
    assert history["hidden_nodes"][-1] >= 1
    assert history["hidden_nodes"][0] == 0
    assert history["connections"][0] == 3
    found = model.evaluate(data.test, verbose=0, return_dict=True)
    assert found["accuracy"] == 1
    assert found["fitness"] > 9
    assert (model.predict(X, verbose=0).argmax(axis=1) == Y).all()


def test_classes_of_flowers():
    data = neat.load_data("iris")
    model = neat.build_model(**data.spec, seed=0)
    model.fit(data.train, epochs=40, verbose=0)
    assert model.evaluate(data.test, verbose=0, return_dict=True)["accuracy"] > 0.85


def test_numbers():
    x = np.linspace(-1, 1, 30, dtype="float32")[:, None]
    y = np.abs(x)  # no linear network can
    model = neat.build_model(input_shape=(1,), num_classes=None, weight_step=0.5, seed=0)
    history = model.fit(x, y, epochs=80, verbose=0).history
    linear = np.var(y)
    assert history["loss"][-1] < 0.25 * linear
    assert model.evaluate(x, y, verbose=0, return_dict=True)["mae"] == pytest.approx(
        np.abs(model.predict(x, verbose=0) - y).mean(), rel=1e-4
    )


def test_sequences_that_only_memory_tells_apart():
    """Which of two signals came first? The last step shows nothing."""
    x = np.zeros((2, 4, 2), "float32")
    x[0, 0, 0] = x[0, 1, 1] = x[1, 0, 1] = x[1, 1, 0] = 1
    model = neat.build_model("xor", input_shape=(4, 2), recurrent=True, seed=0)
    history = model.fit(x, np.array([0, 1]), epochs=60, verbose=0).history
    assert history["accuracy"][-1] == 1


@pytest.mark.slow
def test_cartpole_and_acrobot():
    for name, bar in (("CartPole-v1", 475), ("Acrobot-v1", -100)):  # Gymnasium's own
        data = neat.load_data(name)
        model = neat.build_model(**data.spec, seed=0)
        history = model.fit(data.train, validation_data=data.validation, epochs=40, verbose=0)
        assert len(history.epoch) < 40
        assert history.history["val_fitness"][-1] >= bar
        assert model.evaluate(data.test, verbose=0, return_dict=True)["fitness"] >= bar - 10


def test_a_run_is_kept_and_goes_on(tmp_path):
    arguments = {"variant": "tiny", "seed": 4, "fitness_threshold": 99.0, "verbose": 0}
    run = recipes.train("neat", epochs=3, run_dir=tmp_path / "run", **arguments)
    again = recipes.train(resume=tmp_path / "run", epochs=6, verbose=0)
    whole = recipes.train("neat", epochs=6, run_dir=tmp_path / "whole", **arguments)
    assert again.history == whole.history
    assert len(run.history["fitness"]) == 3
    plots = {path.stem for path in (tmp_path / "whole" / "plots").iterdir()}
    assert plots == {"learning_curves", "champion", "species", "fitness", "surface"}
    found = recipes.predict(tmp_path / "whole", X)
    assert [row["class"] for row in found] == [
        str(i) for i in whole.model.predict(X, verbose=0).argmax(axis=1)
    ]


# Pictures.


def test_pictures_show_what_there_is():
    data = neat.load_data()
    model = neat.build_model("tiny", **data.spec, seed=0, add_node_rate=0.3)
    assert set(neat.pictures(model, data)) == {"champion", "surface"}
    history = model.fit(data.train, epochs=15, verbose=0).history
    figures = neat.pictures(model, data)
    assert set(figures) == {"champion", "species", "fitness", "surface"}
    ax = figures["champion"].axes[0]
    kernel, places = model.network.get_weights()
    hidden, connections = int((places >= 0).sum()) - 4, np.count_nonzero(kernel)
    assert ax.get_title() == f"hidden nodes: {hidden}, connections: {connections}"
    texts = [text.get_text() for text in ax.texts if text.get_text()]
    assert texts == ["x0", "x1", "bias", "1"]
    assert len(ax.texts) == 4 + connections  # an arrow is a text without words
    best, mean = (line.get_ydata() for line in figures["fitness"].axes[0].lines)
    np.testing.assert_allclose(mean, history["mean_fitness"])
    np.testing.assert_allclose(np.maximum.accumulate(best), history["fitness"])
    layers = figures["species"].axes[0].collections
    tops = sum(len(layer.get_paths()) > 0 for layer in layers)
    assert tops == model.population.state()["sizes"][:, 1].max() + 1
    shades = figures["surface"].axes[0].collections[0].get_array()
    assert shades.min() >= 0
    assert shades.max() <= 1


def test_pictures_of_an_environment():
    data = neat.load_data("CartPole-v1")
    model = neat.build_model("recurrent", population_size=4, episodes=1, seed=0)
    model.fit(data.train, epochs=2, verbose=0)
    figures = neat.pictures(model, data)
    assert set(figures) == {"champion", "species", "fitness", "episode", "play"}
    assert len(figures["episode"].axes) == 8
    assert len(figures["play"]) > 5


# What is refused.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"population_size": 1}, r"population_size=1: must be an integer of at least 2"),
        ({"episodes": 0}, r"episodes=0: must be an integer of at least 1"),
        ({"add_node_rate": 1.5}, r"add_node_rate=1.5: must be a number in \[0, 1\]"),
        ({"survival_rate": -0.1}, r"survival_rate=-0.1: must be a number in \[0, 1\]"),
        ({"compatibility_threshold": 0}, r"compatibility_threshold=0: must be a positive number"),
        ({"weight_limit": -1}, r"weight_limit=-1: must be a positive number"),
        ({"c3": -1}, r"c3=-1: must be a number of at least 0"),
        ({"stagnation": 0.5}, r"stagnation=0.5: must be a positive integer"),
        ({"max_nodes": 3}, r"max_nodes=3: must be at least 4: inputs, a bias and outputs"),
        ({"max_nodes": 9, "num_actions": 7}, r"max_nodes=9: must be at least 10"),
        ({"num_actions": 0}, r"num_actions=0: must be a positive integer"),
        ({"recurrent": 1}, r"recurrent=1: must be True or False"),
        ({"recurrent": True}, r"input_shape=\(2,\): must be \(steps, inputs\) of sequences"),
        ({"input_shape": (8, 8, 1)}, r"input_shape=\(8, 8, 1\): must be \(inputs,\)"),
        ({"fitness": "mean"}, r"fitness='mean': must be a function or None"),
        ({"fitness_threshold": "high"}, r"fitness_threshold='high': must be a number or None"),
    ],
)
def test_wrong_arguments_get_one_clear_error(arguments, message):
    with pytest.raises(ValueError, match=message):
        neat.build_model(**arguments)


def test_the_backends_own_seed_is_left_alone():
    before = keras.random.uniform((3,), seed=1)
    neat.build_model("tiny", seed=0).fit(X, Y, epochs=2, verbose=0)
    np.testing.assert_array_equal(keras.random.uniform((3,), seed=1), before)
