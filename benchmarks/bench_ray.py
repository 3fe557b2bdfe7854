"""What the engine on Ray costs beside worker processes of this machine.

    python benchmarks/bench_ray.py [RUNS]

Both engines make the same short runs, two at a time, one engine after the other. Targets: from the call to
the first epoch under 15 s; of the throughput at runs of 30 s at least 95 %.
"""

import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from corrinit.errors import MissingLibraryError
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.training.engine import Engine
from corrinit.lab.training.on_ray import OnRay
from corrinit.lab.training.processes import LocalProcesses
from corrinit.lab.training.sweep import sweep

SHORT = RunConfig(train_subset=64, width=0.1, epochs=1, batch_size=32)


def measured(engine: Engine, configs: list[RunConfig]) -> tuple[float, float]:
    """Seconds to the first epoch, and for each run after it."""
    epochs: list[float] = []

    def tell(config: RunConfig, metrics: Mapping[str, float]) -> None:
        epochs.append(time.perf_counter())

    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as runs:
        assert not sweep(configs, Path(runs), engine=engine, on_epoch=tell).failures
    return epochs[0] - started, (epochs[-1] - epochs[0]) / (len(epochs) - 1)


def main(count: int) -> None:
    torch.set_num_threads(2)
    configs = [replace(SHORT, seed=seed) for seed in range(count)]
    try:
        engines = {"processes": LocalProcesses(2), "Ray": OnRay(jobs=2)}
    except MissingLibraryError as error:
        print(f"runs on Ray: not measured, as {error.message}")
        return
    times = {name: measured(engine, configs) for name, engine in engines.items()}
    for name, (first, each) in times.items():
        print(f"{name}: first epoch after {first:.1f} s, then {1000 * each:.0f} ms a run")
    more = times["Ray"][1] - times["processes"][1]
    share = 30 / (30 + 2 * max(more, 0))
    print(f"Ray takes {1000 * more:+.0f} ms a run: {share:.3f} of the throughput at 30 s a run")
    print("targets: first epoch under 15 s, throughput ≥ 0.95")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 100)
