"""The command line: `recipes list | show | train | tune | predict | check`.

A thin shell over the Python functions. The flags of `train` and `tune` come from the family's
`build_model` and from the data's options, so that no default is written twice.
"""

import argparse
import ast
import contextlib
import difflib
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from types import ModuleType
from typing import Any

PAUSED = 130  # the exit code of a program that Ctrl-C ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 for an error, 2 for wrong usage, 130 paused."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    traceback = "--traceback" in arguments
    if traceback:
        arguments.remove("--traceback")
    try:
        options, rest = _parser().parse_known_args(arguments)
        if rest and options.command not in ("train", "tune"):
            _parser().parse_args(arguments)  # refuses what it does not know
        return options.run(options, rest)
    except KeyboardInterrupt:
        return PAUSED
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if traceback:
            raise
        message = " ".join(str(error).split()) or type(error).__name__
        if not isinstance(error, ValueError | OSError | ImportError):
            message = f"{type(error).__name__}: {message[:500]} (--traceback shows where)"
        print(f"recipes: error: {message}", file=sys.stderr)
        return 1


def _start_backend() -> None:
    """Import Keras without the pages that TensorFlow writes about what it did not find.

    They come from C++, so that only the file descriptor can be silenced.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        return  # the user asked for messages
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    sys.stderr.flush()
    kept = os.dup(2)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, kept)
        stack.callback(os.dup2, kept, 2)
        silence = os.open(os.devnull, os.O_WRONLY)
        stack.callback(os.close, silence)
        os.dup2(silence, 2)
        import keras

        keras.ops.zeros(1)  # the first tensor looks for devices


class _Parser(argparse.ArgumentParser):
    """Wrong usage, too, is one line, and names the nearest flag."""

    def error(self, message: str) -> None:
        """Print the line and exit with 2."""
        flags = [flag for action in self._actions for flag in action.option_strings]
        for word in message.split():
            near = difflib.get_close_matches(word, flags, n=1) if word.startswith("--") else []
            if near and word not in flags:
                message += f" (did you mean {near[0]}?)"
        self.exit(2, f"recipes: error: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="recipes",
        description="Recipes for neural networks in Keras: build, load, fit and tune any family.",
        epilog="`recipes train FAMILY --help` lists a family's own flags. "
        "--traceback shows where an error came from.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=text,
            description=text,
            allow_abbrev=False,
            add_help=name not in ("train", "tune"),
        )
        sub.set_defaults(run=run)
        return sub

    command("list", _list, "list the families and their variants")

    show = command("show", _show, "say what a family is, and print a variant's layers")
    show.add_argument("family")
    show.add_argument("variant", nargs="?", help="print its layers; default: only the description")

    command("train", _train, "train a family on data")
    command("tune", _tune, "search a family's hyperparameters")

    predict = command("predict", _predict, "predict from a run")
    predict.add_argument("run_dir", metavar="RUN", help="a run directory")
    predict.add_argument("inputs", metavar="INPUT", nargs="+", help="pictures, folders, or tables")
    predict.add_argument("--top", type=int, default=1, help="classes shown for each input")

    command("check", _check, "say what is installed, which device and precision would be used")
    return parser


def _list(options: argparse.Namespace, rest: list[str]) -> int:
    from recipes.contract import families

    width = max(map(len, families()))
    columns = min(100, shutil.get_terminal_size().columns)
    for family in families().values():
        print(
            textwrap.fill(
                f"{family.name:<{width}}  {family.summary}",
                width=columns,
                subsequent_indent=" " * (width + 2),
            )
        )
        variants = textwrap.fill(
            ", ".join(family.variants),
            width=columns,
            initial_indent=" " * (width + 2),
            subsequent_indent=" " * (width + 2),
        )
        print(variants)
    return 0


def _show(options: argparse.Namespace, rest: list[str]) -> int:
    from recipes.contract import describe, family

    _start_backend()
    module = family(options.family)
    if options.variant:
        module.build_model(options.variant).summary(line_length=96)
        return 0
    print(module.__doc__.strip())
    print("\nVariants:")
    for name, arguments in module.VARIANTS.items():
        text = ", ".join(f"{key}={value!r}" for key, value in arguments.items()) or "the defaults"
        print(
            textwrap.fill(f"{name}: {text}", 96, initial_indent="    ", subsequent_indent=" " * 8)
        )
    print("\nArguments of build_model:")
    texts = describe(module.build_model)
    for name, parameter in _parameters(module.build_model).items():
        text = f"{name}={parameter.default!r}: {texts.get(name, '')}"
        print(textwrap.fill(text, 96, initial_indent="    ", subsequent_indent=" " * 8))
    print(f"\nTry: recipes train {options.family}, or recipes show {options.family} VARIANT")
    return 0


def _parameters(function: Any) -> dict:
    import inspect

    parameters = inspect.signature(function).parameters
    return {name: p for name, p in parameters.items() if name != "variant"}


def _value(text: str) -> Any:
    """A flag's text as Python would read it: 3, 1e-3, 32,64, (1,2), true, none, or a name."""
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return tuple(_value(part) for part in text.split(",")) if "," in text else text


def _tuples(value: Any, default: Any) -> Any:
    """A single value where a tuple is meant: `--units 64` is (64,)."""
    return (value,) if isinstance(default, tuple) and isinstance(value, int) else value


def _family_parser(command: str, rest: list[str]) -> tuple[ModuleType | None, Any, Any]:
    """The parser of `train` and `tune`, with the flags of the family named in `rest`.

    Returns:
        The family's module or None, the parsed flags, and those that were given of
        (build_model, data) as two dictionaries.
    """
    from recipes import contract

    parser = _Parser(
        prog=f"recipes {command}", allow_abbrev=False, argument_default=argparse.SUPPRESS
    )
    parser.add_argument("family", nargs="?", help=", ".join(contract.families()))
    parser.add_argument(
        "--data", help="an embedded or TensorFlow Datasets name, a folder, or a file"
    )
    parser.add_argument("--variant", help="of the family; `recipes list` names them")
    parser.add_argument("--epochs", type=int, help="at most so many")
    parser.add_argument("--batch-size", type=int, help="examples in a batch")
    parser.add_argument("--precision", help="auto, float32, bfloat16 or float16")
    parser.add_argument("--seed", type=int, help="of everything random; default 0")
    parser.add_argument("--patience", type=int, help="stop after so many epochs without a better")
    if command == "train":
        parser.add_argument("--run-dir", help="a new directory; default runs/...")
        parser.add_argument("--resume", metavar="RUN", help="continue a run")
    else:
        parser.add_argument("--algorithm", help="bayesian, random, hyperband or grid")
        parser.add_argument("--max-trials", type=int, help="number of configurations to try")
        parser.add_argument("--directory", help="of the search; default searches/...")
        parser.add_argument("--objective", help="a metric, such as val_accuracy")

    if not rest or rest[0].startswith("-"):
        # Without a family in front there are only the general flags: --help, --resume RUN.
        return None, parser.parse_args(rest), ({}, {})
    named = rest[0]
    if named not in contract.families():  # said before the seconds that a backend takes to import
        raise contract.unknown("family", named, contract.families())
    print(f"recipes: {command} {named} ...", file=sys.stderr, flush=True)
    _start_backend()
    module = contract.family(named)
    general = {action.dest for action in parser._actions}
    kinds: list[dict[str, str]] = []
    from recipes import data

    for title, parameters, texts in (
        (
            f"of {named}'s build_model",
            _parameters(module.build_model),
            contract.describe(module.build_model),
        ),
        ("of the data", data.options_of(module.KINDS), _data_texts(module)),
    ):
        group = parser.add_argument_group(title)
        flags = {}
        for name, parameter in parameters.items():
            if name in general:
                continue
            general.add(name)
            flags[name] = parameter.default
            text = texts.get(name, "").replace("%", "%%")
            group.add_argument(
                f"--{name.replace('_', '-')}",
                type=_value,
                metavar="X",
                help=f"{text} Default {parameter.default!r}.",
            )
        kinds.append(flags)
    options = parser.parse_args(rest)
    given = vars(options)
    build, of_data = (
        {name: _tuples(given[name], default) for name, default in flags.items() if name in given}
        for flags in kinds
    )
    return module, options, (build, of_data)


def _data_texts(module: ModuleType) -> dict[str, str]:
    from recipes import contract, data

    texts: dict[str, str] = {}
    for kind in module.KINDS:
        texts |= contract.describe(data.module_of(kind).load)
    return texts


GENERAL = ("variant", "epochs", "batch_size", "precision", "seed", "patience")


def _train(options: argparse.Namespace, rest: list[str]) -> int:
    module, flags, (build, of_data) = _family_parser("train", rest)
    given = vars(flags)
    if module is None and "resume" not in given:
        from recipes.contract import families

        raise ValueError(
            f"name a family first: recipes train FAMILY; known: {', '.join(families())}"
        )
    _start_backend()
    import recipes

    arguments = {k: given[k] for k in (*GENERAL, "run_dir", "resume") if k in given}
    run = recipes.train(
        module, given.get("data"), **arguments, **build, data_options=of_data or None
    )
    _print_run(run)
    return 0


def _print_run(run: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column()
    metrics = run.metrics
    scores = {k: v for k, v in metrics.items() if k.startswith("test_")}
    for name, value in scores.items():
        share = f" ({value:.2%})" if name.endswith("accuracy") else ""
        table.add_row(name.replace("_", " "), f"[bold]{value:.4f}{share}[/]")
    if metrics.get("best") is not None:
        table.add_row(
            "best epoch",
            f"{metrics['best_epoch']} of {metrics['epochs']}, "
            f"{metrics['objective']} {metrics['best']:.4f}",
        )
    table.add_row("trained", f"{metrics['parameters']:,} parameters in {metrics['seconds']:.0f} s")
    table.add_row("run directory", str(run.directory))
    console.print()
    console.print(table)
    where = run.directory
    example = "PICTURE.png" if run.data.kind == "images" else "TABLE.csv"
    print(f"""
Go on with:
  recipes predict {where} {example}
  recipes train --resume {where} --epochs {2 * metrics["epochs"]}
  recipes tune {run.family}{_data_flag(run)}
  tensorboard --logdir {where}/logs
Look at {where}/README.md and {where}/plots/.""")


def _data_flag(run: Any) -> str:
    source = run.data.source.get("source")
    return f" --data {source}" if source else ""


def _tune(options: argparse.Namespace, rest: list[str]) -> int:
    module, flags, (build, of_data) = _family_parser("tune", rest)
    given = vars(flags)
    if module is None:
        from recipes.contract import families

        raise ValueError(
            f"name a family first: recipes tune FAMILY; known: {', '.join(families())}"
        )
    import recipes

    arguments = {
        k: given[k]
        for k in (
            "variant",
            "epochs",
            "precision",
            "seed",
            "patience",
            "algorithm",
            "max_trials",
            "directory",
            "objective",
        )
        if k in given
    }
    if "batch_size" in given:
        build["batch_size"] = given["batch_size"]
    data = given.get("data")
    if of_data:
        seed = {"seed": given["seed"]} if "seed" in given else {}
        data = module.load_data(*([data] if data else []), **of_data, **seed)
    search = recipes.tune(module, data, **arguments, **build)
    from rich.console import Console

    Console().print(search.table())
    best = " ".join(
        f"--{name.replace('_', '-')} {_flag_text(value)}"
        for name, value in search.best_arguments.items()
    )
    source = f" --data {given['data']}" if "data" in given else ""
    print(f"""
Best {search.best_score:.4f}; see {search.directory}/search.png and results.csv. Go on with:
  recipes train {module.__name__.rpartition(".")[2]}{source} {best}""")
    return 0


def _flag_text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "'" + repr(tuple(value)).replace(" ", "") + "'"
    return str(value)


def _predict(options: argparse.Namespace, rest: list[str]) -> int:
    from recipes.contract import check

    check(options.top >= 1, "--top", options.top, "must be at least 1")
    _start_backend()
    import recipes

    for row in recipes.predict(options.run_dir, options.inputs):
        if "value" in row:
            print(f"{row['input']}\t{row['value']:.6g}")
            continue
        ranked = sorted(row["probabilities"].items(), key=lambda item: -item[1])[: options.top]
        print(row["input"], *(f"{name} {share:.1%}" for name, share in ranked), sep="\t")
    return 0


def _check(options: argparse.Namespace, rest: list[str]) -> int:
    import importlib.util
    import platform
    from importlib import metadata

    _start_backend()
    import recipes
    from recipes import data
    from recipes.data import tfds
    from recipes.training.precision import choose, devices

    print(
        f"recipes {recipes.__version__}, Python {platform.python_version()}, {platform.platform()}"
    )
    print("\nPackages:")
    wanted = {
        "keras": "pip install keras-recipes",
        "keras-tuner": "pip install keras-recipes",
        "tensorflow": "pip install tensorflow, or tensorflow[and-cuda] for GPUs",
        "jax": "pip install 'keras-recipes[jax]'",
        "torch": "pip install 'keras-recipes[torch]'",
        "tensorflow-datasets": "pip install tensorflow-datasets",
    }
    for package, how in wanted.items():
        try:
            print(f"  {package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            print(f"  {package} is not installed: {how}")

    import keras

    print(f"\nBackend: {keras.backend.backend()} (KERAS_BACKEND chooses another)")
    print("Devices: " + "; ".join(f"{d.kind} {d.name}" for d in devices()))
    print(f"Precision that `auto` chooses: {choose('auto')}")
    print(f"\nEmbedded data: {', '.join(data.embedded())}")
    folder = tfds.data_dir_of(None)
    ready = ", ".join(tfds.prepared()) or "nothing"
    print(f"Prepared TensorFlow Datasets in {folder}: {ready}")
    if importlib.util.find_spec("tensorflow_datasets"):
        print("  (tfds build NAME prepares another; TFDS_DATA_DIR chooses the folder)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
