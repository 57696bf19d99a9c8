"""Golden numbers of one GRU layer: torch.nn.GRU in f64, time-major, from an initial state.

Inputs are fill(k, shape), k as in INPUTS. The loss is sum(y * R) + sum(h_n * Q).
"""

from common import fill, numbers, write_or_check
import torch

# k of each input tensor
INPUTS = {"x": 0, "w_ih": 1, "w_hh": 2, "b_ih": 3, "b_hh": 4, "h0": 5, "R": 6, "Q": 7}

# (T, B, I, H). The widths leave a remainder after vectors of 4, 8 and 16.
CASES = [(5, 3, 4, 7), (3, 2, 5, 20), (2, 9, 3, 25)]


def run(T, B, I, H):
    gru = torch.nn.GRU(I, H)
    x = fill(INPUTS["x"], T, B, I).requires_grad_()
    h0 = fill(INPUTS["h0"], B, H).requires_grad_()
    with torch.no_grad():
        gru.weight_ih_l0.copy_(fill(INPUTS["w_ih"], 3 * H, I))
        gru.weight_hh_l0.copy_(fill(INPUTS["w_hh"], 3 * H, H))
        gru.bias_ih_l0.copy_(fill(INPUTS["b_ih"], 3 * H))
        gru.bias_hh_l0.copy_(fill(INPUTS["b_hh"], 3 * H))
    y, h_n = gru(x, h0[None])
    loss = (y * fill(INPUTS["R"], T, B, H)).sum() + (h_n[0] * fill(INPUTS["Q"], B, H)).sum()
    loss.backward()
    return {
        "T": T, "B": B, "I": I, "H": H,
        "loss": loss.item(),
        "y": numbers(y),
        "h_n": numbers(h_n),
        "grad_x": numbers(x.grad),
        "grad_w_ih": numbers(gru.weight_ih_l0.grad),
        "grad_w_hh": numbers(gru.weight_hh_l0.grad),
        "grad_b_ih": numbers(gru.bias_ih_l0.grad),
        "grad_b_hh": numbers(gru.bias_hh_l0.grad),
        "grad_h0": numbers(h0.grad),
    }


write_or_check(__file__, {"inputs": INPUTS, "cases": [run(*case) for case in CASES]})
