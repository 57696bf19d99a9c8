"""What the peers share: the flags of the work, the timing rule, and how a result is printed."""

import argparse
import json
import resource
import statistics
import sys


def arguments(description, batched=True, **extra):
    """The flags of the work; defaults are rnnx's published configuration."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    work = [("vocab", 95), ("embedding-dim", 64), ("hidden-size", 256), ("warmup", 1), ("steps", 5)]
    if batched:
        work += [("seq-length", 256), ("batch-size", 512)]
    for name, default in work:
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--threads", type=int, default=0, help="0: the framework's own choice")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    for name, options in extra.items():
        parser.add_argument(f"--{name}", **options)
    args = parser.parse_args()
    for name, _ in work:
        if getattr(args, name.replace("-", "_")) < (0 if name == "warmup" else 1):
            parser.error(f"--{name} is too small")
    return args


def weights(args):
    """Weights of the two LSTM layers and the output kernel: those a character passes in a GEMM."""
    E, H, V = args.embedding_dim, args.hidden_size, args.vocab
    return 4 * H * (E + H) + 4 * H * (H + H) + H * V


def charlm_result(args, seconds):
    """Figures of timed training steps, 6 FLOP per weight and character (2 forward, 4 backward)."""
    characters = args.seq_length * args.batch_size
    median = statistics.median(seconds)
    return {
        "ms_per_step": 1e3 * median,
        "ms_fastest": 1e3 * min(seconds),
        "ms_slowest": 1e3 * max(seconds),
        "steps": len(seconds),
        "chars_per_s": characters / median,
        "gflops": 6e-9 * weights(args) * characters / median,
    }


def peak_rss_mb():
    """Highest resident memory of this process so far, in MB of 10^6 bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def report(args, result):
    """JSON on stdout with --json, else one aligned line for each value."""
    if args.json:
        print(json.dumps(result))
        return

    def show(value, name, depth):
        if isinstance(value, dict):
            print("  " * depth + name)
            for key, inner in value.items():
                show(inner, key, depth + 1)
        else:
            text = f"{value:,.1f}" if isinstance(value, float) else str(value)
            print(f"{'  ' * depth}{name:<14} {text}")

    for key, value in result.items():
        show(value, key, 0)
