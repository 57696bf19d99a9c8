"""What the recipes of many small cases share: made numbers, and a JSON file with a case a line."""

import argparse
import json
from pathlib import Path


def draws(seed):
    """A function that draws numbers in [0, n), the same on every machine."""
    state = seed

    def draw(n):
        nonlocal state
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (state >> 33) % n

    return draw


def agree(old, new, tolerance):
    """Whether numbers are at most `tolerance` apart, and everything else the same."""
    if isinstance(new, list):
        return len(old) == len(new) and all(agree(a, b, tolerance) for a, b in zip(old, new))
    if isinstance(new, float):
        return abs(old - new) <= tolerance
    return old == new


def write_or_check(recipe, results, tolerance, separators=None, arguments=()):
    """Writes RECIPE.json beside the recipe, or with --check compares with what stands there.

    `results` makes the cases of the parsed arguments; `arguments` are further ones, all required.
    """
    parser = argparse.ArgumentParser()
    for name, about in arguments:
        parser.add_argument(name, required=True, help=about)
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    args = parser.parse_args()
    cases = results(args)
    path = Path(recipe).with_suffix(".json")
    if not args.check:
        lines = [json.dumps(case, separators=separators) for case in cases]
        path.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="ascii")
        print(f"{path.name}: {path.stat().st_size} bytes")
        return
    stored = json.loads(path.read_text(encoding="ascii"))
    wrong = [
        f"{new['name']}: {key}"
        for old, new in zip(stored, cases, strict=True)
        for key in new
        if not agree(old[key], new[key], tolerance)
    ]
    if wrong:
        raise SystemExit("\n".join([f"{path.name}: {len(wrong)} differences"] + wrong))
    print(f"{path.name}: agrees to {tolerance}")
