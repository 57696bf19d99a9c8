"""Golden numbers of optimizer steps: torch.optim.AdamW and torch.optim.SGD in f64.

Two parameters, fill(0, 3, 5) and fill(1, 7); the gradient of parameter k in step s, from 0, is
fill(10 * s + k + 2, shape). The learning rate changes from step to step.
"""

from common import fill, numbers, write_or_check
import torch

SHAPES = [(3, 5), (7,)]
RATES = [0.01, 0.02, 0.005, 0.005, 0.03]
CASES = {
    "adamw": (torch.optim.AdamW, {"betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1}),
    "adam": (torch.optim.AdamW, {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}),
    "momentless": (torch.optim.AdamW, {"betas": (0.0, 0.9), "eps": 1e-3, "weight_decay": 0.02}),
    "sgd": (torch.optim.SGD, {"weight_decay": 0.1}),
    "plain_sgd": (torch.optim.SGD, {"weight_decay": 0.0}),
}


def run(make, settings):
    parameters = [torch.nn.Parameter(fill(k, *shape)) for k, shape in enumerate(SHAPES)]
    optimizer = make(parameters, lr=1.0, **settings)
    after = []
    for step, rate in enumerate(RATES):
        optimizer.param_groups[0]["lr"] = rate
        for k, parameter in enumerate(parameters):
            parameter.grad = fill(10 * step + k + 2, *SHAPES[k])
        optimizer.step()
        after.append([x for parameter in parameters for x in numbers(parameter)])
    betas = settings.get("betas", (0.9, 0.999))
    return {
        "beta1": betas[0], "beta2": betas[1], "epsilon": settings.get("eps", 1e-8),
        "weight_decay": settings["weight_decay"],
        **{f"after_{n}": values for n, values in enumerate(after, 1)},
    }


write_or_check(__file__, {
    "rates": RATES,
    **{name: run(*case) for name, case in CASES.items()},
})
