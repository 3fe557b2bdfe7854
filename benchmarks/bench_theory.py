"""Speed of the single-filter simulator: updates × filters a second, target 10⁶ on 2 cores.

Measured on one thread, so that other work on the machine cannot make the second one wait.
"""

import time

import numpy as np
import torch

from corrinit.theory import Samples, descend, stability_limit

TARGET = 1e6
STEPS = 200
SETTINGS = {
    "one set of 16 samples, 20,000 starts": (1, 20_000, 16, 9),
    "2,000 sets of 16 samples, 10 starts": (2_000, 10, 16, 9),
    "10,000 sets of 4 samples, 2 starts": (10_000, 2, 4, 9),
}


def main() -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    print(f"1 thread; target {TARGET:,.0f} updates × filters per second")
    for name, (sets, starts, n, p) in SETTINGS.items():
        samples = Samples.noiseless(rng.random((sets, n, p)), rng.normal(size=(sets, p)))
        weights = rng.normal(size=(sets, starts, p))
        rate = stability_limit(samples) / 2
        descend(samples, weights, rate, 2)
        before = time.perf_counter()
        descend(samples, weights, rate, STEPS, every=STEPS)
        speed = sets * starts * STEPS / (time.perf_counter() - before)
        print(f"{name:40} {speed:14,.0f}  {'ok' if speed >= TARGET else 'BELOW TARGET'}")


if __name__ == "__main__":
    main()
