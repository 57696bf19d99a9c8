#!/usr/bin/env python3
"""Kills one of several processes that train one model with SIGKILL at random moments, again and again.

After each kill the others end soon, with an error that names the one that was killed, and the links of
the run lead to whole checkpoints. Each run goes on with other numbers of processes, and is at its end, bit
for bit, the one that one process trained without being killed.
"""

import collections
import random
import socket
import subprocess
import tempfile
import time

from common import PROGRAMS, Place, Running, main, need, whole

FLAGS = ["--virtual-shards", "4", "--rank-timeout", "10s"]
# The longest that the others may take to end: they wait for one that never came for the time limit, a
# quarter of it longer than rank 0, and a busy machine for its turn.
SOON = 60


def group(place, program, out, size):
    """Starts so many ranks, which meet where nobody else does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = min(free.getsockname()[1], 60_000)
    meeting = {
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": f"hostile-{random.getrandbits(64)}",
    }
    words = place.words(program, out)
    numbers = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(size)]
    return [Running(words, place.folder, {**meeting, **number}, None) for number in numbers]


def kill(place, program, out, longest):
    """One start, one rank of which lives for a while at most; the rank that was killed, if one was."""
    size = random.choice([2, 3, 4])
    lost = random.randrange(size)
    ranks = group(place, program, out, size)
    killed = False
    try:
        ranks[lost].wait_done(random.uniform(0, longest))
    except subprocess.TimeoutExpired:
        ranks[lost].process.kill()
        ranks[lost].wait_done()
        killed = ranks[lost].code == -9
    for rank, running in enumerate(ranks):
        if rank != lost:
            running.wait_done(SOON)
            # Some had nothing left to do with the others; none may go on without knowing.
            ended = running.code == 0 or killed and running.code == 1
            need(ended, f"rank {rank} ended with {running.code}: {running.stderr}")
            said = [f"rank {lost} is gone", f"rank {lost} of {size} is missing", f"rank {lost} is missing"]
            named = any(words in running.stderr for words in said)
            need(running.code == 0 or named, f"rank {rank} does not name rank {lost}: {running.stderr}")
    need(killed or ranks[lost].code == 0, f"ended with {ranks[lost].code}: {ranks[lost].stderr}")
    return killed, all(running.code == 0 for running in ranks)


def trial(options):
    random.seed(options.seed)
    steps = collections.Counter()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        place = Place(folder, options.rnnx, FLAGS)
        began = time.monotonic()
        for running in group(place, "charlm", "timed", 4):
            running.wait_done()
            need(running.code == 0, f"does not train: {running.stderr}")
        longest = time.monotonic() - began
        kills = n = 0
        while kills < options.kills:
            program = list(PROGRAMS)[n % len(PROGRAMS)]
            out = f"{program}-{n}"
            done = False
            while not done and kills < options.kills:
                killed, done = kill(place, program, out, longest)
                kills += killed
                if place.path(out).exists():
                    steps[whole(place.path(out))] += killed
            place.finish(program, out)
            place.remove(out)
            n += 1
    where = ", ".join(f"{step}: {steps[step]}" for step in sorted(steps))
    print(f"{kills} kills of one rank in {n} runs, which all ended the same as one process without")
    print(f"kills by the step of the last checkpoint: {where}; seed {options.seed}")


if __name__ == "__main__":
    main(trial, __doc__, "kills", 30)
