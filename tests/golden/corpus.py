"""The numbers of the embedded corpus in tests/data.rs, made without rnnx.

    python3 tests/golden/corpus.py LIB [SEED [MAX_CHARS]]

LIB is the folder `Lib` of the crate rustpython-pylib 0.6.0, SEED 0 and MAX_CHARS 6000000 unless
given. Prints the files read, the characters dropped, the lines, the vocabulary and the SHA-256.
"""

import hashlib
import os
import string
import sys

CORPUS = 5  # the purpose of the stream
MASK = 0xFFFFFFFF
KEPT = set(string.ascii_letters + string.digits + string.punctuation + " \t")


def philox(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & MASK, (p0 >> 32) ^ c[3] ^ k[1], p0 & MASK]
        k = [(k[0] + 0x9E3779B9) & MASK, (k[1] + 0xBB67AE85) & MASK]
    return c


def words(seed, purpose):
    block = 0
    while True:
        yield from philox([block & MASK, block >> 32, 0, purpose], [seed & MASK, seed >> 32])
        block += 1


def shuffle(items, source):
    for i in range(len(items) - 1, 0, -1):
        bound = i + 1
        while True:
            wide = next(source) * bound
            if wide & MASK >= 2**32 % bound:
                break
        j = wide >> 32
        items[i], items[j] = items[j], items[i]


def clean(data):
    lines = [line.rstrip() for line in data.decode("utf-8", "replace").split("\n")]
    kept = ["".join(c for c in line if c in KEPT) for line in lines]
    return "\n".join(kept), sum(map(len, lines)) - sum(map(len, kept))


def main(lib, seed=0, max_chars=6_000_000):
    names = []
    for folder, _, files in os.walk(lib):
        names += [os.path.relpath(os.path.join(folder, f), lib) for f in files if f.endswith(".py")]
    names = sorted((n.replace(os.sep, "/") for n in names), key=str.encode)
    total = len(names)
    shuffle(names, words(seed, CORPUS))
    parts, length, dropped, used = [], 0, 0, 0
    for name in names:
        if length > max_chars:
            break
        with open(os.path.join(lib, name), "rb") as f:
            text, lost = clean(f.read())
        if text and parts and not parts[-1].endswith("\n"):
            text = "\n" + text
        if text:
            parts.append(text)
        length, dropped, used = length + len(text), dropped + lost, used + 1
    text = "".join(parts)[:max_chars]
    print(f"{total} files, {used} used, {len(text)} characters, {text.count(chr(10))} newlines")
    print(f"at most {dropped} dropped (rnnx does not count behind the cut)")
    print(len(set(text)), repr("".join(sorted(set(text)))))
    print(hashlib.sha256(text.encode()).hexdigest())


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
