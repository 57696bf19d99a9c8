"""Golden models of Keras 3: two small character LMs as model.save writes them, and their logits in f32.

Layers: embedding, two LSTM layers with dropout between, dense; one model is Sequential, one
Functional. Weights are drawn by NumPy. Layout of keras_lm.json: ids [T, B], and for each model the .keras
file (gzip, base64) and the logits [T, B, V].
"""

import argparse
import base64
import gzip
import json
import tempfile
from pathlib import Path

import keras
import numpy as np

V, E, H, T, B = 5, 3, 4, 6, 2
FILE = Path(__file__).with_suffix(".json")
TOLERANCE = 1e-6
IDS = (7 * np.arange(T * B) + 3).reshape(T, B) % V


def layers():
    yield keras.layers.Embedding(V, E)
    yield keras.layers.LSTM(H, return_sequences=True, dropout=0.1)
    yield keras.layers.Dropout(0.2)
    yield keras.layers.LSTM(H, return_sequences=True, name="top")
    yield keras.layers.Dense(V, kernel_regularizer="l2")


def sequential():
    return keras.Sequential([keras.Input((None,), dtype="int32"), *layers()])


def functional():
    x = inputs = keras.Input((None,), dtype="int32")
    for layer in layers():
        x = layer(x)
    return keras.Model(inputs, x)


def logits(model):
    given = model(IDS.T, training=False)  # [B, T, V]
    return keras.ops.convert_to_numpy(given).swapaxes(0, 1).ravel().astype(float).tolist()


def made(model, seed):
    random = np.random.default_rng(seed)
    shapes = [weight.shape for weight in model.get_weights()]
    model.set_weights([random.uniform(-1, 1, shape) for shape in shapes])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        packed = gzip.compress(path.read_bytes(), mtime=0)
    return {"file": base64.b64encode(packed).decode(), "logits": logits(model)}


def stored(golden):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(gzip.decompress(base64.b64decode(golden["file"])))
        return keras.models.load_model(path)


parser = argparse.ArgumentParser()
parser.add_argument("--check", action="store_true", help="compare, write nothing")
if parser.parse_args().check:
    goldens = json.loads(FILE.read_text(encoding="utf-8"))["models"]
    for name, golden in goldens.items():
        off = np.abs(np.subtract(logits(stored(golden)), golden["logits"])).max()
        print(f"{name}: off by {off:.1e}")
        if not off <= TOLERANCE:
            raise SystemExit(f"{name}: more than {TOLERANCE}")
else:
    models = {"sequential": made(sequential(), 1), "functional": made(functional(), 2)}
    golden = {"H": H, "V": V, "ids": IDS.tolist(), "models": models}
    FILE.write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")
    print(f"{FILE.name}: {FILE.stat().st_size} bytes")
