"""Golden numbers of the attention model that copies, in f64: forward, every gradient, Adam steps, decoding.

The model of seq2seq.py with a pointer-generator on its attention (See, Liu & Manning 2017, equations 8 and
9): p_gen is the sigmoid of a linear layer of what the logits are computed from. Ids from VT on are the
unknown tokens of a pair's source; the decoder reads them, and the encoder, as UNK.

Layout of copying.json: `pairs` (ids of the source that are read, `held`, the ids that its positions hold in
the extended vocabulary, and the target), then

  weights     as in seq2seq.json, multiples of 1/32, with copy.gate.weight [1, 3 H + E] and copy.gate.bias
  log_p       for each pair [n + 1, VT + u], n the tokens of its target, u the unknown tokens of its source
  loss        mean over the n + 1 positions of every pair of -log_p of the target
  gradients, norm, adam   as in seq2seq.json
  greedy      for each pair the ids decoded, EOS left out; at most MAX_LENGTH, no PAD, no SOS
"""

from common import numbers, write_or_check
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

import seq2seq
from seq2seq import BETAS, CLIPS, E, EOS, EPS, LR, MAX_LENGTH, PAD, SOS, STEPS, UNK, VS, VT

H = seq2seq.H = 5  # units, here and in the model of seq2seq.py

# Source, what it holds and target: a word that stands in the source and not, unknown tokens of the source
# that it holds once and twice, a token of neither.
PAIRS = [
    ([7, 3, 5], [9, 13, 4], [9, 13, 12, 6]),
    ([4, 3, 3, 9, 3], [10, 13, 14, 5, 13], [13, 11, 14, 3, 13, 10]),
    ([5], [8], [8, 3]),
    ([3, 8, 3, 3], [13, 7, 14, 15], [15]),
]
# Chosen so that the outputs differ between pairs, some end, some are cut and some copy unknown tokens.
SEED = 1217

SOURCE = pad_sequence([torch.tensor(source) for source, _, _ in PAIRS])  # [S, B]
# What stands behind a source is a column of its own, which is left out.
U = max(i for _, held, _ in PAIRS for i in held) + 1 - VT
HELD = pad_sequence([torch.tensor(held) for _, held, _ in PAIRS], padding_value=VT + U)  # [S, B]
TARGETS = pad_sequence(  # [T, B]
    [torch.tensor(target + [EOS]) for _, _, target in PAIRS], padding_value=-1)
INPUTS = pad_sequence([torch.tensor([SOS] + target) for _, _, target in PAIRS])  # [T, B]


def known(ids):
    """What the decoder reads of extended ids."""
    return ids.where(ids < VT, UNK)


class Copying(seq2seq.Seq2Seq):
    """The attention model with a pointer-generator."""

    def __init__(self):
        super().__init__("attention")
        self.copy = nn.ModuleDict({"gate": nn.Linear(3 * H + E, 1)})
        seq2seq.draw_weights(self, SEED, 32, most=64)

    def step(self, ids, state, memory):
        """ids [B] -> log-probabilities [B, VT + U] and the next state"""
        features, state, weights = self.features(known(ids), state, memory)
        p_gen = self.copy["gate"](features).sigmoid()
        words = p_gen * self.out(features).softmax(dim=-1)
        mixture = torch.cat([words, torch.zeros(len(ids), U + 1)], dim=-1)
        mixture = mixture.scatter_add(1, HELD.T, (1 - p_gen) * weights.T)
        return mixture[:, :-1].log(), state

    def forward(self):
        """Log-probabilities [T, B, VT + U] with teacher forcing."""
        state, memory = self.encode()
        log_p = []
        for ids in INPUTS:
            of_step, state = self.step(ids, state, memory)
            log_p.append(of_step)
        return torch.stack(log_p)

    def greedy(self):
        """For each pair the decoded ids; ties go to the lowest id."""
        state, memory = self.encode()
        ids, decoded = INPUTS[0], []
        for _ in range(MAX_LENGTH):
            log_p, state = self.step(ids, state, memory)
            log_p[:, [PAD, SOS]] = -torch.inf
            ids = log_p.argmax(dim=-1)
            decoded.append(ids)
        rows = torch.stack(decoded, dim=1).tolist()
        return [row[:row.index(EOS)] if EOS in row else row for row in rows]


def loss_of(log_p):
    real = TARGETS >= 0
    return -log_p[real].gather(1, TARGETS[real][:, None]).mean()


def adam_steps(clip):
    model = Copying()
    parameters = [p for _, p in model.trained()]
    adam = torch.optim.Adam(parameters, lr=LR, betas=BETAS, eps=EPS)
    losses, norms = [], []
    for _ in range(STEPS):
        adam.zero_grad()
        loss = loss_of(model())
        loss.backward()
        # scales by clip / (norm + 1e-6) where that is below 1
        norms.append(nn.utils.clip_grad_norm_(parameters, clip).item())
        adam.step()
        losses.append(loss.item())
    return {
        "clip": clip,
        "losses": losses,
        "loss_after": loss_of(model()).item(),
        "norms": norms,
        "sums": {key: [p.sum().item(), p.square().sum().item()] for key, p in model.trained()},
    }


def golden():
    # The pairs of this file in place of those.
    seq2seq.SOURCE = SOURCE
    seq2seq.LENGTHS = torch.tensor([len(source) for source, _, _ in PAIRS])
    model = Copying()
    weights = {key: numbers(p) for key, p in model.trained()}
    log_p = model()
    loss = loss_of(log_p)
    loss.backward()
    return {
        "weights": weights,
        "log_p": [
            numbers(log_p[:len(target) + 1, b, :VT + len(set(i for i in held if i >= VT))])
            for b, (_, held, target) in enumerate(PAIRS)],
        "loss": loss.item(),
        "gradients": {key: numbers(p.grad) for key, p in model.trained()},
        "norm": seq2seq.norm_of([p.grad for _, p in model.trained()]),
        "adam": [adam_steps(clip) for clip in CLIPS],
        "greedy": greedy(),
    }


@torch.no_grad()
def greedy():
    return Copying().greedy()


if __name__ == "__main__":
    write_or_check(__file__, {
        "source_vocabulary": VS, "target_vocabulary": VT, "embedding_dim": E, "hidden_size": H,
        "learning_rate": LR, "max_length": MAX_LENGTH,
        "pairs": [{"source": s, "held": h, "target": t} for s, h, t in PAIRS],
        **golden(),
    })
