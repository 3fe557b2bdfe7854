"""What listing recorded runs costs with an index, beside reading them.

    python benchmarks/bench_index.py [RUNS]

Both are measured in one process, in seconds of this process, since other work on the machine would count as
well. Target: 100,000 runs are listed in under 1 s, where reading each takes milliseconds. The runs are one
record under many seeds, in a temporary folder; 20,000 of them by default, which take a minute to write and
to read for the first time.
"""

import io
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import replace
from pathlib import Path

from corrinit import cli
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.runs import record as records
from corrinit.lab.runs.index import finished_runs, list_runs
from corrinit.lab.runs.record import RunRecord, finished_run, read_runs
from corrinit.lab.training.run import run

SAMPLE = 200
"""Runs that are read without an index: each takes as long as the next."""


def seconds(work: Callable[[], object]) -> float:
    """Of this process, the best of three."""
    times = []
    for _ in range(3):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


def lay(root: Path, config: RunConfig, like: RunRecord) -> None:
    """A finished run of a configuration, with the results of another."""
    with records.claimed(root, config) as path:
        records.start(path, config)
        records.write_metrics(path, like.metrics)
        records.finish(path, like.updates(), like.result.row())


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, sample = Path(folder, "runs"), Path(folder, "sample")
        root.mkdir(), sample.mkdir()
        first = RunConfig(train_subset=64, width=0.1, epochs=20, batch_size=32)
        like = run(first, Path(folder, "like"))
        configs = [replace(first, seed=seed) for seed in range(count)]
        for number, config in enumerate(configs):
            lay(root if number >= SAMPLE else sample, config, like)
        sampled, indexed = configs[:SAMPLE], configs[SAMPLE:]
        time.sleep(2.5)  # what was written a moment ago is not kept
        started = time.process_time()
        list_runs(root)
        print(
            f"{len(indexed):,} runs are read, and the index written, in {time.process_time() - started:.1f} s"
        )
        ids = seconds(lambda: [config.run_id for config in sampled]) / len(sampled)
        pairs = {
            "listed": (lambda: read_runs(sample), lambda: list_runs(root)),
            "found finished": (
                lambda: [finished_run(sample, config) for config in sampled],
                lambda: finished_runs(root, indexed),
            ),
        }
        for name, (read, look_up) in pairs.items():
            each, fast = seconds(read) / len(sampled), seconds(look_up) / len(indexed)
            print(
                f"{name}: {1e6 * each:,.0f} µs a run without an index, {1e6 * fast:.1f} with one "
                f"(ratio {each / fast:,.0f}); 100,000 runs in {1e5 * fast:.2f} s"
            )
        print(f"of which {1e6 * ids:.1f} µs tell the id of a configuration")

        def command() -> None:
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), suppress(SystemExit):
                cli.main(["runs", "--folder", str(root)])

        with_text = seconds(command) / len(indexed)
        print(
            f"corrinit runs: {1e6 * with_text:.1f} µs a run, 100,000 in {1e5 * with_text:.2f} s; target 1 s"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 20_000)
