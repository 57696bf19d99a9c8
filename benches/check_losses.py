"""Checks rnnx's training of the character LSTM against PyTorch from outside.

    python check_losses.py --rnnx ../target/release/rnnx

Makes a text and initial weights, trains 20 steps with `rnnx train-charlm` and the same 20 steps in
torch (f32), and compares loss and ce of every step. Three runs: the default clip per tensor, a
small clip per tensor, and the same small clip over all tensors. Exits with 1, and a table of the
steps, if one of them differs by more than 1e-4 relative.

The text holds trailing white space and characters outside ASCII, so the text rules count too; an
epoch has 12 batches, so the 20 steps run into a second epoch.
"""

import argparse
import json
import random
import string
import subprocess
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn import functional as F

STEPS, BATCH, LENGTH, HIDDEN, EMBEDDING, LAYERS = 20, 8, 32, 48, 16, 2
LR, EPS, L2, TRAIN_SHARE = 1e-2, 1e-7, 1e-4, 0.95
TOLERANCE = 1e-4  # of a loss, relative; torch in f32 stays within a hundredth of it of torch in f64
CHARACTERS = 3490  # at least; 100 training windows and half a window: 12 batches and 4 windows
SMALL_CLIP = 0.05
KEPT = set(string.ascii_letters + string.digits + string.punctuation + " \t\n")

# (name, clip mode, clip norm)
RUNS = [
    ("default clip", "per-tensor", 1.0),
    ("small clip", "per-tensor", SMALL_CLIP),
    ("small global clip", "global", SMALL_CLIP),
]


def make_text():
    """Varied text that is the same on every machine; raw, with what the text rules remove."""
    rng = random.Random(20)
    letters = string.ascii_letters
    words = ["".join(rng.choice(letters) for _ in range(rng.randint(1, 9))) for _ in range(60)]
    lines = [string.digits + string.punctuation + "\t" + letters, "caf\u00e9 \u00e9", "tail \t "]
    while sum(len(line) + 1 for line in lines) < 2 * CHARACTERS:
        body = rng.choice(string.punctuation + "   ").join(
            rng.choice(words) if rng.random() < 0.8 else str(rng.randint(0, 999))
            for _ in range(rng.randint(0, 9)))
        end = rng.choice(["", "", "", " ", " \t", " \u20ac", "\u00fc", ":"])
        lines.append(rng.choice(["", "    ", "\t", "  # "]) + body + end)
    # the shortest start of which CHARACTERS remain, then a last line that ends as a text file does
    text = "\n".join(lines)
    low, high = 0, len(text)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if len(clean(text[:middle])) < CHARACTERS else (low, middle)
    return text[:low] + "x\n"


def clean(text):
    """Each line loses its trailing white space, then characters outside KEPT are dropped."""
    text = "\n".join(line.rstrip() for line in text.split("\n"))
    return "".join(c for c in text if c in KEPT)


def make_weights(vocab):
    """Random initial weights with torch's names. Both LSTM biases are set: import adds the two."""
    generator = torch.Generator().manual_seed(7)

    def uniform(*shape):
        return (torch.rand(shape, generator=generator) * 2 - 1) * HIDDEN**-0.5

    weights = {"embedding.weight": 6 * uniform(vocab, EMBEDDING)}
    for layer in range(LAYERS):
        inputs = HIDDEN if layer else EMBEDDING
        weights[f"lstm.weight_ih_l{layer}"] = uniform(4 * HIDDEN, inputs)
        weights[f"lstm.weight_hh_l{layer}"] = uniform(4 * HIDDEN, HIDDEN)
        weights[f"lstm.bias_ih_l{layer}"] = uniform(4 * HIDDEN)
        weights[f"lstm.bias_hh_l{layer}"] = uniform(4 * HIDDEN)
    weights["out.weight"] = 3 * uniform(vocab, HIDDEN)
    weights["out.bias"] = uniform(vocab)
    return weights


class CharLm(torch.nn.Module):
    def __init__(self, weights):
        super().__init__()
        vocab = len(weights["out.bias"])
        self.embedding = torch.nn.Embedding(vocab, EMBEDDING)
        self.lstm = torch.nn.LSTM(EMBEDDING, HIDDEN, num_layers=LAYERS)
        self.out = torch.nn.Linear(HIDDEN, vocab)
        self.load_state_dict(weights)
        for layer in range(LAYERS):  # rnnx trains one bias, the sum
            kept = getattr(self.lstm, f"bias_ih_l{layer}")
            other = getattr(self.lstm, f"bias_hh_l{layer}").requires_grad_(False)
            kept.data.add_(other)
            other.zero_()

    def forward(self, ids):  # [T, B] -> [T, B, V]
        return self.out(self.lstm(self.embedding(ids))[0])


def batches(ids):
    """Training batches [T+1, B] in order, for ever; an incomplete last batch is dropped."""
    train = ids[:int(TRAIN_SHARE * len(ids))]
    windows = train[:len(train) // (LENGTH + 1) * (LENGTH + 1)].reshape(-1, LENGTH + 1)
    whole = len(windows) // BATCH
    while True:
        for b in range(whole):
            yield windows[b * BATCH:(b + 1) * BATCH].T


def clip(gradients, limit):
    norm = torch.cat([g.flatten() for g in gradients]).norm()
    if norm > limit:
        for g in gradients:
            g.mul_(limit / norm)


def train_torch(text, weights, mode, limit, dtype=torch.float32):
    """[(loss, ce)] of each step, before its update."""
    vocabulary = {c: i for i, c in enumerate(sorted(set(text)))}
    source = batches(torch.tensor([vocabulary[c] for c in text]))
    model = CharLm(weights).to(dtype)
    trained = [p for p in model.parameters() if p.requires_grad]
    adam = torch.optim.Adam(trained, lr=LR, betas=(0.9, 0.999), eps=EPS)
    trace = []
    for _, window in zip(range(STEPS), source):
        adam.zero_grad()
        ce = F.cross_entropy(model(window[:-1]).flatten(0, 1), window[1:].flatten())
        loss = ce + L2 * model.out.weight.square().sum()
        loss.backward()
        gradients = [p.grad for p in trained]
        for group in {"per-tensor": [[g] for g in gradients], "global": [gradients]}[mode]:
            clip(group, limit)
        adam.step()
        trace.append((loss.item(), ce.item()))
    return trace


def train_rnnx(binary, folder, mode, limit):
    """The same from rnnx: its metrics.jsonl."""
    out = folder / f"run-{mode}-{limit}"
    command = [
        str(binary), "train-charlm", "--corpus", str(folder / "text.txt"), "--charset", "ascii",
        "--init-from", str(folder / "weights.safetensors"), "--no-shuffle", "--dropout", "0",
        "--max-steps", str(STEPS), "--log-every", "1", "--epochs", "1000",
        "--batch-size", str(BATCH), "--seq-length", str(LENGTH), "--hidden-size", str(HIDDEN),
        "--embedding-dim", str(EMBEDDING), "--learning-rate", str(LR), "--out", str(out),
        "--device", "cpu", "--valid-fraction", "0.05", "--clip-mode", mode,
    ]
    if limit != 1.0:  # 1 is the default
        command += ["--clip-norm", str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=600)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\nexit code {done.returncode}\n{done.stderr}")
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    steps = [e for e in map(json.loads, lines) if e["event"] == "step"]
    if [e["step"] for e in steps] != list(range(1, STEPS + 1)):
        raise SystemExit(f"metrics.jsonl has the steps {[e['step'] for e in steps]}, not 1 to {STEPS}")
    return [(e["loss"], e["ce"]) for e in steps]


def relative(ours, theirs):
    """The largest relative difference of two traces; a NaN counts as infinite."""
    gaps = [abs(a - b) / abs(b) for x, y in zip(ours, theirs) for a, b in zip(x, y)]
    return max(gap if gap == gap else float("inf") for gap in gaps)


def table(ours, theirs):
    print("  step   loss rnnx    loss torch  relative     ce rnnx      ce torch  relative")
    for step, (x, y) in enumerate(zip(ours, theirs), 1):
        cells = "".join(f"{a:12.7f}  {b:12.7f}  {abs(a - b) / abs(b):8.1e}" for a, b in zip(x, y))
        print(f"  {step:4}{cells}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rnnx", type=Path, required=True, help="path to the binary")
    parser.add_argument("--verbose", action="store_true", help="print every step in any case")
    args = parser.parse_args()
    binary = args.rnnx.resolve()
    if not binary.is_file():
        parser.error(f"--rnnx {args.rnnx}: no such file (cargo build --release makes it)")
    torch.set_num_threads(1)
    raw = make_text()
    text = clean(raw)
    weights = make_weights(len(set(text)))
    print(f"{len(text)} characters, vocabulary {len(set(text))}, {STEPS} steps, torch {torch.__version__}")
    # A comparison says something only where another clipping would be seen.
    unclipped = train_torch(text, weights, "global", float("inf"))
    traces = {name: train_torch(text, weights, mode, limit) for name, mode, limit in RUNS}
    failed = False
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "text.txt").write_bytes(raw.encode("utf-8"))
        save_file(weights, folder / "weights.safetensors")
        for name, mode, limit in RUNS:
            ours, theirs = train_rnnx(binary, folder, mode, limit), traces[name]
            worst = relative(ours, theirs)
            good = worst <= TOLERANCE
            failed |= not good
            print(f"{'ok  ' if good else 'FAIL'} {name} ({mode} {limit}): largest relative difference "
                  f"{worst:.1e}, allowed {TOLERANCE:.0e}; without clipping it would be "
                  f"{relative(unclipped, theirs):.1e}")
            if not good or args.verbose:
                table(ours, theirs)
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
