"""The training step of rnnx's character LSTM in PyTorch, timed.

Embedding, two LSTM layers with dropout 0.1 after each, linear; cross-entropy + 1e-4 * sum(out^2);
clip each tensor to norm 1; Adam. On the CPU in f32, on CUDA with automatic mixed precision in f16.

Variants:
  stacked  one nn.LSTM of two layers over the whole batch
  sliced   two nn.LSTM of one layer, over slices of 128 of the batch, the input of the first padded
           with zeros to 128: the shapes that cuDNN's persistent kernels take
"""

import time

import torch
from torch import nn
from torch.nn import functional as F

from common import arguments, charlm_result, peak_rss_mb, report

SLICE, PADDED = 128, 128
DROPOUT, L2, CLIP, LR, EPS = 0.1, 1e-4, 1.0, 1.8e-4, 1e-7


class Stacked(nn.Module):
    def __init__(self, E, H):
        super().__init__()
        self.lstm = nn.LSTM(E, H, num_layers=2, dropout=DROPOUT)

    def forward(self, x):  # [T, B, E] -> [T, B, H]
        return self.lstm(x)[0]


class Sliced(nn.Module):
    def __init__(self, E, H):
        super().__init__()
        self.pad = max(0, PADDED - E)
        self.first = nn.LSTM(E + self.pad, H)
        self.second = nn.LSTM(H, H)

    def forward(self, x):  # [T, B, E] -> [T, B, H]
        def through(part):
            y = F.dropout(self.first(part)[0], DROPOUT, self.training)
            return self.second(y)[0]
        x = F.pad(x, (0, self.pad))
        return torch.cat([through(part.contiguous()) for part in x.split(SLICE, dim=1)], dim=1)


class CharLm(nn.Module):
    def __init__(self, args, body):
        super().__init__()
        self.embedding = nn.Embedding(args.vocab, args.embedding_dim)
        self.body = body(args.embedding_dim, args.hidden_size)
        self.out = nn.Linear(args.hidden_size, args.vocab)
        for name, p in self.named_parameters():
            if "bias_hh" in name:  # rnnx trains one bias
                p.requires_grad_(False).zero_()

    def forward(self, ids):  # [T, B] -> [T, B, V]
        return self.out(F.dropout(self.body(self.embedding(ids)), DROPOUT, self.training))


def clip_each(gradients):
    """Scales each gradient by CLIP / norm where its norm exceeds CLIP; no wait for the device."""
    norms = torch.stack(torch._foreach_norm(gradients))
    scales = torch.where(norms > CLIP, CLIP / norms, torch.ones_like(norms))
    torch._foreach_mul_(gradients, list(scales.unbind()))


class Step:
    """One training step on random ids."""

    def __init__(self, args, body, device):
        self.cuda = device.type == "cuda"
        self.model = CharLm(args, body).to(device).train()
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.adam = torch.optim.Adam(self.trained, lr=LR, eps=EPS, fused=True)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.cuda)
        shape = (args.seq_length + 1, args.batch_size)
        self.ids = torch.randint(args.vocab, shape, device=device)

    def __call__(self):
        ids, device = self.ids, self.ids.device.type
        self.adam.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.float16, enabled=self.cuda):
            logits = self.model(ids[:-1])
            ce = F.cross_entropy(logits.flatten(0, 1), ids[1:].flatten())
            loss = ce + L2 * self.model.out.weight.square().sum()
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.adam)
        clip_each([p.grad for p in self.trained])
        self.scaler.step(self.adam)
        self.scaler.update()


def seconds_cpu(step, count):
    def once():
        start = time.perf_counter()
        step()
        return time.perf_counter() - start
    return [once() for _ in range(count)]


def seconds_cuda(step, count):
    events = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
    torch.cuda.synchronize()
    events[0].record()
    for event in events[1:]:
        step()
        event.record()
    torch.cuda.synchronize()
    return [a.elapsed_time(b) / 1e3 for a, b in zip(events, events[1:])]


def measure(args, body, device):
    step = Step(args, body, device)
    for _ in range(args.warmup):
        step()
    timed = seconds_cuda if device.type == "cuda" else seconds_cpu
    result = charlm_result(args, timed(step, args.steps))
    if device.type == "cuda":
        result["peak_device_mb"] = torch.cuda.max_memory_allocated() / 1e6
        torch.cuda.reset_peak_memory_stats()
    return result


def main():
    args = arguments(
        __doc__.splitlines()[0],
        device=dict(default="auto", choices=["auto", "cpu", "cuda"], help="where to run"),
        variant=dict(default="auto", choices=["auto", "stacked", "sliced", "all"],
                     help="auto: stacked on the CPU, all on CUDA; the fastest counts"),
    )
    torch.manual_seed(1)
    if args.threads:
        torch.set_num_threads(args.threads)
    cuda = torch.cuda.is_available() if args.device == "auto" else args.device == "cuda"
    device = torch.device("cuda" if cuda else "cpu")
    bodies = {"stacked": Stacked, "sliced": Sliced}
    variant = ("all" if cuda else "stacked") if args.variant == "auto" else args.variant
    chosen = list(bodies) if variant == "all" else [variant]
    variants = {name: measure(args, bodies[name], device) for name in chosen}
    fastest = min(variants, key=lambda name: variants[name]["ms_per_step"])
    report(args, {
        "framework": f"PyTorch {torch.__version__}",
        "device": torch.cuda.get_device_name() if cuda else f"cpu, {torch.get_num_threads()} threads",
        "precision": "amp fp16" if cuda else "fp32",
        "charlm": {
            "variant": fastest, **variants[fastest],
            "peak_rss_mb": peak_rss_mb(),
        },
        "variants": variants,
    })


main()
