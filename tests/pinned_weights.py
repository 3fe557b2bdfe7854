"""Weights that must stay what they are for ever, in some forty numbers for each layer.

Files in `tests/pinned` hold, of each layer, the root mean square of its weights, 32 of them, and a checksum
that one wrong weight changes. They are never rewritten: delete one to have it made anew, which is right only
before the first release of what it pins.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

FOLDER = Path(__file__).parent / "pinned"

TOLERANCE = 5e-6
"""In units of the root mean square. Processors with AVX2 agree in every bit of a float32 weight; without it,
torch computes normal numbers by other approximations, up to 2e-6 of their deviation away."""


def check_pinned(name: str, weights: Mapping[str, torch.Tensor]) -> None:
    """Fail unless these weights are those that the file of this name pins; make the file if there is none."""
    path = FOLDER / f"{name}.json"
    found = {layer: summary(weight) for layer, weight in weights.items()}
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(found, indent=1) + "\n")
        pytest.fail(f"no weights were pinned as {name}; these are now, in {path}: commit it")
    assert differences(json.loads(path.read_text()), found) == []


def summary(weight: torch.Tensor) -> dict[str, Any]:
    """Shape, root mean square, checksum, and values at equal distances in row-major order."""
    values = weight.detach().cpu().double().contiguous().numpy().ravel()
    golden = (math.sqrt(5) - 1) / 2
    factors = 2 * (np.arange(len(values)) * golden % 1) - 1  # as good as random within ± 1
    places = np.linspace(0, len(values) - 1, min(len(values), 32)).astype(int)
    return {
        "shape": list(weight.shape),
        "rms": math.sqrt(np.square(values).mean()) if len(values) else 0.0,
        "checksum": float(values @ factors),
        "values": values[places].tolist(),
    }


def differences(pinned: Mapping[str, dict[str, Any]], found: Mapping[str, dict[str, Any]]) -> list[str]:
    """What differs between two sets of summaries, a line for each layer."""
    lines = [f"{layer}: only pinned" for layer in pinned.keys() - found.keys()]
    lines += [f"{layer}: not pinned" for layer in found.keys() - pinned.keys()]
    for layer in pinned.keys() & found.keys():
        old, new = pinned[layer], found[layer]
        if old["shape"] != new["shape"]:
            lines.append(f"{layer}: shape {new['shape']}, pinned {old['shape']}")
            continue
        apart = np.abs(np.subtract(new["values"], old["values"])).max(initial=0.0)
        checksums_apart = abs(new["checksum"] - old["checksum"])
        tolerance = TOLERANCE * old["rms"]  # of one weight; errors of n add up to √n times as much
        if apart > tolerance or checksums_apart > tolerance * math.sqrt(math.prod(old["shape"])):
            lines.append(f"{layer}: weights differ by {apart:.3g}, checksums by {checksums_apart:.3g}")
    return sorted(lines)
