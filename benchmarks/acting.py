"""How soon networks that act solve an environment, beside others on the same machine.

    python benchmarks/acting.py --list
    python benchmarks/acting.py cartpole --seeds 5

A row is an environment with a bar. Each contender has a process of its own for each seed; they
come one after another, all of a seed before the next. In training, after every so many steps (of
all environments together), 100 episodes are played greedily, from seeds of their own; the clock
stands still meanwhile. A contender is done when their mean return reaches the bar, or at its limit
of steps; then the network with the best of these returns plays the 100 test episodes, once.

- ours: the default model of `dqn`, on TensorFlow (or `KERAS_BACKEND`), compilation included.
- stable-baselines3: its DQN with the settings that RL Zoo tuned for the environment.
- CleanRL: the algorithm and settings of its dqn.py (500,000 steps), written here in PyTorch.

Results go to `benchmarks/results/acting.json`, one entry for each (row, contender, seed), and
`acting.md` is written from them. Wall-clock seconds count the waiting of a machine that is shared;
CPU seconds are those that the process used.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import measures
import numpy as np

RESULTS = Path(__file__).parent / "results"
EPISODES = 100
# row: (environment, bar, steps between looks, most steps of ours)
ROWS = {
    "cartpole": ("CartPole-v1", 475.0, 2048, 100_000),
    "acrobot": ("Acrobot-v1", -100.0, 2048, 100_000),
}
# RL Zoo's hyperparams/dqn.yml: arguments of stable-baselines3's DQN, and its number of steps
ZOO = {
    "cartpole": (
        {
            "learning_rate": 2.3e-3, "batch_size": 64, "buffer_size": 100_000, "gamma": 0.99,
            "learning_starts": 1000, "target_update_interval": 10, "train_freq": 256,
            "gradient_steps": 128, "exploration_fraction": 0.16, "exploration_final_eps": 0.04,
            "policy_kwargs": {"net_arch": [256, 256]},
        },
        50_000,
    ),
    "acrobot": (
        {
            "learning_rate": 6.3e-4, "batch_size": 128, "buffer_size": 50_000, "gamma": 0.99,
            "learning_starts": 0, "target_update_interval": 250, "train_freq": 4,
            "gradient_steps": -1, "exploration_fraction": 0.12, "exploration_final_eps": 0.1,
            "policy_kwargs": {"net_arch": [256, 256]},
        },
        100_000,
    ),
}  # fmt: skip


class Watch:
    """Looks at a network in training: when it reaches the bar, and how good its best state is.

    Args:
        row: of `ROWS`.
        act: raw observations (n, ...) -> greedy actions (n,).
        keep: () -> the network's state.
        restore: takes such a state.
    """

    def __init__(self, row: str, act, keep, restore):
        from recipes.data.environments import World

        name, self.bar, self.every, _ = ROWS[row]
        self.world, self.act, self.keep, self.restore = World(name), act, keep, restore
        self.best, self.state, self.looks = -np.inf, None, []
        self.start, self.paused = self.clocks(), np.zeros(2)

    @staticmethod
    def clocks() -> np.ndarray:
        """Seconds of the wall's clock and of the CPU."""
        return np.array([time.perf_counter(), time.process_time()])

    def look(self, steps: int) -> bool:
        """Play, if it is time; whether the bar is reached."""
        from recipes.data.environments import play

        if steps < self.every * (len(self.looks) + 1):
            return False
        before = self.clocks()
        spent = (before - self.start - self.paused).tolist()
        mean = float(play(self.act, self.world, EPISODES, seed=1000)[0].mean())
        self.looks.append([steps, *(round(s, 2) for s in spent), round(mean, 2)])
        if mean > self.best:
            self.best, self.state = mean, self.keep()
        self.paused += self.clocks() - before
        return mean >= self.bar

    def result(self) -> dict:
        """What is recorded: the last look, and the test episodes of the best state."""
        from recipes.data.environments import play

        self.restore(self.state)
        test = play(self.act, self.world, EPISODES, seed=5000)[0]
        steps, wall, cpu, _ = self.looks[-1]
        return {
            "steps": steps, "wall_seconds": wall, "cpu_seconds": cpu, "test_return": test.mean(),
            "solved": bool(self.best >= self.bar), "looks": self.looks,
        }  # fmt: skip


def ours(row: str, seed: int) -> dict:
    import keras

    from recipes import dqn

    keras.utils.set_random_seed(seed)
    name, _, every, most = ROWS[row]
    data = dqn.load_data(name, seed=seed)
    model = dqn.build_model(**data.spec, seed=seed)
    watch = Watch(row, model.greedy(data.transform), model.get_weights, model.set_weights)

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = watch.look(int(self.model.steps))

    epochs = (most - model.warmup_steps) // every
    model.fit(data.train, epochs=epochs, steps_per_epoch=every, verbose=0, callbacks=[Look()])
    return watch.result()


def stable_baselines3(row: str, seed: int) -> dict:
    import torch
    from stable_baselines3 import DQN
    from stable_baselines3.common.callbacks import BaseCallback

    arguments, steps = ZOO[row]
    model = DQN("MlpPolicy", ROWS[row][0], seed=seed, device="cpu", **arguments)
    watch = Watch(row, *torch_network(model.q_net))

    class Look(BaseCallback):
        def _on_step(self) -> bool:
            return not watch.look(self.num_timesteps)

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count())))
    model.learn(steps, callback=Look())
    return watch.result()


def cleanrl(row: str, seed: int, steps: int = 500_000) -> dict:
    """Rate 2.5e-4, 10,000 kept, batches of 128 after every 10th step from the 10,000th on, target
    every 500, epsilon from 1 to 0.05 over half of the steps, 120 and 84 units, squared errors."""
    import gymnasium
    import torch
    from torch import nn

    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    env = gymnasium.vector.SyncVectorEnv([lambda: gymnasium.make(ROWS[row][0])])
    width, actions = env.single_observation_space.shape[0], int(env.single_action_space.n)

    def network():
        return nn.Sequential(nn.Linear(width, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(),
                             nn.Linear(84, actions))  # fmt: skip

    net, target = network(), network()
    target.load_state_dict(net.state_dict())
    optimizer = torch.optim.Adam(net.parameters(), lr=2.5e-4)
    size = 10_000
    kept = [np.zeros((size, width), "float32"), np.zeros((size, width), "float32"),
            np.zeros(size, "int64"), *np.zeros((2, size), "float32")]  # fmt: skip
    watch = Watch(row, *torch_network(net))
    seen, _ = env.reset(seed=seed)
    written, over = 0, False
    for step in range(steps):
        epsilon = max(1 - 0.95 * step / (0.5 * steps), 0.05)
        if generator.random() < epsilon:
            action = generator.integers(0, actions, 1)
        else:
            with torch.no_grad():
                action = net(torch.as_tensor(seen)).argmax(1).numpy()
        after, reward, terminated, truncated, _ = env.step(action)
        if not over:  # else this step has begun an episode
            values = (seen[0], after[0], action[0], reward[0], terminated[0])
            for part, value in zip(kept, values, strict=True):
                part[written % size] = value
            written += 1
        over, seen = bool(terminated[0] | truncated[0]), after
        if step > 10_000 and step % 10 == 0:
            chosen = generator.integers(0, min(written, size), 128)
            s, s2, a, r, d = (torch.as_tensor(part[chosen]) for part in kept)
            with torch.no_grad():
                wanted = r + 0.99 * target(s2).max(1).values * (1 - d)
            loss = nn.functional.mse_loss(net(s).gather(1, a[:, None])[:, 0], wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 500 == 0:
                target.load_state_dict(net.state_dict())
        if watch.look(step + 1):
            break
    return watch.result()


def torch_network(net) -> tuple:
    """How `Watch` asks a network of PyTorch, keeps and restores it."""
    import torch

    def act(seen):
        with torch.no_grad():
            return net(torch.as_tensor(np.asarray(seen, "float32"))).argmax(1).numpy()

    def keep():
        return {name: value.clone() for name, value in net.state_dict().items()}

    return act, keep, net.load_state_dict


CONTENDERS = {"ours": ours, "stable-baselines3": stable_baselines3, "CleanRL": cleanrl}


def run(row: str, contender: str, seed: int) -> dict:
    """In a process of its own."""
    start, backend = time.perf_counter(), os.environ.get("KERAS_BACKEND", "tensorflow")
    done = subprocess.run(
        [sys.executable, __file__, "--worker", row, contender, str(seed)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{row}, {contender}, seed {seed}: the process ended with {done.returncode}")
    packages = ("numpy", "keras", "tensorflow", "jax", "torch", "stable-baselines3", "gymnasium")
    return {
        "row": row, "contender": contender, "seed": seed,
        **json.loads(done.stdout.splitlines()[-1]),
        "whole_process_seconds": round(time.perf_counter() - start, 1),
        "backend": backend if contender == "ours" else "torch",
        "versions": {package: version(package) for package in packages},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, CPU",
    }  # fmt: skip


def record(found: dict) -> None:
    """Put an entry in the results, in place of an older one of the same key."""

    def key(entry):
        return [entry[name] for name in ("row", "contender", "seed", "backend")]

    path = RESULTS / "acting.json"
    entries = json.loads(path.read_text()) if path.exists() else []
    entries = sorted([*(e for e in entries if key(e) != key(found)), found], key=key)
    path.write_text(json.dumps(entries, indent=1) + "\n")
    (RESULTS / "acting.md").write_text(table(entries))


def table(entries: list[dict]) -> str:
    """The results as Markdown: a line for each contender of a row."""
    columns = [
        "row", "contender", "seeds", "reached the bar", "steps", "wall seconds", "CPU seconds",
        "environment steps a wall second", "test returns",
    ]  # fmt: skip
    about = (
        "medians over the seeds, with the least and the most; no look at the network is counted."
    )
    lines = []
    groups: dict[tuple, list] = {}
    for entry in entries:
        groups.setdefault((entry["row"], entry["contender"], entry["backend"]), []).append(entry)
    for (row, contender, backend), some in groups.items():

        def spread(values, form="{:,.0f}"):
            values = list(values)
            ends = form.format(min(values)), form.format(max(values))
            return f"{form.format(statistics.median(values))} ({ends[0]} to {ends[1]})"

        lines.append([
            f"{row} ({ROWS[row][1]:g})", f"{contender}, {backend}", len(some),
            f"{sum(e['solved'] for e in some)}", spread(e["steps"] for e in some),
            spread(e["wall_seconds"] for e in some), spread(e["cpu_seconds"] for e in some),
            spread(e["steps"] / e["wall_seconds"] for e in some),
            ", ".join(f"{e['test_return']:.1f}" for e in some),
        ])  # fmt: skip
    return "\n".join([about, "", *measures.markdown(columns, lines)]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("rows", nargs="*", help=f"of {', '.join(ROWS)}; default all")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0 on")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--list", action="store_true", help="list the rows and contenders")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.rows) - set(ROWS):
        parser.error(f"unknown {sorted(unknown)}; known: {', '.join(ROWS)}")
    if options.worker:
        row, contender, seed = options.worker
        answers, sys.stdout = sys.stdout, sys.stderr
        print(json.dumps(CONTENDERS[contender](row, int(seed))), file=answers)
    elif options.list:
        for name, (env, bar, *_) in ROWS.items():
            print(f"{name}: {env}, mean return {bar:g}; {', '.join(CONTENDERS)}")
    else:
        for row in options.rows or ROWS:
            for seed in range(options.first, options.first + options.seeds):
                for contender in options.contenders:
                    found = run(row, contender, seed)
                    record(found)
                    print(json.dumps({k: v for k, v in found.items() if k != "looks"}), flush=True)


if __name__ == "__main__":
    main()
