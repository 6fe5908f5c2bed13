"""What the networks without labels reach on MNIST, beside the bars and the papers.

    python benchmarks/generators.py --list
    python benchmarks/generators.py vae rbm --seed 1

Each name trains on all of MNIST (TensorFlow Datasets, prepared in `TFDS_DATA_DIR`) with the fixed
recipe below and measures on the test images. Results go to `benchmarks/results/generators.json`,
one row for each (name, seed), and `generators.md` is written from them. Pictures are compared by
the Frechet distance on what our own LeNet-5, trained on the same images, sees before its last
layer: it is not FID, and only values of one row are comparable.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import measures
import numpy as np


def arrays(data) -> tuple[np.ndarray, np.ndarray]:
    """Images of the training and the test part."""
    return data.train.arrays()[0], data.test.arrays()[0]


def autoencoder(seed: int) -> dict:
    """Squared error against principal components of the same number, and noise removed."""
    from sklearn.decomposition import PCA

    from recipes import autoencoder as family

    data = family.load_data("mnist", batch_size=128, seed=seed, validation_fraction=0)
    train, test = arrays(data)
    flat, flat_test = train.reshape(len(train), -1), test.reshape(len(test), -1)
    found = {}
    for variant, latent_dim in (("dense", 32), ("deep", 30)):
        model = family.build_model(variant, **data.spec, learning_rate=1e-3, seed=seed)
        model.fit(data.train, epochs=20, verbose=2, shuffle=False)
        mse = model.evaluate(data.test, verbose=0, return_dict=True)["mse"]
        pca = PCA(latent_dim, random_state=seed).fit(flat)
        linear = np.square(pca.inverse_transform(pca.transform(flat_test)) - flat_test).mean()
        found |= {f"{variant}_mse": mse, f"{variant}_pca_mse": linear}
        found[f"{variant}_mse_over_pca"] = mse / linear
    noise = {"noise": "gaussian", "noise_level": 0.4}
    model = family.build_model("denoising", **data.spec, **noise, learning_rate=1e-3, seed=seed)
    model.fit(data.train, epochs=10, verbose=2, shuffle=False)
    generator = np.random.default_rng(seed)
    spoilt = test + 0.4 * generator.standard_normal(test.shape, "float32")
    before, after = (np.square(x - test).mean() for x in (spoilt, model.predict(spoilt, verbose=0)))
    found["denoising_psnr_gain_db"] = 10 * np.log10(before / after)
    return found


def vae(seed: int) -> dict:
    """Bounds of log p(x) on statically binarised images, in nats."""
    from recipes import vae as family

    data = family.load_data("mnist", seed=seed, validation_fraction=0)
    model = family.build_model("dense", **data.spec, seed=seed)
    model.fit(data.train, epochs=30, verbose=2, shuffle=False)
    _, test = arrays(data)
    bound = model.log_likelihood_bound(test[:1000], k=500, seed=seed)
    return {
        "test_elbo_nats": -model.evaluate(data.test, verbose=0, return_dict=True)["loss"],
        "test_iwae_500_nats_first_1000": bound.mean(),
    }


def classifier(seed: int = 0):
    """A LeNet-5 for images in [0, 1], trained on all training images."""
    from recipes import cnn

    data = cnn.load_data("mnist", standardize=False, seed=seed, validation_fraction=0)
    model = cnn.build_model("lenet5", **data.spec, seed=seed)
    model.fit(data.train, epochs=3, verbose=2, shuffle=False)
    return model


def of_samples(made: dict[str, np.ndarray], train: np.ndarray, test: np.ndarray) -> dict:
    """Measures of each set of made pictures, of the real data's halves and of a Gaussian."""
    from recipes.reports import samples

    net, count = classifier(), len(next(iter(made.values())))
    generator = np.random.default_rng(0)
    flat = train[:10_000].reshape(10_000, -1).astype("float64")
    gaussian = generator.multivariate_normal(flat.mean(0), np.cov(flat.T), count, method="eigh")
    made = {**made, "gaussian": gaussian.reshape(-1, *test.shape[1:]).clip(0, 1).astype("float32")}
    real, other = test[:count], train[:count]
    found = {"images": count, "halves_frechet": samples.frechet_distance(
        samples.features(net, real), samples.features(net, other))}  # fmt: skip
    for name, images in made.items():
        measured = samples.evaluate(images, real, train[:10_000], net)
        found |= {f"{name}_{key}": value for key, value in measured.items()}
    return found


def gan(seed: int) -> dict:
    """DCGAN's pictures: distance, modes, memory."""
    from recipes import gan as family

    data = family.load_data("mnist", seed=seed, validation_fraction=0)
    model = family.build_model("dcgan", **data.spec, seed=seed)
    model.fit(data.train, epochs=5, verbose=2, shuffle=False)
    return of_samples({"dcgan": model.generate(2000, seed=seed)}, *arrays(data))


def diffusion(seed: int) -> dict:
    """Pictures of DDPM with all steps and of DDIM with 50: distances, modes, memory."""
    from recipes import diffusion as family

    data = family.load_data("mnist", seed=seed, validation_fraction=0)
    model = family.build_model("mnist", **data.spec, seed=seed)
    model.fit(data.train, epochs=6, verbose=2, shuffle=False)
    options = {
        "ddim50": {"steps": 50},
        "ddim1000": {"steps": 1000},
        "ddpm1000": {"sampler": "ddpm"},
    }
    made = {k: model.generate(500, seed=seed, verbose=1, **o) for k, o in options.items()}
    found = of_samples(made, *arrays(data))
    found["ddim50_over_ddim1000"] = found["ddim50_frechet"] / found["ddim1000_frechet"]
    found["ddim50_over_ddpm1000"] = found["ddim50_frechet"] / found["ddpm1000_frechet"]
    return found


def rbm(seed: int) -> dict:
    """Log-likelihood of 500 hidden units by annealed importance sampling, in nats."""
    import keras

    from recipes import rbm as family

    data = family.load_data("mnist", batch_size=100, seed=seed, validation_fraction=0)
    epochs = 60
    schedule = keras.optimizers.schedules.PolynomialDecay(0.05, epochs * len(data.train), 1e-4)
    model = family.build_model("pcd", **data.spec, units=500, learning_rate=schedule,
                               seed=seed)  # fmt: skip
    model.fit(data.train, epochs=epochs, verbose=2, shuffle=False)
    train, test = arrays(data)
    log_z, error = model.log_partition(train, num_chains=100, num_betas=15_000, seed=seed)
    return {
        "train_log_likelihood_nats": np.mean(model.log_likelihood(train[:10_000], log_z=log_z)),
        "test_log_likelihood_nats": np.mean(model.log_likelihood(test, log_z=log_z)),
        "log_z": log_z,
        "log_z_standard_error": error,
    }


def dbn(seed: int, pretrain_epochs: int = 15) -> dict:
    """Accuracy of 500-500-2000 units, 15 epochs of pre-training each and 20 of fine-tuning."""
    import keras

    from recipes import dbn as family

    data = family.load_data("mnist", seed=seed, validation_fraction=0)
    model = family.build_model(
        "hinton2006",
        **data.spec,
        pretrain_epochs=pretrain_epochs,
        learning_rate=keras.optimizers.schedules.CosineDecay(1e-3, 20 * len(data.train)),
        seed=seed,
    )
    model.fit(data.train, epochs=3 * pretrain_epochs + 20, verbose=2, shuffle=False)
    return {"accuracy_percent": 100 * model.evaluate(data.test, verbose=0)[1]}


def dbn_not_pretrained(seed: int) -> dict:
    """Accuracy of the same network without pre-training."""
    return dbn(seed, pretrain_epochs=0)


def hopfield(seed: int) -> dict:
    """Bits right after recall from 10 % flipped, and how many patterns each rule stores."""
    from recipes import hopfield as family

    size, generator = 500, np.random.default_rng(seed)

    def bits(variant: str, count: int) -> float:
        stored = generator.choice([-1.0, 1.0], (count, size)).astype("float32")
        spoilt = stored * np.where(generator.random(stored.shape) < 0.1, -1, 1)
        model = family.build_model(variant, input_shape=(size,), num_patterns=count)
        model.fit(stored, verbose=0)
        some = slice(0, min(count, 500))
        found = model.predict(spoilt[some].astype("float32"), verbose=0)
        return float((found * stored[some] > 0).mean())  # the modern network gives reals

    found = {f"hebb_bits_at_load_{load:.2f}": bits("hebb", round(load * size))
             for load in (0.05, 0.1, 0.138, 0.16, 0.2)}  # fmt: skip
    found["storkey_bits_at_load_0.20"] = bits("storkey", round(0.2 * size))
    found["modern_bits_at_load_20"] = bits("modern", 20 * size)
    return found


# name: (function, its bars, what papers report)
ROWS = {
    "autoencoder": (autoencoder, "error below PCA's", "3.00 to 13.87 (Hinton 2006)"),
    "vae": (vae, "ELBO -105", "about -100 for such widths"),
    "gan": (gan, "10 modes", "no such measure"),
    "diffusion": (diffusion, "10 modes; 50 steps within 1.3 of 1,000", "no such measure"),
    "rbm": (rbm, "-95 nats", "-86 (Salakhutdinov & Murray 2008, CD-25)"),
    "dbn": (dbn, "98.7 %", "98.75 % (Hinton 2006), 98.8 % (Hinton & Salakhutdinov 2006)"),
    "dbn_not_pretrained": (dbn_not_pretrained, "none", "98.4 % (Simard 2003)"),
    "hopfield": (hopfield, "99 % of bits at load 0.1; modern 100 times more", "0.138 (Amit 1985)"),
}  # fmt: skip


if __name__ == "__main__":
    about = (
        "Written by `python benchmarks/generators.py NAME ...`, which says what is measured.\n"
        "Whole MNIST; test images."
    )
    measures.main(ROWS, measures.RESULTS / "generators.json", __doc__.partition("\n")[0], about)
