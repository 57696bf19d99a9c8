"""Golden numbers of the whole character model in f64: forward, every gradient, five Adam steps.

Model: embedding, two LSTM layers, linear; time-major. Parameter k (the order of NAMES) is
fill(k, shape); the second LSTM bias (bias_hh) is zero and not trained.
Loss: mean cross-entropy over all T * B characters + l2 * sum(out.weight^2).
`tied` is the same of a model whose out.weight is embedding.weight, E and H being TIED.
"""

from common import fill, numbers, write_or_check
import torch
from torch.nn import functional as F

V, E, H, T, B = 11, 6, 9, 6, 4
TIED = 7
L2, CLIP, LR, BETAS, EPS, STEPS = 1e-4, 0.05, 1e-2, (0.9, 0.999), 1e-7, 5
NAMES = [
    "embedding.weight",
    "lstm.weight_ih_l0", "lstm.weight_hh_l0", "lstm.bias_ih_l0",
    "lstm.weight_ih_l1", "lstm.weight_hh_l1", "lstm.bias_ih_l1",
    "out.weight", "out.bias",
]

# flat index i runs over [T, B]
i = torch.arange(T * B)
IDS = ((7 * i + 3) % V).reshape(T, B)
TARGETS = ((5 * i + 1) % V).reshape(T, B)


class CharLm(torch.nn.Module):
    def __init__(self, tied):
        super().__init__()
        self.names = [name for name in NAMES if not (tied and name == "out.weight")]
        dim, hidden = (TIED, TIED) if tied else (E, H)
        self.embedding = torch.nn.Embedding(V, dim)
        self.lstm = torch.nn.LSTM(dim, hidden, num_layers=2)
        self.out = torch.nn.Linear(hidden, V)
        if tied:
            self.out.weight = self.embedding.weight
        for layer in range(2):
            bias = getattr(self.lstm, f"bias_hh_l{layer}")
            bias.requires_grad_(False).zero_()
        with torch.no_grad():
            for k, (_, p) in enumerate(self.trained()):
                p.copy_(fill(k, *p.shape))

    def trained(self):
        """(name, parameter) in the order of NAMES."""
        by_name = dict(self.named_parameters())
        return [(name, by_name[name]) for name in self.names]

    def forward(self, ids):  # [T, B] -> [T, B, V]
        return self.out(self.lstm(self.embedding(ids))[0])


def losses(model):
    logits = model(IDS)
    ce = F.cross_entropy(logits.reshape(-1, V), TARGETS.reshape(-1))
    return logits, ce, ce + L2 * model.out.weight.square().sum()


def first_step(tied):
    model = CharLm(tied)
    logits, ce, loss = losses(model)
    loss.backward()
    return {
        "logits": numbers(logits),
        "ce": ce.item(),
        "loss": loss.item(),
        "accuracy": (logits.argmax(-1) == TARGETS).double().mean().item(),
        "gradients": {name: numbers(p.grad) for name, p in model.trained()},
        "gradient_norms": {name: p.grad.norm().item() for name, p in model.trained()},
    }


def clip(gradients):
    """Scales the gradients together by CLIP / norm, exactly, where their norm exceeds CLIP."""
    norm = torch.cat([g.flatten() for g in gradients]).norm()
    if norm > CLIP:
        for g in gradients:
            g.mul_(CLIP / norm)
    return norm.item()


def five_steps(per_tensor, tied):
    model = CharLm(tied)
    parameters = [p for _, p in model.trained()]
    adam = torch.optim.Adam(parameters, lr=LR, betas=BETAS, eps=EPS)
    trace, norms = [], []
    for _ in range(STEPS):
        adam.zero_grad()
        loss = losses(model)[2]
        loss.backward()
        gradients = [p.grad for p in parameters]
        norms.append([clip([g]) for g in gradients] if per_tensor else clip(gradients))
        adam.step()
        trace.append(loss.item())
    return {
        "losses": trace,  # before each update
        "loss_after": losses(model)[2].item(),
        "norms": norms,  # before clipping; for each step, for each tensor if per tensor
        "parameters": {
            name: {
                "sum": p.sum().item(),
                "sum_of_squares": p.square().sum().item(),
                "first": numbers(p)[:5],
            }
            for name, p in model.trained()
        },
    }


def golden(tied):
    return {
        "names": CharLm(tied).names,
        "forward": first_step(tied),
        "adam_clip_per_tensor": five_steps(per_tensor=True, tied=tied),
        "adam_clip_global": five_steps(per_tensor=False, tied=tied),
    }


write_or_check(__file__, {
    "V": V, "E": E, "H": H, "T": T, "B": B,
    "l2": L2, "clip": CLIP, "learning_rate": LR, "betas": list(BETAS), "epsilon": EPS,
    "ids": numbers(IDS),
    "targets": numbers(TARGETS),
    **golden(tied=False),
    "tied": {"E": TIED, "H": TIED, **golden(tied=True)},
})
