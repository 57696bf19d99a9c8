"""Runs models that the loader of docs/formats.md (before this text) has read on the inputs in a file of
JSON, and prints what they give."""

import sys


def charlm(path, pieces):
    model, _ = load(path)
    state, logits = None, []
    for piece in pieces:
        given, state = model(torch.tensor(piece), state)
        logits.append(given.flatten().tolist())
    state = state if isinstance(state, tuple) else (state,)
    # By name: c before h.
    return {"logits": logits, "state": [part.flatten().tolist() for part in reversed(state)]}


def seq2seq(path, sources, tokens):
    model, _ = load(path)
    longest = max(len(source) for source in sources)
    logits, attention = [[] for _ in tokens], [[] for _ in tokens]
    for row, source in enumerate(sources):
        memory, state = model.encode(torch.tensor(source))
        for step, token in enumerate(tokens):
            given, state, weights = model.step(torch.tensor(token[row]), memory, state)
            logits[step] += given.tolist()
            if weights is not None:
                attention[step] += weights.tolist() + [0.0] * (longest - len(source))
    return {"logits": logits, "attention": attention}


with open(sys.argv[1], encoding="utf-8") as file:
    jobs = json.load(file)
with torch.no_grad():
    kinds = {"charlm": charlm, "seq2seq": seq2seq}
    print(json.dumps([kinds[job.pop("kind")](**job) for job in jobs]))
