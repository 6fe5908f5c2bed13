"""The U-Net and the steps of the samplers against diffusers, with diffusers' own weights."""

import keras
import numpy as np
import pytest

from recipes import diffusion

torch = pytest.importorskip("torch", reason="the peer runs on PyTorch (extra `peers`)")
diffusers = pytest.importorskip("diffusers", reason="the peer is diffusers (extra `peers`)")

SHAPE, FILTERS, MULTIPLIERS, NUM_BLOCKS = (8, 8, 3), 16, (1, 2), 2


def peer() -> torch.nn.Module:
    torch.manual_seed(0)
    made = diffusers.UNet2DModel(
        sample_size=8, in_channels=3, out_channels=3, layers_per_block=NUM_BLOCKS,
        block_out_channels=[FILTERS * m for m in MULTIPLIERS],
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4, norm_eps=1e-6, freq_shift=1, flip_sin_to_cos=False,
        downsample_padding=0, attention_head_dim=None,
    )  # fmt: skip
    with torch.no_grad():  # weights that start at zero would hide what lies before them
        for weight in made.parameters():
            weight.add_(0.02 * torch.randn(weight.shape))
    return made.eval()


def names() -> dict[str, str]:
    """Our layers' names to theirs."""
    table = {"time1": "time_embedding.linear_1", "time2": "time_embedding.linear_2",
             "first": "conv_in", "last_norm": "conv_norm_out", "last": "conv_out",
             "middle_attention": "mid_block.attentions.0"}  # fmt: skip
    blocks = {f"middle_{i}": f"mid_block.resnets.{i}" for i in range(2)}
    last = len(MULTIPLIERS) - 1
    for level in range(last + 1):
        table[f"down{level}_half"] = f"down_blocks.{level}.downsamplers.0.conv"
        table[f"up{level}_double"] = f"up_blocks.{last - level}.upsamplers.0.conv"
        for i in range(NUM_BLOCKS + 1):
            down, up = f"down_blocks.{level}", f"up_blocks.{last - level}"
            blocks[f"down{level}_{i}"] = f"{down}.resnets.{i}"
            blocks[f"up{level}_{i}"] = f"{up}.resnets.{i}"
            table[f"down{level}_{i}_attention"] = f"{down}.attentions.{i}"
            table[f"up{level}_{i}_attention"] = f"{up}.attentions.{i}"
    parts = {"norm1": "norm1", "conv1": "conv1", "time": "time_emb_proj", "norm2": "norm2",
             "conv2": "conv2", "shortcut": "conv_shortcut"}  # fmt: skip
    for ours, theirs in blocks.items():
        table |= {f"{ours}_{a}": f"{theirs}.{b}" for a, b in parts.items()}
    return table


def ours(tensor) -> np.ndarray:
    """A kernel as Keras keeps it."""
    axes = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[tensor.ndim]
    return np.transpose(tensor.detach().numpy(), axes)


def copied(layer, module, get) -> list[np.ndarray]:
    """A layer's weights, from a module of theirs, in Keras's order."""
    if isinstance(layer, diffusion.PixelAttention):
        qkv = (module.to_q, module.to_k, module.to_v)
        return [
            *(get(w) for w in (module.group_norm.weight, module.group_norm.bias)),
            np.concatenate([get(m.weight) for m in qkv], axis=-1),
            np.concatenate([get(m.bias) for m in qkv], axis=-1),
            *(get(w) for w in (module.to_out[0].weight, module.to_out[0].bias)),
        ]
    return [get(module.weight), get(module.bias)]


@pytest.fixture(scope="module")
def both():
    theirs, table = peer(), names()
    model = diffusion.build_model(
        input_shape=SHAPE, filters=FILTERS, multipliers=MULTIPLIERS, num_blocks=NUM_BLOCKS,
        attention_sizes=(4,), schedule="linear", optimizer=keras.optimizers.SGD(0.1),
    )  # fmt: skip
    for layer in model.network.layers:
        if layer.weights:
            layer.set_weights(copied(layer, theirs.get_submodule(table[layer.name]), ours))
    model.average.set_weights(model.network.get_weights())
    return model, theirs, table


def test_same_output(both):
    model, theirs, _ = both
    generator = np.random.default_rng(0)
    x = generator.normal(size=(3, *SHAPE)).astype("float32")
    t = np.array([0, 17, 999], "float32")
    found = model.network.predict([x, t], verbose=0)
    with torch.no_grad():
        expected = theirs(torch.tensor(x).permute(0, 3, 1, 2), torch.tensor(t)).sample
    expected = expected.permute(0, 2, 3, 1).numpy()
    assert expected.std() > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * expected.std())


def test_same_gradients(both):
    """One step of SGD on the paper's loss; their noise and times are taken from ours."""
    model, theirs, table = both
    generator = np.random.default_rng(1)
    x = generator.random((4, *SHAPE), "float32")
    e = generator.normal(size=x.shape).astype("float32")
    t = np.array([1, 20, 300, 1000])
    a = diffusion.alpha_bars("linear", 1000)[t].astype("float32").reshape(-1, 1, 1, 1)
    x_t = np.sqrt(a) * (2 * x - 1) + np.sqrt(1 - a) * e
    found = theirs(torch.tensor(x_t).permute(0, 3, 1, 2), torch.tensor(t))
    loss = torch.nn.functional.mse_loss(found.sample.permute(0, 2, 3, 1), torch.tensor(e))
    theirs.zero_grad()
    loss.backward()

    network = keras.models.clone_model(model.network)
    network.set_weights(model.network.get_weights())
    before = {layer.name: layer.get_weights() for layer in network.layers}
    network.compile(optimizer=keras.optimizers.SGD(1.0), loss="mse")
    assert network.train_on_batch([x_t, t.astype("float32")], e) == pytest.approx(
        loss.item(), rel=1e-5
    )
    for layer in network.layers:
        if layer.weights:
            grads = copied(layer, theirs.get_submodule(table[layer.name]), lambda w: ours(w.grad))
            for old, new, grad in zip(before[layer.name], layer.get_weights(), grads, strict=True):
                scale = np.abs(grad).max()
                np.testing.assert_allclose(old - new, grad, rtol=1e-3, atol=1e-3 * scale + 1e-7)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_same_schedule(schedule):
    theirs = {"linear": "linear", "cosine": "squaredcos_cap_v2"}[schedule]
    found = diffusers.DDPMScheduler(1000, beta_schedule=theirs).alphas_cumprod.numpy()
    np.testing.assert_allclose(diffusion.alpha_bars(schedule, 1000)[1:], found, rtol=2e-5)


@pytest.mark.parametrize("prediction", ["noise", "image", "velocity"])
@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_same_steps(both, sampler, prediction):
    """Single steps of ours, through the compiled loop, against the schedulers' `step`."""
    network = both[0].network
    model = diffusion.Diffusion(SHAPE, network, prediction=prediction)
    kind = {"ddpm": diffusers.DDPMScheduler, "ddim": diffusers.DDIMScheduler}[sampler]
    options = {"ddpm": {}, "ddim": {"set_alpha_to_one": True}}[sampler]
    words = {"noise": "epsilon", "image": "sample", "velocity": "v_prediction"}
    scheduler = kind(1000, prediction_type=words[prediction], clip_sample=True, **options)
    scheduler.set_timesteps(1000)
    eta = diffusion.SAMPLERS[sampler]
    table = diffusion.sampling_table(model.alpha_bar, 1000, eta)
    x = np.random.default_rng(2).normal(size=(2, *SHAPE)).astype("float32")
    for t in (1000, 400, 2, 1):
        z = torch.randn(x.shape, generator=torch.Generator().manual_seed(t))
        row = table[1000 - t : 1001 - t]
        assert row[0, 0] == t
        found = model.go_back({"x": x, "rows": row, "noise": z.numpy()[None]})
        output = model.average.predict_on_batch([x, np.full(2, t, "float32")])
        arguments = {"generator": torch.Generator().manual_seed(t)} if sampler == "ddpm" else {
            "eta": eta, "use_clipped_model_output": True}  # fmt: skip
        expected = scheduler.step(torch.tensor(output), t - 1, torch.tensor(x), **arguments)
        np.testing.assert_allclose(found, expected.prev_sample.numpy(), rtol=1e-3, atol=2e-4)
