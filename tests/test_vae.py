"""Variational autoencoders: the bound by hand and by integration, labels, codes, and real data."""

import numpy as np
import pytest

from recipes import vae


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.logaddexp(0, x)


def binary(*shape, seed=0):
    return (np.random.default_rng(seed).random(shape) < 0.4).astype("float32")


def with_random_weights(scale=0.3, seed=0, **arguments):
    """A small model whose biases are not zero either."""
    model = vae.build_model("tiny", **{"input_shape": (3, 3, 1), "units": (5,), **arguments})
    generator = np.random.default_rng(seed)
    for network, factor in ((model.encoder, scale), (model.decoder, 3 * scale)):
        network.set_weights([factor * generator.standard_normal(w.shape)
                             for w in network.get_weights()])  # fmt: skip
    return model


# Parameters.


@pytest.mark.parametrize(
    ("variant", "arguments", "expected"),
    [
        ("dense", {}, 652_824),
        ("kingma2013", {}, 815_824),
        ("dense", {"num_classes": 10}, 652_824),
        ("conditional", {}, 652_824 + 2 * 10 * 400),  # ten more inputs of either network
        ("plane", {}, 785 * 400 + 401 * 200 + 2 * 201 * 2
                       + 3 * 200 + 201 * 400 + 401 * 784),
        ("convolutional", {}, 10 * 32 + 289 * 64 + 3137 * 256 + 2 * 257 * 20
                              + 21 * 256 + 257 * 3136 + 577 * 32 + 289),
    ],
)  # fmt: skip
def test_parameter_counts(sketch, variant, arguments, expected):
    assert sketch(vae.build_model, variant, **arguments).count_params() == expected


# The loss.


def by_hand(**arguments):
    """Two pixels, one code: mean 0.5 x0 + 2 x1, hardly any variance, logits (2 z, 1 - 2 z)."""
    model = vae.build_model("tiny", input_shape=(1, 2, 1), units=(), latent_dim=1, **arguments)
    zero = np.zeros
    model.encoder.get_layer("mean").set_weights([np.array([[0.5], [2.0]]), zero(1)])
    model.encoder.get_layer("log_variance").set_weights([zero((2, 1)), np.array([-40.0])])
    model.decoder.set_weights([np.array([[2.0, -2.0]]), np.array([0.0, 1.0])])
    return model


@pytest.mark.parametrize("beta", [1.0, 3.0])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_loss_by_hand(likelihood, beta):
    model = by_hand(likelihood=likelihood, pixel_std=0.5, beta=beta)
    x = np.array([1, 0], "float32").reshape(1, 1, 2, 1)
    # z = 0.5, logits (1, 0), means (0.731, 0.5)
    if likelihood == "bernoulli":
        error = -np.log(sigmoid(1)) - np.log(0.5)
    else:
        squares = (1 - sigmoid(1)) ** 2 + 0.5**2
        error = squares / (2 * 0.5**2) + 2 * np.log(0.5 * np.sqrt(2 * np.pi))
    divergence = (0.5**2 + 0 - 1 + 40) / 2  # (mean^2 + variance - 1 - log variance) / 2
    found = model.evaluate(x, verbose=0, return_dict=True)
    assert found["reconstruction"] == pytest.approx(error, rel=1e-5)
    assert found["kl"] == pytest.approx(divergence, rel=1e-5)
    assert found["loss"] == pytest.approx(error + beta * divergence, rel=1e-5)
    np.testing.assert_allclose(model.predict(x, verbose=0).ravel(), [sigmoid(1), 0.5], rtol=1e-5)
    mean, std = model.encode(x)
    assert mean.item() == pytest.approx(0.5)
    assert std.item() == pytest.approx(np.exp(-20), rel=1e-4)


def decoded_by_numpy(model, z):
    """Logits of codes (n, latent_dim): (n, pixels)."""
    w1, b1, w2, b2 = model.decoder.get_weights()
    return np.maximum(z @ w1 + b1, 0) @ w2 + b2


def log_likelihoods_by_numpy(model, x, z):
    """log p(x|z) of each image and each code: (images, codes)."""
    x, logits = x.reshape(len(x), 1, -1), decoded_by_numpy(model, z)
    if model.likelihood == "bernoulli":
        return np.log(np.where(x == 1, sigmoid(logits), sigmoid(-logits))).sum(axis=2)
    s = model.pixel_std
    density = np.exp(-(((x - sigmoid(logits)) / s) ** 2) / 2) / (s * np.sqrt(2 * np.pi))
    return np.log(density).sum(axis=2)


def prior_grid(latent_dim):
    """Points of the codes' space and p(z) times the volume about each."""
    line = np.linspace(-7, 7, 1401 if latent_dim == 1 else 281)
    z = np.stack(np.meshgrid(*[line] * latent_dim), axis=-1).reshape(-1, latent_dim)
    p = np.exp(-np.square(z).sum(axis=1) / 2) / (2 * np.pi) ** (latent_dim / 2)
    return z, p * (line[1] - line[0]) ** latent_dim


CASES = [("bernoulli", 1), ("bernoulli", 2), ("gaussian", 1)]


@pytest.mark.parametrize(("likelihood", "latent_dim"), CASES)
def test_bound_tends_to_the_integral_over_the_codes(likelihood, latent_dim):
    model = with_random_weights(latent_dim=latent_dim, likelihood=likelihood, pixel_std=0.6)
    x = binary(6, 3, 3, 1)
    z, weight = prior_grid(latent_dim)
    assert weight.sum() == pytest.approx(1, abs=1e-6)
    exact = np.log(np.exp(log_likelihoods_by_numpy(model, x, z)) @ weight)
    assert np.ptp(exact) > 0.5
    found = model.log_likelihood_bound(x, k=40_000)
    np.testing.assert_allclose(found, exact, atol=0.02)
    # the average of log w is lower, by the divergence of q from the posterior
    assert (model.log_weights(x, 40_000, 0, None, 4096).mean(axis=1) < exact - 0.02).all()


@pytest.mark.parametrize(("likelihood", "latent_dim"), CASES)
def test_evaluation_is_minus_the_elbo(likelihood, latent_dim):
    model = with_random_weights(latent_dim=latent_dim, likelihood=likelihood, pixel_std=0.6)
    x = binary(1, 3, 3, 1)
    mean, std = (v[0].astype("float64") for v in model.encode(x))
    u, weight = prior_grid(latent_dim)  # E over q(z|x) with z = mean + std u
    z = mean + std * u
    likelihoods = log_likelihoods_by_numpy(model, x, z)[0]
    log_p = -np.square(z).sum(axis=1) / 2
    log_q = -np.square(u).sum(axis=1) / 2 - np.log(std).sum()
    many = np.repeat(x, 20_000, axis=0)
    found = model.evaluate(many, batch_size=5000, verbose=0, return_dict=True)
    error = np.sqrt(weight @ likelihoods**2 - (weight @ likelihoods) ** 2) / np.sqrt(20_000)
    assert 0 < error < 0.05
    assert found["reconstruction"] == pytest.approx(-weight @ likelihoods, abs=5 * error)
    assert found["kl"] == pytest.approx(weight @ (log_q - log_p), rel=1e-3)
    assert found["loss"] == pytest.approx(found["reconstruction"] + found["kl"], rel=1e-4)
    # The anomaly score is the same number from 16 codes of each image.
    log_w = likelihoods + log_p - log_q
    spread = np.sqrt(weight @ log_w**2 - (weight @ log_w) ** 2) / np.sqrt(16 * 2000)
    score = model.anomaly_score(many[:2000])
    assert score.mean() == pytest.approx(-weight @ log_w, abs=5 * spread)


def test_bound_rises_with_the_number_of_codes():
    # Burda 2015, theorem 1
    model = with_random_weights(latent_dim=4)
    x = binary(200, 3, 3, 1)
    bounds = [model.log_likelihood_bound(x, k).mean() for k in (1, 4, 16, 64, 256)]
    assert (np.diff(bounds) > 0).all()
    # of the same codes, for each image (Jensen)
    assert (-model.anomaly_score(x) < model.log_likelihood_bound(x, vae.SCORE_SAMPLES)).all()


def test_bound_and_score_are_the_same_for_any_batch_size():
    model = with_random_weights(latent_dim=3)
    x = binary(7, 3, 3, 1)
    whole = model.log_likelihood_bound(x, k=30)
    np.testing.assert_allclose(model.log_likelihood_bound(x, k=30, batch_size=11), whole, rtol=1e-5)
    assert np.abs(model.log_likelihood_bound(x, k=30, seed=1) - whole).min() > 1e-4
    scores = model.anomaly_score(x)
    np.testing.assert_allclose(model.anomaly_score(x, batch_size=5), scores, rtol=1e-5)
    assert scores.shape == whole.shape == (7,)


# Codes and new images.


def test_new_images_follow_the_seed_and_no_batch_size():
    model = with_random_weights(latent_dim=3)
    images = model.generate(20, seed=4)
    assert images.shape == (20, 3, 3, 1)
    assert images.dtype == np.float32
    np.testing.assert_allclose(model.generate(20, seed=4, batch_size=3), images, rtol=1e-5)
    np.testing.assert_allclose(model.generate(9, seed=4), images[:9], rtol=1e-5)
    assert np.abs(model.generate(20, seed=5) - images).max() > 0.1


def test_codes_of_new_images_are_standard_normal():
    # a decoder that repeats its code: the images are sigmoid(z)
    model = vae.build_model("tiny", input_shape=(1, 2, 1), units=(), latent_dim=2)
    model.decoder.set_weights([np.eye(2), np.zeros(2)])
    images = model.generate(40_000).reshape(-1, 2)
    z = np.log(images / (1 - images))
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=0.02)
    np.testing.assert_allclose(np.cov(z.T), np.eye(2), atol=0.04)


def test_interpolation_goes_straight_from_one_code_to_the_other():
    model = with_random_weights(latent_dim=3)
    a, b = binary(2, 3, 3, 1)
    found = model.interpolate(a, b, steps=5)
    mean, _ = model.encode(np.stack([a, b]))
    np.testing.assert_allclose(
        found[[0, -1]], model.predict(np.stack([a, b]), verbose=0), rtol=1e-5
    )
    np.testing.assert_allclose(
        found[1], model.decode(0.75 * mean[:1] + 0.25 * mean[1:])[0], rtol=1e-5
    )
    assert np.abs(found[0] - found[-1]).max() > 0.05


def test_plane_has_the_first_code_to_the_right_and_the_second_up():
    model = vae.build_model("tiny", input_shape=(1, 1, 1), units=(), latent_dim=2)
    model.decoder.set_weights([np.array([[1.0], [0.1]]), np.zeros(1)])
    values = [-2, 0, 2]
    expected = [[sigmoid(across + 0.1 * up) for across in values] for up in (2, 0, -2)]
    np.testing.assert_allclose(vae.plane(model, 3)[..., 0], expected, rtol=1e-4)


def test_plane_keeps_each_image_whole():
    model = with_random_weights(latent_dim=2, input_shape=(2, 3, 3))
    found = vae.plane(model, 4)
    assert found.shape == (8, 12, 3)
    corner = model.decode(np.array([[2.0, -2.0]]))[0]
    np.testing.assert_allclose(found[-2:, -3:], corner, rtol=1e-4)


# Labels.


def halves(count=400):
    """Images whose left half (class 0) or right half (class 1) has ink, at random."""
    generator = np.random.default_rng(0)
    x = (generator.random((count, 4, 4, 1)) < 0.7).astype("float32")
    y = np.arange(count, dtype="int32") % 2
    x[y == 0, :, 2:] = x[y == 1, :, :2] = 0
    return x, y


def test_labels_decide_what_a_conditional_model_draws():
    x, y = halves()
    model = vae.build_model("tiny", input_shape=(4, 4, 1), conditional=True, num_classes=2, seed=0)
    model.fit(x, y, epochs=15, batch_size=32, verbose=0)
    drawn = model.generate(40)  # the classes in turn
    left, right = drawn[:, :, :2].mean(axis=(1, 2, 3)), drawn[:, :, 2:].mean(axis=(1, 2, 3))
    assert (left[::2] > 0.5).all()
    assert (right[1::2] > 0.5).all()
    assert (left[1::2] < 0.1).all()
    assert (right[::2] < 0.1).all()
    np.testing.assert_allclose(model.generate(40, [0, 1] * 20), drawn, rtol=1e-5)
    np.testing.assert_allclose(model.generate(1, 1)[0].shape, (4, 4, 1))
    # An image under the other class's label is far less likely.
    true, false = (model.log_likelihood_bound(x[:50], 50, labels=v[:50]) for v in (y, 1 - y))
    assert (true > false + 5).all()
    assert model.evaluate(x, y, verbose=0)[0] < model.evaluate(x, 1 - y, verbose=0)[0] - 5


def test_without_labels_each_class_counts_the_same():
    model = with_random_weights(conditional=True, num_classes=4, units=(), latent_dim=3)
    x = binary(5, 3, 3, 1)
    # Without hidden layers, codes and logits are linear in the label.
    means = [model.encode(x, label)[0] for label in range(4)]
    np.testing.assert_allclose(model.encode(x)[0], np.mean(means, axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(model.predict(x, verbose=0), model.reconstruct(x), rtol=1e-5)
    assert np.abs(model.reconstruct(x, 0) - model.reconstruct(x, [1, 2, 3, 1, 2])).max() > 0.01


def test_labels_are_ignored_without_conditional():
    model = with_random_weights(num_classes=4)
    assert model.num_classes is None
    x = binary(8, 3, 3, 1)
    assert np.isfinite(model.fit(x, np.arange(8) % 4, verbose=0).history["loss"]).all()


# Bad input.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"latent_dim": 0}, r"latent_dim=0: must be a positive integer"),
        ({"likelihood": "poisson"}, r"unknown likelihood 'poisson'; known: bernoulli, gaussian"),
        ({"pixel_std": 0}, r"pixel_std=0: must be a positive number"),
        ({"beta": -1}, r"beta=-1: must be a number of at least 0"),
        ({"beta": float("nan")}, r"beta=nan: must be a number"),
        ({"conditional": "yes"}, r"conditional='yes': must be True or False"),
        ({"conditional": True}, r"num_classes=None: a conditional model needs the number"),
        ({"units": 400}, r"units=400: must be a tuple"),
        ({"input_shape": (784,)}, r"input_shape=\(784,\): must be \(height, width, channels\)"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        vae.build_model(**arguments)


IMAGES = binary(4, 3, 3, 1)


@pytest.mark.parametrize(
    ("conditional", "call", "message"),
    [
        (False, lambda m: m.generate(3, labels=1), r"labels=1: this model is unconditional"),
        (False, lambda m: m.encode(IMAGES, labels=[0, 1, 0, 1]), r"labels=.*unconditional"),
        (True, lambda m: m.generate(3, labels=4), r"labels=4: must be one of 0 .. 3, or 3 of"),
        (True, lambda m: m.generate(3, labels=[0, -1, 2]), r"labels=.*must be one of 0 .. 3"),
        (True, lambda m: m.encode(IMAGES, labels=[0, 1]), r"labels=.*or 4 of them"),
        (True, lambda m: m.fit(IMAGES, verbose=0), r"y=None: a conditional model learns"),
        (False, lambda m: m.log_likelihood_bound(IMAGES, k=0), r"k=0: must be a positive integer"),
        (False, lambda m: m.generate(0), r"count=0: must be a positive integer"),
        (False, lambda m: m.interpolate(*IMAGES[:2], steps=1), r"steps=1: must be at least 2"),
        (False, lambda m: m.decode(np.zeros((2, 5))), r"z='array of .*this model takes codes"),
        (False, lambda m: m.encode(IMAGES[:, :2]), r"shape \(4, 2, 3, 1\).*\(None, 3, 3, 1\)"),
        (False, lambda m: m.anomaly_score(255 * IMAGES), r"0 .. 255.*values in \[0, 1\]"),
    ],
)
def test_bad_input(conditional, call, message):
    classes = {"conditional": True, "num_classes": 4} if conditional else {}
    model = vae.build_model("tiny", input_shape=(3, 3, 1), units=(), **classes)
    with pytest.raises(ValueError, match=message):
        call(model)


# Pictures and real data.


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, {"reconstructions", "samples", "interpolation"}),
        ({"latent_dim": 2}, {"reconstructions", "samples", "codes", "plane"}),
        ({"conditional": True, "latent_dim": 2}, {"reconstructions", "samples", "codes"}),
    ],
)  # fmt: skip
@pytest.mark.slow
def test_pictures_show_what_the_model_has(arguments, expected):
    data = vae.load_data("digits")
    assert set(vae.pictures(vae.build_model("tiny", **data.spec, **arguments), data)) == expected


def test_a_higher_beta_leaves_less_in_the_code():
    data = vae.load_data("digits")
    kl, error = [], []
    for beta in (0.1, 8.0):
        model = vae.build_model("tiny", **data.spec, beta=beta, seed=0)
        model.fit(data.train, epochs=15, verbose=0)
        found = model.evaluate(data.test, verbose=0, return_dict=True)
        kl.append(found["kl"])
        error.append(found["reconstruction"])
    assert kl[0] > 2 * kl[1]
    assert error[0] < error[1] - 2


@pytest.mark.slow
def test_dense_on_real_digits():
    data = vae.load_data()
    x = data.test.arrays()[0]
    some = x[::5]  # all classes, whose order is that of the digits
    model = vae.build_model(**data.spec, seed=0)
    model.fit(data.train, epochs=30, verbose=0)
    found = model.evaluate(data.test, verbose=0, return_dict=True)

    # Pixels that know nothing of each other: entropy of their averages.
    share = data.train.arrays()[0].mean(axis=0).clip(1e-3, 1 - 1e-3)
    independent = -(x * np.log(share) + (1 - x) * np.log(1 - share)).sum(axis=(1, 2, 3)).mean()
    assert independent > 190
    assert found["loss"] <= 122  # measured 119
    assert found["kl"] > 10  # the code is in use
    bound = -model.log_likelihood_bound(some, k=100).mean()
    elbo = model.anomaly_score(some).mean()
    assert elbo - 15 < bound < elbo - 1  # Burda 2015, table 1: some nats between the two

    # Digits on their side are unusual, and so is as much ink anywhere.
    scores = model.anomaly_score(some)
    assert model.anomaly_score(np.rot90(some, axes=(1, 2)).copy()).mean() > scores.mean() + 20
    noise = np.random.default_rng(0).permuted(some.reshape(200, -1), axis=1)
    assert (model.anomaly_score(noise.reshape(-1, 28, 28, 1)) > scores).all()
