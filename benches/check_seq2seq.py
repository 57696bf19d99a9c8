"""Checks rnnx's training of the three seq2seq models against PyTorch from outside.

    python check_seq2seq.py --rnnx ../target/release/rnnx
    python check_seq2seq.py --rnnx ../target/release/rnnx --epochs 12 --train T.jsonl --valid V.jsonl

Without --epochs: makes pairs, trains 20 steps with `rnnx train-seq2seq` and the same 20 steps in
torch (f32), on the same batches, padded there; compares the loss of every step and the validation
loss after each epoch of 10 steps. Two runs a model: from rnnx's initial weights with the default
clip, and from PyTorch's (both biases set) with a clip that bites. Exits with 1, and a table of the
steps, if a loss differs by more than 1e-4 relative. Some docstrings have several paragraphs, some
code has a docstring, some pairs are cut and some tokens rare, so the rules for the data count, too.

With --epochs: trains both with default settings, each with its own initial values, batches and
dropout; their validation losses after the last epoch may differ by 0.05 nats.
"""

import argparse
import json
import random
import subprocess
import tempfile
from itertools import cycle
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from seq2seq_data import batches, encode, read_pairs, vocabularies
from seq2seq_pytorch import MODELS, Trainer, build, train

STEPS, BATCH, EMBEDDING, HIDDEN = 20, 128, 32, 48
PAIRS = {"train": 10 * BATCH, "valid": 200, "test": 16}  # 10 batches an epoch, none incomplete
TOLERANCE = 1e-4  # of a loss, relative
EPOCHS_TOLERANCE = 0.05  # nats; other initial values, batches and dropout, not another model

# (name, whose initial weights, learning rate, clip norm)
RUNS = [
    ("rnnx's weights, default clip", "rnnx", 1e-3, 5.0),
    ("PyTorch's weights, small clip", "torch", 1e-2, 0.05),
]


def make_pairs(folder):
    """{split: file}; the same on every machine."""
    rng = random.Random(30)
    letters = "abcdefghijklmnop"
    words = ["v" + "".join(rng.choice(letters) for _ in range(rng.randint(1, 7)))
             for _ in range(900)]

    def word():  # a few are frequent, many are rare
        return words[int(len(words) * rng.random() ** 3)]

    def text(count, columns):
        chosen = [word() for _ in range(count)]
        return "\n".join(" ".join(chosen[i:i + columns]) for i in range(0, count, columns))

    def docstring():
        first = text(rng.choice([1, 2, 4, 7, 11, 18, 33]), rng.choice([5, 40]))
        return first + rng.choice(["", ".", "\n\n" + text(9, 3), "\n   \n:param " + text(3, 3)])

    def code():
        lines = [f"def {word()}({word()}, {word()} = {rng.randint(0, 9)}):"]
        lines += rng.choice([[], [], ['    """' + text(4, 9) + '"""'],
                             ["    '''" + text(3, 9), "", "    " + text(2, 2), "    '''"]])
        for _ in range(rng.choice([0, 1, 2, 4, 7, 14])):
            lines.append(f"    {word()} = {word()} {rng.choice('+-*')} {word()}( {word()} )")
        return "\n".join(lines + [f"    return {word()}"])

    files = {split: folder / f"{split}.jsonl" for split in PAIRS}
    for split, file in files.items():
        records = [{"docstring": docstring(), "code": code()} for _ in range(PAIRS[split])]
        file.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    return files


def rnnx(binary, model, files, out, *flags):
    """Runs train-seq2seq on the files; the records of its metrics.jsonl."""
    command = [str(binary), "train-seq2seq", "--model", model, "--out", str(out), "--device", "cpu",
               "--quiet", *map(str, flags)]
    for split, file in files.items():
        command += [f"--{split}", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\nexit code {done.returncode}\n{done.stderr}")
    metrics = out / "metrics.jsonl"
    if not metrics.is_file():  # no step, no record
        return []
    return [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]


def check_vocabularies(run, vocabs):
    stored = json.loads((run / "vocab.json").read_text(encoding="utf-8"))
    for side, expected in zip(("source", "target"), vocabs):
        found = stored[side]
        if found != expected:
            more, less = set(found) - set(expected), set(expected) - set(found)
            raise SystemExit(
                f"{run / 'vocab.json'}, {side}: {len(found)} tokens, {len(expected)} expected; "
                f"not expected {sorted(more)[:9]}, missing {sorted(less)[:9]}"
                + ("" if more or less else "; the same tokens in another order"))


def load(name, vocabs, weights):
    """The model in torch, without dropout; of two biases one is trained, their sum, as in rnnx."""
    model = build(name, [len(v) for v in vocabs], EMBEDDING, HIDDEN, dropout=0.0)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise SystemExit(f"{name}: rnnx's weights do not load into torch's modules: {error}")
    parameters = dict(model.named_parameters())
    for key, other in parameters.items():
        if "bias_hh" in key:
            parameters[key.replace("bias_hh", "bias_ih")].data.add_(other)
            other.requires_grad_(False).zero_()
    return model


def train_torch(model, data, lr, clip):
    """The loss of each step before its update, and the validation loss after each epoch."""
    trainer, valid = Trainer(model, lr, clip), batches(data["valid"], BATCH, "cpu")
    epoch = batches(data["train"], BATCH, "cpu")
    losses, valid_losses = [], []
    for step, batch in zip(range(1, STEPS + 1), cycle(epoch)):
        losses.append(trainer.step(batch).item())
        if step % len(epoch) == 0:
            valid_losses.append(trainer.evaluate(valid))
    return losses, valid_losses


def relative(ours, theirs):
    """The largest relative difference; a NaN counts as infinite."""
    gaps = [abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True)]
    return max(gap if gap == gap else float("inf") for gap in gaps)


def compare_run(binary, name, run, files, data, vocabs, folder):
    """Prints a line; whether the run agrees."""
    title, whose, lr, clip = run
    work = ["--embedding-dim", EMBEDDING, "--hidden-size", HIDDEN, "--batch-size", BATCH,
            "--dropout", 0]
    file = folder / f"{name}-{whose}.safetensors"
    if whose == "rnnx":
        start = folder / f"{name}-start"
        rnnx(binary, name, files, start, *work, "--max-steps", 0)
        check_vocabularies(start, vocabs)
        file = start / "last" / "model.safetensors"
    else:
        torch.manual_seed(3)
        save_file(build(name, [len(v) for v in vocabs], EMBEDDING, HIDDEN).state_dict(), file)
    weights = load_file(file)
    if whose == "rnnx" and any(w.any() for key, w in weights.items() if "bias_hh" in key):
        raise SystemExit(f"{file}: bias_hh is not zero")

    records = rnnx(binary, name, files, folder / f"{name}-{whose}-run", *work, "--init-from", file,
                   "--no-shuffle", "--learning-rate", lr, "--clip-norm", clip,
                   "--max-steps", STEPS, "--log-every", 1)
    steps = [r for r in records if r["event"] == "step"]
    if [r["step"] for r in steps] != list(range(1, STEPS + 1)):
        raise SystemExit(f"metrics.jsonl has the steps {[r['step'] for r in steps]}, not 1 to {STEPS}")
    epochs = [r["valid_loss"] for r in records if r["event"] == "epoch"]
    theirs, valid = train_torch(load(name, vocabs, weights), data, lr, clip)
    unclipped, _ = train_torch(load(name, vocabs, weights), data, lr, float("inf"))
    if len(epochs) != len(valid):
        raise SystemExit(f"metrics.jsonl has {len(epochs)} epochs, not {len(valid)}")
    ours = [r["loss"] for r in steps]
    worst, worst_valid = relative(ours, theirs), relative(epochs, valid)
    good = max(worst, worst_valid) <= TOLERANCE
    print(f"{'ok  ' if good else 'FAIL'} {name}, {title}: largest relative difference {worst:.1e}, "
          f"in validation {worst_valid:.1e}, allowed {TOLERANCE:.0e}; without clipping it would be "
          f"{relative(unclipped, theirs):.1e}")
    if not good:
        print("  step   loss rnnx    loss torch  relative")
        rows = [*zip(range(1, STEPS + 1), ours, theirs), *zip(["v1", "v2"], epochs, valid)]
        for step, a, b in rows:
            print(f"  {step:>4}{a:12.7f}  {b:12.7f}  {abs(a - b) / abs(b):8.1e}")
    return good


def compare_steps(args, binary, folder):
    torch.set_num_threads(1)
    files = make_pairs(folder)
    words = {split: read_pairs(file) for split, file in files.items()}
    vocabs = vocabularies(words["train"])
    data = {split: encode(pairs, vocabs) for split, pairs in words.items()}
    print(f"{len(data['train'])} pairs, vocabularies {len(vocabs[0])} and {len(vocabs[1])}, "
          f"{STEPS} steps, torch {torch.__version__}", flush=True)
    return [compare_run(binary, name, run, files, data, vocabs, folder)
            for name in args.models for run in RUNS]


def compare_epochs(args, binary, folder):
    files = {"train": args.train, "valid": args.valid, "test": args.test or args.valid}
    words = {split: read_pairs(file) for split, file in files.items()}
    vocabs = vocabularies(words["train"])
    data = {split: encode(pairs, vocabs) for split, pairs in words.items()}
    results = []
    for name in args.models:
        records = rnnx(binary, name, files, folder / name, "--epochs", args.epochs)
        ours = [r["valid_loss"] for r in records if r["event"] == "epoch"]
        torch.manual_seed(args.seed)
        rng = random.Random(args.seed)
        trainer = Trainer(build(name, [len(v) for v in vocabs]))
        theirs, _ = train(trainer, lambda: batches(data["train"], BATCH, "cpu", rng),
                          batches(data["valid"], BATCH, "cpu", bucket=True), args.epochs)
        theirs = [r["valid_loss"] for r in theirs]
        gap = ours[-1] - theirs[-1]
        results.append(abs(gap) <= EPOCHS_TOLERANCE)
        print(f"{'ok  ' if results[-1] else 'FAIL'} {name}, {args.epochs} epochs: validation loss "
              f"{ours[-1]:.4f}, PyTorch {theirs[-1]:.4f}, difference {gap:+.4f}, "
              f"allowed {EPOCHS_TOLERANCE}", flush=True)
        for title, losses in [("rnnx   ", ours), ("PyTorch", theirs)]:
            print(f"  {title}  " + "  ".join(f"{loss:.3f}" for loss in losses), flush=True)
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rnnx", type=Path, required=True, help="path to the binary")
    parser.add_argument("--model", choices=MODELS, help="this model only")
    parser.add_argument("--epochs", type=int, help="compare validation losses after so many epochs")
    parser.add_argument("--train", type=Path, help="pairs for --epochs, JSONL or JSONL.gz")
    parser.add_argument("--valid", type=Path, help="pairs for --epochs")
    parser.add_argument("--test", type=Path, help="pairs for rnnx's test at the end (default --valid)")
    parser.add_argument("--seed", type=int, default=0, help="PyTorch's, for --epochs")
    args = parser.parse_args()
    args.models = [args.model] if args.model else MODELS
    binary = args.rnnx.resolve()
    if not binary.is_file():
        parser.error(f"--rnnx {args.rnnx}: no such file (cargo build --release makes it)")
    if args.epochs is not None and (args.epochs < 1 or not args.train or not args.valid):
        parser.error("--epochs is at least 1 and needs --train and --valid")
    with tempfile.TemporaryDirectory() as temporary:
        compare = compare_epochs if args.epochs else compare_steps
        results = compare(args, binary, Path(temporary))
    raise SystemExit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
