"""How soon the command line answers: `corrinit --help`, target 0.3 s."""

import subprocess
import sys
import time

REPEATS = 9
TARGET = 0.3


def seconds(*command: str) -> float:
    """Wall time of one process, the best of `REPEATS`: the rest is what else the machine did."""
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return min(times)


def main() -> None:
    interpreter = seconds(sys.executable, "-c", "pass")
    answer = seconds(sys.executable, "-m", "corrinit", "--help")
    print(f"corrinit --help: measured {answer:.3f} s (bare Python {interpreter:.3f} s); target {TARGET} s")


if __name__ == "__main__":
    main()
