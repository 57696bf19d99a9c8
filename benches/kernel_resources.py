"""Registers, shared memory and spills of every kernel, for each architecture.

    python3 benches/kernel_resources.py [--arch sm_80 --arch sm_90a ...] [--json]

NVRTC compiles the sources in kernels/ as rnnx does and its assembler reports; no GPU is needed. The
library comes with `pip install nvidia-cuda-nvrtc`, or LIBNVRTC names it. Ends with 1 if a kernel
spills registers to memory.
"""

import argparse
import ctypes
import glob
import json
import os
import re
import site
import sys
from pathlib import Path

KERNELS = Path(__file__).resolve().parent.parent / "kernels"
ARCHITECTURES = ["sm_75", "sm_80", "sm_90a", "sm_100a", "sm_120"]


# The first architectures that these have kernels for: of matrix instructions, and of clusters.
FIRST = {"attention_steps": 80, "attention_whole": 90, "lstm_whole": 80, "measure": 80, "rnn_whole": 80}


def is_older(architecture, source):
    """Whether a source rightly holds nothing for an architecture."""
    number = int(re.search(r"\d+", architecture)[0])
    return any(source.startswith(name) and number < first for name, first in FIRST.items())


def library():
    """libnvrtc: the one that LIBNVRTC names, Python's, or the system's."""
    named = [os.environ["LIBNVRTC"]] if "LIBNVRTC" in os.environ else []
    for folder in site.getsitepackages() + [site.getusersitepackages()]:
        # The builtins are found only if they are loaded already.
        for builtins in glob.glob(f"{folder}/nvidia/*/lib/libnvrtc-builtins.so*"):
            ctypes.CDLL(builtins)
        named += sorted(glob.glob(f"{folder}/nvidia/*/lib/libnvrtc.so.*"), reverse=True)
    for name in [*named, "libnvrtc.so.13", "libnvrtc.so.12"]:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    sys.exit("libnvrtc was not found: `pip install nvidia-cuda-nvrtc`, or name it in LIBNVRTC")


class Nvrtc:
    def __init__(self):
        self.lib = library()

    def call(self, name, *args):
        return getattr(self.lib, "nvrtc" + name)(*args)

    def version(self):
        major, minor = ctypes.c_int(), ctypes.c_int()
        self.call("Version", ctypes.byref(major), ctypes.byref(minor))
        return f"{major.value}.{minor.value}"

    def compile(self, source, architecture):
        """What compiler and assembler say about a source, and the machine code."""
        strings = lambda *texts: (ctypes.c_char_p * len(texts))(*texts)
        headers = sorted(KERNELS.glob("*.cuh"))
        program, size = ctypes.c_void_p(), ctypes.c_size_t()
        made = self.call(
            "CreateProgram",
            ctypes.byref(program),
            source.read_bytes(),
            source.name.encode(),
            len(headers),
            strings(*(header.read_bytes() for header in headers)),
            strings(*(header.name.encode() for header in headers)),
        )
        options = [f"--gpu-architecture={architecture}", "--std=c++17", "--ptxas-options=-v"]
        options = strings(*(option.encode() for option in options))
        failed = made or self.call("CompileProgram", program, len(options), options)
        self.call("GetProgramLogSize", program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        self.call("GetProgramLog", program, log)
        text = log.value.decode(errors="replace")
        if failed:
            sys.exit(f"{source.name} does not compile for {architecture}:\n{text}")
        self.call("GetCUBINSize", program, ctypes.byref(size))
        cubin = ctypes.create_string_buffer(size.value)
        self.call("GetCUBIN", program, cubin)
        self.call("DestroyProgram", ctypes.byref(program))
        return text, cubin.raw


def resources(log):
    """The kernels of a log: name, registers, bytes of shared memory, spilled bytes, stack bytes."""
    kernels = []
    for part in re.split(r"Compiling entry function '", log)[1:]:
        number = lambda pattern: int((re.search(pattern, part) or [0, 0])[1])
        kernels.append(
            {
                "kernel": part.split("'")[0],
                "registers": number(r"Used (\d+) registers"),
                "shared_bytes": number(r"(\d+) bytes smem"),
                "spilled_bytes": number(r"(\d+) bytes spill stores")
                + number(r"(\d+) bytes spill loads"),
                "stack_bytes": number(r"(\d+) bytes stack frame"),
            }
        )
    return kernels


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", action="append", metavar="sm_N", help="default: all")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    args = parser.parse_args()
    nvrtc, table = Nvrtc(), []
    for architecture in args.arch or ARCHITECTURES:
        for source in sorted(KERNELS.glob("*.cu")):
            rows = resources(nvrtc.compile(source, architecture)[0])
            if not rows and not is_older(architecture, source.name):
                sys.exit(f"{source.name}: the assembler reported no kernel for {architecture}")
            table += [{"architecture": architecture, "file": source.name, **row} for row in rows]
    spilled = [row for row in table if row["spilled_bytes"] or row["stack_bytes"]]
    if args.json:
        print(json.dumps({"nvrtc": nvrtc.version(), "kernels": table}, indent=1))
    else:
        print(f"NVRTC {nvrtc.version()}")
        print(f"{'':9}{'kernel':30}{'registers':>10}{'shared':>8}{'spilled':>9}{'stack':>7}")
        for row in table:
            print(
                f"{row['architecture']:9}{row['kernel']:30}{row['registers']:10}"
                f"{row['shared_bytes']:8}{row['spilled_bytes']:9}{row['stack_bytes']:7}"
            )
        print(f"{len(table)} kernels, {len(spilled)} with spills or a stack")
    sys.exit(1 if spilled else 0)


if __name__ == "__main__":
    main()
