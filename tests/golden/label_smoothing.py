"""Golden numbers of cross-entropy with label smoothing in f64.

Logits are 8 * fill(k, N, V), k the place of the case; the target of row i is (7 i + 3) mod V. The loss is
torch's cross_entropy with `smoothing`, nll the one without; gradients are those of the loss.
"""

from common import fill, numbers, write_or_check
import torch
from torch.nn import functional as F

CASES = [(1, 1, 0.1), (3, 5, 0.1), (7, 16, 0.3), (4, 95, 0.0), (5, 33, 0.9)]


def golden(k, n, v, smoothing):
    logits = (8 * fill(k, n, v)).requires_grad_()
    targets = (7 * torch.arange(n) + 3) % v
    loss = F.cross_entropy(logits, targets, label_smoothing=smoothing)
    loss.backward()
    return {
        "N": n, "V": v, "smoothing": smoothing,
        "loss": loss.item(),
        "nll": F.cross_entropy(logits, targets).item(),
        "gradient": numbers(logits.grad),
    }


write_or_check(__file__, {"cases": [golden(k, *case) for k, case in enumerate(CASES)]})
