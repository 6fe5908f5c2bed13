"""Deep Q-networks against stable-baselines3 and PyTorch, with the same weights."""

import keras
import numpy as np
import pytest
from keras import ops

from recipes import dqn

torch = pytest.importorskip("torch")
sb3 = pytest.importorskip("stable_baselines3", reason="the peer (extra `peers`)")


def from_dense(layers) -> list[np.ndarray]:
    """Weights of torch's linear layers in Keras's order."""
    return [w.detach().numpy().copy() for layer in layers for w in (layer.weight.T, layer.bias)]


def test_the_nature_network_equals_theirs(from_torch):
    from gymnasium import spaces
    from stable_baselines3.common.torch_layers import NatureCNN

    space = spaces.Box(0, 255, (4, 84, 84), np.uint8)
    theirs, head = NatureCNN(space), torch.nn.Linear(512, 6)
    model = dqn.build_model("nature", num_actions=6)
    first, *others = [m for m in theirs.cnn if hasattr(m, "weight")]
    weights = [w for m in (first, *others) for w in from_torch(m)]
    # Torch flattens (channels, height, width), Keras (height, width, channels).
    dense = theirs.linear[0].weight.detach().numpy()  # (512, 64 * 7 * 7)
    dense = dense.reshape(512, 64, 7, 7).transpose(2, 3, 1, 0).reshape(-1, 512)
    weights += [dense, theirs.linear[0].bias.detach().numpy(), *from_dense([head])]
    model.network.set_weights(weights)
    count = sum(p.numel() for p in theirs.parameters())
    assert count == 1_684_128 == sum(w.size for w in weights[:-2])

    x = np.random.default_rng(0).random((5, 4, 84, 84), "float32")
    with torch.no_grad():
        expected = head(theirs(torch.as_tensor(x))).numpy()
    found = model.predict(x.transpose(0, 2, 3, 1), verbose=0)
    np.testing.assert_allclose(found, expected, atol=1e-5)


class Batch:
    """Transitions for both."""

    def __init__(self, seed: int, count: int = 64, gamma: float = 0.97):
        rng = np.random.default_rng(seed)
        self.seen, self.after = rng.normal(size=(2, count, 4)).astype("float32")
        self.action = rng.integers(0, 2, count)
        self.reward = rng.normal(scale=3, size=count).astype("float32")
        self.over = rng.random(count) < 0.2
        self.gamma = gamma

    def ours(self) -> dict[str, np.ndarray]:
        return {
            "observation": self.seen,
            "action": self.action.astype("int32"),
            "reward": self.reward,
            "next_observation": self.after,
            "discount": (self.gamma * ~self.over).astype("float32"),
        }

    def sample(self, *arguments, **options):
        """What stable-baselines3's `train` asks its replay buffer for."""
        from stable_baselines3.common.type_aliases import ReplayBufferSamples

        def column(a, kind=torch.float32):
            return torch.as_tensor(a)[:, None].to(kind)

        return ReplayBufferSamples(
            observations=torch.as_tensor(self.seen), actions=column(self.action, torch.int64),
            next_observations=torch.as_tensor(self.after), dones=column(self.over),
            rewards=column(self.reward), discounts=None,
        )  # fmt: skip


def test_updates_equal_theirs():
    """Their `train`, three updates of Adam with clipped gradients, on the same batches."""
    from stable_baselines3.common.logger import configure

    theirs = sb3.DQN(
        "MlpPolicy", "CartPole-v1", learning_rate=1e-2, gamma=0.97, max_grad_norm=2.0,
        policy_kwargs={"net_arch": [32, 16], "optimizer_kwargs": {"eps": 1e-14}},
        seed=0, device="cpu",
    )  # fmt: skip
    theirs.set_logger(configure(format_strings=[]))
    model = dqn.build_model(
        units=(32, 16), num_steps=1, clip_norm=2.0,
        optimizer=keras.optimizers.Adam(1e-2, epsilon=1e-14, global_clipnorm=2.0),
    )  # fmt: skip

    def layers(net):
        return [m for m in net.q_net if hasattr(m, "weight")]

    with torch.no_grad():
        for p in theirs.q_net_target.parameters():
            p += 0.3 * torch.randn_like(p)  # so that the two networks differ
    model.network.set_weights(from_dense(layers(theirs.q_net)))
    model.target.set_weights(from_dense(layers(theirs.q_net_target)))
    for seed in range(3):
        batch = theirs.replay_buffer = Batch(seed)
        theirs.train(gradient_steps=1, batch_size=64)
        loss = theirs.logger.name_to_value["train/loss"]
        found = model.train_on_batch(batch.ours(), return_dict=True)
        model.reset_metrics()
        assert found["loss"] == pytest.approx(loss, rel=1e-5)
        expected = from_dense(layers(theirs.q_net))
        # Epsilon is as good as nothing: Keras adds it before the averages' start is corrected.
        for a, b in zip(model.network.get_weights(), expected, strict=True):
            np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.parametrize("double", [False, True])
def test_gradients_equal_those_of_torch(double):
    """The target written once more, in PyTorch: with and without the double one, with weights."""
    model = dqn.build_model(
        "dueling", units=(16,), double=double, num_steps=1, clip_norm=None,
        optimizer=keras.optimizers.SGD(1.0), seed=0,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    model.target.set_weights([rng.normal(size=w.shape) for w in model.target.get_weights()])
    weights = rng.random(64).astype("float32")

    def q(values, x):
        """A dueling network of two dense layers a stream, that of the value first."""
        pairs = list(zip(values[::2], values[1::2], strict=True))
        into = [p for p in pairs if p[0].shape == (4, 16)]
        heads = sorted((p for p in pairs if p[0].shape[0] == 16), key=lambda p: p[0].shape[1])
        assert len(into) == len(heads) == 2
        value, advantage = (
            torch.relu(x @ k + b) @ head[0] + head[1]
            for (k, b), head in zip(into, heads, strict=True)
        )
        return value + advantage - advantage.mean(1, keepdim=True)

    def tensors(network):
        return [torch.tensor(w) for w in network.get_weights()]

    batch = Batch(0)
    online, target = tensors(model.network), tensors(model.target)
    for w in online:
        w.requires_grad_()
    theirs = batch.sample()
    with torch.no_grad():
        after = q(target, theirs.next_observations)
        best = q(online, theirs.next_observations).argmax(1) if double else after.argmax(1)
        after = after.gather(1, best[:, None])
        wanted = theirs.rewards + 0.97 * (1 - theirs.dones) * after
    had = q(online, theirs.observations).gather(1, theirs.actions)
    loss = torch.nn.functional.smooth_l1_loss(had, wanted, reduction="none")[:, 0]
    (loss * torch.tensor(weights)).mean().backward()
    before = model.network.get_weights()
    model.train_on_batch(batch.ours(), None, weights)
    for a, b, w in zip(before, model.network.get_weights(), online, strict=True):
        np.testing.assert_allclose(a - b, w.grad, rtol=1e-4, atol=1e-6)


def test_errors_equal_those_of_a_loop():
    """n-step targets from whole episodes, walked step by step."""
    from recipes.training.replay import Replay

    rng, gamma, n = np.random.default_rng(1), 0.9, 4
    replay = Replay(600, 2, (4,), num_steps=n, gamma=gamma)
    steps = []
    idle = np.zeros(2, bool)
    for _ in range(200):
        seen, rewards = rng.normal(size=(2, 4)).astype("float32"), rng.normal(size=2)
        terminated, truncated = rng.random((2, 2)) < 0.07
        terminated, truncated = terminated & ~idle, truncated & ~terminated & ~idle
        action = rng.integers(0, 2, 2)
        replay.add(seen, action, rewards, terminated, truncated)
        steps.append((seen, action, rewards, terminated, truncated, idle))
        idle = terminated | truncated
    model = dqn.build_model(double=True, num_steps=n, seed=0)
    rng = np.random.default_rng(2)
    model.target.set_weights([rng.normal(size=w.shape) for w in model.target.get_weights()])
    x, _, places = replay.sample(1, 300)
    found = ops.convert_to_numpy(model({k: v[0] for k, v in x.items()}, training=True))
    seen = np.array([s[0] for s in steps])  # (200, 2, 4)
    online, target = (net.predict(seen.reshape(-1, 4), verbose=0).reshape(200, 2, 2)
                      for net in (model.network, model.target))  # fmt: skip
    for place, error in zip(places[0], found, strict=True):
        t, e = divmod(int(place), 2)
        assert not steps[t][5][e]
        total, factor, u = 0.0, 1.0, t
        while True:
            total += factor * steps[u][2][e]
            factor *= gamma
            terminated, truncated = steps[u][3][e], steps[u][4][e]
            u += 1
            if terminated or truncated or u == t + n:
                break
        if not terminated:
            total += factor * target[u, e, online[u, e].argmax()]
        assert error == pytest.approx(total - online[t, e, steps[t][1][e]], abs=1e-4)
