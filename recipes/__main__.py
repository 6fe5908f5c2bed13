"""The command line: `recipes list | show | train | tune | predict | generate | export | compare |
check`.

A thin shell over the Python functions. The flags of `train` and `tune` come from the family's
`build_model` and from the data's options, so that no default is written twice.
"""

import argparse
import ast
import difflib
import inspect
import math
import os
import shlex
import shutil
import sys
import textwrap
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from recipes.contract import check, describe, families, family, unknown
from recipes.training.quiet import quiet

PAUSED = 130  # the exit code of a program that Ctrl-C ended
ROOT = Path(__file__).parent
# How an input of `recipes predict` is written, for a kind of data.
INPUTS = {
    "images": "PICTURE.png",
    "patterns": "PICTURE.png",
    "audio": "RECORDING.wav",
    "environments": "OBSERVATIONS.npy",
    "graphs": "GRAPH",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 for an error, 2 for wrong usage, 130 paused."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    traceback = "--traceback" in arguments
    arguments = [a for a in arguments if a != "--traceback"]
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: _say("warning", message)
            parser = _parser()
            options, rest = parser.parse_known_args(arguments or ["--help"])
            if rest and options.command not in ("train", "tune"):
                parser.parse_args(arguments)  # refuses what it does not know
            options.run(options, rest)
            sys.stdout.flush()  # where a closed pipe is noticed
            return 0
    except SystemExit as end:  # argparse's
        return end.code
    except KeyboardInterrupt:
        return PAUSED
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if traceback:
            raise
        message = str(error) or type(error).__name__
        if not isinstance(error, ValueError | OSError | ImportError):
            message = f"{type(error).__name__}: {message[:500]} (--traceback shows where)"
        _say("error", message)
        return 1


def _say(what: str, message: object) -> None:
    """One line on the standard error."""
    print(f"recipes: {what}: {' '.join(str(message).split())}", file=sys.stderr)


class _Parser(argparse.ArgumentParser):
    """Wrong usage, too, is one line, and names the nearest flag."""

    def error(self, message: str) -> None:
        """Print the line and exit with 2."""
        flags = [flag for action in self._actions for flag in action.option_strings]
        for word in message.replace(":", " ").split():
            near = difflib.get_close_matches(word, flags, n=1) if word.startswith("--") else []
            if near and word not in flags:
                message += f" (did you mean {near[0]}?)"
        _say("error", f"{message}; see {self.prog} --help")
        self.exit(2)


def _parser() -> _Parser:
    parser = _Parser(
        prog="recipes",
        description="Recipes for neural networks in Keras: build, load, fit and tune any family.",
        epilog="Begin with: recipes train cnn. `recipes train FAMILY --help` lists a family's own "
        "flags; --traceback shows where an error came from.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str, **options: Any) -> _Parser:
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False, **options)
        sub.set_defaults(run=run)
        return sub

    command("list", _list, "list the families and their variants")

    show = command("show", _show, "say what a family is, and print a variant's layers")
    show.add_argument("family")
    show.add_argument("variant", nargs="?", help="print its layers; default: only the description")

    # Their flags depend on the family: see `_family_flags`.
    command("train", _train, "train a family on data", add_help=False)
    command("tune", _tune, "search a family's hyperparameters", add_help=False)

    predict = command("predict", _predict, "predict from a run")
    predict.add_argument("run_dir", metavar="RUN", help="a run directory")
    predict.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="+",
        help="pictures, recordings, folders, tables, texts, graphs ...",
    )
    predict.add_argument("--top", type=int, default=1, help="classes shown for each input")

    generate = command("generate", _generate, "make pictures or texts with a run that generates")
    generate.add_argument("run_dir", metavar="RUN", help="a run directory")
    generate.add_argument("--count", type=int, metavar="N", help="default 64 pictures, or 1 text")
    generate.add_argument("--labels", type=_value, help="a class for all, or one each: 3 or 0,1,2")
    generate.add_argument("--seed", type=int, default=0, metavar="N", help="default 0")
    generate.add_argument("--output", metavar="FILE", help="default RUN/plots/generated.png")
    generate.add_argument("--prompt", metavar="TEXT", help="text to go on with")
    generate.add_argument("--max-new-tokens", type=int, default=400, metavar="N", help="of a text")
    generate.add_argument("--temperature", type=float, default=0.8, help="of a text; default 0.8")

    export = command("export", _export, "write a run's model for another runtime, and check it")
    export.add_argument("run_dir", metavar="RUN", help="a run directory, or a .keras file")
    export.add_argument("--format", required=True, help="saved_model, onnx, litert or keras")
    export.add_argument("--output", metavar="PATH", help="default in RUN/export/")
    export.add_argument("--tolerance", type=float, default=1e-4, help="default 1e-4")

    compare = command("compare", _compare, "train several families on the same data, in turn")
    compare.add_argument("families", metavar="FAMILY[:VARIANT]", nargs="+", help="cnn dnn:tiny ...")
    add = compare.add_argument
    add("--data", help="what all of them take; default the data set of the first")
    add("--budget", metavar="TIME", help="of each training: 90s, 20m, 1h30m")
    add("--epochs", type=int, metavar="N", help="at most so many")
    add("--batch-size", type=int, metavar="N", help="examples in a batch")
    add("--precision", default="auto", help="auto, float32, bfloat16 or float16")
    add("--seed", type=int, default=0, metavar="N", help="of everything random; default 0")
    add("--patience", type=int, metavar="N", help="stop after so many epochs without a better one")
    add("--directory", help="a new one; default compare/...")

    command("check", _check, "say what is installed, which device and precision would be used")
    return parser


def _start_backend() -> None:
    """Import Keras without the pages that TensorFlow writes about what it did not find."""
    with quiet():
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2")
        import keras

        if keras.backend.backend() == "tensorflow":
            keras.ops.zeros(1)  # the first tensor looks for devices


def _list(options: argparse.Namespace, rest: list[str]) -> None:
    width = max(map(len, families()))
    for name, found in families().items():
        _wrap(f"{name:<{width}}  {found.summary}", "", width + 2)
        _wrap(", ".join(found.variants), " " * (width + 2), width + 2)


def _wrap(text: str, first: str, rest: int) -> None:
    """Print a paragraph: its first line begins with `first`, the others with `rest` spaces."""
    columns = min(100, shutil.get_terminal_size().columns)
    print(textwrap.fill(text, columns, initial_indent=first, subsequent_indent=" " * rest))


def _show(options: argparse.Namespace, rest: list[str]) -> None:
    name, variant = options.family, options.variant
    _check_family(name)
    if variant is not None and variant not in families()[name].variants:
        raise unknown("variant", variant, families()[name].variants)
    _start_backend()
    module = family(name)
    if variant is not None:
        module.build_model(variant).summary(line_length=shutil.get_terminal_size().columns)
        return
    print(module.__doc__.strip())
    print("\nVariants:")
    for key, arguments in module.VARIANTS.items():
        text = ", ".join(f"{key}={value!r}" for key, value in arguments.items()) or "the defaults"
        _wrap(f"{key}: {text}", "    ", 8)
    print("\nArguments of build_model:")
    texts = describe(module.build_model)
    for key, parameter in _parameters(module.build_model).items():
        _wrap(f"{key}={parameter.default!r}: {texts.get(key, '')}", "    ", 8)
    print(f"\nTry: recipes train {name}, or recipes show {name} VARIANT")


def _check_family(name: str) -> None:
    """Raise for an unknown family, before the seconds that a backend takes to import."""
    if name not in families():
        raise unknown("family", name, families())


def _parameters(function: Any) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(function).parameters
    return {name: p for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}


def _read(file: Path, name: str) -> Any:
    """A constant, or a function's signature and docstring, from a file that is not run.

    A page of help, or a wrong flag, then needs no backend.
    """
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
        if isinstance(node, ast.FunctionDef) and node.name == name:
            node.decorator_list, node.returns, node.body = [], None, node.body[:1]
            for argument in (*node.args.args, *node.args.kwonlyargs, node.args.kwarg):
                if argument and argument.annotation:  # as a text
                    argument.annotation = ast.Constant(ast.unparse(argument.annotation))
            scope: dict[str, Any] = {}
            module = ast.fix_missing_locations(ast.Module([node], []))
            exec(compile(module, str(file), "exec"), scope)
            return scope[name]
    raise LookupError(f"{file} defines no {name}")


def _value(text: str) -> Any:
    """A flag's text as Python would read it: 3, 1e-3, 32,64, (1,2), true, none, or a name."""
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return tuple(_value(part) for part in text.split(",")) if "," in text else text


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _add_flag(group: Any, name: str, parameter: inspect.Parameter, text: str) -> None:
    """The flag of one argument of a Python function."""
    default, note = parameter.default, parameter.annotation
    options: dict[str, Any] = {"type": _value, "metavar": "X"}
    if note in ("str", "str | None"):
        options["type"] = str
    elif "Sequence[str]" in note:
        options["type"] = _names
    elif isinstance(default, tuple):  # `--units 64` is (64,)
        options["type"] = lambda given: v if isinstance(v := _value(given), tuple) else (v,)
    elif isinstance(default, bool):  # `--flip` is `--flip true`
        options |= {"nargs": "?", "const": True}
    if default is not None:
        text += f" Default {default!r}."
    group.add_argument(_flag(name), help=text.replace("%", "%%"), **options)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _family_flags(command: str, rest: list[str]) -> tuple[dict, dict, dict]:
    """Parse the arguments of `train` or `tune`, with the flags of the family that comes first.

    Returns:
        What was given: of the command itself, of `build_model`, and of the data's `load`.
    """
    parser = _Parser(
        prog=f"recipes {command}",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        usage=f"recipes {command} FAMILY [flags] | recipes {command} --resume "
        + ("RUN [--epochs N] [--patience N]" if command == "train" else "SEARCH [--max-trials N]"),
        epilog=f"`recipes {command} FAMILY --help` lists the family's own flags, too.",
    )
    add = parser.add_argument
    add("family", metavar="FAMILY", nargs="?", help=", ".join(families()))
    add("--data", help="an embedded or TensorFlow Datasets name, a folder, or a file")
    add("--variant", help="of the family; `recipes list` names them")
    add("--epochs", type=int, metavar="N", help="at most so many")
    add("--batch-size", type=int, metavar="N", help="examples in a batch")
    add("--precision", help="auto, float32, bfloat16 or float16")
    add("--seed", type=int, metavar="N", help="of everything random; default 0")
    add("--patience", type=int, metavar="N", help="stop after so many epochs without a better one")
    if command == "train":
        add("--run-dir", help="a new directory; default runs/...")
        add(
            "--distribute", metavar="data|model", help="over all devices: the batches, or the model"
        )
        add("--resume", metavar="RUN", help="continue a run; alone, or with epochs or patience")
        add("--from", dest="search", metavar="SEARCH", help="with the best arguments of a search")
    else:
        add("--algorithm", help="bayesian, random, hyperband or grid")
        add("--max-trials", type=int, metavar="N", help="configurations to try")
        add("--objective", help="a metric, such as val_accuracy")
        add("--folds", type=int, metavar="N", help="score each trial by cross-validation")
        add("--directory", help="of the search; default searches/...; an old one is continued")
        add("--resume", metavar="SEARCH", help="continue a search with all of its arguments")
        add("--space", metavar="FILE", help="YAML such as `learning_rate: {log: [1e-4, 1e-1]}`")
        add("--search", metavar="A,B", type=_names, help="the arguments to search; default all")
        add("--start", metavar="SEARCH", help="try the best configurations of another search first")
        add("--workers", type=int, metavar="N", help="trials at a time; default 1")
        add("--cluster", metavar="ADDRESS", help="of a Ray cluster for the workers; auto, local")
        add("--budget", metavar="TIME", help="begin no trial after it: 20m, 1h30m, '200 epochs'")
        add("--keep", type=int, metavar="N", help="models of the best trials to keep; default 3")
        add("--shrink-batch", action="store_true", help="try smaller batches where memory is short")

    named = rest[0] if rest and not rest[0].startswith("-") else None
    kinds: list[list[str]] = [[], []]
    if named is not None:
        _check_family(named)
        file = ROOT / f"{named}.py"
        build = _read(file, "build_model")
        data_kinds = _read(file, "KINDS")
        files = ["__init__"] * (len(data_kinds) > 1) + list(data_kinds)
        loads = [_read(ROOT / "data" / f"{name}.py", "load") for name in files]
        of_model = parser.add_argument_group(
            f"of {named}'s build_model", f"Variants have other defaults: recipes show {named}."
        )
        of_data = parser.add_argument_group("of the data")
        taken = {action.dest for action in parser._actions} | {"class_names"}  # for arrays only
        for group, functions, names in ((of_model, [build], kinds[0]), (of_data, loads, kinds[1])):
            for function in functions:
                texts = describe(function)
                for name, parameter in _parameters(function).items():
                    if name not in taken:
                        _add_flag(group, name, parameter, texts.get(name, ""))
                        names.append(name)
                        taken.add(name)
    given = vars(parser.parse_args(rest))
    without = {"resume", "search"} if command == "train" else {"resume"}  # they name a family
    if named is None and not without & given.keys():
        parser.error(f"name a family first: {', '.join(families())}")
    build, of_data = ({name: given.pop(name) for name in names if name in given} for names in kinds)
    return given, build, of_data


def _train(options: argparse.Namespace, rest: list[str]) -> None:
    given, build, of_data = _family_flags("train", rest)
    named = given.pop("family", None)
    if "search" in given:
        named, given, build, of_data = _best_of(given.pop("search"), named, given, build, of_data)
    print(f"recipes train {named or given['resume']} ...", flush=True)
    _start_backend()
    import recipes

    run = recipes.train(named, **given, **build, data_options=of_data or None)
    _print_run(run)


def _best_of(
    directory: str, named: str | None, given: dict, build: dict, of_data: dict
) -> tuple[str, dict, dict, dict]:
    """The family, and what trains it as the best trial of a search did; what is given wins."""
    from recipes.training.runs import read_search

    found = read_search(directory)
    check(found["best"] is not None, "--from", directory, "has no trial with a score yet")
    searched = found["family"]
    check(named in (None, searched), "--from", directory, f"is of {searched}, not of {named}")
    best = found["best"]["arguments"]
    of_train = {
        name: best.pop(name)
        for name in ("variant", "batch_size", "epochs", "precision")
        if name in best
    }
    of_train = {"epochs": found["epochs"], "precision": found["precision"], **of_train}
    if "data" not in given:
        source = dict(found["data"]["source"] or {"source": None})
        of_train["data"] = source.pop("source")
        wanted = "searched data in memory; say --data"
        check(of_train["data"] is not None, "--from", directory, wanted)
        of_data = {**source, **of_data}
    return searched, {**of_train, **given}, {**best, **build}, of_data


def _print_facts(facts: Mapping[str, str]) -> None:
    """Names and values, below each other."""
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, value)
    console = Console()
    console.print()
    console.print(table)


def _print_run(run: Any) -> None:
    metrics, config, where = run.metrics, run.config, shlex.quote(str(run.directory))
    facts = {}
    for name, value in metrics.items():
        if name.startswith("test_"):
            share = f" ({value:.2%})" if name.endswith("accuracy") else ""
            facts[name.replace("_", " ")] = f"[bold]{value:.4f}{share}[/]"
    best = f"{metrics['objective']} {metrics['best']:.4f}"
    facts["best epoch"] = f"{metrics['best_epoch']} of {metrics['epochs']}, {best}"
    facts["trained"] = f"{metrics['parameters']:,} parameters in {metrics['seconds']:.0f} s"
    facts["run directory"] = str(run.directory)
    _print_facts(facts)

    source = dict(config["data"]["source"])
    tune = [run.family, "--data", source.pop("source"), "--variant", config["variant"]]
    tune += _flags(source, ("batch_size", "seed"))
    texts = run.data.kind in ("text", "corpus", "pairs")
    some = "'some text'" if texts else INPUTS.get(run.data.kind, "TABLE.csv")
    generate = f"\n  recipes generate {where}" if hasattr(run.model, "generate") else ""
    generate += " --prompt 'some text'" if generate and texts else ""
    print(f"""
Go on with:
  recipes predict {where} {some}{generate}
  recipes train --resume {where} --epochs {2 * metrics["epochs"]}
  recipes tune {shlex.join(tune)}
  tensorboard --logdir {where}/logs
Look at {where}/README.md and {where}/plots/.""")


def _flags(arguments: Mapping[str, Any], without: Iterable[str] = ()) -> list[str]:
    """Arguments as flags of the command line."""
    given = {name: v for name, v in arguments.items() if name not in without and v is not None}
    return [word for name, value in given.items() for word in (_flag(name), _text(value))]


def _text(value: Any) -> str:
    """What `_value` reads as this value."""
    return repr(tuple(value)).replace(" ", "") if isinstance(value, list | tuple) else str(value)


def _tune(options: argparse.Namespace, rest: list[str]) -> None:
    given, build, of_data = _family_flags("tune", rest)
    named, source = given.pop("family", None), given.pop("data", None)
    print(f"recipes tune {named or given['resume']} ...", flush=True)
    _start_backend()
    from rich.console import Console

    import recipes

    data = source
    if of_data:
        seed = {"seed": given["seed"]} if "seed" in given else {}
        data = family(named).load_data(*([source] if source else []), **of_data, **seed)
    search = recipes.tune(named, data, **given, **build)
    Console().print(search.table())
    default = search.default_trial or {"score": None}
    beside = "" if default["score"] is None else f", the defaults {default['score']:.4f}"
    print(f"""
Best {search.best_score:.4f}{beside}; see {search.directory}/README.md. Go on with:
  recipes train --from {shlex.quote(str(search.directory))}""")


def _predict(options: argparse.Namespace, rest: list[str]) -> None:
    check(options.top >= 1, "--top", options.top, "must be at least 1")
    _start_backend()
    import numpy as np

    import recipes

    for row in recipes.predict(options.run_dir, options.inputs):
        if "output" in row:
            print(row["input"], row["output"], sep="\t")
            continue
        if "action" in row:
            print(row["input"], row["action"], *(f"{v:.6g}" for v in row["values"]), sep="\t")
            continue
        numbers = row.get("forecast", [row.get("value", row.get("score", row.get("link")))])
        if numbers[0] is not None:
            print(row["input"], *(f"{number:.6g}" for number in np.ravel(numbers)), sep="\t")
            continue
        ranked = sorted(row["probabilities"].items(), key=lambda item: -item[1])[: options.top]
        print(row["input"], *(f"{name} {share:.1%}" for name, share in ranked), sep="\t")


def _generate(options: argparse.Namespace, rest: list[str]) -> None:
    output = Path(options.output or Path(options.run_dir) / "plots" / "generated.png")
    wanted = "needs a folder that exists, and a name that ends in .png"
    check(output.suffix == ".png" and output.parent.is_dir(), "--output", str(output), wanted)
    _start_backend()
    import recipes
    from recipes.reports import plots

    model = recipes.load(options.run_dir)
    wanted = f"{type(model).__name__} does not generate"
    check(hasattr(model, "generate"), "run", options.run_dir, wanted)
    if getattr(model, "tokenizer", None):
        wanted = "this model goes on with a text: give one"
        check(options.prompt is not None, "--prompt", None, wanted)
        settings = {"temperature": options.temperature, "seed": options.seed}
        prompts = [options.prompt] * (options.count or 1)
        print("\n\n".join(model.generate(prompts, options.max_new_tokens, **settings)))
        return
    check(options.prompt is None, "--prompt", options.prompt, "this model makes pictures")
    count = 64 if options.count is None else options.count
    images = model.generate(count, labels=options.labels, seed=options.seed)
    plots.save(plots.pictures(images, math.ceil(count**0.5)), output)
    print(output)


def _export(options: argparse.Namespace, rest: list[str]) -> None:
    _start_backend()
    import recipes

    found = recipes.export(
        options.run_dir, options.output, format=options.format, tolerance=options.tolerance
    )
    _print_facts(
        {
            "exported": str(found.path),
            "takes": "\n".join(f"{i['name']}: {_tensor(i)}" for i in found.inputs),
            "gives": "\n".join(_tensor(output) for output in found.outputs),
            "difference": f"{found.difference:.1e} ({found.tolerance:g} allowed), "
            f"on {found.checked_on}",
            "prepare inputs by": f"{found.path}.json",
        }
    )


def _tensor(about: Mapping[str, Any]) -> str:
    """Dtype, shape, n for sizes that are free, and meaning."""
    shape = tuple("n" if size is None else size for size in about["shape"])
    meaning = f", {about['meaning']}" if "meaning" in about else ""
    return f"{about['dtype']} {shape}{meaning}".replace("'", "")


def _compare(options: argparse.Namespace, rest: list[str]) -> None:
    for item in options.families:
        name, _, variant = item.partition(":")
        _check_family(name)
        if variant and variant not in families()[name].variants:
            raise unknown(f"variant of {name}", variant, families()[name].variants)
    print(f"recipes compare {' '.join(options.families)} ...", flush=True)
    _start_backend()
    from rich.console import Console

    import recipes

    names = ("budget", "epochs", "batch_size", "precision", "seed", "patience", "directory")
    given = {name: getattr(options, name) for name in names}
    found = recipes.compare(options.families, options.data, **given)
    console = Console()
    console.print()
    console.print(found.table())
    print(f"Look at {found.directory}/README.md; its folders are runs, to predict from or export.")


def _check(options: argparse.Namespace, rest: list[str]) -> None:
    import platform
    from importlib import metadata

    _start_backend()
    import keras

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

    print(f"\nBackend: {keras.backend.backend()} (KERAS_BACKEND chooses another)")
    print("Devices: " + "; ".join(f"{d.kind} {d.name}" for d in devices()))
    print(f"Precision that `auto` chooses: {choose('auto')}")
    print(f"\nEmbedded data: {', '.join(data.embedded())}")
    ready = ", ".join(tfds.prepared()) or "nothing"
    print(f"Prepared TensorFlow Datasets in {tfds.data_dir_of(None)}: {ready}")
    print("  TFDS_DATA_DIR chooses the folder. To prepare another, once, with a network:")
    script = "import tensorflow_datasets as t; t.load('NAME')"
    print(f'  python -c "{script}"')


if __name__ == "__main__":
    sys.exit(main())
