"""Runs rnnx and its peers one after another on this machine and prints one markdown table.

    python compare.py --rnnx ../target/release/rnnx

A peer that is not installed, or fails, is 'not measured'; the reason stands below the table.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
NONE = "not measured"
NOISY = 1.3  # slowest / fastest repetition above which a run is called disturbed


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rnnx", type=Path, default=HERE.parent / "target/release/rnnx")
    parser.add_argument("--python", default=sys.executable, help="Python that has the peers")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu"])
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each peer")
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds for one run")
    parser.add_argument("--size", nargs=argparse.REMAINDER, default=[],
                        help="the rest: flags that every charlm step gets, rnnx's too, "
                             "such as --batch-size 64")
    return parser.parse_args()


class Runs:
    """Runs one command at a time and keeps why one failed."""

    def __init__(self, args):
        self.timeout = args.timeout
        self.notes = []
        self.environment = dict(os.environ)
        if args.device == "cpu":
            self.environment["CUDA_VISIBLE_DEVICES"] = "-1"

    def __call__(self, name, command):
        """The JSON object that the command prints, or {}."""
        print(f"{name}: {' '.join(command)}", file=sys.stderr)
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace",
                                  timeout=self.timeout, env=self.environment)
            if done.returncode == 0:
                result = json.loads(done.stdout)
                self.look_at_spread(name, result)
                return result
            last = done.stderr.strip().splitlines() or ["no message"]
            reason = f"exit code {done.returncode}: {last[-1]}"
        except (OSError, subprocess.TimeoutExpired, json.JSONDecodeError) as error:
            reason = str(error)
        self.notes.append(f"{name}: {NONE} ({reason[:200]})")
        return {}

    def look_at_spread(self, name, result):
        """Notes a run whose repetitions differ too much to be compared."""
        for part, low, high, unit in [("charlm", "ms_fastest", "ms_slowest", "ms a step"),
                                      ("generate", "slowest", "fastest", "characters/s")]:
            least, most = value(result, part, low), value(result, part, high)
            if least and most and most > NOISY * least:
                self.notes.append(f"{name}: from {least:,.0f} to {most:,.0f} {unit}; something else "
                                  "was running, measure again on an idle machine")


def fastest(results):
    """Of several results the one with the most characters a second; {} if there is none."""
    measured = [r for r in results if "charlm" in r]
    return max(measured, key=lambda r: r["charlm"]["chars_per_s"], default={})


def measure(args, run):
    """{column: {"charlm": .., "gemm": .., "generate": ..}}, what is missing left out."""
    def script(name, *flags):
        return [args.python, str(HERE / name), "--json", *flags]

    rnnx, device = str(args.rnnx), ["--device", args.device]
    step = ["--steps", str(args.steps), *args.size]
    ours = {}
    for what, flags in [("gemm", []), ("charlm", args.size), ("generate", [])]:
        ours.update(run(f"rnnx {what}", [rnnx, "bench", what, "--json", *device, *flags]))
    torch = run("PyTorch charlm", script("charlm_pytorch.py", *device, *step))
    torch.update(generate=run("PyTorch generate", script("generate_pytorch.py")).get("generate"))
    keras = fastest([
        run(f"Keras charlm, jit {jit}", script("charlm_keras.py", "--jit", jit, *step))
        for jit in ("on", "off")
    ])
    return {"rnnx": ours, "PyTorch": torch, "Keras": keras}


def value(result, part, key):
    return ((result or {}).get(part) or {}).get(key)


def number(x):
    if x is None:
        return NONE
    return f"{x:,.0f}" if abs(x) >= 100 else f"{x:.3g}"


def quotient(a, b):
    return "-" if a is None or not b else f"{a / b:.3g}"


def row(name, cells):
    ours, *theirs = cells
    shown = [number(ours)] + [number(x) for x in theirs]
    return [name, *shown, *(quotient(ours, x) for x in theirs)]


def table(results):
    columns = list(results.values())
    gemm = value(results["rnnx"], "gemm", "gflops")

    def each(part, key):
        return [value(result, part, key) for result in columns]

    share = [rate / gemm if rate and gemm else None for rate in each("charlm", "gflops")]
    share[0] = value(results["rnnx"], "charlm", "share_of_gemm")
    generation = row("generation, one stream, characters/s", each("generate", "chars_per_s"))
    generation[3], generation[5] = "-", "-"  # Keras has no peer here
    return [
        ["", *results, "rnnx / PyTorch", "rnnx / Keras"],
        ["---", "---:", "---:", "---:", "---:", "---:"],
        row("training step, characters/s", each("charlm", "chars_per_s")),
        row("training step, ms", each("charlm", "ms_per_step")),
        row("training step, GFLOP/s", each("charlm", "gflops")),
        row("share of rnnx's GEMM rate", share),
        row("training, peak memory, MB", each("charlm", "peak_rss_mb")),
        generation,
    ]


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main():
    args = parse()
    run = Runs(args)
    load = os.getloadavg()[0]
    if load > 0.5:
        run.notes.append(f"the machine was not idle at the start (load {load:.1f})")
    results = measure(args, run)
    gemm = value(results["rnnx"], "gemm", "gflops")
    print(f"{processor()}, {os.cpu_count()} cores; rnnx's GEMM, GFLOP/s: {number(gemm)}\n")
    for cells in table(results):
        print("| " + " | ".join(cells) + " |")
    print()
    for result in results.values():
        if result.get("framework"):
            variant = value(result, "charlm", "variant")
            print(f"- {result['framework']}, {result['device']}, {result['precision']}, {variant}")
    for note in run.notes:
        print(f"- {note}")


main()
