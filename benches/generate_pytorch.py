"""Generation of one stream, character by character, with nn.LSTM in PyTorch: characters a second.

The next character is drawn from the softmax of the logits, the state is kept, nothing is repeated.
"""

import statistics
import time

import torch
from torch import nn

from common import arguments, peak_rss_mb, report


def main():
    args = arguments(
        __doc__.splitlines()[0],
        batched=False,
        length=dict(type=int, default=500, help="characters of one timed run"),
    )
    torch.manual_seed(1)
    if args.threads:
        torch.set_num_threads(args.threads)
    embedding = nn.Embedding(args.vocab, args.embedding_dim)
    lstm = nn.LSTM(args.embedding_dim, args.hidden_size, num_layers=2).eval()
    out = nn.Linear(args.hidden_size, args.vocab)

    def generate(length):
        state, char, text = None, torch.zeros(1, dtype=torch.long), []
        for _ in range(length):
            y, state = lstm(embedding(char)[None], state)  # [1, 1, H]
            char = torch.multinomial(torch.softmax(out(y[0, 0]), dim=-1), 1)
            text.append(char.item())
        return text

    def rate():
        start = time.perf_counter()
        generate(args.length)
        return args.length / (time.perf_counter() - start)

    with torch.inference_mode():
        generate(50 * args.warmup)
        rates = [rate() for _ in range(args.steps)]
    report(args, {
        "framework": f"PyTorch {torch.__version__}",
        "device": f"cpu, {torch.get_num_threads()} threads",
        "generate": {
            "chars_per_s": statistics.median(rates),
            "slowest": min(rates),
            "fastest": max(rates),
            "peak_rss_mb": peak_rss_mb(),
        },
    })


main()
