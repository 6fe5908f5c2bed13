"""How soon and how fast a population evolves, beside neat-python on the same machine.

    python benchmarks/evolution.py --list
    python benchmarks/evolution.py xor --runs 100

- xor: runs with seeds from 0 on, until all four outputs are within 0.5, at most 300 generations.
  Ours is the default model.
- cartpole: runs until a network of the population has a mean return of 500 in 5 episodes; then the
  100 test episodes.
- speed: milliseconds of a generation of XOR, evolved on when solved, ours and neat-python's by
  turns in one process; a round is one population's first 100 generations, after one to warm up. A
  machine that is shared changes CPU seconds least.

neat-python has the settings of its own XOR example: 150 networks, the same four examples, its
fitness 4 - sum of squared errors, and its rates of mutation, which are higher than the paper's. It
is done where all outputs of its best network are within 0.5, as ours is.

Results go to `benchmarks/results/evolution.json`, an entry for each row and contender, and
`evolution.md` is written from them.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import measures
import numpy as np

RESULTS = Path(__file__).parent / "results"
X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float32")
Y = np.array([0, 1, 1, 0], "int32")
MOST, SIZE, EPISODES = 300, 150, 5
GENERATIONS = 100  # of a round
THEIRS = 4  # neat-python, which is slower, has one run of XOR for so many of ours
# neat-python's examples/xor/config-feedforward, as far as it is not its default.
SETTINGS = """
[NEAT]
fitness_criterion = max
fitness_threshold = 3.9
no_fitness_termination = True
pop_size = 150
reset_on_extinction = False
[DefaultGenome]
activation_default = sigmoid
activation_mutate_rate = 0.0
activation_options = sigmoid
aggregation_default = sum
aggregation_mutate_rate = 0.0
aggregation_options = sum
bias_init_mean = 0.0
bias_init_stdev = 1.0
bias_init_type = gaussian
bias_max_value = 30.0
bias_min_value = -30.0
bias_mutate_power = 0.5
bias_mutate_rate = 0.7
bias_replace_rate = 0.1
compatibility_disjoint_coefficient = 1.0
compatibility_excess_coefficient = 1.0
compatibility_weight_coefficient = 0.5
conn_add_prob = 0.5
conn_delete_prob = 0.5
enabled_default = True
enabled_mutate_rate = 0.01
enabled_rate_to_true_add = 0.0
enabled_rate_to_false_add = 0.0
feed_forward = True
initial_connection = full_direct
node_add_prob = 0.2
node_delete_prob = 0.2
num_hidden = 0
num_inputs = 2
num_outputs = 1
response_init_mean = 1.0
response_init_stdev = 0.0
response_init_type = gaussian
response_max_value = 30.0
response_min_value = -30.0
response_mutate_power = 0.0
response_mutate_rate = 0.0
response_replace_rate = 0.0
single_structural_mutation = False
structural_mutation_surer = default
weight_init_mean = 0.0
weight_init_stdev = 1.0
weight_init_type = gaussian
weight_max_value = 30
weight_min_value = -30
weight_mutate_power = 0.5
weight_mutate_rate = 0.8
weight_replace_rate = 0.1
[DefaultSpeciesSet]
compatibility_threshold = 3.0
[DefaultStagnation]
species_fitness_func = max
max_stagnation = 20
species_elitism = 2
[DefaultReproduction]
elitism = 2
survival_threshold = 0.2
min_species_size = 2
"""


def clocks() -> np.ndarray:
    """Seconds of the wall's clock and of the CPU."""
    return np.array([time.perf_counter(), time.process_time()])


class Solved(Exception):
    """Ends neat-python's `run`."""


def theirs(seed: int, generations: int, until_solved: bool) -> dict:
    """One run of neat-python's."""
    import neat

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "settings"
        path.write_text(SETTINGS)
        settings = neat.Config(neat.DefaultGenome, neat.DefaultReproduction, neat.DefaultSpeciesSet,
                               neat.DefaultStagnation, str(path))  # fmt: skip
    population = neat.Population(settings, seed=seed)
    examples = [((float(a), float(b)), float(y)) for (a, b), y in zip(X, Y, strict=True)]
    found: dict = {}

    def judge(genomes, settings):
        best = None
        for _, genome in genomes:
            network = neat.nn.FeedForwardNetwork.create(genome, settings)
            errors = [abs(network.activate(x)[0] - y) for x, y in examples]
            genome.fitness = 4.0 - sum(e * e for e in errors)
            if best is None or genome.fitness > best[0].fitness:
                best = genome, max(errors)
        if until_solved and best[1] < 0.5:
            used = best[0].connections.values()
            found.update(hidden_nodes=len(best[0].nodes) - 1,
                         connections=sum(gene.enabled for gene in used))  # fmt: skip
            raise Solved

    start = clocks()
    try:
        population.run(judge, generations)
    except Solved:
        return {"generations": population.generation + 1, "solved": True, **found}
    return {"generations": generations, "solved": False, "seconds": clocks() - start}


def ours(seed: int, generations: int, until_solved: bool) -> dict:
    """One run of ours."""
    from recipes import neat

    model = neat.build_model(seed=seed, fitness_threshold=None if until_solved else 17.0)
    start = clocks()
    history = model.fit(X, Y, epochs=generations, verbose=0).history
    seconds = clocks() - start
    return {
        "generations": len(history["fitness"]),
        "solved": history["accuracy"][-1] == 1,
        "hidden_nodes": history["hidden_nodes"][-1],
        "connections": history["connections"][-1],
        "seconds": seconds,
    }


CONTENDERS = {"ours": ours, "neat-python": theirs}


def xor(runs: int) -> Iterator[tuple[str, dict]]:
    """Runs until it is solved."""
    for name, run in CONTENDERS.items():
        count = runs if name == "ours" else max(1, runs // THEIRS)
        every = [run(seed, MOST, True) for seed in range(count)]
        solved = [one for one in every if one["solved"]]
        generations = [one["generations"] for one in every]
        found = {
            "runs": count, "failures": count - len(solved), "generations": spread(generations),
            "networks": spread(SIZE * value for value in generations),
            "hidden_nodes": spread(one["hidden_nodes"] for one in solved),
            "connections": spread(one["connections"] for one in solved),
        }  # fmt: skip
        yield name, found


def cartpole(runs: int) -> Iterator[tuple[str, dict]]:
    """Runs until a network balances the pole for all of its episodes."""
    from recipes import neat

    every = []
    for seed in range(runs):
        data = neat.load_data("CartPole-v1", seed=seed)
        model = neat.build_model("cartpole", **data.spec, episodes=EPISODES, seed=seed)
        wall, cpu = time.perf_counter(), time.process_time()
        history = model.fit(data.train, epochs=50, verbose=0).history
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        test = model.evaluate(data.test, verbose=0, return_dict=True)["fitness"]
        every.append((len(history["fitness"]), test, wall, cpu))
    generations, tests, wall, cpu = zip(*every, strict=True)
    yield "ours", {
        "runs": runs, "failures": sum(test < 475 for test in tests),
        "generations": spread(generations), "test_return": spread(tests),
        "wall_seconds": spread(wall), "cpu_seconds": spread(cpu),
    }  # fmt: skip


def speed(runs: int) -> Iterator[tuple[str, dict]]:
    """Milliseconds of a generation, by turns."""
    rounds: dict[str, list] = {name: [] for name in CONTENDERS}
    for seed in range(runs + 1):  # the first one to warm up
        for name, run in CONTENDERS.items():
            rounds[name].append(1000 * run(seed, GENERATIONS, False)["seconds"] / GENERATIONS)
    times = {name: np.array(every[1:]).T for name, every in rounds.items()}  # (clocks, rounds)
    for name in CONTENDERS:
        found = {"runs": runs}
        for i, clock in enumerate(("wall", "cpu")):
            found[f"{clock}_ms"] = spread(times[name][i])
            found[f"times_as_fast_{clock}"] = spread(times["neat-python"][i] / times[name][i])
        yield name, found


def spread(values) -> dict[str, float]:
    """What is recorded of a measure."""
    values = [float(v) for v in values]
    return {
        "mean": statistics.mean(values), "median": statistics.median(values),
        "deviation": statistics.pstdev(values), "least": min(values), "most": max(values),
    }  # fmt: skip


ROWS = {"xor": (xor, 100), "cartpole": (cartpole, 5), "speed": (speed, 7)}


def record(found: dict) -> None:
    """Put an entry in the results, in place of an older one of the same row and contender."""

    def key(entry: dict) -> tuple:
        return [*ROWS].index(entry["row"]), [*CONTENDERS].index(entry["contender"])

    path = RESULTS / "evolution.json"
    entries = json.loads(path.read_text()) if path.exists() else []
    entries = sorted([*(e for e in entries if key(e) != key(found)), found], key=key)
    path.write_text(json.dumps(entries, indent=1) + "\n")
    (RESULTS / "evolution.md").write_text(table(entries))


def table(entries: list[dict]) -> str:
    """The results as Markdown."""
    rows = []
    for entry in entries:
        for name, value in entry.items():
            if isinstance(value, dict) and "median" in value:
                text = "{mean:.2f} ± {deviation:.2f}, {median:.2f}, {least:.2f} to {most:.2f}"
                cells = [entry[key] for key in ("row", "contender", "runs")]
                cells += [entry.get("failures", ""), name.replace("_", " "), text.format(**value)]
                rows.append(cells)
    lines = ["Mean ± standard deviation, median, and range over the runs.", ""]
    lines += measures.markdown(("row", "contender", "runs", "failures", "measure", "value"), rows)
    lines += ["", *dict.fromkeys(f"`{entry['command']}`, {entry['backend']}, {entry['machine']}, "
                                 f"load {entry['load']:.1f}" for entry in entries)]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("rows", nargs="*", help=f"of {', '.join(ROWS)}; default all")
    parser.add_argument("--runs", type=int, help="how many, or rounds of `speed`")
    parser.add_argument("--list", action="store_true", help="list the rows")
    options = parser.parse_args()
    if unknown := set(options.rows) - set(ROWS):
        parser.error(f"unknown {sorted(unknown)}; known: {', '.join(ROWS)}")
    for row in options.rows or ROWS:
        run, count = ROWS[row]
        if options.list:
            print(f"{row}: {(run.__doc__ or '').strip()} {count} runs")
            continue
        runs = options.runs or count
        for name, values in run(runs):
            packages = ("numpy", "keras", "gymnasium", "neat-python")
            found = {
                "row": row, "contender": name, **values,
                "command": f"python benchmarks/evolution.py {row} --runs {runs}",
                "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
                "versions": {package: version(package) for package in packages},
                "machine": f"{platform.machine()}, {os.cpu_count()} cores, CPU",
                "load": os.getloadavg()[1],
            }  # fmt: skip
            record(found)
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
