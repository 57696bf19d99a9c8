"""Golden sentence BLEU of code by NLTK, as Ling et al. (2016) and Yin & Neubig (2017) take it.

The text is split into names, parted between a small and a capital letter, and single characters; quotes
are alike; a reference of fewer than four pieces has as many weights of a quarter; Chen & Cherry's third
smoothing.
"""

import re
import warnings

from cases import draws, write_or_check
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

CHECK_TOLERANCE = 1e-12

BY_HAND = [
    ("return self.name", "return self.name"),
    ("x", "x"),
    ("x = 1", "x = 1"),
    ("x = 1", "y = 2"),
    ("f()", "g()"),
    ("f ( a , b )", "f(a, b)"),
    ("if not isinstance(value, str):", "if isinstance(value, str):"),
    ("raise ValueError('bad %s' % name)", 'raise ValueError("bad %s" % name)'),
    ("getHTTPResponse(camelCase2X, snake_case)", "get_response(camelCase, snake_case)"),
    ("self._x1 = X1y", "self._x1 = x1y"),
    ("return [ i for i in range ( 10 ) ]", "return"),
    ("return", "return [ i for i in range ( 10 ) ]"),
    ("try:", ""),
    ("s = 'naïve 名前'", "s = 'naive 名前'"),
    ("a\t=\n b", "a = b"),
    ("a b c d e f", "f e d c b a"),
]

WORDS = ["def", "f", "(", ")", "x", ":", "return", "self", ".", "nameOf", "_y", "'a'", "+", "1"]


def random_pairs(seed, pairs, longest, kept):
    """Pairs in which the hypothesis keeps each piece of the reference with probability `kept` of 100."""
    draw, out = draws(seed), []
    for _ in range(pairs):
        reference = [WORDS[draw(len(WORDS))] for _ in range(1 + draw(longest))]
        hypothesis = [w if draw(100) < kept else WORDS[draw(len(WORDS))] for w in reference]
        out.append((" ".join(reference), " ".join(hypothesis[: 1 + draw(longest)])))
    return out


def pieces(code):
    spaced = re.sub(r"([^A-Za-z0-9_])", r" \1 ", code)
    parted = re.sub(r"([a-z])([A-Z])", r"\1 \2", spaced)
    return re.sub("['\"]", "`", parted).split()


def score(reference, hypothesis):
    r, h = pieces(reference), pieces(hypothesis)
    weights = [0.25] * min(4, len(r))
    bleu = sentence_bleu([r], h, weights, SmoothingFunction().method3)
    return {"reference": reference, "hypothesis": hypothesis, "bleu": float(bleu)}


warnings.simplefilter("ignore")
PAIRS = BY_HAND + random_pairs(1, 12, 14, 90) + random_pairs(2, 12, 5, 50) + random_pairs(3, 6, 20, 10)
write_or_check(__file__, lambda _: [score(*pair) for pair in PAIRS], CHECK_TOLERANCE)
