"""Golden numbers of a pointer-generator's mixture and its loss in f64 (See, Liu & Manning 2017).

Tensor number k of the inputs is fill(k, shape), k as in INPUTS: logits [N, V], the logit of p_gen [N, 1],
and energies [N, S], whose softmax over the positions of a row's source are its attention weights; they
are zero behind those. `held` are the ids that the sources hold, `rows` the source of each row, `targets`
ids of the extended vocabulary. Here the mixture is spread out by scatter_add; in rnnx it never is.

  log_p      for each row the log-probabilities of the V + U ids, U the unknown tokens of all sources; null
             where no position of the row's source holds the id
  loss       mean over the rows of -log_p of the target
  grad_*     of the loss, by the inputs; grad_alpha [N, S] by the attention weights, zero behind a source
"""

from common import fill, numbers, write_or_check
import torch

INPUTS = {"logits": 0, "gate": 1, "energies": 2}

# Targets of all kinds: words that the source does not hold, words that it does, unknown tokens of the
# source that it holds once and more often.
CASES = [
    {
        "V": 5,
        "held": [[6, 2, 6, 5], [1], [0, 7, 1]],
        "rows": [0, 1, 2, 0, 1, 2, 0],
        "targets": [6, 1, 7, 2, 4, 0, 3],
    },
    # More words than a vector, a token five times, and a source of nothing but unknown tokens.
    {
        "V": 37,
        "held": [[36, 9, 36, 40, 9, 36, 36, 2, 36], [37, 38, 37]],
        "rows": [1, 0, 0, 1, 0],
        "targets": [37, 36, 40, 12, 9],
    },
]


def run(case):
    V, held, rows, targets = (case[key] for key in ("V", "held", "rows", "targets"))
    N, S = len(rows), max(len(ids) for ids in held)
    logits = fill(INPUTS["logits"], N, V).mul(6).requires_grad_()
    gate = fill(INPUTS["gate"], N, 1).mul(4).requires_grad_()
    energies = fill(INPUTS["energies"], N, S).mul(3)
    lengths = torch.tensor([len(held[b]) for b in rows])
    behind = torch.arange(S)[None] >= lengths[:, None]
    alpha = energies.masked_fill(behind, -torch.inf).softmax(dim=-1).requires_grad_()
    U = max(i for ids in held for i in ids) + 1 - V
    # What stands behind a source is a column of its own, which is left out.
    ids = torch.tensor([held[b] + [V + U] * (S - len(held[b])) for b in rows])
    p_gen = gate.sigmoid()
    mixture = torch.cat([p_gen * logits.softmax(dim=-1), torch.zeros(N, U + 1)], dim=-1)
    mixture = mixture.scatter_add(1, ids, (1 - p_gen) * alpha)
    log_p = mixture[:, :-1].log()
    loss = -log_p.gather(1, torch.tensor(targets)[:, None]).mean()
    loss.backward()
    return case | {
        "log_p": [None if x == -torch.inf else x for x in numbers(log_p)],
        "loss": loss.item(),
        "grad_logits": numbers(logits.grad),
        "grad_gate": numbers(gate.grad),
        "grad_alpha": numbers(alpha.grad),
    }


write_or_check(__file__, {"inputs": INPUTS, "cases": [run(case) for case in CASES]})
