#!/usr/bin/env python3
"""Lets file operations of training fail: any write, sync, rename, link or new file, once or from
then on, and files that may not grow (a real limit of the system).

Whatever fails: the program ends with a message and no panic, the links of the run lead to whole
checkpoints, none older than before; without the fault it goes on, and the run is, bit for bit, the one
that was never hindered. Needs a C compiler (`cc`).
"""

import collections
import errno
import random
import resource
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from common import PROGRAMS, STEPS, Place, Wrong, main, need, whole

CALLS = ["write", "fsync", "rename", "mkdir", "symlink", "unlink", "create"]
ERRORS = [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EDQUOT]


def limited(size):
    """No file may grow beyond `size` bytes."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


def begun(place, program, name):
    """A run that has been saved at half its steps."""
    done = place.train(program, name, steps=STEPS // 2).wait_done()
    need(done.code == 0, done.stderr)


def calls_of(place, program, start, env):
    """How often each call is made by the rest of a run."""
    counts = {}
    for call in CALLS:
        copy(place, start, "counted")
        told = place.path("count")
        env_call = {**env, "FAULT_CALLS": call, "FAULT_COUNT": str(told)}
        need(place.train(program, "counted", env=env_call).wait_done().code == 0, call)
        counts[call] = int(told.read_text())
    return counts


def copy(place, start, out):
    """A copy of the run `start`, or none."""
    place.remove(out)
    if start:
        shutil.copytree(place.path(start), place.path(out), symlinks=True)


def fault(place, program, start, counts, env):
    """One fault; what it was and how the program ended."""
    copy(place, start, "a")
    before = whole(place.path("a"))
    call = random.choice([*[c for c in CALLS if counts[c]], "limit"])
    if call == "limit":
        size = random.choice([0, 100, 1000, 4000, 10_000, 20_000])
        running = place.train(program, "a", limit=limited(size))
        what = f"files of {size} bytes at most"
    else:
        code = random.choice(ERRORS)
        at, lasts = random.randint(1, counts[call]), random.random() < 0.5
        more = {"FAULT_AT": str(at), "FAULT_ERRNO": str(code), "FAULT_LASTS": str(int(lasts))}
        running = place.train(program, "a", env={**env, "FAULT_CALLS": call, **more})
        what = f"{call} {at} of {counts[call]}{' and on' if lasts else ''}: {errno.errorcode[code]}"
    done = running.wait_done()
    what = f"{program} from {start}: {what}"
    need(done.code in (0, 1), f"{what}: ended with {done.code}: {done.stderr}")
    need(done.code == 0 or "error:" in done.stderr, f"{what}: no message: {done.stderr}")
    try:
        after = whole(place.path("a"))
        need(after >= before, f"the last checkpoint was of step {before}, now {after}")
        place.finish(program, "a")
    except Wrong as wrong:
        raise Wrong(f"{what} (which ended with {done.code}: {done.stderr}): {wrong}") from wrong
    return call, done.code


def trial(options):
    random.seed(options.seed)
    ends = collections.Counter()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        shim = Path(folder) / "fault.so"
        source = Path(__file__).with_name("fault.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", shim, source, "-ldl"], check=True)
        env = {"LD_PRELOAD": str(shim)}
        place = Place(folder, options.rnnx)
        kinds = []
        for program in PROGRAMS:
            begun(place, program, f"{program}-half")
            for start in [None, f"{program}-half"]:
                kinds.append((program, start, calls_of(place, program, start, env)))
        for n in range(options.faults):
            ends[fault(place, *kinds[n % len(kinds)], env)] += 1
    print(f"{options.faults} faults; all runs ended the same as without; seed {options.seed}")
    for call in [*CALLS, "limit"]:
        print(f"  {call}: {ends[call, 1]} ended the program, {ends[call, 0]} did not")


if __name__ == "__main__":
    main(trial, __doc__, "faults", 20)
