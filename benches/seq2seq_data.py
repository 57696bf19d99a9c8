"""Docstring and code pairs by rnnx's rules: tokens, vocabularies, padded batches."""

import ast
import gzip
import itertools
import json
from collections import Counter
from typing import NamedTuple

import torch
from torch.nn.utils.rnn import pad_sequence

PAD, SOS, EOS, UNK = range(4)
SPECIALS = ["<PAD>", "<SOS>", "<EOS>", "<UNK>"]
MAX_SOURCE, MAX_TARGET, MIN_FREQUENCY = 30, 50, 2


def first_paragraph(docstring):
    """What stands before the first blank line."""
    lines = docstring.strip().split("\n")
    return "\n".join(itertools.takewhile(str.strip, lines))


def without_docstring(code):
    """The code without the strings that start its first function; as it is if it does not parse."""
    lines = code.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    first = next((line for line in lines if line.strip()), "")
    indentation = first[:len(first) - len(first.lstrip())]
    lines = [line.removeprefix(indentation).encode() for line in lines]  # ast counts in bytes
    try:
        statements = ast.parse(b"\n".join(lines)).body
    except (SyntaxError, ValueError):
        return code
    functions = (s for s in statements if isinstance(s, (ast.FunctionDef, ast.AsyncFunctionDef)))
    strings = itertools.takewhile(is_string, getattr(next(functions, None), "body", []))
    for node in reversed(list(strings)):
        head, tail = lines[node.lineno - 1], lines[node.end_lineno - 1]
        joined = head[:node.col_offset] + tail[node.end_col_offset:]
        lines[node.lineno - 1:node.end_lineno] = [joined]
    return b"\n".join(lines).decode()


def is_string(statement):
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def read_pairs(path):
    """[(source tokens, target tokens)] of a JSONL file with the fields docstring and code."""
    opener = gzip.open if str(path).endswith(".gz") else open
    pairs = []
    with opener(path, "rt", encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
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
