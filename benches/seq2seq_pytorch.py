"""The training step of rnnx's seq2seq models in PyTorch, timed; or epochs of it, with losses.

    python seq2seq_pytorch.py --model attention --train train.jsonl --steps 10
    python seq2seq_pytorch.py --model lstm --train train.jsonl --valid valid.jsonl --epochs 12

As such models are commonly written: batches of shuffled pairs, padded to the longest; the encoder
packed; keys of the attention computed once, one product for the logits of all decoder steps, padding
included and ignored by the loss; teacher forcing; PyTorch's initial values, both biases trained;
Adam, one clip over all gradients. In f32, or on CUDA with automatic mixed precision in f16.

Stronger, against padding:
  --bucket         batches of pairs of like length
  --packed-logits  logits of the real target positions only
"""

import argparse
import json
import math
import random
import statistics
import sys
import time
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from common import peak_rss_mb, report
from seq2seq_data import PAD, batches, encode, read_pairs, vocabularies

EPS = 1e-8


# ---- the models; state_dict has rnnx's tensor names ------------------------------------------


class Coder(nn.Module):
    """An embedding with dropout, and an RNN."""

    def __init__(self, vocab, width, dropout, rnn):
        super().__init__()
        self.embedding = nn.Embedding(vocab, width, padding_idx=PAD)
        self.dropout = nn.Dropout(dropout)
        self.rnn = rnn

    def embed(self, ids):
        return self.dropout(self.embedding(ids))

    def encode(self, batch):
        """Outputs, packed, and the state after the last real token."""
        packed = pack_padded_sequence(
            self.embed(batch.source), batch.lengths, enforce_sorted=False)
        return self.rnn(packed)


class Plain(nn.Module):
    """Model rnn (context beside each decoder input) or lstm; both start from the encoder's state."""

    def __init__(self, name, vocabs, E, H, dropout):
        super().__init__()
        rnn = nn.RNN if name == "rnn" else nn.LSTM
        self.context = name == "rnn"
        self.encoder = Coder(vocabs[0], E, dropout, rnn(E, H))
        self.decoder = Coder(vocabs[1], E, dropout, rnn(E + H if self.context else E, H))
        self.out = nn.Linear(H, vocabs[1])

    def forward(self, batch):  # -> [T, B, H], what the logits are made from
        state = self.encoder.encode(batch)[1]
        x = self.decoder.embed(batch.inputs)
        if self.context:
            x = torch.cat([x, state.expand(len(x), -1, -1)], dim=-1)
        return self.decoder.rnn(x, state)[0]


class Attention(nn.Module):
    """Additive attention (Bahdanau et al. 2015) over a bidirectional LSTM."""

    def __init__(self, vocabs, E, H, dropout):
        super().__init__()
        self.encoder = Coder(vocabs[0], E, dropout, nn.LSTM(E, H, bidirectional=True))
        self.decoder = Coder(vocabs[1], E, dropout, nn.LSTM(E + 2 * H, H))
        self.bridge = nn.ModuleDict({"hidden": nn.Linear(2 * H, H), "cell": nn.Linear(2 * H, H)})
        self.attention = nn.ModuleDict({
            "query": nn.Linear(H, H),
            "key": nn.Linear(2 * H, H, bias=False),
            "energy": nn.Linear(H, 1, bias=False),
        })
        self.out = nn.Linear(H + 2 * H + E, vocabs[1])

    def forward(self, batch):  # -> [T, B, H + 2H + E]: state, context, embedding
        packed, (h, c) = self.encoder.encode(batch)
        memory = pad_packed_sequence(packed, batch_first=True)[0]  # [B, S, 2H]
        h = torch.tanh(self.bridge["hidden"](torch.cat([h[0], h[1]], dim=-1)))
        c = torch.tanh(self.bridge["cell"](torch.cat([c[0], c[1]], dim=-1)))
        keys = self.attention["key"](memory)  # [B, S, A]
        padding = (batch.source == PAD).T  # [B, S]
        embedded = self.decoder.embed(batch.inputs)
        rnn, states, contexts = self.decoder.rnn, [], []
        weights = [rnn.weight_ih_l0, rnn.weight_hh_l0, rnn.bias_ih_l0, rnn.bias_hh_l0]
        for x in embedded:
            query = self.attention["query"](h)[:, None]  # [B, 1, A]
            e = self.attention["energy"](torch.tanh(query + keys)).squeeze(-1)
            a = e.masked_fill(padding, -torch.inf).softmax(dim=-1)
            context = torch.bmm(a[:, None], memory)[:, 0]
            h, c = torch.lstm_cell(torch.cat([x, context], dim=-1), (h, c), *weights)
            states.append(h)
            contexts.append(context)
        return torch.cat([torch.stack(states), torch.stack(contexts), embedded], dim=-1)


class Transformer(nn.Module):
    """torch's own layers, normalised first; sinusoidal positions (Vaswani et al. 2017). Dropout where
    rnnx has it: on the embeddings with their positions, and on what each part of a layer adds."""

    def __init__(self, vocabs, E, H, dropout, layers=3, heads=4):
        super().__init__()
        of_layer = {"d_model": E, "nhead": heads, "dim_feedforward": 4 * H, "dropout": dropout,
                    "activation": partial(F.gelu, approximate="tanh"), "norm_first": True}
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(**of_layer), layers, nn.LayerNorm(E), enable_nested_tensor=False)
        self.decoder = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(**of_layer), layers, nn.LayerNorm(E))
        for layer in [*self.encoder.layers, *self.decoder.layers]:
            layer.dropout.p = layer.self_attn.dropout = 0.0
        for layer in self.decoder.layers:
            layer.multihead_attn.dropout = 0.0
        self.encoder.embedding = nn.Embedding(vocabs[0], E)
        self.decoder.embedding = nn.Embedding(vocabs[1], E)
        for side in (self.encoder, self.decoder):
            nn.init.normal_(side.embedding.weight, std=E ** -0.5)
        self.out, self.dropout = nn.Linear(E, vocabs[1]), nn.Dropout(dropout)

    def embed(self, side, ids):
        x = side.embedding(ids)
        E = x.shape[-1]
        t = torch.arange(len(ids), device=ids.device)[:, None]
        angles = t / 10_000 ** (torch.arange(0, E, 2, device=ids.device) / E)
        positions = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)  # [T, E]
        return self.dropout(math.sqrt(E) * x + positions[:, None])

    def forward(self, batch):  # -> [T, B, E], what the logits are made from
        padding = (batch.source == PAD).T
        memory = self.encoder(self.embed(self.encoder, batch.source), src_key_padding_mask=padding)
        x = self.embed(self.decoder, batch.inputs)
        mask = nn.Transformer.generate_square_subsequent_mask(len(x), device=x.device)
        return self.decoder(x, memory, tgt_mask=mask, tgt_is_causal=True,
                            memory_key_padding_mask=padding)


MODELS = ["rnn", "lstm", "attention"]  # the published ones
ALL = [*MODELS, "transformer"]


def build(name, vocabs, E=256, H=256, dropout=0.3):
    """A model with PyTorch's initial values; vocabs are the two sizes."""
    if name == "transformer":
        return Transformer(vocabs, E, H, dropout)
    if name == "attention":
        return Attention(vocabs, E, H, dropout)
    return Plain(name, vocabs, E, H, dropout)


# ---- training --------------------------------------------------------------------------------


class Trainer:
    def __init__(self, model, lr=1e-3, clip=5.0, half=False, packed_logits=False):
        self.model, self.clip, self.half, self.packed_logits = model, clip, half, packed_logits
        self.trained = [p for p in model.parameters() if p.requires_grad]
        self.device = self.trained[0].device.type
        self.adam = torch.optim.Adam(self.trained, lr=lr, eps=EPS, fused=True)
        self.scaler = torch.amp.GradScaler(self.device, enabled=half)

    def loss(self, batch):
        """Mean cross-entropy of the real target tokens."""
        with torch.autocast(self.device, torch.float16, enabled=self.half):
            features, targets = self.model(batch).flatten(0, 1), batch.targets.flatten()
            if self.packed_logits:
                features, targets = features[batch.real], targets[batch.real]
            return F.cross_entropy(self.model.out(features), targets, ignore_index=PAD)

    def step(self, batch):
        """Trains; returns the loss before the update."""
        self.model.train()
        self.adam.zero_grad(set_to_none=True)
        loss = self.loss(batch)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.adam)
        nn.utils.clip_grad_norm_(self.trained, self.clip)
        self.scaler.step(self.adam)
        self.scaler.update()
        return loss.detach()

    def steps(self, epoch):
        """Losses and seconds of one step for each batch."""
        losses, clock = [], Clock(self.device)
        for batch in epoch:
            losses.append(self.step(batch))
            clock.tick()
        return [loss.item() for loss in losses], clock.seconds()

    @torch.no_grad()
    def evaluate(self, epoch):
        """Teacher forced, dropout off, mean over all real tokens."""
        self.model.eval()
        return token_mean(epoch, [self.loss(batch).item() for batch in epoch])


class Clock:
    """Times between ticks; on CUDA by events, so that a tick waits for nothing."""

    def __init__(self, device):
        self.cuda, self.ticks = device == "cuda", []
        self.tick()

    def tick(self):
        if self.cuda:
            self.ticks.append(torch.cuda.Event(enable_timing=True))
            self.ticks[-1].record()
        else:
            self.ticks.append(time.perf_counter())

    def seconds(self):
        pairs = list(zip(self.ticks, self.ticks[1:]))
        if self.cuda:
            torch.cuda.synchronize()
            return [a.elapsed_time(b) / 1e3 for a, b in pairs]
        return [b - a for a, b in pairs]


def token_mean(epoch, losses):
    weighted = sum(loss * batch.tokens for loss, batch in zip(losses, epoch))
    return weighted / sum(batch.tokens for batch in epoch)


def train(trainer, make_epoch, valid, epochs):
    """A record for each epoch, and the seconds of all steps with the tokens of each."""
    records, timings = [], []
    for number in range(1, epochs + 1):
        epoch = make_epoch()
        losses, seconds = trainer.steps(epoch)
        record = {"epoch": number, "train_loss": token_mean(epoch, losses)}
        if valid:
            record["valid_loss"] = trainer.evaluate(valid)
        record["seconds"] = sum(seconds)
        timings += [(s, batch.tokens) for s, batch in zip(seconds, epoch)]
        print(json.dumps(record), file=sys.stderr, flush=True)
        records.append(record)
    return records, timings


def time_steps(trainer, make_epoch, warmup, steps):
    """(seconds, tokens) of each step after the warm-up."""
    chosen = []
    while len(chosen) < warmup + steps:
        chosen += make_epoch()
    trainer.steps(chosen[:warmup])
    chosen = chosen[warmup:warmup + steps]
    return [(s, batch.tokens) for s, batch in zip(trainer.steps(chosen)[1], chosen)]


def figures(timings):
    seconds = [s for s, _ in timings]
    return {
        "ms_per_step": 1e3 * statistics.median(seconds),
        "ms_fastest": 1e3 * min(seconds),
        "ms_slowest": 1e3 * max(seconds),
        "steps": len(seconds),
        "target_tokens_per_s": sum(n for _, n in timings) / sum(seconds),
        "target_tokens_per_step": sum(n for _, n in timings) / len(timings),
    }


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--model", required=True, choices=ALL)
    parser.add_argument("--train", required=True, help="pairs, JSONL or JSONL.gz")
    parser.add_argument("--valid", help="pairs for the validation loss of each epoch")
    parser.add_argument("--steps", type=int, default=10, help="timed steps, where not --epochs")
    parser.add_argument("--warmup", type=int, default=2, help="steps before the timed ones")
    parser.add_argument("--epochs", type=int, help="train so many epochs")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--precision", default="fp32", choices=["fp32", "fp16"],
                        help="fp16: automatic mixed precision, CUDA only")
    parser.add_argument("--bucket", action="store_true", help="batches of pairs of like length")
    parser.add_argument("--packed-logits", action="store_true", help="no logits of padding")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="0: PyTorch's own choice")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    for name, kind, default in [("batch-size", int, 128), ("embedding-dim", int, 256),
                                ("hidden-size", int, 256), ("dropout", float, 0.3),
                                ("learning-rate", float, 1e-3), ("clip-norm", float, 5.0)]:
        parser.add_argument(f"--{name}", type=kind, default=default)
    args = parser.parse_args()
    if args.precision == "fp16" and args.device == "cpu":
        parser.error("--precision fp16 needs --device cuda")
    if args.steps < 1 or (args.epochs is not None and args.epochs < 1):
        parser.error("--steps and --epochs are at least 1")
    return args


def main():
    args = parse()
    torch.manual_seed(args.seed)
    if args.threads:
        torch.set_num_threads(args.threads)
    words = read_pairs(args.train)
    vocabs = vocabularies(words)
    pairs = encode(words, vocabs)
    valid = encode(read_pairs(args.valid), vocabs) if args.valid else []
    model = build(args.model, [len(v) for v in vocabs], args.embedding_dim, args.hidden_size,
                  args.dropout).to(args.device)
    trainer = Trainer(model, args.learning_rate, args.clip_norm, args.precision == "fp16",
                      args.packed_logits)
    rng = random.Random(args.seed)

    def make_epoch():
        return batches(pairs, args.batch_size, args.device, rng, args.bucket)

    records = None
    if args.epochs:
        valid = batches(valid, args.batch_size, args.device, bucket=True)
        records, timings = train(trainer, make_epoch, valid, args.epochs)
    else:
        timings = time_steps(trainer, make_epoch, args.warmup, args.steps)
    cuda = args.device == "cuda"
    stronger = [name for name in ("bucket", "packed_logits") if getattr(args, name)]
    result = {
        "framework": f"PyTorch {torch.__version__}",
        "device": torch.cuda.get_device_name() if cuda else f"cpu, {torch.get_num_threads()} threads",
        "precision": "amp fp16" if args.precision == "fp16" else "fp32",
        "seq2seq": {
            "model": args.model, "variant": " + ".join(stronger) or "padded", **figures(timings),
            "source_vocabulary": len(vocabs[0]), "target_vocabulary": len(vocabs[1]),
            "parameters": sum(p.numel() for p in model.parameters()),
            "peak_rss_mb": peak_rss_mb(),
        },
    }
    if cuda:
        result["seq2seq"]["peak_device_mb"] = torch.cuda.max_memory_allocated() / 1e6
    if records:
        result["epochs"] = records
    report(args, result)


if __name__ == "__main__":
    main()
