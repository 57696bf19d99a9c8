"""The training step of rnnx's character LSTM in Keras 3 on TensorFlow, timed.

Embedding, two LSTM layers with dropout 0.1 after each, dense with an L2 term of 1e-4; Adam with
clipnorm 1, which Keras applies to each tensor by itself. One train_on_batch is one step.

Compiled with XLA or without (--jit); one setting a process, so that its peak memory is its own.
"""

import os
import time

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from keras import layers  # noqa: E402

from common import arguments, charlm_result, peak_rss_mb, report  # noqa: E402


def build(args):
    model = keras.Sequential([
        keras.Input((args.seq_length,), dtype="int32"),
        layers.Embedding(args.vocab, args.embedding_dim),
        layers.LSTM(args.hidden_size, return_sequences=True),
        layers.Dropout(0.1),
        layers.LSTM(args.hidden_size, return_sequences=True),
        layers.Dropout(0.1),
        layers.Dense(args.vocab, kernel_regularizer=keras.regularizers.L2(1e-4)),
    ])
    model.compile(
        optimizer=keras.optimizers.Adam(1.8e-4, epsilon=1e-7, clipnorm=1.0),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=args.jit == "on",
    )
    return model


def measure(args):
    model = build(args)
    shape = (args.batch_size, args.seq_length + 1)
    ids = np.random.default_rng(1).integers(args.vocab, size=shape, dtype=np.int32)
    inputs, targets = tf.constant(ids[:, :-1]), tf.constant(ids[:, 1:])

    def once():
        start = time.perf_counter()
        model.train_on_batch(inputs, targets)  # returns the loss, so the step has ended
        return time.perf_counter() - start

    for _ in range(max(1, args.warmup)):  # the first call compiles
        once()
    return charlm_result(args, [once() for _ in range(args.steps)])


def main():
    args = arguments(
        __doc__.splitlines()[0],
        jit=dict(default="on", choices=["on", "off"], help="XLA"),
    )
    if args.threads:
        tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    keras.utils.set_random_seed(1)
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        keras.mixed_precision.set_global_policy("mixed_float16")
    report(args, {
        "framework": f"Keras {keras.__version__} on TensorFlow {tf.__version__}",
        "device": f"{len(gpus)} GPU" if gpus else "cpu",
        "precision": "mixed fp16" if gpus else "fp32",
        "charlm": {
            "variant": f"jit {args.jit}", **measure(args),
            "peak_rss_mb": peak_rss_mb(),
        },
    })


main()
