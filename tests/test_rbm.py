"""Restricted Boltzmann machines: learning, likelihood, dreams, and real data."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from recipes import rbm
from recipes.layers.boltzmann import run_chains


def bars(count, side=3, seed=0):
    """Images of bars and stripes: each row, or each column, is on or off as a whole (MacKay)."""
    generator = np.random.default_rng(seed)
    lines = generator.random((count, side, 1)) < 0.5
    x = np.repeat(lines, side, axis=2)
    turned = generator.random(count) < 0.5
    x[turned] = x[turned].transpose(0, 2, 1)
    return x[..., None].astype("float32")


def small(variant="cd1", **arguments):
    arguments = {"input_shape": (3, 3, 1), "units": 10, "weight_decay": 0.0, "seed": 0, **arguments}
    return rbm.build_model(variant, **arguments)


def all_images():
    return np.array(list(itertools.product((0.0, 1.0), repeat=9)), "float32").reshape(-1, 3, 3, 1)


def exact_log_z(model):
    return np.logaddexp.reduce(-model.free_energy(all_images()).astype("float64"))


# Parameters.


@pytest.mark.parametrize(
    ("variant", "arguments", "trained", "kept"),
    [
        ("cd1", {}, 784 * 500 + 784 + 500, 0),
        ("pcd", {"num_chains": 20}, 784 * 500 + 784 + 500, 20 * 784),
        ("gaussian", {"input_shape": (8, 8, 3), "units": 7}, 192 * 7 + 192 + 7, 0),
    ],
)
def test_parameter_counts(sketch, variant, arguments, trained, kept):
    model = sketch(rbm.build_model, variant, **arguments)
    found = sum(np.prod(w.shape) for w in model.trainable_weights)
    assert found == trained
    assert model.count_params() - found == kept


# Learning.


@pytest.mark.slow
def test_learning_raises_the_exact_likelihood_to_near_the_most_there_is():
    x = bars(2000)
    # 8 + 8 images, two of which are both bars and stripes: the data's entropy
    share = np.unique(x.reshape(len(x), -1), axis=0, return_counts=True)[1] / len(x)
    most = (share * np.log(share)).sum()
    rate = keras.optimizers.schedules.PolynomialDecay(0.3, 2400, 0.0)
    model = small("pcd", learning_rate=rate, momentum=0.0, units=16, gibbs_steps=5)
    independent = np.clip(x.mean(axis=0), 1e-3, 1 - 1e-3)
    noise = (x * np.log(independent) + (1 - x) * np.log(1 - independent)).sum(axis=(1, 2, 3)).mean()
    model.fit(x, batch_size=50, epochs=60, verbose=0)
    log_z = exact_log_z(model)
    found = model.log_likelihood(x, log_z).mean()
    assert noise < -6.2
    assert -2.95 < found <= most + 1e-3
    # and the estimate of the trained machine's log Z
    estimate, error = model.log_partition(x, num_chains=500, num_betas=500)
    assert error < 0.1
    assert estimate == pytest.approx(log_z, abs=4 * error)
    # its dreams are bars and stripes
    dreams = model.generate(200, gibbs_steps=200, seed=1) > 0.5
    known = {image.tobytes() for image in bars(500) > 0.5}
    assert np.mean([image.tobytes() in known for image in dreams]) > 0.85


def test_likelihoods_of_all_images_sum_to_one():
    model = small()
    model.set_weights([w + 0.3 for w in model.get_weights()])
    found = model.log_likelihood(all_images(), exact_log_z(model))
    assert np.exp(found).sum() == pytest.approx(1, abs=1e-4)
    estimated = model.log_likelihood(all_images())  # with log Z by its default estimate
    np.testing.assert_allclose(estimated, found, atol=0.1)


def test_persistent_chains_go_on_where_they_ended_and_only_in_training():
    model = small("pcd", num_chains=7)
    x = bars(40)
    seen = [ops.convert_to_numpy(model.chains).copy()]
    for _ in range(2):
        model.train_on_batch(x)
        seen.append(ops.convert_to_numpy(model.chains).copy())
    assert seen[0].shape == (7, 9)
    assert set(np.unique(seen[2])) == {0, 1}
    assert not np.array_equal(seen[1], seen[2])
    model.evaluate(x, verbose=0)
    model.predict(x, verbose=0)
    np.testing.assert_array_equal(ops.convert_to_numpy(model.chains), seen[2])
    # Strong biases hold a chain in place: without them it would be back at the data.
    model.machine.set_weights([np.zeros((9, 10)), np.full(9, -50.0), np.zeros(10)])
    model.chains.assign(np.ones((7, 9)))
    model.train_on_batch(np.ones_like(x))
    np.testing.assert_array_equal(ops.convert_to_numpy(model.chains), 0)


def test_first_fit_starts_from_the_frequencies_of_the_data_and_a_second_goes_on():
    x = np.concatenate([np.ones((30, 3, 3, 1)), np.zeros((68, 3, 3, 1))]).astype("float32")
    model = small(learning_rate=1e-9)
    model.fit(x, epochs=1, verbose=0)
    np.testing.assert_allclose(model.get_weights()[1], np.log(31 / 69), rtol=1e-4)
    model.fit(1 - x, epochs=1, verbose=0)
    np.testing.assert_allclose(model.get_weights()[1], np.log(31 / 69), rtol=1e-4)


def test_weight_decay_shrinks_the_kernel_only():
    model = small(weight_decay=0.1, learning_rate=1e-6)
    before = [w + 0.5 for w in model.get_weights()]
    model.set_weights(before)
    x = bars(20)
    found = model.evaluate(x, verbose=0, return_dict=True)
    penalty = 0.05 * (before[0] ** 2).sum()
    assert found["loss"] - found["reconstruction_error"] == pytest.approx(penalty, rel=1e-4)
    model = small(weight_decay=1e4, learning_rate=1e-5, momentum=0.0)
    model.set_weights(before)
    model.train_on_batch(x)
    kernel, *biases = model.get_weights()
    np.testing.assert_allclose(kernel, 0.9 * before[0], atol=1e-3)
    for bias, old in zip(biases, before[1:], strict=True):
        np.testing.assert_allclose(bias, old, atol=1e-3)


def test_metric_is_the_cross_entropy_of_the_reconstruction():
    model, x = small(), bars(50)
    model.set_weights([w + 0.2 for w in model.get_weights()])
    p = model.reconstruct(x)
    assert p.shape == x.shape
    expected = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum(axis=(1, 2, 3)).mean()
    found = model.evaluate(x, verbose=0, return_dict=True)
    assert found["reconstruction_error"] == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(p, model.predict(x, verbose=0), atol=1e-6)


@pytest.mark.slow
def test_gaussian_units_learn_the_mean_and_the_directions_of_the_data():
    # v = +-(1.2, 1.2, -1.2, 0) + (0, 0, 0, 4) + noise: two clusters
    generator = np.random.default_rng(0)
    sign = generator.choice([-1.0, 1.0], (2000, 1))
    x = sign * [1.2, 1.2, -1.2, 0] + [0, 0, 0, 4] + generator.standard_normal((2000, 4))
    x = x.astype("float32")
    rate = keras.optimizers.schedules.PolynomialDecay(0.05, 1200, 0.0)
    model = small("gaussian", input_shape=(4,), units=2, learning_rate=rate, gibbs_steps=5)
    model.fit(x, batch_size=50, epochs=30, verbose=0)
    dreams, _ = run_chains(model.machine, 2000, np.ones(201), seed=1)
    np.testing.assert_allclose(dreams.mean(axis=0), x.mean(axis=0), atol=0.25)
    np.testing.assert_allclose(np.cov(dreams.T), np.cov(x.T), atol=0.35)
    assert np.cov(x.T)[0, 1] > 1.3
    # what lies between the clusters is less probable than their own means
    centres = np.array([[0, 0, 0], [1.2, 1.2, -1.2], [-1.2, -1.2, 1.2]])
    scores = model.anomaly_score(np.insert(centres, 3, 4, axis=1).astype("float32"))
    assert scores[0] > scores[1:].max() + 0.3
    model.fit(np.full((4, 4), -7, "float32"), verbose=0)  # values of any range


# What it gives.


def test_generate_repeats_for_a_seed():
    model = small("tiny")
    first, again, other = (model.generate(5, seed=s, gibbs_steps=7) for s in (1, 1, 2))
    assert first.shape == (5, 3, 3, 1)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_encode_gives_probabilities_of_the_hidden_units_by_hand():
    model = small(units=1)
    kernel = np.linspace(-1, 1, 9)[:, None]
    model.set_weights([kernel, np.zeros(9), np.array([0.5])])
    x = np.zeros((2, 3, 3, 1), "float32")
    x[1, 2, 2], x[1, 0, 1] = 1, 1  # the weights 1 and -0.75
    expected = [[1 / (1 + np.exp(-0.5))], [1 / (1 + np.exp(-0.75))]]
    np.testing.assert_allclose(model.encode(x), expected, rtol=1e-5)


# Bad input.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"visible": "gausian"}, r"unknown visible 'gausian'; known: binary, gaussian.*Did you"),
        ({"units": (500, 2)}, r"units=\(500, 2\): must be a positive integer"),
        ({"units": 0}, r"units=0: must be a positive integer"),
        ({"gibbs_steps": 0}, r"gibbs_steps=0: must be a positive integer"),
        ({"gibbs_steps": True}, r"gibbs_steps=True: must be a positive integer"),
        ({"num_chains": 1.5}, r"num_chains=1.5: must be a positive integer"),
        ({"persistent": 1}, r"persistent=1: must be True or False"),
        ({"momentum": 1.0}, r"momentum=1.0: must be a number in \[0, 1\)"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        rbm.build_model(**arguments)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.fit(bars(4) * 255), r"values in 0 \.\. 255': this model takes values in \[0"),
        (lambda m: m.fit(bars(4)[:, :2]), r"array of shape \(4, 2, 3, 1\)': this model takes"),
        (lambda m: m.generate(2, labels=[0, 1]), r"labels=\[0, 1\]: this model is unconditional"),
        (lambda m: m.generate(0), r"count=0: must be a positive integer"),
        (lambda m: m.generate(1, gibbs_steps=0), r"gibbs_steps=0: must be a positive integer"),
        (lambda m: m.log_partition(num_chains=1), r"num_chains=1: must be an integer of at least"),
        (lambda m: m.log_partition(num_betas=0), r"num_betas=0: must be an integer of at least 1"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(small())


# Real data.


def test_data_is_binary_unless_told_otherwise():
    x = rbm.load_data("digits").train[0][0]
    assert set(np.unique(x)) == {0.0, 1.0}
    grey = rbm.load_data("digits", binarize=None).train[0][0]
    assert ((grey > 0) & (grey < 1)).any()
    data = rbm.load_data("digits", standardize=True)
    standard = data.train.arrays()[0]
    assert standard.mean() == pytest.approx(0, abs=1e-3)
    assert standard.std() == pytest.approx(1, abs=1e-3)
    assert list(data.spec) == ["input_shape"]


@pytest.mark.slow
def test_digits():
    data = rbm.load_data("digits")
    rate = keras.optimizers.schedules.PolynomialDecay(0.2, 100 * len(data.train), 0.0)
    model = rbm.build_model("pcd", **data.spec, units=64, learning_rate=rate, seed=0)
    model.fit(data.train, epochs=100, verbose=0)
    x, unseen = (part.arrays()[0] for part in (data.train, data.test))
    log_z, error = model.log_partition(x)
    found = model.log_likelihood(unseen, log_z).mean()
    share = np.clip(x.mean(axis=0), 1e-3, 1 - 1e-3)
    apart = (unseen * np.log(share) + (1 - unseen) * np.log(1 - share)).sum(axis=(1, 2, 3)).mean()
    assert error < 0.5
    assert found > apart + 3.5  # measured -22.7 against -27.0
    # a digit is more probable than the same pixels in another order
    mixed = np.random.default_rng(0).permuted(unseen.reshape(len(unseen), -1), axis=1)
    scores = model.anomaly_score(unseen)
    assert np.mean(scores < model.anomaly_score(mixed.reshape(unseen.shape))) > 0.98
