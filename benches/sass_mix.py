"""Machine instructions of the inner loop of each kernel that takes whole sequences.

    python3 benches/sass_mix.py [--arch sm_90a --arch sm_100a] [--kernel lstm_whole_fwd_256] [--json]

NVRTC compiles the sources in kernels/ and nvdisasm takes them apart; no GPU is needed. They come with
`pip install nvidia-cuda-nvrtc nvidia-cuda-nvdisasm`, or LIBNVRTC and NVDISASM name them.

The inner loop is one step of one group of rows, as a warp sees it: the smallest loop with both matrix
instructions and special functions. Its figures are of the path through it with the most instructions
that comes back to its head: of what excludes one another, as a table of ids and none, the longer side
counts, and what ends the pass or follows a failed wait does not. Loops inside count once, but those
with matrix instructions as often as they run.
"""

import argparse
import glob
import json
import os
import re
import shutil
import site
import subprocess
import sys
import tempfile
from pathlib import Path

from kernel_resources import KERNELS, Nvrtc, resources

ARCHITECTURES = ["sm_90a", "sm_100a"]
SOURCES = ["lstm_whole_fwd.cu", "lstm_whole_bwd.cu"]
# Slices that a warp of the backward pass holds, from 256 units on: `held_back` there.
HELD_BACK = 28
# What is counted: the first that an opcode begins with.
CLASSES = {
    "matrix": ("HMMA",),
    "ldmatrix": ("LDSM",),
    "shared loads": ("LDS",),
    "shared stores": ("STS",),
    "remote stores": ("STAS",),
    "special": ("MUFU",),
    "mbarrier": ("SYNCS",),
    "barrier": ("BAR",),
    "votes": ("VOTE",),
    "global loads": ("LDG", "LD."),
    "global stores": ("STG", "ST."),
    "f32": ("FADD", "FMUL", "FFMA", "FSETP", "FSEL", "FMNMX"),
    "conversions": ("F2F", "HADD2.F32", "F2FP"),
    "branches": ("BRA", "BSSY", "BSYNC", "WARPSYNC", "EXIT"),
}
LABEL = re.compile(r"^(\.\S+):")
CODE = re.compile(r"^\s*/\*([0-9a-f]{4,})\*/\s+(@!?U?P\w+\s+)?(\S+)([^;]*);")
TARGET = re.compile(r"`\((\.\S+?)\)")


def disassembler():
    """nvdisasm: the one that NVDISASM names, Python's, or the system's."""
    named = [os.environ["NVDISASM"]] if "NVDISASM" in os.environ else []
    for folder in site.getsitepackages() + [site.getusersitepackages()]:
        named += glob.glob(f"{folder}/nvidia/*/bin/nvdisasm")
    for name in [*named, "nvdisasm"]:
        if shutil.which(name):
            return name
    sys.exit("nvdisasm was not found: `pip install nvidia-cuda-nvdisasm`, or name it in NVDISASM")


def functions(text):
    """{kernel: lines} of a disassembly."""
    found, name = {}, None
    for line in text.splitlines():
        section = re.match(r"\s*\.section\s+\.text\.(\w+),", line)
        if section:
            name = section[1]
            found[name] = []
        elif re.match(r"\s*\.section\s", line):
            name = None
        elif name:
            found[name].append(line)
    return found


class Instruction:
    def __init__(self, predicate, opcode, operands):
        self.predicate, self.opcode, self.operands = predicate, opcode, operands
        # Where lanes of a warp have parted (BRA.DIV) is not the way that is counted.
        branches = opcode.startswith("BRA") and ".DIV" not in opcode
        self.targets = TARGET.findall(operands) if branches else []
        self.ends = opcode.split(".")[0] in ("EXIT", "RET", "BRX", "JMP") and not predicate
        self.jumps = bool(self.targets) and not predicate and "P" not in operands.split("`")[0]
        # Only a wait that has failed looks at the clock.
        self.late = "GLOBALTIMER" in operands


class Flow:
    """The instructions of a kernel in order, and where each of them leads."""

    def __init__(self, lines):
        self.code, places = [], {}
        for line in lines:
            label, code = LABEL.match(line), CODE.match(line)
            if label:
                places[label[1]] = len(self.code)
            elif code:
                self.code.append(Instruction((code[2] or "").strip(), code[3], code[4]))
        self.next = []
        for at, i in enumerate(self.code):
            to = [places[t] for t in i.targets if t in places and places[t] < len(self.code)]
            if not i.ends and not i.jumps and at + 1 < len(self.code):
                to.append(at + 1)
            self.next.append([n for n in to if not self.code[n].late])

        self.order = self.reverse_postorder()
        self.loops = self.find_loops()

    def reverse_postorder(self):
        order, seen, todo = [], {0}, [(0, iter(self.next[0]))]
        while todo:
            at, nexts = todo[-1]
            to = next((n for n in nexts if n not in seen), None)
            if to is None:
                order.append(todo.pop()[0])
            else:
                seen.add(to)
                todo.append((to, iter(self.next[to])))
        return order[::-1]

    def find_loops(self):
        """(head, latch, body) of each loop: an edge to what every path to it comes through (Cooper, Harvey &
        Kennedy, "A Simple, Fast Dominance Algorithm", 2001)."""
        place = {at: n for n, at in enumerate(self.order)}
        before = {at: [] for at in self.order}
        for at in self.order:
            for to in self.next[at]:
                before[to].append(at)
        above, changed = {0: 0}, True

        def meet(a, b):
            while a != b:
                if place[a] < place[b]:
                    a, b = b, a
                a = above[a]
            return a

        while changed:
            changed = False
            for at in self.order[1:]:
                known = [b for b in before[at] if b in above]
                dominator = known[0]
                for other in known[1:]:
                    dominator = meet(dominator, other)
                if above.get(at) != dominator:
                    above[at], changed = dominator, True
        loops = []
        for latch in self.order:
            for head in self.next[latch]:
                if place[head] <= place[latch] and meet(head, latch) == head:
                    body, todo = {head, latch}, [latch]
                    while todo:
                        at = todo.pop()
                        new = [b for b in before[at] if b not in body] if at != head else []
                        body.update(new)
                        todo += new
                    loops.append((head, latch, body))
        return loops

    def has(self, body, word):
        return any(self.code[at].opcode.startswith(word) for at in body)


def inner_loop(flow):
    """A step of a group, as (head, latches, body): the smallest loop with both matrix instructions and special
    functions."""
    heads = {}
    for head, latch, body in flow.loops:
        latches, all_of_it = heads.setdefault(head, (set(), set()))
        latches.add(latch)
        all_of_it |= body
    steps = [(head, *loop) for head, loop in heads.items()
             if flow.has(loop[1], "HMMA") and flow.has(loop[1], "MUFU")]
    return min(steps, key=lambda loop: len(loop[2]), default=None)


def longest(flow, head, latches, body, trips):
    """The instructions of the longest path from head to a latch, each with how often it runs."""
    times, back = dict.fromkeys(body, 1), set()
    for other, end, inside in flow.loops:
        back.add((end, other))
        if inside < body and flow.has(inside, "HMMA") and not flow.has(inside, "MUFU"):
            times.update(dict.fromkeys(inside, trips))
    length, after = {}, {}
    for at in reversed(flow.order):
        if at not in body:
            continue
        to = [n for n in flow.next[at] if n in length and (at, n) not in back]
        if to:
            after[at] = max(to, key=length.get)
            length[at] = times[at] + length[after[at]]
        elif at in latches:
            length[at] = times[at]
    path, at = [head], head
    while at in after:
        at = after[at]
        path.append(at)
    return [(flow.code[at], times[at]) for at in path]


def mix(path):
    counts = dict.fromkeys(CLASSES, 0)
    counts["others"] = 0
    for instruction, times in path:
        kind = next((k for k, words in CLASSES.items() if instruction.opcode.startswith(words)), "others")
        counts[kind] += times
    counts["all"] = sum(counts.values())
    return counts


def rolled(kernel):
    """How often the loop over slices that are not in registers runs, two or four slices a turn."""
    hidden = int(kernel.rsplit("_", 1)[1])
    if "_fwd_" in kernel:
        return max(0, hidden // 16 - 16) // 2
    return (hidden // 8 - (HELD_BACK if hidden >= 256 else 8)) // 4


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", action="append", metavar="sm_N", help=f"default: {ARCHITECTURES}")
    parser.add_argument("--kernel", action="append", help="default: all of whole sequences")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    args = parser.parse_args()
    nvrtc, program, rows = Nvrtc(), disassembler(), []
    for architecture in args.arch or ARCHITECTURES:
        for source in SOURCES:
            log, cubin = nvrtc.compile(KERNELS / source, architecture)
            used = {row["kernel"]: row for row in resources(log)}
            with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
                file.write(cubin)
                file.flush()
                text = subprocess.run([program, "-c", file.name], capture_output=True, text=True,
                                      check=True).stdout
            for kernel, lines in sorted(functions(text).items(), key=lambda f: int(f[0].rsplit("_", 1)[1])):
                if args.kernel and kernel not in args.kernel:
                    continue
                flow = Flow(lines)
                loop = inner_loop(flow)
                if loop is None:
                    sys.exit(f"{kernel} for {architecture}: no loop with matrix instructions and special functions")
                counts = mix(longest(flow, *loop, rolled(kernel)))
                rows.append({"architecture": architecture, "kernel": kernel,
                             "registers": used[kernel]["registers"],
                             "spilled_bytes": used[kernel]["spilled_bytes"], **counts})
    if args.json:
        print(json.dumps({"nvrtc": nvrtc.version(), "loops": rows}, indent=1))
        return
    print(f"NVRTC {nvrtc.version()}: instructions of a warp, for a step of a group of eight rows")
    heads = [key for key in rows[0] if key != "kernel"]
    print(f"{'kernel':22}" + "".join(f"{head.replace('architecture', 'for')[:13]:>14}" for head in heads))
    for row in rows:
        print(f"{row['kernel']:22}" + "".join(f"{row[head]:>14}" for head in heads))


if __name__ == "__main__":
    main()
