"""Runs rnnx's seq2seq training steps and PyTorch's by turns on this machine and prints a table.

    python compare_seq2seq.py --rnnx ../target/release/rnnx
    python compare_seq2seq.py --rnnx ../target/release/rnnx --train T.jsonl --valid V.jsonl --test E.jsonl

The same pairs and the same number of threads for both. Without files, rnnx makes the pairs from its
embedded corpus. PyTorch runs as such models are commonly written, padded, and in two stronger forms
(see seq2seq_pytorch.py). The measure is real target tokens a second, EOS counted, padding not, since
batches differ in their tokens. With --rounds above 1 every program runs so often, by turns, and the
best of its runs counts.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODELS = ["rnn", "lstm", "attention"]
ALL = [*MODELS, "transformer"]
SPLITS = ["train", "valid", "test"]
# The flags of seq2seq_pytorch.py, by what stands in the table.
VARIANTS = {
    "padded": [],
    "packed logits": ["--packed-logits"],
    "packed logits, bucketed": ["--packed-logits", "--bucket"],
}
NONE = "not measured"
BUSY = 0.5  # load at the start above which the machine is called busy


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rnnx", type=Path, default=HERE.parent / "target/release/rnnx")
    parser.add_argument("--python", default=sys.executable, help="Python that has torch")
    for split in SPLITS:
        parser.add_argument(f"--{split}", type=Path, help="pairs, JSONL or JSONL.gz; all three or none")
    parser.add_argument("--model", choices=ALL, help="this model only")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="cuda: both in fp16")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads of both")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each timing of rnnx")
    parser.add_argument("--steps", type=int, default=10, help="timed steps of PyTorch")
    parser.add_argument("--rounds", type=int, default=1, help="runs of each program")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for one run")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, no table")
    for name in ("batch-size", "embedding-dim", "hidden-size"):
        parser.add_argument(f"--{name}", type=int, help="another size for both")
    args = parser.parse_args()
    given = [split for split in SPLITS if getattr(args, split)]
    if given and given != SPLITS:
        parser.error("--train, --valid and --test: give all three, or none for the embedded pairs")
    if not args.rnnx.is_file():
        parser.error(f"--rnnx {args.rnnx}: no such file (cargo build --release makes it)")
    if args.steps < 1 or args.rounds < 1:
        parser.error("--steps and --rounds are at least 1")
    args.files = {split: getattr(args, split) for split in given}
    args.models = [args.model] if args.model else MODELS
    names = ["batch_size", "embedding_dim", "hidden_size"]
    sizes = {f"--{n.replace('_', '-')}": getattr(args, n) for n in names}
    args.sizes = [str(x) for flag, n in sizes.items() if n is not None for x in (flag, n)]
    return args


def run(command, timeout, notes, name):
    """The JSON object that the command prints, or None and a note."""
    print(f"{name}: {' '.join(command)}", file=sys.stderr, flush=True)
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace",
                              timeout=timeout)
        if done.returncode == 0:
            return json.loads(done.stdout)
        last = done.stderr.strip().splitlines() or ["no message"]
        reason = f"exit code {done.returncode}: {last[-1]}"
    except (OSError, subprocess.TimeoutExpired, json.JSONDecodeError) as error:
        reason = str(error)
    notes.append(f"{name}: {NONE} ({reason[:200]})")
    return None


def embedded_pairs(binary, folder):
    """{split: file} of the pairs that rnnx makes from its embedded corpus."""
    done = subprocess.run([str(binary), "data", "prepare", "--out", str(folder)],
                          capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        raise SystemExit(f"{binary} data prepare: exit code {done.returncode}\n{done.stderr}")
    return {split: folder / f"{split}.jsonl.gz" for split in SPLITS}


def ours(args, files, model, notes):
    """rnnx's figures of one model, or None."""
    command = [str(args.rnnx.resolve()), "bench", "seq2seq", "--model", model, "--json", "--quiet",
               "--seconds", str(args.seconds), "--threads", str(args.threads),
               "--device", args.device, *args.sizes]
    for split, file in files.items():
        command += [f"--{split}", str(file)]
    result = run(command, args.timeout, notes, f"rnnx {model}")
    if not result:
        return None
    found = result["seq2seq"]
    return {**found["models"][model], "device": result["device"],
            "gemm_gflops": result["gemm"]["gflops"],
            "vocabularies": [found["source_vocabulary"], found["target_vocabulary"]]}


def theirs(args, files, model, variant, notes):
    """PyTorch's figures of one model and variant, or None."""
    command = [args.python, str(HERE / "seq2seq_pytorch.py"), "--model", model, "--json",
               "--train", str(files["train"]), "--steps", str(args.steps),
               "--threads", str(args.threads), *args.sizes, *VARIANTS[variant]]
    if args.device == "cuda":
        command += ["--device", "cuda", "--precision", "fp16"]
    result = run(command, args.timeout, notes, f"PyTorch {model}, {variant}")
    if not result:
        return None
    found = result["seq2seq"]
    return {**found, "device": result["device"], "framework": result["framework"],
            "vocabularies": [found["source_vocabulary"], found["target_vocabulary"]]}


def better(a, b):
    """The one with more tokens a second; None has none."""
    found = [x for x in (a, b) if x]
    return max(found, key=lambda x: x["target_tokens_per_s"], default=None)


def measure(args, files, notes):
    """{model: {"rnnx": figures, variant: figures}}, None where something failed."""
    results = {model: {} for model in args.models}
    for _ in range(args.rounds):
        for model, found in results.items():
            found["rnnx"] = better(found.get("rnnx"), ours(args, files, model, notes))
            for variant in VARIANTS:
                peer = theirs(args, files, model, variant, notes)
                found[variant] = better(found.get(variant), peer)
    for model, found in results.items():
        vocabularies = {tuple(x["vocabularies"]) for x in found.values() if x}
        if len(vocabularies) > 1:
            notes.append(f"{model}: not the same work, the vocabularies are {sorted(vocabularies)}")
    return results


def ratios(found):
    """Of each variant that was measured: how many times rnnx is faster."""
    mine, peers = found["rnnx"], {v: found[v] for v in VARIANTS if found[v]}
    if not mine:
        return {}
    return {variant: {
        "by_tokens_per_s": mine["target_tokens_per_s"] / peer["target_tokens_per_s"],
        "by_ms": peer["ms_per_step"] / mine["ms_per_step"],
    } for variant, peer in peers.items()}


def table(results):
    rows = [["model", "program", "ms a step", "fastest - slowest", "target tokens/s",
             "tokens a step", "rnnx faster, tokens/s", "rnnx faster, ms"],
            ["---", "---", *["---:"] * 6]]
    for model, found in results.items():
        faster = ratios(found)
        for name, x in found.items():
            title = "rnnx" if name == "rnnx" else f"PyTorch, {name}"
            if not x:
                rows.append([model, title, NONE, *["-"] * 5])
                continue
            low, high = (x.get(f"ms_{a}", x.get(f"ms_{b}"))
                         for a, b in (("best", "fastest"), ("worst", "slowest")))
            ratio = faster.get(name)
            shown = [f"{ratio[k]:.2f}" if ratio else "-" for k in ("by_tokens_per_s", "by_ms")]
            rows.append([model, title, f"{x['ms_per_step']:.3g}", f"{low:.3g} - {high:.3g}",
                         f"{x['target_tokens_per_s']:,.0f}", f"{x['target_tokens_per_step']:,.0f}",
                         *shown])
    return rows


def main():
    args, notes = parse(), []
    load = os.getloadavg()[0]
    if load > BUSY:
        notes.append(f"the machine was not idle at the start (load {load:.1f})")
    with tempfile.TemporaryDirectory() as folder:
        files = args.files or embedded_pairs(args.rnnx.resolve(), Path(folder) / "pairs")
        results = measure(args, files, notes)
    if args.json:
        print(json.dumps({
            "pairs": {s: str(f) for s, f in args.files.items()} or "embedded", "threads": args.threads,
            "models": {m: {**found, "rnnx_faster": ratios(found)} for m, found in results.items()},
            "notes": notes,
        }, indent=1))
    else:
        for cells in table(results):
            print("| " + " | ".join(cells) + " |")
        print()
        for model, found in results.items():
            if x := found["rnnx"]:
                print(f"- {model}: rnnx {x['gflops']:,.0f} GFLOP/s = {100 * x['share_of_gemm']:.0f} % "
                      f"of its GEMM rate, target vocabulary {x['vocabularies'][1]:,}")
        peers = {x["framework"] + ", " + x["device"] for found in results.values()
                 for name, x in found.items() if x and name != "rnnx"}
        for line in [*sorted(peers), *notes]:
            print(f"- {line}")
    raise SystemExit(0 if all(x for found in results.values() for x in found.values()) else 1)


if __name__ == "__main__":
    main()
