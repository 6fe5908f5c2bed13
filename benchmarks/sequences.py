"""What the networks of sequences reach, beside the bars and the papers.

    python benchmarks/sequences.py --list
    python benchmarks/sequences.py trec forecasts --seed 1

Each name trains with the fixed recipe below and measures on the test part, once. `trec`,
`spoken_digits` and `shakespeare` need TensorFlow Datasets prepared in `TFDS_DATA_DIR`; `polarity`,
`spam` and `multi30k` read `sentence_polarity/` (Pang & Lee 2005), `sms_spam/SMSSpamCollection.gz`
(UCI) and `multi30k_de_en/` (Elliott et al. 2016, task 1, raw) in the folder `RECIPES_DATA`, by
default `../shared/data`; `multi30k` needs sacrebleu (extra `peers`). Results go to
`benchmarks/results/sequences.json`, one row for each (name, seed), and `sequences.md` is written
from them.
"""

import concurrent.futures
import importlib.util
import multiprocessing
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import measures
import numpy as np

DATA = Path(os.environ.get("RECIPES_DATA", Path(__file__).parents[2] / "shared" / "data"))
RECURRENT = ("rnn", "lstm", "gru")
TEXT = ("lstm", "gru", "attention")


def family(name: str):
    """A family's module."""
    import recipes

    return getattr(recipes, name)


def adding(seed: int) -> dict:
    """Squared error of the sum of two marked numbers among 100; saying 1 always has 0.167."""

    def rows(count: int, generator: np.random.Generator):
        numbers, marks = generator.random((count, 100)), np.zeros((count, 100))
        marks[np.arange(count), generator.integers(0, 50, count)] = 1
        marks[np.arange(count), generator.integers(50, 100, count)] = 1
        x = np.stack([numbers, marks], axis=-1).astype("float32")
        return x, (numbers * marks).sum(axis=1, keepdims=True).astype("float32")

    generator, found = np.random.default_rng(seed), {}
    train, test = rows(20_000, generator), rows(2_000, generator)
    for name in RECURRENT:
        model = family(name).build_model(
            input_shape=(100, 2), task="regression", units=(64,), learning_rate=2e-3, seed=seed
        )
        model.fit(*train, batch_size=50, epochs=12, verbose=2)
        found[f"{name}_mse"] = model.evaluate(*test, verbose=0)[0]
        print(found, flush=True)
    return found


def forecasts(seed: int) -> dict:
    """MASE on the test part of two series, beside the forecasts that need no learning."""
    from recipes.reports.series import naive_forecasts

    found = {}
    for source in ("sunspots", "co2"):
        for name in RECURRENT:
            data = family(name).load_data(source, seed=seed)
            x, y = data.test.arrays()
            for naive, forecast in naive_forecasts(data.transform, x).items():
                found[f"{source}_{naive}"] = data.transform.mase(y, forecast)
            model = family(name).build_model(**data.spec, seed=seed)
            model.fit(data.train, epochs=20, verbose=2)
            found[f"{source}_{name}"] = data.transform.mase(y, model.predict(x, verbose=0))
        print(found, flush=True)
    return found


def texts(source, epochs: int, seed: int, families=TEXT, **options) -> dict:
    """Accuracy on the test part of networks of equal width, from random embeddings.

    As Kim 2014: a tenth of the training part chooses the epoch.
    """
    import keras

    found = {}
    for name in families:
        data = family(name).load_data(
            source, kind="text", seed=seed, validation_fraction=0.1, min_count=2, **options
        )
        model = family(name).build_model("text", **data.spec, seed=seed)
        best = keras.callbacks.EarlyStopping("val_accuracy", patience=epochs,
                                             restore_best_weights=True)  # fmt: skip
        model.fit(data.train, validation_data=data.validation, epochs=epochs, callbacks=[best],
                  verbose=2)  # fmt: skip
        found[f"{name}_accuracy_percent"] = 100 * model.evaluate(data.test, verbose=0)[1]
        found[f"{name}_parameters"] = model.count_params()
        print(found, flush=True)
    return found


def trec(seed: int) -> dict:
    """Accuracy on TREC's 500 test questions, six coarse classes."""
    return texts("trec", 8, seed, level="cased_words")  # cased, as Kim


def polarity(seed: int) -> dict:
    """Accuracy on a tenth of the 10,662 film-review sentences."""
    return texts(DATA / "sentence_polarity", 6, seed, test_fraction=0.1)


def spam(seed: int) -> dict:
    """Accuracy on a fifth of the 5,574 SMS."""
    return texts(DATA / "sms_spam" / "SMSSpamCollection.gz", 8, seed, test_fraction=0.2)


def spoken_digits(seed: int) -> dict:
    """Accuracy on a fifth of the 2,500 recordings of spoken digits, from log-mel frames."""
    found = {}
    for name in ("lstm", "gru"):
        data = family(name).load_data("spoken_digit", validation_fraction=0, seed=seed)
        model = family(name).build_model("audio", **data.spec, seed=seed)
        model.fit(data.train, epochs=20, verbose=2)
        found[f"{name}_accuracy_percent"] = 100 * model.evaluate(data.test, verbose=0)[1]
        print(found, flush=True)
    return found


def dates(seed: int) -> dict:
    """Dates of the test part in five languages that are written without a mistake."""
    found = {}
    for name, epochs in (("attention", 5), ("transformer", 20)):
        data = family(name).load_data(seed=seed, validation_fraction=0)
        model = family(name).build_model(**data.spec, seed=seed)
        model.fit(data.train, epochs=epochs, verbose=2)
        part = data.test
        (source, _), truth = part.sample(part.size)
        made = data.transform.decode(model.generate(source))
        right = [a == b for a, b in zip(made, data.transform.decode(truth), strict=True)]
        found[f"{name}_exact_percent"] = 100 * float(np.mean(right))
        print(found, flush=True)
    return found


def multi30k(seed: int) -> dict:
    """BLEU of a small transformer, German to English, on the test part of 2016."""
    import sacrebleu

    from recipes.data.text import read_lines

    folder = DATA / "multi30k_de_en"
    files = {"train": "train", "validation": "val", "test": "test_2016_flickr"}
    parts = {k: (folder / f"{v}.de.gz", folder / f"{v}.en.gz") for k, v in files.items()}
    transformer = family("transformer")
    data = transformer.load_data(parts, vocabulary_size=6000, batch_size=128, seed=seed)
    model = transformer.build_model(
        **data.spec, num_layers=3, dropout_rate=0.2, label_smoothing=0.1, norm_first=True, seed=seed
    )
    model.fit(data.train, validation_data=data.validation, epochs=20, verbose=2)
    sources, references = map(read_lines, parts["test"])
    found = {"parameters": model.count_params()}
    for beam_size in (1, 4):
        made = model.generate(sources, beam_size=beam_size)
        found[f"bleu_beam_{beam_size}"] = sacrebleu.corpus_bleu(made, [references]).score
    return found


def shakespeare(seed: int) -> dict:
    """Nats a character of nanoGPT's network on the last tenth of tiny Shakespeare.

    Beside it, where PyTorch is there, the same network and training in it, and both times.
    """
    gpt, steps = family("gpt"), 2000
    data = gpt.load_data(
        "tiny_shakespeare", level="characters", stride=1, validation_fraction=0.1, test_fraction=0,
        seed=seed,
    )  # fmt: skip
    part = data.validation
    starts = np.linspace(0, part.size - 1, 4000).astype(int)
    x, y = part.transform(part.x[part.indices[starts]]), part.targets[starts]
    start = time.perf_counter()
    model = gpt.build_model("nano", **data.spec, cosine_steps=steps, seed=seed)
    model.fit(data.train, epochs=1, steps_per_epoch=steps, verbose=2)
    found = {"seconds": time.perf_counter() - start, "parameters": model.count_params()}
    found["validation_loss_nats"] = model.evaluate(x, y, batch_size=200, verbose=0)[0]
    if importlib.util.find_spec("torch"):
        batches = [data.train[i] for i in range(steps)]
        spawn = multiprocessing.get_context("spawn")  # PyTorch beside TensorFlow is slow
        with concurrent.futures.ProcessPoolExecutor(1, spawn) as pool:
            found |= pool.submit(nanogpt, batches, (x, y), seed).result()
    return found


def nanogpt(batches: list, held_out: tuple, seed: int) -> dict:
    """nanoGPT's network in PyTorch, trained as its CPU setting has it."""
    import torch
    from peers import gpt

    steps = len(batches)

    def rate(step: int) -> float:
        """Warm-up over 100 steps, then a cosine down to a tenth."""
        along = (step - 100) / (steps - 100)
        cosine = 1e-4 + 9e-4 * (1 + np.cos(np.pi * along)) / 2
        return 1e-3 * (step + 1) / 101 if step < 100 else cosine

    start = time.perf_counter()
    torch.manual_seed(seed)
    model = gpt.network(67, 64)  # of 65 characters and two that are special
    step, _ = gpt.optimized(model, rate)
    for batch in batches:
        step(*(torch.from_numpy(np.asarray(part, "int64")) for part in batch))
    seconds = time.perf_counter() - start
    x, y = (torch.from_numpy(np.asarray(part, "int64")) for part in held_out)
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten())
    return {"pytorch_seconds": seconds, "pytorch_validation_loss_nats": loss.item()}


ROWS = {
    "adding": (adding, "0.01 (lstm, gru)", "0.167 for the constant 1"),
    "forecasts": (forecasts, "MASE 1, and below the naive ones", "none"),
    "trec": (trec, "90 %", "91.2 (CNN-rand, Kim 2014)"),
    "polarity": (polarity, "75 %", "76.1 (CNN-rand, Kim 2014)"),
    "spam": (spam, "98.5 %", "none"),
    "spoken_digits": (spoken_digits, "95 %", "none"),
    "dates": (dates, "99 %", "none"),
    "multi30k": (multi30k, "reported", "none for such a size"),
    "shakespeare": (shakespeare, "1.88, in less time", "1.88 (nanoGPT)"),
}

if __name__ == "__main__":
    about = "Written by `python benchmarks/sequences.py NAME ...`, which says what is measured."
    measures.main(ROWS, measures.RESULTS / "sequences.json", __doc__.partition("\n")[0], about)
