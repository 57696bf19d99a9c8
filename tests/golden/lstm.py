"""Golden numbers of one LSTM layer: torch.nn.LSTM in f64, time-major, zero initial state.

Inputs are fill(k, shape), k as in INPUTS. The loss is sum(y * R) + sum(c_n * Q).
"""

from common import fill, numbers, write_or_check
import torch

# k of each input tensor
INPUTS = {"x": 0, "w_ih": 1, "w_hh": 2, "b": 3, "R": 4, "Q": 5}

# (T, B, I, H). The widths leave a remainder after vectors of 4, 8 and 16.
CASES = [(5, 3, 4, 7), (3, 2, 5, 20), (2, 9, 3, 25)]


def run(T, B, I, H):
    lstm = torch.nn.LSTM(I, H)
    x = fill(INPUTS["x"], T, B, I).requires_grad_()
    with torch.no_grad():
        lstm.weight_ih_l0.copy_(fill(INPUTS["w_ih"], 4 * H, I))
        lstm.weight_hh_l0.copy_(fill(INPUTS["w_hh"], 4 * H, H))
        lstm.bias_ih_l0.copy_(fill(INPUTS["b"], 4 * H))
        lstm.bias_hh_l0.zero_()
    y, (h_n, c_n) = lstm(x)
    loss = (y * fill(INPUTS["R"], T, B, H)).sum() + (c_n[0] * fill(INPUTS["Q"], B, H)).sum()
    loss.backward()
    return {
        "T": T, "B": B, "I": I, "H": H,
        "loss": loss.item(),
        "y": numbers(y),
        "h_n": numbers(h_n),
        "c_n": numbers(c_n),
        "grad_x": numbers(x.grad),
        "grad_w_ih": numbers(lstm.weight_ih_l0.grad),
        "grad_w_hh": numbers(lstm.weight_hh_l0.grad),
        "grad_b": numbers(lstm.bias_ih_l0.grad),
    }


write_or_check(__file__, {"inputs": INPUTS, "cases": [run(*case) for case in CASES]})
