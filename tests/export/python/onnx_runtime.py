"""Runs exported ONNX models on the inputs in a file of JSON and prints what they give."""

import json
import sys

import numpy as np
import onnxruntime


class Graph:
    def __init__(self, path):
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.inputs = [value.name for value in self.session.get_inputs()]
        self.about = json.loads(self.session.get_modelmeta().custom_metadata_map["model"])

    def __call__(self, **values):
        names = [value.name for value in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, values)))


def charlm(path, pieces):
    graph = Graph(path)
    shape = (graph.about["num_layers"], len(pieces[0][0]), graph.about["hidden_size"])
    state = {name: np.zeros(shape, np.float32) for name in graph.inputs if name != "ids"}
    logits = []
    for piece in pieces:
        given = graph(ids=np.array(piece, np.int64), **state)
        logits.append(given["logits"].ravel().tolist())
        state = {name: given[f"{name}_out"] for name in state}
    return {"logits": logits, "state": [state[name].ravel().tolist() for name in sorted(state)]}


def seq2seq(path, sources, tokens):
    encoder, decoder = Graph(f"{path}/encoder.onnx"), Graph(f"{path}/decoder.onnx")
    lengths = np.array([len(source) for source in sources])
    # What stands behind a source's end is of no matter.
    padded = np.ones((lengths.max(), len(sources)), np.int64)
    for row, source in enumerate(sources):
        padded[: len(source), row] = source
    values = encoder(source=padded, lengths=lengths)
    logits, attention = [], []
    for token in tokens:
        given = decoder(token=np.array(token, np.int64), **values)
        logits.append(given["logits"].ravel().tolist())
        attention.append(given.get("attention", np.zeros(0)).ravel().tolist())
        values.update({name: given[f"{name}_out"] for name in ("h", "c") if name in values})
    return {"logits": logits, "attention": attention}


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        jobs = json.load(file)
    kinds = {"charlm": charlm, "seq2seq": seq2seq}
    print(json.dumps([kinds[job.pop("kind")](**job) for job in jobs]))
