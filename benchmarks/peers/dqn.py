"""Deep Q-networks: stable-baselines3's updates from its own replay, of the same network."""

from peers import Case, of_keras

STEPS = 128  # updates of a round


class Acting(Case):
    """A case that learns from what was met in CartPole; it predicts for random numbers."""

    def ours(self):
        from recipes import dqn

        model = self.build_model()
        player = dqn.Player(model, dqn.load_data("CartPole-v1").train, self.batch_size)
        player.play(5000, epsilon=1.0)
        parts, parameters = of_keras(model, self)
        return {**parts, "train": player.learn}, parameters


def stable_baselines3(case: Case) -> tuple:
    import numpy as np
    import torch
    from stable_baselines3 import DQN
    from stable_baselines3.common.logger import configure

    units = list(case.arguments["units"])
    model = DQN(
        "MlpPolicy", "CartPole-v1", learning_rate=1e-3, learning_starts=5000, train_freq=5000,
        policy_kwargs={"net_arch": units},
    )  # fmt: skip
    model.set_logger(configure(format_strings=[]))
    model.learn(5000)  # by chance, as ours
    x, _ = case.arrays()
    batches = [x[i : i + case.batch_size] for i in range(0, len(x), case.batch_size)]

    def predict():
        with torch.no_grad():
            return [model.q_net(torch.as_tensor(b, device=model.device)).cpu() for b in batches]

    parts = {"train": lambda: model.train(case.steps, case.batch_size), "predict": predict}
    return parts, sum(int(np.prod(p.shape)) for p in model.q_net.parameters())


def case(*units: int) -> Acting:
    return Acting(
        "dqn", "mlp", (4,), 64, STEPS, {"stable-baselines3": stable_baselines3},
        {"units": units, "gradient_steps": STEPS}, num_classes=None,
    )  # fmt: skip


CASES = {"dqn_128": case(128, 128), "dqn_256": case(256, 256)}
