"""Training on a GPU: throughput by precision, share of the card's peak, memory, PyTorch beside it.

    python benchmarks/gpu.py --backend jax torch
    python benchmarks/gpu.py gpt2 --precision bfloat16 --backend jax

ResNet-50 on 128 pictures of 224 x 224 a step, and GPT-2 small on 16 contexts of 1,024, from
examples in memory through `fit`; the same networks in PyTorch under `torch.compile`, with TF32
allowed, autocast and a fused AdamW, as its tuning guide has it. Each has a process of its own. A
product of matrices in bfloat16, 8,192 wide, is the peak that the share is of; a training step
counts as three forward passes (2 operations for each multiply-add of the matrices and the
convolutions, attention in full). Losses are means of the last epoch, on random examples that are
seen again and again: NaN would say that float16 overflows. Results go to
`benchmarks/results/gpu.json` and `gpu.md`. `--small` shrinks inputs and steps, to try the script.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import measures
import numpy as np

RESULTS = Path(__file__).parent / "results" / "gpu.json"
PRECISIONS = ("float32", "bfloat16", "float16")
BACKENDS = ("jax", "torch", "tensorflow")
STEPS = 20  # of an epoch; the first epoch compiles, three more are timed

# family, variant, input shape, batch, multiply-adds of a forward pass of one example
NETWORKS = {
    "resnet50": ("resnet", "resnet50", (224, 224, 3), 128, 4.09e9),
    # 124M without positions: 12 layers of 12 d^2, attention of 2 T d a layer and token, the head
    "gpt2": ("gpt", "gpt2", (1024,), 16,
             1024 * (12 * (12 * 768**2 + 2 * 1024 * 768) + 50257 * 768)),
}  # fmt: skip
SMALL = {
    "resnet50": ("resnet", "resnet50", (32, 32, 3), 2, 8.4e7),
    "gpt2": ("gpt", "gpt2", (16,), 1, 16 * (12 * 12 * 768**2 + 50257 * 768)),
}
CLASSES, VOCABULARY = 1000, 50257


def examples(shape: tuple[int, ...], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures with classes, or ids with the next ones."""
    generator = np.random.default_rng(0)
    if len(shape) == 1:
        ids = generator.integers(0, VOCABULARY, (count, shape[0] + 1), "int32")
        return ids[:, :-1], ids[:, 1:]
    x = generator.standard_normal((count, *shape), "float32")
    return x, generator.integers(0, CLASSES, count, "int32")


def timed(epoch, wait=lambda: None) -> tuple[float, float, float]:
    """(Seconds until the first epoch is over, median seconds of a step, last loss)."""
    start = time.perf_counter()
    loss = epoch()
    wait()
    first, taken = time.perf_counter() - start, []
    for _ in range(3):
        start = time.perf_counter()
        loss = epoch()
        wait()
        taken.append((time.perf_counter() - start) / STEPS)
    return first, float(np.median(taken)), float(loss)


def ours(network: tuple, precision: str) -> dict:
    """A recipe's step by `fit`, in a precision."""
    import keras

    from recipes.contract import family
    from recipes.data.core import Batches
    from recipes.training.precision import devices, policy

    name, variant, shape, batch, _ = network
    x, y = examples(shape, batch * STEPS)
    data = Batches(x, y, np.arange(len(x)), np.asarray, batch)
    given = (
        {"vocabulary_size": VOCABULARY, "sequence_length": shape[0]}
        if len(shape) == 1
        else {"input_shape": shape, "num_classes": CLASSES}
    )
    with policy(precision):
        model = family(name).build_model(variant, **given, seed=0)
        found = timed(lambda: model.fit(data, shuffle=False, verbose=0).history["loss"][-1])
    row = dict(zip(("first_epoch", "step", "loss"), found, strict=True))
    row |= {"device": devices()[0].name, "parameters": model.count_params()}
    if keras.backend.backend() == "jax":
        import jax

        row["memory"] = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    elif keras.backend.backend() == "torch":
        import torch

        row["memory"] = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    return row


def pytorch(network: tuple, precision: str) -> dict:
    """The same network in PyTorch alone, under `torch.compile`."""
    import torch
    import transformers

    name, _, shape, batch, _ = network
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(0)
    x, y = (torch.from_numpy(a) for a in examples(shape, batch * STEPS))
    if name == "gpt":
        quiet = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
        config = transformers.GPT2Config(n_positions=shape[0], **quiet)
        model = transformers.GPT2LMHeadModel(config).to(device)
        optimizer = torch.optim.AdamW(model.parameters(), 3e-4, fused=device == "cuda")
    else:
        config = transformers.ResNetConfig(num_labels=CLASSES)  # of 50 layers
        model = transformers.ResNetForImageClassification(config).to(device)
        model, x = model.to(memory_format=torch.channels_last), x.movedim(-1, 1)
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    compiled = torch.compile(model)
    scaler = torch.amp.GradScaler(device, enabled=precision == "float16")
    kind = None if precision == "float32" else getattr(torch, precision)
    x, y = x.pin_memory() if device == "cuda" else x, y.long()

    def epoch():
        total = 0.0
        for start in range(0, len(x), batch):
            given = x[start : start + batch].to(device, non_blocking=True)
            wanted = y[start : start + batch].to(device, non_blocking=True)
            with torch.autocast(device, kind, enabled=kind is not None):
                logits = compiled(given.long() if name == "gpt" else given).logits
                loss = torch.nn.functional.cross_entropy(logits.flatten(0, -2), wanted.flatten())
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            total = total + loss.detach()
        return total.item() / STEPS  # waits for the device

    row = dict(zip(("first_epoch", "step", "loss"), timed(epoch), strict=True))
    cuda = device == "cuda"
    row["device"] = torch.cuda.get_device_name() if cuda else "CPU"
    row["parameters"] = sum(p.numel() for p in model.parameters())
    return row | {"memory": torch.cuda.max_memory_allocated() if cuda else None}


def peak(small: bool) -> float:
    """Operations a second of a product of matrices in bfloat16."""
    import torch

    device, n = "cuda" if torch.cuda.is_available() else "cpu", 512 if small else 8192
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))

    def wait():
        if device == "cuda":
            torch.cuda.synchronize()

    def products():
        for _ in range(STEPS):
            a @ b
        return 0.0

    return 2 * n**3 / timed(products, wait)[1]


def table(found: dict) -> str:
    """The results as Markdown."""
    lines = ["Written by `python benchmarks/gpu.py`, which says what is measured."]
    lines += [f"Peak of a product of matrices in bfloat16: {found['peak'] / 1e12:.1f} TFLOP/s.", ""]
    titles = ["network", "by", "precision", "examples/s", "to float32", "to PyTorch",
              "share of the peak", "memory, GB", "first epoch, s", "loss", "device"]  # fmt: skip
    table_rows = []
    rows = {(r["network"], r["by"], r["precision"]): r for r in found["rows"]}
    for (network, by, precision), row in rows.items():

        def ratio(key: tuple, row: dict = row) -> str:
            other = rows.get(key)
            return f"{other['step'] / row['step']:.2f}" if other else ""

        cells = [network, by, precision, f"{row['batch'] / row['step']:.0f}"]
        cells += [ratio((network, by, "float32")), ratio((network, "PyTorch", precision))]
        cells += [f"{100 * row['operations'] / row['step'] / found['peak']:.0f} %"]
        cells += [f"{row['memory'] / 2**30:.1f}" if row["memory"] else ""]
        cells += [f"{row['first_epoch']:.0f}", f"{row['loss']:.3f}", row["device"]]
        table_rows.append(cells)
    return "\n".join([*lines, *measures.markdown(titles, table_rows)]) + "\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("networks", nargs="*", help=f"of {', '.join(NETWORKS)}; default all")
    parser.add_argument("--backend", nargs="+", choices=BACKENDS, default=["jax", "torch"])
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--small", action="store_true", help="tiny inputs; nothing is recorded")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    networks = SMALL if options.small else NETWORKS
    if options.small:
        global STEPS
        STEPS = 2
    if unknown := set(options.networks) - set(networks):
        parser.error(f"unknown {sorted(unknown)}; known: {', '.join(networks)}")
    if options.worker:
        name, by, precision = options.worker
        work = pytorch if by == "PyTorch" else ours
        print("\n" + json.dumps(work(networks[name], precision)))
        return
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"rows": []}
    found["peak"] = peak(options.small)
    for name in options.networks or networks:
        *_, batch, additions = networks[name]
        for by in ("PyTorch", *options.backend):
            for precision in options.precision:
                environment = os.environ | {"KERAS_BACKEND": "torch" if by == "PyTorch" else by}
                command = [sys.executable, __file__, "--worker", name, by, precision]
                ended = subprocess.run(
                    command + ["--small"] * options.small, env=environment, text=True,
                    stdout=subprocess.PIPE, check=True,
                )  # fmt: skip
                row = {"network": name, "by": by, "precision": precision, "batch": batch}
                row |= {"operations": 6 * batch * additions}
                row |= json.loads(ended.stdout.splitlines()[-1])
                key = (name, by, precision)
                kept = [r for r in found["rows"] if (r["network"], r["by"], r["precision"]) != key]
                found["rows"] = [*kept, row]
                print(json.dumps(row), flush=True)
                if not options.small:
                    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
                    RESULTS.with_suffix(".md").write_text(table(found))
    print(table(found))


if __name__ == "__main__":
    main()
