"""Cost of everything that is measured during training, and of starting, as in `corrinit demo`.

    python benchmarks/bench_training.py [DATA]

Targets: with every monitor on at least 97 % of the images/s of a bare loop (forward, backward, SGD) in the
same precision and layout; averaging the weights takes at most 0.5 % of an update; from the start of the
process to its first update under 5 s, under 2 GB of memory. The first two are measured on random images of
CIFAR-10's shape, the others on DATA (default: digits). Of the time of a whole comparison at least 97 % is to
be training; that is measured on digits, in minutes.
"""

import contextlib
import io
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from corrinit import cli
from corrinit._monitor import weight_correlation
from corrinit.lab.data.dataset import Dataset, Unused, load
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.runs.record import Metrics
from corrinit.lab.training.loop import Training

UPDATES = 40
EPOCH = 50_000 // 256  # updates per epoch of CIFAR-10
FORMATS = {
    "float32": {"precision": "float32", "channels_last": False},
    "bfloat16, channels last": {"precision": "bfloat16", "channels_last": True},
}


def random_images(count: int) -> Dataset:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (count, 3, 32, 32), np.uint8)
    labels = generator.integers(0, 10, count)
    return Dataset("random", "random", tuple("0123456789"), images, labels, images[:1], labels[:1])


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def bare_update(training: Training, images: torch.Tensor, labels: torch.Tensor) -> None:
    bfloat16 = training.config.precision == "bfloat16"
    with torch.autocast(training.device.type, torch.bfloat16, enabled=bfloat16):
        loss = cross_entropy(training.model(images), labels)
    training.optimizer.zero_grad()
    loss.backward()
    training.optimizer.step()


def monitored_update(training: Training, batches: Iterator[tuple[torch.Tensor, torch.Tensor]]) -> None:
    images, labels = next(batches)
    scores, _ = training.step(images, labels)
    (scores.detach().argmax(1) == labels).float().mean()


def images_per_second(config: RunConfig) -> tuple[dict[str, float], float]:
    """From the median time of an update of each loop, taken in turns; reading the monitors is shared out.

    Then the share of a bare update that averaging the weights takes, which the monitored loop includes.
    """
    data = random_images(UPDATES * config.batch_size)
    bare, watched = Training(config, data, monitored=False), Training(config, data)
    images, labels = next(bare.batches())
    batches = watched.batches()
    times: dict[str, list[float]] = {"bare": [], "monitored": [], "averaging": []}
    for _ in range(UPDATES):
        times["bare"].append(seconds(lambda: bare_update(bare, images, labels)))
        times["monitored"].append(seconds(lambda: monitored_update(watched, batches)))
        times["averaging"].append(seconds(watched.average.update))
    median = {name: statistics.median(values[UPDATES // 10 :]) for name, values in times.items()}
    assert watched.monitor is not None
    reading = seconds(watched.monitor.read) + seconds(lambda: weight_correlation(watched.model))
    median["monitored"] += reading / EPOCH
    share = median.pop("averaging") / median["bare"]
    return {name: config.batch_size / value for name, value in median.items()}, share


def cost_of_endpoints(config: RunConfig, count: int = 4_000) -> float:
    """Images trained on in the time that scoring both kinds of weights takes for one image of each kind."""
    data = random_images(count)
    chosen = np.arange(count)
    unused = Unused(data.train_images, data.train_labels, chosen)
    data = replace(data, test_images=data.train_images, test_labels=data.train_labels, unused=unused)
    training = Training(config, data)
    training.run_epoch()
    training.metrics[-1] = {**training.metrics[-1], "train_loss": 0.0}  # random images may diverge
    # two passes over the unused images, one over the test images: the other is made after the last epoch
    return seconds(training.endpoints) / 3 / training.metrics[-1]["seconds"]


def first_update(data: str) -> None:
    """What the child process of `start` does."""
    dataset = load(data)
    small = min(dataset.train_images.shape[2:]) < 32
    training = Training(RunConfig(data=data, model="small" if small else "vgg8"), dataset)
    training.model.train()
    training.step(*next(training.batches()))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)


def start(data: str) -> tuple[float, float]:
    """Seconds from the start of a process to its first update, and GB of memory, with a warm cache."""
    load(data)
    command = [sys.executable, __file__, "--first-update", data]
    started = time.perf_counter()
    child = subprocess.run(command, check=True, capture_output=True, text=True)
    return time.perf_counter() - started, float(child.stdout)


def share_of_comparison() -> float:
    """Share of a `corrinit compare`, report included, that is spent in epochs of training and testing."""
    inside, run_epoch = [0.0], Training.run_epoch

    def timed(training: Training) -> Metrics:
        started = time.perf_counter()
        metrics = run_epoch(training)
        inside[0] += time.perf_counter() - started
        return metrics

    with tempfile.TemporaryDirectory() as folder, mock.patch.object(Training, "run_epoch", timed):
        words = f"compare --epochs 80 --seeds 1 --width 2 --jobs 1 --runs {folder} -o {folder}/r.html"
        started = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
            cli.main(words.split())
        return inside[0] / (time.perf_counter() - started)


def main(data: str) -> None:
    for name, settings in FORMATS.items():
        rate, share = images_per_second(RunConfig(model="vgg8", **settings))
        ratio = rate["monitored"] / rate["bare"]
        print(
            f"VGG-8, {name}: monitored {rate['monitored']:,.0f} images/s, bare {rate['bare']:,.0f} images/s; "
            f"measured {ratio:.3f}, target ≥ 0.97"
        )
        print(
            f"VGG-8, {name}: averaging the weights, measured {100 * share:.2f} % of an update, target ≤ 0.5 %"
        )
        images = cost_of_endpoints(RunConfig(model="vgg8", **settings))
        print(f"VGG-8, {name}: scoring an image at the end takes {images:.2f} of training on one")
    waited, memory = start(data)
    print(f"start to first update on {Path(data).name}: measured {waited:.1f} s, target < 5 s")
    print(f"memory at the first update on {Path(data).name}: measured {memory:.2f} GB, target < 2 GB")
    share = share_of_comparison()
    print(
        f"share of a comparison of 4 runs that is training and testing: measured {share:.3f}, target ≥ 0.97"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--first-update"]:
        first_update(sys.argv[2])
    else:
        main(sys.argv[1] if len(sys.argv) > 1 else "digits")
