"""GPT-2 and GPT-1 against transformers, with transformers' own weights."""

import keras
import numpy as np
import pytest

from recipes import gpt

torch = pytest.importorskip("torch", reason="the peer runs on PyTorch (extra `peers`)")
transformers = pytest.importorskip("transformers", reason="the peer (extra `peers`)")

SIZES = {"vocab_size": 50, "n_positions": 24, "n_embd": 32, "n_layer": 3, "n_head": 4}


def shaken(model):
    """With every weight moved, so that none hides behind a zero or a one."""
    torch.manual_seed(0)
    with torch.no_grad():
        for w in model.parameters():
            w.add_(0.1 * torch.randn(w.shape))
    return model.eval()


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    """Their model, and ours from the folder that theirs wrote."""
    quiet = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    theirs = shaken(transformers.GPT2LMHeadModel(transformers.GPT2Config(**SIZES, **quiet)))
    folder = tmp_path_factory.mktemp("gpt2")
    theirs.save_pretrained(folder)
    return theirs, gpt.load_checkpoint(folder)


@pytest.fixture
def ids() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 50, (3, 20))


def test_a_checkpoint_gives_the_same_logits(gpt2, ids):
    theirs, ours = gpt2
    with torch.no_grad():
        expected = theirs(torch.tensor(ids)).logits.numpy()
    found = ours.predict(ids, verbose=0)
    assert ours.count_params() == theirs.num_parameters()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_same_gradients_and_steps(gpt2, ids):
    """Three steps of plain descent lead to the same losses."""
    theirs, ours = gpt2
    x, y = torch.tensor(ids[:, :-1]), torch.tensor(ids[:, 1:])
    descent = torch.optim.SGD(theirs.parameters(), 0.1)
    ours.compile(optimizer=keras.optimizers.SGD(0.1), loss=ours.loss)
    for _ in range(3):
        logits = theirs(x).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten())
        descent.zero_grad()
        loss.backward()
        descent.step()
        found = ours.train_on_batch(ids[:, :-1], ids[:, 1:], return_dict=True)["loss"]
        assert found == pytest.approx(loss.item(), rel=1e-5)
    state = theirs.state_dict()
    for path, name in gpt.checkpoint_names(SIZES["n_layer"]).items():
        found = keras.ops.convert_to_numpy(gpt.weight(ours, path))
        expected = state[f"transformer.{name}"].numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_same_text_is_written_greedily(gpt2):
    theirs, ours = gpt2
    prompt = [3, 14, 15, 9]
    with torch.no_grad():
        expected = theirs.generate(
            torch.tensor([prompt]), max_new_tokens=16, do_sample=False, pad_token_id=0,
            eos_token_id=None,
        )  # fmt: skip
    assert ours.generate(prompt, 16, temperature=0).tolist() == expected[0].tolist()


def test_gpt1_gives_the_same_logits(ids):
    theirs = shaken(transformers.OpenAIGPTLMHeadModel(transformers.OpenAIGPTConfig(**SIZES)))
    ours = gpt.build_model(
        "gpt1", vocabulary_size=50, sequence_length=24, num_layers=3, num_heads=4, hidden_dim=32
    )
    state = theirs.state_dict()
    renamed = {"wte": "tokens_embed", "wpe": "positions_embed"}
    for path, name in gpt.checkpoint_names(3).items():
        if not path.startswith("norm/"):  # GPT-1 has no last norm
            first, _, rest = name.partition(".")
            expected = state[f"transformer.{renamed.get(first, first)}.{rest}"]
            gpt.weight(ours, path).assign(expected.numpy())
    with torch.no_grad():
        expected = theirs(torch.tensor(ids)).logits.numpy()
    found = ours.predict(ids, verbose=0)
    assert ours.count_params() == theirs.num_parameters()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
