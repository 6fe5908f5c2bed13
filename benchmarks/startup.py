"""How long a newcomer waits: imports and `recipes list`, in fresh processes, interleaved.

    python benchmarks/startup.py

Writes `benchmarks/results/startup.json`. Times are medians over the rounds; what is compared is
measured in turn in the same round.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 5
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import recipes": ["-c", "import recipes"],
    "recipes list": ["-m", "recipes", "list"],
    "import keras": ["-c", "import keras"],
    "from recipes import cnn": ["-c", "from recipes import cnn"],
}


def seconds(arguments: list[str]) -> float:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], env=environment, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for arguments in COMMANDS.values():
        seconds(arguments)  # the disk's cache
    for _ in range(ROUNDS):
        for name, arguments in COMMANDS.items():
            times[name].append(seconds(arguments))
    median = {name: statistics.median(found) for name, found in times.items()}
    pairs = zip(times["from recipes import cnn"], times["import keras"], strict=True)
    ratios = sorted(ours / keras for ours, keras in pairs)
    result = {
        "median_seconds": {name: round(value, 3) for name, value in median.items()},
        "import_recipes_over_python_ms": round(
            1000 * (median["import recipes"] - median["python -c pass"]), 1
        ),
        "cnn_over_keras_ratio": round(statistics.median(ratios), 3),
        "cnn_over_keras_ratio_range": [round(ratios[0], 3), round(ratios[-1], 3)],
        "rounds": ROUNDS,
        "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}",
        "command": "python benchmarks/startup.py",
    }
    text = json.dumps(result, indent=1)
    (Path(__file__).parent / "results" / "startup.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
