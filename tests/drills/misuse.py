"""Careless values for the arguments of public functions, each in turn."""

from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch import nn

import corrinit
from corrinit import SpatialCorrelation, kernels

from .fuzz import outcome

VALUES = [
    *(None, True, -1, 0, 2.5, float("nan"), float("inf"), "2", "", b"x", (), [], {}, [None], object()),
    *(nn.Conv2d(1, 1, 3), np.zeros(3), np.zeros((9, 9)), np.eye(9), torch.zeros(2), Path("x"), 10**30),
    *("kaiming_normal", "correlated", torch.eye(9, dtype=torch.complex64)),
]
MODEL = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
R = SpatialCorrelation(kernels.exponential((3, 3), mean=0.3))


def calls(folder):
    """Public functions, each with arguments that are right."""
    return {
        corrinit.initialize: {
            "model": MODEL,
            "correlation": None,
            "strength": 1.0,
            "seed": 0,
            "exclude": None,
        },
        corrinit.plan: {"model": MODEL, "scale": "he", "method": None, "input_size": 32, "rules": None},
        corrinit.estimate: {"source": MODEL, "kernel_size": (3, 3), "include": None, "pooling": "filters"},
        corrinit.compare: {
            "train_fn": lambda model, seed: 0.5,
            "methods": ["kaiming_normal", "orthogonal"],
            "seeds": 2,
            "model": lambda: nn.Conv2d(2, 2, 3),
            "max_seeds": None,
            "baseline": None,
            "images": None,
        },
        SpatialCorrelation: {"matrix": R.matrix, "kernel_size": (3, 3), "deviations": None},
        R.with_strength: {"strength": 0.5},
        R.resize: {"kernel_size": (5, 5)},
        kernels.exponential: {
            "kernel_size": (3, 3),
            "length_scale": None,
            "mean": 0.3,
            "metric": "cityblock",
        },
        corrinit.correlated_normal_: {
            "tensor": MODEL[0].weight,
            "correlation": R,
            "std": 1.0,
            "generator": None,
        },
        corrinit.correlated_kaiming_normal_: {
            "tensor": MODEL[0].weight,
            "correlation": R,
            "a": 0,
            "mode": "fan_in",
            "nonlinearity": "relu",
            "scale": None,
        },
        corrinit.correlated_xavier_normal_: {"tensor": MODEL[0].weight, "correlation": R, "gain": 1.0},
        corrinit.signal_scale: {"correlation": R, "channels": 3, "gain": 1.0, "scale": "he"},
        corrinit.estimate_inputs: {
            "images": np.random.default_rng(0).normal(size=(4, 3, 8, 8)),
            "kernel_size": 3,
        },
        corrinit.save_correlation: {"path": folder / "R.safetensors", "correlation": R},
        corrinit.load_correlation: {"path": folder / "R.safetensors"},
        corrinit.adapt_inputs: {"conv": MODEL[0], "channels": [0, 1, 2, None], "pretrained": None},
        corrinit.GradientMonitor: {
            "parameters": MODEL,
            "optimizer": torch.optim.SGD(MODEL.parameters(), lr=0.1),
        },
    }


def misuses(folder):
    """Calls with one careless value each, by name."""
    for function, arguments in calls(folder).items():
        for argument in arguments:
            for number, value in enumerate(VALUES):
                if argument != "path" or not isinstance(
                    value, str | bytes | Path
                ):  # names that can be written
                    name = f"{function.__name__}({argument}=VALUES[{number}])"
                    yield name, function, {**arguments, argument: value}


def misuse(folder):
    """Outcomes of all misuses."""
    found = Counter()
    for name, function, arguments in misuses(folder):
        before = {key: value.clone() for key, value in MODEL.state_dict().items()}
        came = outcome(lambda _, f=function, a=arguments: f(**a), None)
        changed = any(not value.equal(before[key]) for key, value in MODEL.state_dict().items())
        came = "changed model" if changed and came == "refused" else came
        found[came if came in ("read", "refused") else f"{name}: {came}"] += 1
    return found
