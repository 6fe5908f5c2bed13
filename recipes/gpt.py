"""GPT: a transformer that foretells each token of a text from those before it, and so can write.

Each position gathers from earlier ones what helps to guess its next token, layer after layer; the
guesses for all positions are learnt at once. To write, the network draws a token from its guess,
puts it behind the text, and goes on. What earlier positions computed stays true, since none sees
later ones: their keys and values are kept, and each new token costs one position.

Papers:
    Radford et al. 2018, Improving language understanding by generative pre-training (`gpt1`: the
    norms stand behind the shortcuts, as in Vaswani et al. 2017).
    Radford et al. 2019, Language models are unsupervised multitask learners (`gpt2` to `gpt2_xl`:
    the norms stand before each part, a last one before the logits, and the matrices that lead back
    to the shortcuts start 1 / sqrt(2 layers) smaller).
    Karpathy 2022, nanoGPT (`nano` and `baby`: his two settings for tiny Shakespeare by characters).

Differences:
    Training is AdamW with decay of matrices alone, a warm-up and a cosine to a tenth, as in
    nanoGPT: GPT-2's own was not published. The task heads of `gpt1` are left out.
"""

import json
import math
from numbers import Integral
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from recipes import data
from recipes.contract import check, recipe
from recipes.layers.compiled import compiled
from recipes.layers.decoding import check_choice, choose
from recipes.layers.transformer import PositionEmbedding, TiedEmbedding, TransformerBlock
from recipes.training.compilation import choose_jit
from recipes.training.optimizers import make_optimizer

KINDS = ("corpus",)
OBJECTIVE = ("val_loss", "min")
EPOCHS = 3


@keras.saving.register_keras_serializable("recipes")
class GPT(keras.Model):
    """Token ids int32 (n, t) -> logits of each next token (n, t, vocabulary_size), float32.

    Args:
        vocabulary_size: tokens.
        sequence_length: most positions.
        num_layers: blocks.
        num_heads: of each block's attention.
        hidden_dim: width of a position.
        intermediate_dim: units of each block's dense network.
        dropout_rate: of embeddings, attention weights and what blocks add.
        norm_first: GPT-2's place of the norms, not GPT-1's.
        use_bias: of projections, dense layers and norms.
        tokenizer: configuration of the tokenizer that the texts go through; None: ids alone.
        dtype: policy of all layers.
    """

    xla_on_cpu = True

    def __init__(self, vocabulary_size, sequence_length, num_layers, num_heads, hidden_dim,
                 intermediate_dim, dropout_rate=0.0, norm_first=True, use_bias=True, tokenizer=None,
                 dtype=None, **kwargs):  # fmt: skip
        self.numbers = {
            "vocabulary_size": vocabulary_size, "sequence_length": sequence_length,
            "num_layers": num_layers, "num_heads": num_heads, "hidden_dim": hidden_dim,
            "intermediate_dim": intermediate_dim, "dropout_rate": dropout_rate,
            "norm_first": norm_first, "use_bias": use_bias,
        }  # fmt: skip
        policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        common = {"dtype": policy}

        def normal(deviation):
            return keras.initializers.RandomNormal(stddev=deviation)

        embedding = TiedEmbedding(vocabulary_size, hidden_dim, normal(0.02), name="tokens",
                                  **common)  # fmt: skip
        positions = PositionEmbedding(sequence_length, normal(0.01), name="positions", **common)
        blocks = [
            TransformerBlock(
                num_heads, intermediate_dim, activation="gelu_tanh", norm_first=norm_first,
                dropout_rate=dropout_rate, use_bias=use_bias, kernel_initializer=normal(0.02),
                output_initializer=normal(0.02 / math.sqrt(2 * num_layers) if norm_first else 0.02),
                name=f"block_{i}", **common,
            )
            for i in range(num_layers)
        ]  # fmt: skip
        norm = layers.LayerNormalization(epsilon=1e-5, center=use_bias, dtype="float32",
                                         name="norm") if norm_first else None  # fmt: skip
        ids = keras.Input((None,), dtype="int32", name="ids")
        x = positions(embedding(ids))
        x = layers.Dropout(dropout_rate, **common)(x) if dropout_rate else x
        for block in blocks:
            x = block(x, causal=True)
        logits = embedding(norm(x) if norm else x, reverse=True)
        super().__init__(ids, logits, **kwargs)
        self.embedding, self.positions, self.blocks, self.norm = embedding, positions, blocks, norm
        self.policy, self.tokenizer = policy, tokenizer
        self.go_on = compiled(self, self.write)

    def get_config(self):
        """The constructor's arguments."""
        policy = keras.dtype_policies.serialize(self.policy)
        made = {**self.numbers, "tokenizer": self.tokenizer, "dtype": policy}
        return {"name": self.name, **made}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """The model of a configuration."""
        return cls(**config)

    def logits(self, x):
        """Of positions as the blocks leave them: (n, t, hidden_dim) -> (n, t, tokens)."""
        return self.embedding(self.norm(x) if self.norm else x, reverse=True)

    def advance(self, ids, caches, start):
        """Positions from `start` on, (n, t), with all before them in the caches of the blocks.

        Returns:
            (n, t, hidden_dim), and the new caches.
        """
        x, new = self.positions(self.embedding(ids), start=start), []
        for block, cache in zip(self.blocks, caches, strict=True):
            x, cache = block(x, cache=cache, start=start)
            new.append(cache)
        return x, new

    def write(self, inputs):
        """Tokens, one after another, until `stop`: "ids" (n, sequence_length), filled in.

        Args:
            inputs: "ids"; "lengths" (n,), of what is given in each row; "first", the least of
                them; "stop"; "uniform" (n, sequence_length), the random numbers; "temperature",
                "top_k" and "top_p" as of `recipes.layers.decoding.choose`.
        """
        ids, lengths, stop = inputs["ids"], inputs["lengths"], inputs["stop"]
        count, length = ops.shape(ids)[0], self.numbers["sequence_length"]
        caches = [block.attention.empty_cache(count, length) for block in self.blocks]
        x, caches = self.advance(ids, caches, 0)  # the rows' ends are padding, and overwritten
        t, reserved = inputs["first"] - 1, len((self.tokenizer or {}).get("specials", ()))
        x = ops.take(x, [t], axis=1)

        def unfinished(t, ids, x, caches):
            return t + 1 < stop

        def step(t, ids, x, caches):
            drawn = ops.take(inputs["uniform"], t, axis=1)
            logits = self.logits(x)[:, 0]
            logits = ops.where(ops.arange(logits.shape[-1]) < reserved, -1e9, logits)
            chosen = choose(logits, drawn, inputs["temperature"], inputs["top_k"],
                            inputs["top_p"])  # fmt: skip
            t = t + 1
            chosen = ops.where(t < lengths, ops.take(ids, t, axis=1), chosen)[:, None]
            ids = ops.slice_update(ids, (0, t), chosen)
            x, caches = self.advance(chosen, caches, t)
            return t, ids, x, caches

        return ops.while_loop(unfinished, step, (t, ids, x, caches))[1]

    def generate(
        self,
        prompt,
        max_new_tokens: int = 200,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
    ):
        """Go on with a text, or several.

        Past `sequence_length` the network goes on from the last half of what it sees.

        Args:
            prompt: a text, a list of texts, or token ids: one row or a list of rows.
            max_new_tokens: tokens that are added to each.
            temperature: logits are divided by it: below 1 the likely becomes likelier; 0 takes the
                likeliest token always.
            top_k: draw from so many of the likeliest tokens only; None: from all.
            top_p: draw from the likeliest tokens that have this probability together (Holtzman et
                al. 2020); None: from all.
            seed: of the draws, which are the same on every backend.

        Returns:
            As the prompt: a text or a list of texts, prompt included, or ids.

        Raises:
            ValueError: an empty prompt, one longer than `sequence_length`, or with a token that
                the model does not know; impossible values of the others.
        """
        size, length = self.numbers["vocabulary_size"], self.numbers["sequence_length"]
        check_choice(size, temperature, top_k, top_p, seed)
        whole = isinstance(max_new_tokens, Integral) and max_new_tokens >= 1
        check(whole, "max_new_tokens", max_new_tokens, "must be a positive integer")
        rows, back = self._rows(prompt)
        generator = np.random.default_rng(seed)
        goals = [len(row) + max_new_tokens for row in rows]
        keep = max(1, length // 2)
        common = {"temperature": np.float32(temperature), "top_k": np.int32(top_k or size),
                  "top_p": np.float32(top_p or 1.0)}  # fmt: skip
        while any(len(row) < goal for row, goal in zip(rows, goals, strict=True)):
            seen = [row if len(row) < length else row[-keep:] for row in rows]
            lengths = np.array([len(row) for row in seen], "int32")
            ids = np.zeros((len(rows), length), "int32")
            for row, given in zip(ids, seen, strict=True):
                row[: len(given)] = given
            # No further than where the first row is done.
            left = min(g - len(r) for r, g in zip(rows, goals, strict=True) if len(r) < g)
            stop = min(length, int(lengths.max()) + left)
            made = self.go_on({
                "ids": ids, "lengths": lengths, "first": lengths.min(), "stop": np.int32(stop),
                "uniform": generator.random(ids.shape, "float32"), **common,
            })  # fmt: skip
            rows = [
                (row + new[n:stop].tolist())[:goal]
                for row, new, n, goal in zip(rows, made, lengths, goals, strict=True)
            ]
        return back(rows)

    def _rows(self, prompt) -> tuple[list[list[int]], object]:
        """A prompt as lists of ids, and what turns such into what the prompt was."""
        texts = isinstance(prompt, str)
        texts = texts or (isinstance(prompt, list | tuple) and len(prompt) and
                          all(isinstance(p, str) for p in prompt))  # fmt: skip
        if texts:
            from recipes.data import tokenizers

            wanted = "needs a model with a tokenizer; give token ids"
            check(self.tokenizer is not None, "prompt", prompt, wanted)
            tokenizer = tokenizers.from_config(self.tokenizer)
            one = isinstance(prompt, str)
            rows = [tokenizer.encode(text, strict=True) for text in ([prompt] if one else prompt)]

            def back(rows):
                found = [tokenizer.decode(row) for row in rows]
                return found[0] if one else found
        else:
            array = isinstance(prompt, np.ndarray)
            given = prompt.tolist() if array else list(prompt)
            one = bool(given) and isinstance(given[0], Integral)
            rows = [[int(i) for i in row] for row in ([given] if one else given)]

            def back(rows):
                rows = [np.array(row, "int32") for row in rows]
                return rows[0] if one else rows

        size, length = self.numbers["vocabulary_size"], self.numbers["sequence_length"]
        check(rows, "prompt", prompt, "needs at least one text")
        for row in rows:
            what = prompt if texts else row
            check(row, "prompt", what, "must not be empty")
            wanted = f"this model sees at most {length} tokens"
            check(len(row) <= length, "prompt", f"{len(row)} tokens", wanted)
            inside = all(0 <= i < size for i in row)
            check(inside, "prompt", what, f"must be token ids in 0 .. {size - 1}")
        return rows, back

    def attention_weights(self, ids: np.ndarray) -> np.ndarray:
        """How much each position looks at each: (n, t) -> (n, layers, heads, t, t), float32."""
        x, found = self.positions(self.embedding(ops.convert_to_tensor(ids))), []
        for block in self.blocks:
            seen = block.cast(block.norm(x)) if block.norm_first else x
            _, weights = block.attention(seen, causal=True, return_weights=True)
            found.append(ops.convert_to_numpy(weights))
            x = block(x, causal=True)
        return np.stack(found, axis=1)

    def anomaly_score(self, x: np.ndarray, batch_size: int = 32) -> np.ndarray:
        """How unusual each text is, (n,): -log p of a token in nats, the mean over it.

        Args:
            x: ids int32 (n, t), 0 behind the end of a text.
            batch_size: rows at a time.
        """
        parts = [x[i : i + batch_size] for i in range(0, len(x), batch_size)]
        nats = np.concatenate([self.surprise(part) for part in parts])
        there = x[:, 1:] != 0 if self.tokenizer and self.tokenizer["specials"] else nats >= 0
        return (nats * there).sum(axis=1) / np.maximum(there.sum(axis=1), 1)

    def surprise(self, ids: np.ndarray) -> np.ndarray:
        """-log p of each token but the first, in nats: (n, t) -> (n, t - 1)."""
        ids = np.asarray(ids)
        logits = np.asarray(self.predict(ids[:, :-1], verbose=0), "float64")
        logits -= logits.max(axis=-1, keepdims=True)
        normal = np.log(np.exp(logits).sum(axis=-1))
        return normal - np.take_along_axis(logits, ids[:, 1:, None], axis=-1)[..., 0]


GPT2 = {"vocabulary_size": 50257, "sequence_length": 1024, "dropout_rate": 0.1,
        "learning_rate": 6e-4, "warmup_steps": 2000, "beta_2": 0.95}  # fmt: skip
VARIANTS = {
    "nano": {},
    "baby": {"num_layers": 6, "num_heads": 6, "hidden_dim": 384, "sequence_length": 256,
             "dropout_rate": 0.2, "cosine_steps": 5000},
    "gpt1": {"vocabulary_size": 40478, "sequence_length": 512, "num_layers": 12, "num_heads": 12,
             "hidden_dim": 768, "dropout_rate": 0.1, "norm_first": False, "use_bias": True,
             "learning_rate": 2.5e-4, "warmup_steps": 2000, "weight_decay": 0.01,
             "beta_2": 0.999},
    "gpt2": {**GPT2, "num_layers": 12, "num_heads": 12, "hidden_dim": 768, "use_bias": True},
    "gpt2_medium": {**GPT2, "num_layers": 24, "num_heads": 16, "hidden_dim": 1024,
                    "use_bias": True},
    "gpt2_large": {**GPT2, "num_layers": 36, "num_heads": 20, "hidden_dim": 1280,
                   "use_bias": True},
    "gpt2_xl": {**GPT2, "num_layers": 48, "num_heads": 25, "hidden_dim": 1600, "use_bias": True},
    "tiny": {"num_layers": 1, "num_heads": 2, "hidden_dim": 32, "warmup_steps": 0,
             "learning_rate": 3e-3},
}  # fmt: skip


@recipe(VARIANTS)
def build_model(
    variant: str = "nano",
    *,
    vocabulary_size: int = 258,
    sequence_length: int = 64,
    num_layers: int = 4,
    num_heads: int = 4,
    hidden_dim: int = 128,
    intermediate_dim: int | None = None,
    dropout_rate: float = 0.0,
    norm_first: bool = True,
    use_bias: bool = False,
    tokenizer: dict | None = None,
    optimizer: str | keras.optimizers.Optimizer = "adamw",
    learning_rate: float = 1e-3,
    warmup_steps: int = 100,
    cosine_steps: int = 0,
    weight_decay: float = 0.1,
    beta_2: float = 0.99,
    seed: int | None = None,
) -> keras.Model:
    """A compiled `GPT`: token ids (n, t) -> logits (n, t, vocabulary_size); `generate` writes.

    Args:
        variant: a key of `VARIANTS`; arguments given here override what it sets.
        vocabulary_size: tokens.
        sequence_length: most tokens that it sees.
        num_layers: blocks.
        num_heads: of each block's attention; divides `hidden_dim`.
        hidden_dim: width of a position.
        intermediate_dim: units of each block's dense network; None: 4 `hidden_dim`.
        dropout_rate: of embeddings, attention weights and what blocks add.
        norm_first: norms before each part, as in GPT-2, or behind each shortcut, as in GPT-1.
        use_bias: of projections, dense layers and norms.
        tokenizer: configuration of the tokenizer, which `generate` needs for texts.
        optimizer: "sgd", "adam", "adamw", "rmsprop", "adagrad", or an optimizer.
        learning_rate: the highest, or a schedule.
        warmup_steps: over which the rate rises from zero.
        cosine_steps: steps, the warm-up included, after which the rate has fallen to a tenth, along
            a cosine; 0: it stays.
        weight_decay: of "adamw": of matrices, not of biases and norms.
        beta_2: of "adam" and "adamw".
        seed: of the initial weights and of dropout.

    Raises:
        ValueError: an unknown variant, argument or value.
    """
    wanted = f"must be a multiple of num_heads={num_heads}"
    check(hidden_dim % num_heads == 0, "hidden_dim", hidden_dim, wanted)
    for name, value in (("norm_first", norm_first), ("use_bias", use_bias)):
        check(isinstance(value, bool), name, value, "must be True or False")
    model = GPT(
        vocabulary_size, sequence_length, num_layers, num_heads, hidden_dim,
        intermediate_dim or 4 * hidden_dim, dropout_rate, norm_first, use_bias, tokenizer,
        name=f"gpt_{variant}",
    )  # fmt: skip
    model.compile(
        optimizer=make_optimizer(
            optimizer, learning_rate, warmup_steps=warmup_steps, cosine_steps=cosine_steps,
            weight_decay=weight_decay, beta_2=beta_2, clip_norm=1.0,
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )  # fmt: skip
    choose_jit(model)
    return model


def load_checkpoint(folder: str | Path) -> keras.Model:
    """GPT-2 from a folder in Hugging Face's layout, compiled, ready to write or to be trained on.

    Args:
        folder: holds `config.json`, `model.safetensors` and, for texts, `vocab.json` and
            `merges.txt`.

    Raises:
        ValueError: a file is missing, or is of another kind of network.
    """
    folder = Path(folder)
    for name in ("config.json", "model.safetensors"):
        check((folder / name).is_file(), "folder", str(folder), f"holds no {name}")
    from safetensors.numpy import load_file

    config = json.loads((folder / "config.json").read_text("utf-8"))
    wanted = "this reads GPT-2's checkpoints"
    check(config.get("model_type") == "gpt2", "model_type", config.get("model_type"), wanted)
    tokenizer = None
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        from recipes.data.tokenizers import BPETokenizer

        tokenizer = BPETokenizer.from_files(folder / "vocab.json", folder / "merges.txt")
        tokenizer = tokenizer.get_config()
    model = build_model(
        "gpt2", vocabulary_size=config["vocab_size"], sequence_length=config["n_positions"],
        num_layers=config["n_layer"], num_heads=config["n_head"], hidden_dim=config["n_embd"],
        intermediate_dim=config.get("n_inner"), dropout_rate=config["resid_pdrop"],
        tokenizer=tokenizer,
    )  # fmt: skip
    found = {k.removeprefix("transformer."): v
             for k, v in load_file(folder / "model.safetensors").items()}  # fmt: skip
    for path, name in checkpoint_names(config["n_layer"]).items():
        check(name in found, "folder", str(folder), f"its model.safetensors has no {name}")
        weight(model, path).assign(found[name].astype("float32"))
    return model


def checkpoint_names(num_layers: int) -> dict[str, str]:
    """Our weights to Hugging Face's names of them; kernels are (inputs, outputs) in both."""
    table = {"tokens/embeddings": "wte.weight", "positions/positions": "wpe.weight",
             "norm/gamma": "ln_f.weight", "norm/beta": "ln_f.bias"}  # fmt: skip
    parts = {"attention/qkv": "attn.c_attn", "attention/out": "attn.c_proj", "up": "mlp.c_fc",
             "down": "mlp.c_proj"}  # fmt: skip
    for i in range(num_layers):
        for ours, theirs in parts.items():
            table[f"block_{i}/{ours}/kernel"] = f"h.{i}.{theirs}.weight"
            table[f"block_{i}/{ours}/bias"] = f"h.{i}.{theirs}.bias"
        for ours, theirs in (("norm", "ln_1"), ("dense_norm", "ln_2")):
            table[f"block_{i}/{ours}/gamma"] = f"h.{i}.{theirs}.weight"
            table[f"block_{i}/{ours}/beta"] = f"h.{i}.{theirs}.bias"
    return table


def weight(model: keras.Model, path: str) -> keras.Variable:
    """A weight by its path, such as "block_0/attention/qkv/kernel"."""
    *parts, name = path.split("/")
    layer = model.get_layer(parts[0])
    for part in parts[1:]:
        layer = getattr(layer, part)
    return getattr(layer, name)


def load_data(source: object = "pydoc_topics", *, batch_size: int = 12, seed: int = 0, **options):
    """Python's help texts (700 kB of English), a TensorFlow Datasets name, files, or a text.

    See `recipes.data.corpus.load` for all sources and options, such as `sequence_length` and
    `level`: "bytes", the default, whose vocabulary does not depend on the text, "characters" or
    "bpe".

    Returns:
        `Data` of token ids int32 (n, sequence_length), and the same one token later as targets.
    """
    options = {"level": "bytes", **options}
    return data.load(source, KINDS, batch_size=batch_size, seed=seed, **options)


def search_space(hp) -> dict:
    """Arguments of `build_model` and of training; the defaults are those of `build_model`."""
    return {
        "num_layers": hp.Int("num_layers", 2, 8, default=4),
        "hidden_dim": hp.Choice("hidden_dim", [64, 128, 192, 256, 384], default=128),
        "num_heads": hp.Choice("num_heads", [2, 4, 8], default=4),
        "dropout_rate": hp.Float("dropout_rate", 0.0, 0.3, step=0.1, default=0.0),
        "learning_rate": hp.Float("learning_rate", 1e-4, 1e-2, sampling="log", default=1e-3),
        "weight_decay": hp.Choice("weight_decay", [0.0, 0.01, 0.1], default=0.1),
        "batch_size": hp.Choice("batch_size", [12, 24, 48], default=12),
    }


def pictures(model: GPT, data) -> dict:
    """What a run shows: the test text and what surprised the model in it, a text of its own, and
    who looks at whom.
    """
    from recipes.data import tokenizers
    from recipes.reports import plots

    decode = tokenizers.from_config(model.tokenizer).decode
    x, y = data.test.transform(data.test.x[data.test.indices[:8]]), data.test.targets[:8]
    nats = model.surprise(np.concatenate([x[:, :1], y], axis=1))
    letters = [[decode([i]) for i in rows.ravel()] for rows in (y, x[:1, :24])]
    prompt = decode(x[0, : x.shape[1] // 4])
    title = f"test text; the darker, the less expected (mean {nats.mean():.2f} nats a token)"
    own = {title: (letters[0], nats.ravel()),
           f"written, from {prompt!r}": (list(model.generate(prompt, 600)), None)}  # fmt: skip
    weights = model.attention_weights(x[:1, :24])[0]
    return {"texts": plots.coloured_texts(own), "attention": plots.attention(weights, letters[1])}
