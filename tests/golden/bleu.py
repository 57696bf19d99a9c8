"""Golden scores of predicted tokens: corpus BLEU-4, unsmoothed and smoothed, and chrF, by sacrebleu.

A case is a corpus of pairs. Tokens are joined by single spaces, so a line is split at U+0020 alone to
have them back. Scores are sacrebleu's divided by 100.
"""

from cases import draws, write_or_check
from sacrebleu.metrics import BLEU, CHRF

# sacrebleu adds and multiplies in another order than rnnx; nothing else may differ.
CHECK_TOLERANCE = 1e-12

WORDS = ["def", "f(x):", "return", "self", "x", "+", "1", "if", "not", "None:", "é", "名前", "𝒳=1"]


def random_corpus(seed, pairs, longest, kept):
    """Pairs in which the hypothesis keeps each token of the reference with probability `kept`."""
    draw, corpus = draws(seed), []
    for _ in range(pairs):
        reference = [WORDS[draw(len(WORDS))] for _ in range(1 + draw(longest))]
        hypothesis = [w if draw(100) < kept else WORDS[draw(len(WORDS))] for w in reference]
        hypothesis = hypothesis[: draw(longest + 1)] + [WORDS[draw(4)] for _ in range(draw(3))]
        corpus.append((" ".join(reference), " ".join(hypothesis)))
    return corpus


# Every white space of Python inside a token, and characters that look like it and are none.
SPACES = [chr(c) for c in range(0x110000) if chr(c).isspace() and c != 0x20]
NO_SPACES = ["\u001b", "\u0000", "\u180e", "\u200b", "\u2060", "\ufeff"]

# Reference, hypothesis.
BY_HAND = {
    "equal": [("def f ( x ) : return x", "def f ( x ) : return x")],
    "equal, four tokens": [("a b c d", "a b c d")],
    "equal, three tokens": [("a b c", "a b c")],
    "nothing equal": [("a b c d e", "v w x y z")],
    "one token, right": [("x", "x")],
    "one token, wrong": [("x", "y")],
    "one character right, no word": [("xyz abc", "xy ab")],
    "empty hypothesis": [("a b c d", "")],
    "empty reference": [("", "a b c d")],
    "both empty": [("", "")],
    "an empty hypothesis among others": [("a b c d e", "a b c d e"), ("a b c d e", "")],
    "an empty reference among others": [("a b c d e", "a b c d e"), ("", "a b c d e f g h")],
    "a short reference among others": [("a b c d e", "a b c d e"), ("ab", "abcdefg h i")],
    "hypothesis shorter": [("a b c d e f g h i j", "a b c d e f")],
    "hypothesis longer": [("a b c d e f", "a b c d e f g h i j")],
    "repeated tokens are clipped": [("the cat is on the mat", "the the the the the the the")],
    "repeated n-grams are clipped": [("a b a b c", "a b a b a b a b")],
    "matches of one order": [("a b c d e f", "f e d c b a")],
    "matches of two orders": [("a b c d e f g h", "b a d c e f h g")],
    "matches of three orders": [("a b c d e f g h", "a b c h g f e d")],
    "matches in another pair do not count": [("a b c d", "e f g h"), ("e f g h", "a b c d")],
    "case counts": [("Return None", "return none"), ("a b c d", "a b c d")],
    "characters across tokens": [("ab cd ef", "a bc de f")],
    "unicode": [("名前 = 'é' + 𝒳 # ok", "名前 = 'e\u0301' + 𝒳 # ok")],
    "punctuation is no word boundary": [("foo(bar, baz) . x", "foo(bar, baz) . x"), ("a.b", "a . b")],
    "white space inside tokens": [(f"a{c}b c d e", "a b c d e") for c in SPACES],
    "no white space": [(f"a{c}b c d e", "a b c d e") for c in NO_SPACES],
}

RANDOM = {
    "random, one pair": random_corpus(1, 1, 12, 90),
    "random, near": random_corpus(2, 8, 14, 95),
    "random, far": random_corpus(3, 8, 14, 30),
    "random, short": random_corpus(4, 10, 3, 60),
    "random, long": random_corpus(5, 3, 50, 80),
    "random, hopeless": random_corpus(6, 4, 9, 0),
}


def score(name, corpus):
    references, hypotheses = [r for r, _ in corpus], [h for _, h in corpus]
    plain = BLEU(tokenize="none", smooth_method="none").corpus_score(hypotheses, [references])
    smoothed = BLEU(tokenize="none", smooth_method="exp").corpus_score(hypotheses, [references])
    return {
        "name": name,
        "references": references,
        "hypotheses": hypotheses,
        "matches": plain.counts,
        "totals": plain.totals,
        "hypothesis_length": plain.sys_len,
        "reference_length": plain.ref_len,
        "bleu": plain.score / 100,
        "bleu_smoothed": smoothed.score / 100,
        "chrf": CHRF().corpus_score(hypotheses, [references]).score / 100,
    }


write_or_check(
    __file__,
    lambda _: [score(name, corpus) for name, corpus in (BY_HAND | RANDOM).items()],
    CHECK_TOLERANCE,
)
