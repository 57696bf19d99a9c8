"""Small training runs, what must hold of their folders, and when two of them are the same."""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STEPS = 24

TEXT = "".join(
    f"def {['load', 'scan', 'find', 'join'][i % 4]}_{i}(x):\n    return {i * i % 11} * x\n"
    for i in range(40)
)
COMMON = ["--seed", "3", "--quiet", "--threads", "1", "--device", "cpu", "--log-every", "1"]
COMMON += ["--checkpoint-every", "2", "--dropout", "0.2"]
PROGRAMS = {
    "charlm": "train-charlm --corpus text.py --valid-fraction 0.1 --embedding-dim 8 "
    "--hidden-size 16 --num-layers 2 --seq-length 16 --batch-size 4",
    "seq2seq": "train-seq2seq --model attention --train pairs.jsonl --valid pairs.jsonl "
    "--test pairs.jsonl --embedding-dim 8 --hidden-size 8 --batch-size 4 --min-frequency 1",
}


class Wrong(Exception):
    """What must hold does not."""


def need(holds, what):
    if not holds:
        raise Wrong(what)


class Place:
    """A folder with the inputs of the programs and a finished run of each, `PROGRAM-whole`; all runs have
    the flags `more`."""

    def __init__(self, folder, binary, more=()):
        self.folder, self.binary = Path(folder), str(Path(binary).resolve())
        self.more = [*more]
        (self.folder / "text.py").write_text(TEXT)
        pairs = [
            {"docstring": f"Adds {i} to the {'xyz'[i % 3]}.", "code": f"def f(x):\n    return x + {i}"}
            for i in range(24)
        ]
        lines = "".join(json.dumps(pair) + "\n" for pair in pairs)
        (self.folder / "pairs.jsonl").write_text(lines)
        for program in PROGRAMS:
            done = self.train(program, f"{program}-whole").wait_done()
            need(done.code == 0, f"{program} does not train: {done.stderr}")

    def path(self, name):
        return self.folder / name

    def train(self, program, out, steps=STEPS, env=None, limit=None):
        """Starts a run, or goes on with the one that is there."""
        return Running(self.words(program, out, steps), self.folder, env or {}, limit)

    def words(self, program, out, steps=STEPS):
        run = self.path(out)
        # A run that ended before its first checkpoint starts again, as its message says.
        flags = ["--resume"] if os.path.lexists(run / "last") else ["--force"]
        flags = flags if (run / "config.toml").exists() else []
        words = [self.binary, *PROGRAMS[program].split(), *COMMON, *self.more, "--out", out, *flags]
        return [*words, "--max-steps", str(steps)]

    def finish(self, program, out):
        """Goes on to the end; the run must be the one that was never hindered."""
        done = self.train(program, out).wait_done()
        need(done.code == 0, f"does not go on ({done.code}): {done.stderr}")
        same(self.path(out), self.path(f"{program}-whole"))

    def remove(self, out):
        shutil.rmtree(self.path(out), ignore_errors=True)


class Running:
    """A process of rnnx."""

    def __init__(self, words, folder, env, limit):
        env = {**os.environ, "NO_COLOR": "1", "CUDA_VISIBLE_DEVICES": "", **env}
        self.process = subprocess.Popen(
            words,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=limit,
        )
        self.code = self.stderr = None

    def wait_done(self, seconds=120):
        _, stderr = self.process.communicate(timeout=seconds)
        self.code, self.stderr = self.process.returncode, stderr.decode()
        need("panicked" not in self.stderr, self.stderr)
        return self


# ---- what must hold ----------------------------------------------------------------------------


def whole(run):
    """Whatever has happened: links lead to whole checkpoints. Gives the step of the last one."""
    steps = {}
    for name in ["last", "best"]:
        link = run / name
        if os.path.lexists(link):
            steps[name] = checkpoint(link)
    return steps.get("last", 0)


def checkpoint(link):
    """Checks the checkpoint that a link leads to, and gives its step."""
    folder = link.parent / os.readlink(link)
    name = folder.name
    if not folder.exists():
        # It was saved again, stepped aside for that, and waits for `--resume` to bring it back.
        folder = folder.with_name(f".tmp-old-{name}")
    need(folder.is_dir(), f"{link.name} leads to {name}, which is gone")
    for file in ["model.safetensors", "optimizer.safetensors"]:
        tensors(folder / file)
    step = json.loads((folder / "state.json").read_text())["step"]
    need(name == f"step-{step}", f"{link.name} leads to {name}, which holds step {step}")
    return step


def tensors(path):
    """Checks a safetensors file's length and SHA-256."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    expected = header.pop("__metadata__")["sha256"]
    body = data[8 + length :]
    need(max(t["data_offsets"][1] for t in header.values()) == len(body), f"{path}: cut")
    need(hashlib.sha256(body).hexdigest() == expected, f"{path}: damaged")


def same(a, b):
    """Two runs hold the same, all but times and rates, bit for bit: `last` and `best`, the metrics,
    the configuration, the vocabulary, the samples, the predictions. A checkpoint that nothing leads to
    may be left, where a run ended between saving and what comes after it."""
    left, right = contents(a), contents(b)
    for name in left.keys() | right.keys():
        need(left.get(name) == right.get(name), f"{name} of {a.name} is not {b.name}'s")


def contents(run):
    """The hash of every file of a run without its name, times and rates; links by their target."""
    held = {name: os.readlink(run / name) for name in ["last", "best"]}
    kept = {run / target for target in held.values()}
    for path in sorted(run.rglob("*")):
        reached = path.parent in kept or run / "checkpoints" not in path.parents
        drawn = path.name in ["report.html", ".lock"]
        if path.is_file() and reached and path.parent.name not in held and not drawn:
            held[str(path.relative_to(run))] = hashlib.sha256(timeless(path)).hexdigest()
    return held


def timeless(path):
    data = path.read_bytes()
    if path.suffix == ".safetensors":
        return data
    # And the checksums of files that hold these.
    keys = rb"elapsed_seconds|tokens_per_s|seconds|decode_seconds|train_seconds|crc32|sha256"
    data = re.sub(rb'"(%s)": ?[^,}\n]*' % keys, b"", data)
    return re.sub(rb"\n(run-folder = |# SHA-256 )[^\n]*", b"", data)


def main(trial, about, what, number):
    """Runs `trial(options)`, which has so many of `what` unless a flag says otherwise, and says what was
    wrong."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument(f"--{what}", type=int, default=number)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--rnnx", default=ROOT / "target/debug/rnnx")
    parser.add_argument("--folder", help="where the runs are written; the system's folder else")
    options = parser.parse_args()
    try:
        trial(options)
    except (Wrong, OSError, ValueError) as wrong:
        sys.exit(f"wrong: {wrong}\nseed {options.seed} repeats it")
