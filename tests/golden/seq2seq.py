"""Golden numbers of the seq2seq models in f64: forward, every gradient, Adam steps, decoding.

The batch is padded here; the encoder packs it and the loss ignores what is padding, so nothing that
stands in the file depends on padding. Source and target lengths are in different orders. Lists of logits,
attention weights and gradients have 14 digits of their largest number, where the tests' tolerance is 12.

Layout of seq2seq.json: `pairs` (ids, without SOS and EOS) and sizes, then for each of `rnn`, `lstm`,
`attention`, `gru` and `transformer`

  weights         by torch's name, row-major, multiples of 1/16, the Transformer's of 1/20; each bias_hh
                  is zero, not trained, but for the GRU's
  logits          for each pair [n + 1, VT], n the tokens of its target; position t has read SOS and
                  t tokens
  attention       for each pair [n + 1, m], m the tokens of its source; the models that
                  attend only; of the Transformer those of its last layer, the mean of the heads
  loss            mean over the n + 1 positions of every pair
  gradients       of the loss, by name as the weights; norm is that of all of them together
  free_running    each step reads the argmax of the step before it instead of the target (teacher
                  forcing 0): `inputs` of each pair, SOS first, its loss and norm of gradients; not of the
                  Transformer
  greedy          for each pair the ids decoded, EOS left out; at most MAX_LENGTH, no PAD, no SOS
  greedy_no_unk   the same where UNK is ruled out, too
  adam            for each clip: losses before each of STEPS updates and after the last, norms before
                  clipping, and the sum and sum of squares of each tensor after the last update

and in `layers` the same of recurrent models for DEEP layers on both sides, without `adam`. Layer k > 0 adds its output to what it
reads; each layer of the decoder starts from the state of the encoder's beside it, over a bridge of its
own where there are bridges; the first layer of the decoder attends.
"""

import math
import random
import re

from common import numbers, write_or_check
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

PAD, SOS, EOS, UNK = range(4)
VS, VT, E, H = 11, 13, 4, 3
HEADS = 2  # of the Transformer
PAIRS = [
    ([7, 3, 5], [9, 4, 12, 6]),
    ([4, 10, 6, 9, 8], [5, 11]),
    ([5], [8, 3, 7, 10, 7, 4]),
    ([8, 8, 4], [10]),
]
LR, BETAS, EPS, STEPS, CLIPS = 1e-3, (0.9, 0.999), 1e-8, 3, (5.0, 0.05)
MAX_LENGTH = 8  # of a decoded output
DEEP = 2  # layers; the Transformer has no fewer
# Chosen so that the outputs differ between pairs, some end and some are cut, and argmax under free
# running never is PAD or SOS: whether those are ruled out there makes no difference.
SEEDS = {"rnn": 97, "lstm": 11124, "attention": 359, "gru": 767, "transformer": 1069}
DEEP_SEEDS = {"rnn": 122, "lstm": 663, "attention": 13, "gru": 234}

SOURCE = pad_sequence([torch.tensor(s) for s, _ in PAIRS])  # [S, B]
INPUTS = pad_sequence([torch.tensor([SOS] + t) for _, t in PAIRS])  # [T, B]
TARGETS = pad_sequence([torch.tensor(t + [EOS]) for _, t in PAIRS])  # [T, B]
LENGTHS = torch.tensor([len(s) for s, _ in PAIRS])


def draw_weights(model, seed, unit, most=32):
    """Gives the parameters values, multiples of 1 / unit up to most of them."""
    draw = random.Random(seed)
    for key, p in model.named_parameters():
        if "bias_hh" in key and model.name != "gru":
            p.requires_grad_(False).zero_()
        else:
            p.data = torch.tensor([draw.randint(-most, most) / unit for _ in range(p.numel())])\
                .reshape(p.shape)


class Seq2Seq(nn.Module):
    """The models without attention, and what the other shares with them."""

    def __init__(self, name, layers=1):
        super().__init__()
        self.name = name
        rnn = {"rnn": nn.RNN, "gru": nn.GRU}.get(name, nn.LSTM)
        both = name == "attention"
        width = E + {"rnn": H, "gru": H, "lstm": 0, "attention": 2 * H}[name]
        above = 2 * H if both else H
        self.encoder = nn.ModuleDict({"embedding": nn.Embedding(VS, E), "rnn": nn.ModuleList(
            [rnn(E if k == 0 else above, H, bidirectional=both) for k in range(layers)])})
        self.decoder = nn.ModuleDict({"embedding": nn.Embedding(VT, E), "rnn": nn.ModuleList(
            [rnn(width if k == 0 else H, H) for k in range(layers)])})
        if both:
            self.bridge = nn.ModuleDict({part + (f"_l{k}" if k > 0 else ""): nn.Linear(2 * H, H)
                                         for k in range(layers) for part in ("hidden", "cell")})
            self.attention = nn.ModuleDict({
                "query": nn.Linear(H, H),
                "key": nn.Linear(2 * H, H, bias=False),
                "energy": nn.Linear(H, 1, bias=False),
            })
        self.out = nn.Linear(H + width if both else H, VT)
        draw_weights(self, (SEEDS if layers == 1 else DEEP_SEEDS)[name], 16)

    def trained(self):
        """(name, parameter) of those that are trained; layers by number as torch names its own."""
        return [(re.sub(r"rnn\.(\d+)\.(\w+)_l0", r"rnn.\2_l\1", key), p)
                for key, p in self.named_parameters() if p.requires_grad]

    def encode(self):
        """The decoder's first states, and the memory: context [1, B, H], or states [S, B, 2H]."""
        outputs, states = self.encoder["embedding"](SOURCE), []
        for k, rnn in enumerate(self.encoder["rnn"]):
            packed = pack_padded_sequence(outputs, LENGTHS, enforce_sorted=False)
            y, state = rnn(packed)
            y = pad_packed_sequence(y)[0]
            outputs = y if k == 0 else outputs + y
            states.append(state)
        if self.name != "attention":
            return states, states[-1]
        # a state is h and c, each [2, B, H]: forward at the last token, backward at the first
        return [tuple(
            torch.tanh(self.bridge[part + (f"_l{k}" if k > 0 else "")](
                torch.cat([x[0], x[1]], dim=-1)))[None]
            for part, x in zip(("hidden", "cell"), state))
            for k, state in enumerate(states)], outputs

    def attend(self, h, memory):
        """Weights [S, B] of the source positions and their context [B, 2H]; h [B, H] is s_{t-1}."""
        query, key, energy = (self.attention[part] for part in ("query", "key", "energy"))
        e = energy(torch.tanh(query(h) + key(memory))).squeeze(-1)  # [S, B]
        weights = e.masked_fill(SOURCE == PAD, -torch.inf).softmax(dim=0)
        return weights, (weights[..., None] * memory).sum(dim=0)

    def step(self, ids, state, memory):
        """ids [B] -> logits [B, VT], the next states, attention weights [S, B] or None"""
        features, state, weights = self.features(ids, state, memory)
        return self.out(features), state, weights

    def features(self, ids, state, memory):
        """The same, but what the logits are computed from."""
        embedded, weights = self.decoder["embedding"](ids), None
        if self.name in ("rnn", "gru"):
            x = torch.cat([embedded, memory[0]], dim=-1)
        elif self.name == "lstm":
            x = embedded
        else:
            weights, context = self.attend(state[0][0][0], memory)
            x = torch.cat([embedded, context], dim=-1)
        states = []
        for k, rnn in enumerate(self.decoder["rnn"]):
            y, after = rnn(x[None], state[k])
            x = y[0] if k == 0 else x + y[0]
            states.append(after)
        features, state = x, states
        if self.name == "attention":
            features = torch.cat([features, context, embedded], dim=-1)
        return features, state, weights

    def forward(self, teacher=True):
        """Logits [T, B, VT], the ids read [T, B], and a list of T attention weights [S, B]."""
        state, memory = self.encode()
        logits, read, attention = [], [INPUTS[0]], []
        for t in range(len(INPUTS)):
            scores, state, weights = self.step(read[t], state, memory)
            logits.append(scores)
            attention.append(weights)
            if t + 1 < len(INPUTS):
                read.append(INPUTS[t + 1] if teacher else scores.argmax(dim=-1))
        return torch.stack(logits), torch.stack(read), attention

    def greedy(self, banned):
        """For each pair the decoded ids; ties go to the lowest id."""
        state, memory = self.encode()
        ids, decoded = INPUTS[0], []
        for _ in range(MAX_LENGTH):
            scores, state, _ = self.step(ids, state, memory)
            scores[:, banned] = -torch.inf
            ids = scores.argmax(dim=-1)
            decoded.append(ids)
        return ended(decoded)


def ended(decoded):
    """Rows of steps [B], each up to its EOS."""
    rows = torch.stack(decoded, dim=1).tolist()
    return [row[:row.index(EOS)] if EOS in row else row for row in rows]


class Transformer(nn.Module):
    """torch's layers, normalised first; the tanh form of GELU; sinusoidal positions."""

    def __init__(self, name):
        super().__init__()
        self.name = name
        of_layer = {"d_model": E, "nhead": HEADS, "dim_feedforward": 4 * H, "dropout": 0.0,
                    "activation": lambda x: F.gelu(x, approximate="tanh"), "norm_first": True}
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(**of_layer), DEEP, nn.LayerNorm(E), enable_nested_tensor=False)
        self.decoder = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(**of_layer), DEEP, nn.LayerNorm(E))
        self.encoder.embedding, self.decoder.embedding = nn.Embedding(VS, E), nn.Embedding(VT, E)
        self.out = nn.Linear(E, VT)
        draw_weights(self, SEEDS[name], 20)
        cross = self.decoder.layers[-1].multihead_attn
        attend = cross.forward

        def keep(*args, **options):
            y, self.weights = attend(*args, **options | {"need_weights": True})  # [B, T, S]
            return y, self.weights

        cross.forward = keep

    def trained(self):
        return list(self.named_parameters())

    def embed(self, side, ids):
        t = torch.arange(len(ids))[:, None]
        angles = t / 10_000 ** (torch.arange(0, E, 2) / E)
        positions = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)  # [T, E]
        return math.sqrt(E) * side.embedding(ids) + positions[:, None]

    def decode(self, ids):
        """ids [T, B] -> logits [T, B, VT]"""
        padding = (SOURCE == PAD).T
        memory = self.encoder(self.embed(self.encoder, SOURCE), src_key_padding_mask=padding)
        mask = nn.Transformer.generate_square_subsequent_mask(len(ids))
        y = self.decoder(self.embed(self.decoder, ids), memory, tgt_mask=mask,
                         memory_key_padding_mask=padding)
        return self.out(y)

    def forward(self):
        logits = self.decode(INPUTS)
        return logits, INPUTS, list(self.weights.permute(1, 2, 0))

    def greedy(self, banned):
        ids = INPUTS[:1]
        for _ in range(MAX_LENGTH):
            scores = self.decode(ids)[-1]
            scores[:, banned] = -torch.inf
            ids = torch.cat([ids, scores.argmax(dim=-1)[None]])
        return ended(list(ids[1:]))


def make(name, layers=1):
    return Transformer(name) if name == "transformer" else Seq2Seq(name, layers)


def loss_of(logits):
    return F.cross_entropy(logits.flatten(0, 1), TARGETS.flatten(), ignore_index=PAD)


def norm_of(gradients):
    return torch.cat([g.flatten() for g in gradients]).norm().item()


def seen(values):
    """Values as far as the tests see them, which allow 1e-12 of the largest: to 1e-14 of it."""
    largest = max(map(abs, values))
    digits = 14 - math.floor(math.log10(largest))
    return [round(x, digits) for x in values]


def real(rows):
    """Of T values [B, ..] those at real positions, pair by pair, each pair flat."""
    return [[x for t in range(len(target) + 1) for x in numbers(rows[t][b])]
            for b, (_, target) in enumerate(PAIRS)]


def first_step(name, layers):
    model = make(name, layers)
    weights = {key: numbers(p) for key, p in model.trained()}
    logits, _, attention = model()
    loss = loss_of(logits)
    loss.backward()
    result = {"weights": weights, "logits": [seen(row) for row in real(logits)]}
    if name in ("attention", "transformer"):
        result["attention"] = [
            seen([x for t in range(len(target) + 1) for x in numbers(attention[t][:len(source), b])])
            for b, (source, target) in enumerate(PAIRS)]
    return result | {
        "loss": loss.item(),
        "gradients": {key: seen(numbers(p.grad)) for key, p in model.trained()},
        "norm": norm_of([p.grad for _, p in model.trained()]),
    }


def free_running(name, layers):
    model = make(name, layers)
    logits, read, _ = model(teacher=False)
    loss = loss_of(logits)
    loss.backward()
    inputs = real(read)
    assert not any(i in (PAD, SOS) for row in inputs for i in row[1:]), "choose another seed"
    return {"inputs": inputs, "loss": loss.item(), "norm": norm_of(p.grad for _, p in model.trained())}


def adam_steps(name, clip):
    model = make(name)
    parameters = [p for _, p in model.trained()]
    adam = torch.optim.Adam(parameters, lr=LR, betas=BETAS, eps=EPS)
    losses, norms = [], []
    for _ in range(STEPS):
        adam.zero_grad()
        loss = loss_of(model()[0])
        loss.backward()
        # scales by clip / (norm + 1e-6) where that is below 1
        norms.append(nn.utils.clip_grad_norm_(parameters, clip).item())
        adam.step()
        losses.append(loss.item())
    return {
        "clip": clip,
        "losses": losses,
        "loss_after": loss_of(model()[0]).item(),
        "norms": norms,
        "sums": {key: [p.sum().item(), p.square().sum().item()] for key, p in model.trained()},
    }


def golden(name, layers=1):
    with torch.no_grad():
        greedy = make(name, layers).greedy([PAD, SOS])
        no_unk = make(name, layers).greedy([PAD, SOS, UNK])
    running = {} if name == "transformer" else {"free_running": free_running(name, layers)}
    adam = {"adam": [adam_steps(name, clip) for clip in CLIPS]} if layers == 1 else {}
    return first_step(name, layers) | running | {
        "greedy": greedy,
        "greedy_no_unk": no_unk,
    } | adam


if __name__ == "__main__":
    write_or_check(__file__, {
        "source_vocabulary": VS, "target_vocabulary": VT, "embedding_dim": E, "hidden_size": H,
        "num_heads": HEADS,
        "learning_rate": LR, "betas": list(BETAS), "epsilon": EPS, "max_length": MAX_LENGTH,
        "pairs": [{"source": s, "target": t} for s, t in PAIRS],
        **{name: golden(name) for name in SEEDS},
        "deep": DEEP,
        "layers": {name: golden(name, DEEP) for name in DEEP_SEEDS},
    })
