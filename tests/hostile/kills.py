#!/usr/bin/env python3
"""Kills training with SIGKILL at random moments, again and again.

After each kill the links of the run lead to whole checkpoints. Each run that gets to its end is, bit
for bit, the one that was never killed.
"""

import collections
import random
import subprocess
import tempfile
import time

from common import PROGRAMS, Place, main, need, whole


def kill(place, program, out, moment):
    """One start that lives for `moment` seconds at most; whether it was killed."""
    running = place.train(program, out)
    try:
        running.wait_done(moment)
    except subprocess.TimeoutExpired:
        running.process.kill()
        running.wait_done()
    need(running.code in (0, -9), f"ended with {running.code}: {running.stderr}")
    return running.code == -9


def trial(options):
    random.seed(options.seed)
    steps = collections.Counter()
    finished = 0
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        place = Place(folder, options.rnnx)
        # A start of each program takes about this long when nothing stops it.
        began = time.monotonic()
        place.train("charlm", "timed").wait_done()
        longest = time.monotonic() - began
        kills, n = 0, 0
        while kills < options.kills:
            program = list(PROGRAMS)[n % len(PROGRAMS)]
            out = f"{program}-{n}"
            killed = True
            while killed and kills < options.kills:
                killed = kill(place, program, out, random.uniform(0, longest))
                kills += killed
                if place.path(out).exists():
                    steps[whole(place.path(out))] += killed
            place.finish(program, out)
            place.remove(out)
            finished, n = finished + 1, n + 1
    where = ", ".join(f"{step}: {steps[step]}" for step in sorted(steps))
    print(f"{kills} kills of {finished} runs, which all ended the same as without")
    print(f"kills by the step of the last checkpoint: {where}; seed {options.seed}")


if __name__ == "__main__":
    main(trial, __doc__, "kills", 10)
