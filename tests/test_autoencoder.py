"""Autoencoders: what the code keeps, what each restraint does, and what is told as unusual."""

from itertools import pairwise

import keras
import numpy as np
import pytest

from recipes import autoencoder


@pytest.fixture(scope="module")
def digits():
    return autoencoder.load_data("digits", batch_size=32)


@pytest.fixture(scope="module")
def trained(digits):
    model = autoencoder.build_model(**digits.spec, units=(), latent_dim=16, seed=0,
                                    learning_rate=1e-2)  # fmt: skip
    model.fit(digits.train, epochs=15, verbose=0)
    return model


def zeroed(model: keras.Model) -> keras.Model:
    """With all weights zero, every code is act(0) and every reconstruction 0.5."""
    for weight in model.trainable_variables:
        weight.assign(np.zeros(weight.shape))
    return model


def test_parameters_of_the_paper():
    # Hinton & Salakhutdinov 2006: 784-1000-500-250-30 and back
    widths = (784, 1000, 500, 250, 30)
    expected = sum(2 * a * b + a + b for a, b in pairwise(widths))
    assert expected == 2_837_314
    assert autoencoder.build_model("deep").count_params() == expected


@pytest.mark.parametrize("shape", [(28, 28, 1), (33, 50, 3), (7, 1, 2)])
def test_convolutions_give_any_size_back(shape):
    model = autoencoder.build_model(input_shape=shape, units=(), filters=(4, 8, 8))
    x = np.random.default_rng(0).random((3, *shape), "float32")
    found = model.predict(x, verbose=0)
    assert found.shape == x.shape
    # Every pixel is reached by the code: none is cut off or padded in.
    codes = np.random.default_rng(1).normal(size=(20, 32)).astype("float32")
    assert (model.decode(codes).std(axis=0) > 0).all()


def test_squared_error_and_cross_entropy_by_hand():
    x = np.random.default_rng(0).random((4, 8, 8, 1), "float32")
    model = zeroed(autoencoder.build_model("tiny", input_shape=(8, 8, 1)))
    found = model.evaluate(x, verbose=0, return_dict=True)
    squares = np.square(x - 0.5)
    assert found["loss"] == pytest.approx(squares.sum((1, 2, 3)).mean(), rel=1e-5)
    assert found["mse"] == pytest.approx(squares.mean(), rel=1e-5)
    model = zeroed(
        autoencoder.build_model("tiny", input_shape=(8, 8, 1), reconstruction="crossentropy")
    )
    assert model.evaluate(x, verbose=0)[0] == pytest.approx(64 * np.log(2), rel=1e-5)


def test_the_sparse_penalty_is_a_divergence():
    # Codes are sigmoid(0) = 0.5: KL(Bernoulli(0.1) || Bernoulli(0.5)) for each of 5 units.
    divergence = 0.1 * np.log(0.1 / 0.5) + 0.9 * np.log(0.9 / 0.5)
    x = np.zeros((4, 8, 8, 1), "float32")
    model = autoencoder.build_model(
        "sparse", input_shape=(8, 8, 1), latent_dim=5, sparsity=0.1, sparsity_weight=2.0
    )
    loss, mse = zeroed(model).evaluate(x, verbose=0)
    assert loss - 64 * mse == pytest.approx(2 * 5 * divergence, rel=1e-5)
    # At the target itself nothing is left to pay.
    model.encoder.get_layer("code").bias.assign(keras.ops.full((5,), np.log(0.1 / 0.9)))
    loss, mse = model.evaluate(x, verbose=0)
    assert loss == pytest.approx(64 * mse, abs=1e-4)


def test_sparse_codes_are_sparse(digits):
    means = []
    for weight in (0.0, 3.0):
        model = autoencoder.build_model("sparse", **digits.spec, sparsity_weight=weight, seed=0)
        model.fit(digits.train, epochs=10, verbose=0)
        means.append(model.encode(digits.test.arrays()[0]).mean())
    assert means[1] < 0.08 < 0.3 < means[0]


def test_contraction_flattens_the_code(digits):
    x = digits.test.arrays()[0][:100]
    moved = []
    for weight in (0.0, 0.3):
        model = autoencoder.build_model(
            "contractive", **digits.spec, latent_dim=64, contraction=weight, seed=0
        )
        model.fit(digits.train, epochs=5, verbose=0)
        noise = 0.05 * np.random.default_rng(0).normal(size=x.shape).astype("float32")
        moved.append(np.square(model.encode(x + noise) - model.encode(x)).sum())
    assert moved[1] < 0.5 * moved[0]


@pytest.mark.parametrize("noise", ["gaussian", "masking"])
def test_noise_is_what_it_says(noise):
    model = autoencoder.build_model(input_shape=(8, 8, 1), noise=noise, noise_level=0.3)
    x = np.full((500, 8, 8, 1), 0.5, "float32")
    spoilt = keras.ops.convert_to_numpy(model.spoil(keras.ops.convert_to_tensor(x)))
    if noise == "masking":
        assert set(np.unique(spoilt)) == {0.0, 0.5}
        assert (spoilt == 0).mean() == pytest.approx(0.3, abs=0.01)
    else:
        assert (spoilt - x).std() == pytest.approx(0.3, rel=0.02)
        assert (spoilt - x).mean() == pytest.approx(0, abs=0.01)


def test_a_denoising_autoencoder_is_compared_with_the_whole_image():
    # Everything is masked, so only the whole x can be what makes the error.
    model = zeroed(
        autoencoder.build_model(input_shape=(8, 8, 1), noise="masking", noise_level=0.999)
    )
    _, mse = model.evaluate(np.ones((64, 8, 8, 1), "float32"), verbose=0)
    assert mse == pytest.approx(0.25)


def test_denoising_removes_noise(digits):
    model = autoencoder.build_model("denoising", **digits.spec, latent_dim=200, noise="gaussian",
                                    noise_level=0.3, learning_rate=5e-3, seed=0)  # fmt: skip
    model.fit(digits.train, epochs=15, verbose=0)
    x = digits.test.arrays()[0]
    spoilt = x + 0.3 * np.random.default_rng(0).normal(size=x.shape).astype("float32")
    before, after = (np.square(a - x).mean() for a in (spoilt, model.predict(spoilt, verbose=0)))
    assert 10 * np.log10(before / after) > 5  # gain in PSNR, dB


def test_beats_the_mean_and_the_same_number_of_principal_components(digits, trained):
    from sklearn.decomposition import PCA

    x, test = (part.arrays()[0].reshape(-1, 64) for part in (digits.train, digits.test))
    pca = PCA(8).fit(x)
    linear = np.square(pca.inverse_transform(pca.transform(test)) - test).mean()
    mean = np.square(test - x.mean(axis=0)).mean()
    model = autoencoder.build_model(
        **digits.spec, units=(128,), latent_dim=8, learning_rate=5e-3, seed=0
    )
    model.fit(digits.train, epochs=40, verbose=0)
    _, mse = model.evaluate(digits.test, verbose=0)
    assert mse < 0.85 * linear < mean


def test_encode_and_decode_are_the_halves_of_predict(digits, trained):
    x = digits.test.arrays()[0]
    z = trained.encode(x, batch_size=50)
    assert z.shape == (len(x), 16)
    assert z.dtype == np.float32
    np.testing.assert_allclose(trained.decode(z), trained.predict(x, verbose=0), atol=1e-6)


def test_the_unusual_scores_high(digits, trained):
    from sklearn.metrics import roc_auc_score

    x = digits.test.arrays()[0]
    scores = trained.anomaly_score(x)
    _, mse = trained.evaluate(x, verbose=0)
    assert scores.mean() == pytest.approx(mse, rel=1e-4)
    strange = np.random.default_rng(0).permutation(x.reshape(len(x), 64), axis=1).reshape(x.shape)
    labels = np.repeat([0, 1], len(x))
    assert roc_auc_score(labels, np.append(scores, trained.anomaly_score(strange))) > 0.99


def test_bad_examples_are_refused_at_the_door(trained):
    good = np.zeros((4, 8, 8, 1), "float32")
    for x, words in (
        (good - 1, "x='values in -1 .. -1': this model takes values in [0, 1]"),
        (good + 255, "x='values in 255 .. 255': this model takes values in [0, 1]"),
        (good * np.nan, "x='values in nan .. nan': this model takes values in [0, 1]"),
        (good[:, :4], "x='array of shape (4, 4, 8, 1)': this model takes (None, 8, 8, 1)"),
    ):
        with pytest.raises(ValueError) as error:
            trained.fit(x, verbose=0)
        assert str(error.value) == words
