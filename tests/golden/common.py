"""What the golden recipes share: exact settings, made inputs, and a stable JSON layout."""

import argparse
import json
import os
from pathlib import Path

# The same bits on every x86-64 machine, as far as PyTorch allows: plain code paths and one
# thread. These must be set before torch is imported.
os.environ["ATEN_CPU_CAPABILITY"] = "default"
os.environ["MKL_CBWR"] = "COMPATIBLE"

import torch  # noqa: E402

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)

# Between machines the sums inside a GEMM may be ordered differently. In f64 that stays below this.
CHECK_TOLERANCE = 1e-11


def fill(k, *shape):
    """Tensor number k of the given shape: 0.5 * sin(0.7 * i + 1.3 * k + 0.1) at flat index i."""
    count = 1
    for side in shape:
        count *= side
    i = torch.arange(count)
    return (0.5 * torch.sin(0.7 * i + 1.3 * k + 0.1)).reshape(shape)


def numbers(tensor):
    """The tensor flattened row-major, as Python floats (their repr is exact)."""
    return tensor.detach().flatten().tolist()


def layout(value, depth=0):
    """JSON text with one line for each key and each array of numbers on one line."""
    pad = "  " * (depth + 1)
    if isinstance(value, dict):
        lines = [f"{pad}{json.dumps(k)}: {layout(v, depth + 1)}" for k, v in value.items()]
        return "{\n" + ",\n".join(lines) + "\n" + "  " * depth + "}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        lines = [pad + layout(v, depth + 1) for v in value]
        return "[\n" + ",\n".join(lines) + "\n" + "  " * depth + "]"
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def differences(old, new, where=""):
    """Yields a line for each place where two results differ by more than CHECK_TOLERANCE."""
    if isinstance(new, float) and isinstance(old, (int, float)):
        if abs(old - new) > CHECK_TOLERANCE * max(1.0, abs(new)):
            yield f"{where}: stored {old!r}, computed {new!r}"
    elif isinstance(new, dict) and isinstance(old, dict) and old.keys() == new.keys():
        for key in new:
            yield from differences(old[key], new[key], f"{where}.{key}" if where else key)
    elif isinstance(new, list) and isinstance(old, list) and len(old) == len(new):
        for i, (a, b) in enumerate(zip(old, new)):
            yield from differences(a, b, f"{where}[{i}]")
    elif old != new:
        yield f"{where}: stored {old!r:.60}, computed {new!r:.60}"


def write_or_check(recipe, results):
    """Writes RECIPE.json beside the recipe, or with --check compares with what stands there."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    args = parser.parse_args()
    path = Path(recipe).with_suffix(".json")
    if not args.check:
        path.write_text(layout(results) + "\n", encoding="utf-8")
        print(f"{path.name}: {path.stat().st_size} bytes")
        return
    wrong = list(differences(json.loads(path.read_text(encoding="utf-8")), results))
    if wrong:
        raise SystemExit("\n".join([f"{path.name}: {len(wrong)} differences"] + wrong[:20]))
    print(f"{path.name}: agrees to {CHECK_TOLERANCE}")
