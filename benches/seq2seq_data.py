"""Docstring and code pairs by rnnx's rules: tokens, vocabularies, padded batches."""

import ast
import gzip
import json
import textwrap
from collections import Counter
from typing import NamedTuple

import torch
from torch.nn.utils.rnn import pad_sequence

PAD, SOS, EOS, UNK = range(4)
SPECIALS = ["<PAD>", "<SOS>", "<EOS>", "<UNK>"]
MAX_SOURCE, MAX_TARGET, MIN_FREQUENCY = 30, 50, 2


def first_paragraph(docstring):
    kept = []
    for line in docstring.strip().splitlines():
        if not line.strip():
            break
        kept.append(line)
    return "\n".join(kept)


def without_docstring(code):
    """The code without the docstring of its first statement; as it is where it does not parse."""
    text = textwrap.dedent(code)
    try:
        body = getattr(ast.parse(text).body[0], "body", None)
    except (SyntaxError, ValueError, IndexError):
        return code
    node = body[0] if isinstance(body, list) else None
    value = node.value if isinstance(node, ast.Expr) else None
    if not (isinstance(value, ast.Constant) and isinstance(value.value, str)):
        return code
    lines = text.encode().split(b"\n")  # ast counts columns in bytes
    head = lines[:node.lineno - 1] + [lines[node.lineno - 1][:node.col_offset]]
    tail = [lines[node.end_lineno - 1][node.end_col_offset:]] + lines[node.end_lineno:]
    return b"\n".join(head + tail).decode()


def read_pairs(path):
    """[(source tokens, target tokens)] of a JSONL file with the fields docstring and code."""
    opener = gzip.open if str(path).endswith(".gz") else open
    pairs = []
    with opener(path, "rt", encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            record = json.loads(line)
            source = first_paragraph(record["docstring"]).split()[:MAX_SOURCE]
            target = without_docstring(record["code"]).split()[:MAX_TARGET]
            if not source or not target:
                raise SystemExit(f"{path}:{number}: an empty docstring or code")
            pairs.append((source, target))
    return pairs


def vocabulary(sentences):
    """Tokens in the order of their ids."""
    counts = Counter(token for sentence in sentences for token in sentence)
    return SPECIALS + sorted(
        t for t, n in counts.items() if n >= MIN_FREQUENCY and t not in SPECIALS)


def vocabularies(pairs):
    return vocabulary(s for s, _ in pairs), vocabulary(t for _, t in pairs)


def encode(pairs, vocabs):
    """The pairs as ids; no SOS, no EOS."""
    source, target = ({token: i for i, token in enumerate(v)} for v in vocabs)
    return [([source.get(x, UNK) for x in s], [target.get(x, UNK) for x in t]) for s, t in pairs]


class Batch(NamedTuple):
    source: torch.Tensor  # [S, B], padded
    lengths: torch.Tensor  # [B], of the sources, on the CPU
    inputs: torch.Tensor  # [T, B], SOS and the target
    targets: torch.Tensor  # [T, B], the target and EOS
    real: torch.Tensor  # [N] places of the real ones among the T * B targets
    tokens: int  # N


def collate(pairs, device):
    source = pad_sequence([torch.tensor(s) for s, _ in pairs])
    inputs = pad_sequence([torch.tensor([SOS] + t) for _, t in pairs])
    targets = pad_sequence([torch.tensor(t + [EOS]) for _, t in pairs])
    real = targets.flatten().nonzero().squeeze(1)
    lengths = torch.tensor([len(s) for s, _ in pairs])
    on = [x.to(device) for x in (source, inputs, targets, real)]
    return Batch(on[0], lengths, *on[1:], len(real))


def batches(pairs, size, device, rng=None, bucket=False):
    """An epoch: in the order of the pairs, or shuffled by rng; the last batch may be smaller."""
    pairs = list(pairs)
    if rng:
        rng.shuffle(pairs)
    if bucket:
        pairs.sort(key=lambda pair: (len(pair[1]), len(pair[0])))
    parts = [pairs[i:i + size] for i in range(0, len(pairs), size)]
    if rng and bucket:
        rng.shuffle(parts)
    return [collate(part, device) for part in parts]
