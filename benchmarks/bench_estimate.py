"""Cost of `corrinit.estimate` on a 100 MB safetensors file, beside just reading its tensors.

Targets: at most 1.5 times the time, and memory of less than twice the largest tensor. Each measurement is
the first of a fresh process, as `corrinit estimate` is; torch is loaded before the clock starts, and the file
is in the page cache. Memory is what the process holds of its own (anonymous pages), not the mapped file.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

REPEATS = 7
TIME_TARGET, MEMORY_TARGET = 1.5, 2.0


def write_network(path: Path) -> int:
    """The 3×3 convolutions of a ResNet-34 and some more, 100 MB; returns the bytes of the largest tensor."""
    channels = [64] * 7 + [128] * 8 + [256] * 12 + [512] * 7
    generator = torch.Generator().manual_seed(0)
    tensors = {
        f"layer{index}.weight": 0.05 * torch.randn(outputs, inputs, 3, 3, generator=generator)
        for index, (inputs, outputs) in enumerate(zip([3, *channels], channels, strict=False))
    }
    save_file(tensors, path)
    return max(tensor.nbytes for tensor in tensors.values())


def read(path: str) -> None:
    """Every tensor into memory, as a state dict is held."""
    with safe_open(path, framework="pt") as file:
        _ = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118


def pass_over(path: str) -> None:
    """Every tensor into memory that the one before it has left warm."""
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 (safe_open is no mapping)
            file.get_tensor(name).clone()


def estimate(path: str) -> None:
    import corrinit

    corrinit.estimate(path)


def anonymous_bytes() -> int:
    """Memory of this process that backs no file (Linux)."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError("the kernel does not tell anonymous memory")


def measure(action: str, path: str) -> dict[str, float]:
    """Seconds and peak extra bytes of one action, the first of this process."""
    import corrinit._estimation  # noqa: F401 (not what is measured)

    torch.randn(64, 64).mm(torch.randn(64, 64))  # starts the threads
    started_with = anonymous_bytes()
    peak, done = started_with, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.0005):
            peak = max(peak, anonymous_bytes())

    watcher = threading.Thread(target=watch)
    if action == "memory":
        watcher.start()
    started = time.perf_counter()
    {"read": read, "pass over": pass_over}.get(action, estimate)(path)
    seconds = time.perf_counter() - started
    done.set()
    if action == "memory":
        watcher.join()
    return {"seconds": seconds, "bytes": peak - started_with}


def in_fresh_process(action: str, path: Path) -> dict[str, float]:
    command = [sys.executable, __file__, action, str(path)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.safetensors"
        largest = write_network(path)
        reading, passing, estimating = [], [], []
        for _ in range(REPEATS):  # in turns, so that other load falls on both
            reading.append(in_fresh_process("read", path)["seconds"])
            passing.append(in_fresh_process("pass over", path)["seconds"])
            estimating.append(in_fresh_process("estimate", path)["seconds"])
        memory = max(in_fresh_process("memory", path)["bytes"] for _ in range(3))
        size = path.stat().st_size / 1e6
    ratio = min(estimating) / min(reading)
    print(
        f"estimate of {size:.0f} MB: measured {1e3 * min(estimating):.0f} ms, {ratio:.2f} times reading the "
        f"tensors into memory ({1e3 * min(reading):.0f} ms); target {TIME_TARGET}"
    )
    print(
        f"  and {min(estimating) / min(passing):.2f} times passing over them without keeping any "
        f"({1e3 * min(passing):.0f} ms)"
    )
    print(
        f"estimate, memory: measured {memory / 1e6:.1f} MB, {memory / largest:.2f} times the largest tensor; "
        f"target {MEMORY_TARGET}"
    )


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(measure(*sys.argv[1:])))
    else:
        main()
