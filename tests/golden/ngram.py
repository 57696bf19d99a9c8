"""Golden probabilities of interpolated, modified Kneser-Ney n-gram models, by KenLM's lmplz.

    python ngram.py --lmplz PATH/TO/lmplz [--check]

A case is a training text, as files of ids, an order, and files that are read: `probabilities[f][t]` are
those of all V ids at place t of file f, given what stands before it in the file. lmplz's words are single
letters, a file is one of its sentences. Letter k has the id k; `</s>`, which ends each training file, is
the next id, `<unk>`, which is in no file, the last; `<s>` is no id. lmplz divides the mass below the
unigrams by the number of words without `<s>`, which is V.
"""

import math
import subprocess

from cases import draws, write_or_check

# lmplz computes in f32 and prints eight digits of a logarithm.
CHECK_TOLERANCE = 1e-6


def random_files(seed, letters, lengths, strange):
    """Files whose next letter is one of three that the last two letters choose, or, `strange` times of a
    hundred, any."""
    draw, files = draws(seed), []
    for length in lengths:
        file = [draw(letters)]
        while len(file) < length:
            likely = (7 * sum(file[-2:]) + draw(3) * draw(3)) % letters
            file.append(draw(letters) if draw(100) < strange else likely)
        files.append(file)
    return files


CASES = {
    "order 1": (1, 5, [[0, 1, 1, 2, 2, 2, 3, 3, 3, 3, 4]], [[0, 3]]),
    "order 2": (2, 12, random_files(3, 12, [90, 1, 60], 20), random_files(4, 12, [10], 20)),
    "order 3": (3, 12, random_files(5, 12, [300, 40, 200, 2], 20), random_files(6, 12, [12], 20)),
    "order 5": (5, 9, random_files(7, 9, [200, 300, 3, 150], 10), random_files(8, 9, [20], 10)),
    "equal files": (4, 4, [[0, 1, 2, 3, 3, 1]] * 3 + [[0, 1, 0]] * 2, [[0, 1, 2, 3, 3, 2], [3, 0, 1]]),
    "discounts of short texts": (3, 3, [[0, 1, 0, 2], [0, 1, 1]], [[0, 1, 0], [2, 1, 1, 0]]),
}


def word(id):
    return chr(ord("a") + id)


def arpa(lmplz, order, files):
    """{words: (log10 p, log10 backoff)} of all n-grams, and the discounts of each order."""
    text = "".join(" ".join(map(word, file)) + "\n" for file in files)
    # The fallback is for orders whose discounts cannot be told.
    command = [lmplz, "-o", str(order), "--discount_fallback", "0.5", "1", "1.5", "-S", "64M"]
    run = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    ngrams = {}
    for line in run.stdout.splitlines():
        columns = line.split("\t")
        if len(columns) > 1:
            backoff = float(columns[2]) if len(columns) > 2 else 0.0
            ngrams[tuple(columns[1].split(" "))] = (float(columns[0]), backoff)
    discounts = [
        [float(d.split("=")[1]) for d in line.split() if d.startswith("D")]
        for line in run.stderr.splitlines()
        if line[:1].isdigit() and "D1=" in line
    ]
    return ngrams, discounts


def log10(ngrams, history, word):
    """The probability of a word as the ARPA format defines it: of the longest n-gram that is there, with
    the backoff weights of the longer histories."""
    if history + (word,) in ngrams:
        return ngrams[history + (word,)][0]
    return ngrams.get(history, (0.0, 0.0))[1] + log10(ngrams, history[1:], word)


def case(lmplz, name, order, letters, train, read):
    ngrams, discounts = arpa(lmplz, order, train)
    words = [word(id) for id in range(letters)] + ["</s>", "<unk>"]
    assert {w for (w, *rest) in ngrams if not rest} == {*words, "<s>"}, "a letter is not in the text"
    probabilities = []
    for file in read:
        sentence = ("<s>", *map(word, file))
        histories = [sentence[max(0, t + 2 - order) : t + 1] for t in range(len(file))]
        ps = [[10 ** log10(ngrams, h, w) for w in words] for h in histories]
        assert all(math.isclose(sum(p), 1.0, abs_tol=1e-6) for p in ps)
        probabilities.append([[float(f"{x:.7g}") for x in p] for p in ps])
    return {
        "name": name,
        "order": order,
        "vocab": letters + 2,
        "train": [file + [letters] for file in train],
        "read": read,
        "discounts": discounts,
        "probabilities": probabilities,
    }


write_or_check(
    __file__,
    lambda args: [case(args.lmplz, name, *rest) for name, rest in CASES.items()],
    CHECK_TOLERANCE,
    separators=(",", ":"),
    arguments=[("--lmplz", "the program")],
)
