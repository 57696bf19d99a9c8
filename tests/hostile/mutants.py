#!/usr/bin/env python3
"""cargo mutants over some floors of rnnx, which are cut out as a crate of their own.

The whole crate takes half a minute a mutant on two cores; its lower floors alone take a few seconds,
because nothing above them is compiled. What is mutated and tested are the same files.

    mutants.py data   FOLDER [arguments of cargo mutants]    src/{data,eval,files}, src/rng.rs
    mutants.py engine FOLDER [arguments of cargo mutants]    src/{nn,ops,optim}, the CPU's side
    mutants.py models FOLDER [arguments of cargo mutants]    models, decoding, sampling, Adam

FOLDER takes the crate, its target folder and cargo mutants' report; it is reused. `-f FILE` and
`--shard K/N` choose a part, and what follows `--` chooses the tests. Needs cargo-mutants on the path.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

BASE = ["error.rs", "shape.rs", "dtype.rs", "rng.rs", "terminal.rs", "log.rs", "interrupt.rs"]
BASE += ["data", "files", "eval"]
ENGINE = [*BASE, "device", "tensor.rs", "autograd", "ops", "nn", "optim"]

# What a slice is made of: its modules, its test targets, and the test modules that need floors above.
SLICES = {
    "data": {
        "modules": BASE,
        "tests": {"eval.rs": [], "data": ["batch", "division"], "files": ["inspect"]},
        "examine": ["src/data/**", "src/eval/**", "src/files/**", "src/rng.rs"],
    },
    "engine": {
        "modules": ENGINE,
        "tests": {"ops": []},
        "examine": ["src/nn/**", "src/ops/**", "src/optim/**"],
    },
    "models": {
        "modules": [*ENGINE, "sampling.rs", "train", "report", "programs"],
        "tests": {"generate": ["command"], "seq2seq": ["gpu"], "sampling.rs": []},
        "examine": ["src/optim/adam.rs", "src/programs/**/model*", "src/programs/**/decode/**"]
        + ["src/programs/charlm/generate/**"],
    },
}
# In a mutant's file or function: only the emulated device and a GPU run it.
GPU_ONLY = "(?i)gpu"


def copy(source, target):
    """Copies a file or folder; a file that has not changed keeps its time, so nothing is rebuilt."""
    if source.is_dir():
        for entry in source.iterdir():
            copy(entry, target / entry.name)
    elif not target.exists() or target.read_bytes() != source.read_bytes():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def cut(slice_, folder):
    """The crate of a slice in `folder`."""
    manifest = (ROOT / "Cargo.toml").read_text()
    manifest = re.sub(r"\[\[bin\]\].*?(?=\[)", "", manifest, flags=re.S)
    manifest = re.sub(r"^(readme|rnnx) = .*\n", "", manifest, flags=re.M)
    manifest = manifest.split("[profile.release]")[0]
    # The dependencies are built as the whole crate has them: a target folder can serve both.
    manifest += "[profile.dev.package.rnnx]\nopt-level = 1\ndebug = false\n"
    write(folder / "Cargo.toml", manifest)
    for name in ["Cargo.lock", "build.rs", "kernels", "data/packages.txt"]:
        copy(ROOT / name, folder / name)
    modules = [name.removesuffix(".rs") for name in slice_["modules"]]
    lines = [f"pub mod {module};" for module in modules]
    write(folder / "src/lib.rs", "\n".join([*lines, "pub use error::{Error, Result};", ""]))
    for name in slice_["modules"]:
        copy(ROOT / "src" / name, folder / "src" / name)
    for name in ["support", "golden"]:
        copy(ROOT / "tests" / name, folder / "tests" / name)
    for name, left_out in slice_["tests"].items():
        copy(ROOT / "tests" / name, folder / "tests" / name)
        main = folder / "tests" / name / "main.rs"
        for module in left_out:
            write(main, main.read_text().replace(f"mod {module};\n", ""))


def main():
    name, folder, *arguments = sys.argv[1:]
    slice_ = SLICES[name]
    folder = Path(folder).resolve()
    cut(slice_, folder)
    command = ["cargo", "mutants", "--in-place", "--baseline", "skip", "--timeout", "60"]
    command += ["-E", GPU_ONLY]
    chosen = [flag for flag in arguments if flag in ("-f", "--file")]
    for pattern in [] if chosen else slice_["examine"]:
        command += ["-f", pattern]
    # The same tests must hold without a mutant.
    tests = arguments[arguments.index("--") + 1 :] if "--" in arguments else []
    subprocess.run(["cargo", "test", "--quiet", *tests], cwd=folder, check=True)
    return subprocess.run([*command, *arguments], cwd=folder).returncode


if __name__ == "__main__":
    sys.exit(main())
