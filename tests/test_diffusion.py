"""Diffusion: schedules, what is learnt, the average, and samplers that reach the right end."""

import keras
import numpy as np
import pytest
from keras import ops
from keras_tuner import HyperParameters

from recipes import diffusion

SHAPE = (4, 4, 1)


def test_the_papers_network_has_its_parameters():
    # Ho et al. 2020: "35.7 million"; the exact count is that of diffusers' ddpm-cifar10-32.
    assert diffusion.build_model("cifar10").network.count_params() == 35_746_307


def test_schedules_of_the_papers():
    linear = diffusion.alpha_bars("linear", 1000)
    np.testing.assert_allclose(linear[[0, 1, 500, 1000]], [1, 0.9999, 0.0785872, 4.03583e-5],
                               rtol=1e-5)  # fmt: skip
    cosine = diffusion.alpha_bars("cosine", 1000)
    betas = 1 - cosine[1:] / cosine[:-1]
    np.testing.assert_allclose(betas[[0, 500, 999]], [4.12842e-5, 3.155692e-3, 0.999], rtol=1e-5)
    for schedule in diffusion.SCHEDULES:
        for num_steps in (1, 10, 100, 4000):
            a = diffusion.alpha_bars(schedule, num_steps)
            assert a.shape == (num_steps + 1,)
            assert a[0] == 1
            assert (np.diff(a) < 0).all()
            if num_steps >= 100:  # nothing is left of the picture
                assert 0 < a[-1] < 1e-3


def test_an_untrained_network_has_the_loss_of_knowing_nothing():
    # The last convolution starts at zero: the guess is 0, the loss the target's mean square.
    x = np.random.default_rng(0).random((4096, *SHAPE), "float32")
    square = np.square(2 * x - 1).mean()
    a = diffusion.alpha_bars("cosine", 50)[1:].mean()
    expected = {"noise": 1, "image": square, "velocity": a + (1 - a) * square}
    for prediction, value in expected.items():
        model = diffusion.build_model("tiny", input_shape=SHAPE, prediction=prediction)
        assert model.evaluate(x, batch_size=4096, verbose=0) == pytest.approx(value, rel=0.03)


@pytest.mark.parametrize("prediction", diffusion.PREDICTIONS)
def test_guesses_of_picture_and_noise_come_from_any_prediction(prediction):
    model = diffusion.build_model("tiny", input_shape=SHAPE, prediction=prediction)
    generator = np.random.default_rng(0)
    x, e = (generator.normal(size=(5, *SHAPE)).astype("float32") for _ in range(2))
    x_t, signal, spread = model.noised(x, e, np.array([1, 10, 20, 30, 50]))
    output = {"noise": e, "image": x, "velocity": signal * e - spread * x}[prediction]
    image, noise = model.image_and_noise(output, x_t, signal, spread)
    np.testing.assert_allclose(ops.convert_to_numpy(image), x, atol=1e-4)
    np.testing.assert_allclose(ops.convert_to_numpy(noise), e, atol=1e-3)


@keras.saving.register_keras_serializable("tests")
class Exact(keras.layers.Layer):
    """The best guess of the noise where pictures are N(mean, std^2) in each pixel."""

    def __init__(self, mean, std, schedule):
        super().__init__()
        self.mean, self.std, self.schedule = mean, std, schedule
        self.alpha_bar = diffusion.alpha_bars(schedule, 1000).astype("float32")

    def call(self, x, t):
        a = ops.reshape(ops.take(self.alpha_bar, ops.cast(t, "int32")), (-1, 1, 1, 1))
        total = a * self.std**2 + 1 - a
        return ops.sqrt(1 - a) * (x - ops.sqrt(a) * self.mean) / total

    def get_config(self):
        return {"mean": self.mean, "std": self.std, "schedule": self.schedule}


def exact(mean, std, schedule):
    """A model that needs no training."""
    image, t = keras.Input(SHAPE), keras.Input(())
    network = keras.Model([image, t], Exact(mean, std, schedule)(image, t))
    return diffusion.Diffusion(SHAPE, network, schedule=schedule)


@pytest.mark.parametrize(
    ("sampler", "steps", "schedule"),
    [("ddpm", 1000, "linear"), ("ddpm", 1000, "cosine"), ("ddpm", 250, "linear"),
     ("ddim", 250, "linear"), ("ddim", 200, "cosine"), ("ddim", 1000, "linear")],
)  # fmt: skip
def test_with_the_exact_guess_samples_have_the_exact_distribution(sampler, steps, schedule):
    model = exact(0.4, 0.2, schedule)  # three deviations lie inside of [-1, 1]
    x = 2 * model.generate(400, sampler=sampler, steps=steps, batch_size=400) - 1
    # 6,400 pixels: the standard error of the mean is 0.0025, that of the deviation 0.9 %
    assert x.mean() == pytest.approx(0.4, abs=0.012)
    assert x.std() == pytest.approx(0.2, rel=0.06)
    correlation = np.corrcoef(x.reshape(400, -1).T) - np.eye(16)
    assert np.abs(correlation).max() < 0.25


def test_no_search_chooses_what_the_loss_is_measured_on():
    """The best guess that there is has another loss on each schedule."""
    x = np.random.default_rng(0).normal(0.7, 0.1, (1000, *SHAPE)).astype("float32")  # in [0, 1]
    best = {}
    for schedule in diffusion.SCHEDULES:
        model = exact(0.4, 0.2, schedule)
        model.compile()
        best[schedule] = model.evaluate(x, batch_size=1000, verbose=0)
        a = diffusion.alpha_bars(schedule, 1000)[1:]
        assert best[schedule] == pytest.approx(np.mean(a * 0.04 / (a * 0.04 + 1 - a)), rel=0.05)
    assert best["linear"] < 0.7 * best["cosine"]
    assert not {"schedule", "prediction"} & diffusion.search_space(HyperParameters()).keys()


@pytest.mark.slow
def test_the_average_follows_the_weights():
    model = diffusion.build_model("tiny", input_shape=SHAPE, ema_decay=0.4, seed=0)
    x = np.random.default_rng(0).random((8, *SHAPE), "float32")
    average = [w.copy() for w in model.network.get_weights()]
    for n in (1, 2, 3, 4):
        now = model.network.get_weights()  # before the n-th step
        decay = min(0.4, (1 + n) / (10 + n))
        average = [decay * a + (1 - decay) * w for a, w in zip(average, now, strict=True)]
        model.train_on_batch(x)
    for ours, expected in zip(model.average.get_weights(), average, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-7)
    pairs = zip(model.average.get_weights(), model.network.get_weights(), strict=True)
    assert any(not np.allclose(a, w) for a, w in pairs)
    assert not model.average.trainable_variables


def test_samples_are_fixed_by_the_seed_alone():
    model = exact(0.0, 0.3, "linear")
    for sampler in diffusion.SAMPLERS:
        whole = model.generate(5, seed=3, sampler=sampler, steps=30)
        again = model.generate(5, seed=3, sampler=sampler, steps=30, batch_size=2)
        np.testing.assert_allclose(again, whole, atol=1e-5)
        # DDIM's only noise is the first; both start from the same.
        other = model.generate(5, seed=4, sampler=sampler, steps=30)
        assert np.abs(other - whole).mean() > 0.05
    assert whole.dtype == np.float32
    assert whole.shape == (5, *SHAPE)


@pytest.fixture(scope="module")
def bright_and_dark():
    """A conditional model of two kinds of flat pictures, 0.25 and 0.75, after a short training."""
    generator = np.random.default_rng(0)
    y = np.arange(256) % 2
    x = (0.25 + 0.5 * y[:, None, None, None] + 0.02 * generator.normal(size=(256, *SHAPE))).clip(
        0, 1
    )
    model = diffusion.build_model(
        "tiny", input_shape=SHAPE, num_classes=2, conditional=True, multipliers=(1,), filters=16,
        learning_rate=3e-3, warmup_steps=10, prediction="image", label_dropout_rate=0.2, seed=0,
    )  # fmt: skip
    model.fit(x.astype("float32"), y, batch_size=32, epochs=60, verbose=0)
    return model


def test_labels_choose_what_is_made(bright_and_dark):
    found = bright_and_dark.generate(40, labels=1, steps=50, sampler="ddpm")
    assert found.mean() == pytest.approx(0.75, abs=0.06)
    labels = np.arange(40) % 2
    found = bright_and_dark.generate(40, steps=50, sampler="ddpm").mean(axis=(1, 2, 3))
    np.testing.assert_allclose(
        [found[labels == label].mean() for label in (0, 1)], [0.25, 0.75], atol=0.06
    )


def test_a_conditional_model_does_not_learn_without_labels(bright_and_dark):
    with pytest.raises(ValueError, match="a conditional model learns from images with their label"):
        bright_and_dark.fit(np.zeros((8, *SHAPE), "float32"), verbose=0)


def test_guidance_pushes_away_from_the_unconditional_guess(bright_and_dark):
    x = np.random.default_rng(0).normal(size=(4, *SHAPE)).astype("float32")
    row = diffusion.sampling_table(bright_and_dark.alpha_bar, 50, 0.0)[:1]
    labels = np.eye(2, dtype="float32")[[0, 1, 0, 1]]
    given = {"x": x, "rows": row, "noise": np.zeros((1, 1, 1, 1, 1), "float32"), "labels": labels}
    network, t = bright_and_dark.average, np.full(4, row[0, 0])
    with_label = network.predict([x, t, labels], verbose=0)
    without = network.predict([x, t, 0 * labels], verbose=0)
    assert np.abs(with_label - without).max() > 0.01
    for w in (0.0, 1.5):
        found = bright_and_dark.go_back({**given, "guidance": np.float32(w)} if w else given)
        image = ((1 + w) * with_label - w * without).clip(-1, 1)  # Ho & Salimans 2021, eq. 6
        _, signal, spread, signal_after, direction, _ = row[0]
        expected = signal_after * image + direction * (x - signal * image) / spread
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_predict_guesses_the_picture_and_scores_the_unusual(bright_and_dark):
    usual = np.full((20, *SHAPE), 0.75, "float32")
    found, dark = (bright_and_dark.predict(x, verbose=0) for x in (usual, 1 - usual))
    assert found.mean() > dark.mean() + 0.2
    np.testing.assert_array_equal(found, bright_and_dark.predict(usual, verbose=0))
    np.testing.assert_allclose(found[3:], found[:-3], atol=1e-5)  # wherever it is in a batch
    strange = np.indices(SHAPE).sum(axis=0)[None].repeat(20, 0).astype("float32") % 2
    scores = bright_and_dark.anomaly_score(np.concatenate([usual, strange]))
    assert scores[20:].min() > scores[:20].max()


@pytest.mark.slow
def test_a_short_training_on_digits_learns():
    data = diffusion.load_data()
    model = diffusion.build_model(**data.spec, multipliers=(1, 1), attention_sizes=(), seed=0)
    model.fit(data.train, epochs=20, verbose=0)
    # Knowing the mean picture and each pixel's deviation, and nothing of shapes, leaves this:
    x, test = (2 * part.arrays()[0] - 1 for part in (data.train, data.test))
    a = model.alpha_bar[1:, None, None, None]
    variance = np.square(test - x.mean(axis=0)).mean(axis=0)
    best_blind = np.mean((a * variance) / (a * variance + 1 - a + 1e-12))
    assert model.evaluate(data.test, verbose=0) < 0.8 * best_blind


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"input_shape": (30, 30, 1), "multipliers": (1, 2, 2)}, "must be multiples of 4"),
        ({"input_shape": (28, 28)}, "input_shape=(28, 28): must be (height, width, channels)"),
        ({"filters": 10}, "filters=10: must be a multiple of 4, and beyond 128 of 32"),
        ({"filters": 144}, "filters=144: must be a multiple of 4, and beyond 128 of 32"),
        ({"schedule": "quadratic"}, "unknown schedule 'quadratic'; known: linear, cosine"),
        ({"prediction": "noize"}, "Did you mean 'noise'?"),
        ({"multipliers": ()}, "multipliers=(): needs at least one"),
        ({"num_steps": 0}, "num_steps=0: must be a positive integer"),
        ({"ema_decay": 1.0}, "ema_decay=1.0: must be a number in [0, 1)"),
        ({"conditional": True}, "conditional=True: needs num_classes"),
    ],
)  # fmt: skip
def test_bad_arguments(arguments, words):
    with pytest.raises(ValueError) as error:
        diffusion.build_model(**arguments)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"steps": 1001}, "steps=1001: must be an integer from 1 to the schedule's 1000"),
        ({"steps": 0}, "steps=0"),
        ({"sampler": "ddmp"}, "unknown sampler 'ddmp'; known: ddim, ddpm"),
        ({"labels": 3}, "labels=3: this model is unconditional"),
        ({"guidance": 1.0}, "guidance=1.0: needs a conditional model"),
        ({"guidance": -1.0}, "guidance=-1.0: must be a number of at least 0"),
        ({"count": 0}, "count=0: must be a positive integer"),
        ({"seed": -1}, "seed=-1: must be an integer of at least 0"),
    ],
)  # fmt: skip
def test_bad_sampling(arguments, words):
    with pytest.raises(ValueError) as error:
        exact(0.0, 0.3, "linear").generate(**{"count": 2, **arguments})
    assert words in str(error.value)


def test_wrong_labels(bright_and_dark):
    for labels in (2, -1, [0, 1, 1], [0.5, 0.5], "1"):
        with pytest.raises(ValueError, match=r"^labels=.*: must be one of 0 .. 1, or 2 of them"):
            bright_and_dark.generate(2, labels)
