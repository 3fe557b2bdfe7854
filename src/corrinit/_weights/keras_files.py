"""The filters in what Keras saves: `.keras`, `.weights.h5` and the older `.h5`, told by what is inside.

Which layers are convolutions, and how their kernels lie, is told by the classes of the layers: from the
configuration that lies beside the weights, or from the names that Keras gives to the groups of a file. The
model is not built. Kernels of layers of one's own are judged by their names and shapes, like any others.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from corrinit._arrays import Array
from corrinit._weights.hdf5_files import HDF5File, attribute, inner_group, texts
from corrinit._weights.stored_tensor import StoredTensor
from corrinit.errors import DamagedWeightsError, NotWeightsError

ARCHIVED = "model.weights.h5"
"""The member of a `.keras` file that holds the weights."""

_LARGEST_CONFIGURATION = 1 << 28
_CONTAINERS = frozenset(("layers", "vars", "_layer_checkpoint_dependencies"))
"""Groups that name no layer."""


class _Kernel(NamedTuple):
    """A kernel of a layer: its names in versions of Keras, and from its axes to (out, in, k_1, …, k_d)."""

    names: tuple[str, ...]
    order: Callable[[Array], Array]

    def ordered(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a kernel so ordered."""
        return self.order(np.broadcast_to(np.zeros((), np.bool_), shape)).shape


def _inputs_first(kernel: Array) -> Array:
    """From (k_1, …, k_d, in, out)."""
    return np.moveaxis(kernel, (-1, -2), (0, 1))


def _outputs_first(kernel: Array) -> Array:
    """From (k_1, …, k_d, out, in), of transposed filters; or (k_1, …, k_d, in, m), m for each channel."""
    return np.moveaxis(kernel, (-2, -1), (0, 1))


_KERNELS: Mapping[str, tuple[_Kernel, ...]] = {
    **{f"conv{d}d": (_Kernel(("kernel",), _inputs_first),) for d in (1, 2, 3)},
    **{f"convolution{d}d": (_Kernel(("kernel",), _inputs_first),) for d in (1, 2, 3)},
    **{f"conv{d}d_transpose": (_Kernel(("kernel",), _outputs_first),) for d in (1, 2, 3)},
    **{f"depthwise_conv{d}d": (_Kernel(("kernel", "depthwise_kernel"), _outputs_first),) for d in (1, 2)},
    **{
        f"separable_conv{d}d": (
            _Kernel(("depthwise_kernel",), _outputs_first),
            _Kernel(("pointwise_kernel",), _inputs_first),
        )
        for d in (1, 2)
    },
}
"""The kernels of the convolutions of Keras, in the order in which a layer saves them."""


def is_keras_archive(path: Path) -> bool:
    """Whether a zip archive is a `.keras` file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return ARCHIVED in archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False


def read_keras_archive(path: Path) -> dict[str, StoredTensor]:
    """The weights of the layers in a `.keras` file.

    Raises:
        WeightsError: if it is damaged.
        MissingPackageError: if the library `h5py` is not installed.
    """
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            member = archive.getinfo(ARCHIVED)
            if member.compress_type != zipfile.ZIP_STORED:
                raise NotWeightsError(
                    f"{path} is compressed, which Keras does not do; unpack {ARCHIVED} from it"
                )
            file.seek(member.header_offset)
            header = file.read(30)
            start = (
                member.header_offset + 30 + sum(int.from_bytes(header[i : i + 2], "little") for i in (26, 28))
            )
            configuration = b"{}"
            if "config.json" in archive.namelist():
                with archive.open("config.json") as text:
                    configuration = text.read(_LARGEST_CONFIGURATION)
    except (zipfile.BadZipFile, OSError, KeyError, ValueError, EOFError, NotImplementedError) as error:
        raise DamagedWeightsError(f"{path} is a damaged zip archive: {error}") from error
    part = HDF5File(path, start, member.file_size)
    with part.opened() as root:
        return _weights(part, root, _classes(configuration))


def read_hdf5(path: Path) -> dict[str, StoredTensor]:
    """The weights of the layers in an HDF5 file of Keras; the arrays of any other by their paths.

    Raises:
        WeightsError: if it is damaged.
        MissingPackageError: if the library `h5py` is not installed.
    """
    part = HDF5File(path, 0, path.stat().st_size)
    with part.opened() as root:
        classes = _classes(attribute(root, "model_config") or "{}")
        return _weights(part, inner_group(root, "model_weights") or root, classes)


def _classes(configuration: str | bytes) -> dict[str, str]:
    """The classes of the layers by their names, as Keras writes them in the names of groups."""
    found: dict[str, str] = {}

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            inside, kind = value.get("config"), value.get("class_name")
            if isinstance(kind, str) and isinstance(inside, dict) and isinstance(inside.get("name"), str):
                found.setdefault(inside["name"], _as_group(kind))
            for each in value.values():
                walk(each)
        elif isinstance(value, list):
            for each in value:
                walk(each)

    try:
        walk(json.loads(configuration))
    except (ValueError, RecursionError) as error:
        raise DamagedWeightsError(f"the configuration of the model cannot be read: {error}") from error
    return found


def _as_group(kind: str) -> str:
    """The name of a class as Keras makes names of groups from it.

    >>> _as_group("Conv2DTranspose"), _as_group("SeparableConv2D")
    ('conv2d_transpose', 'separable_conv2d')
    """
    parts = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W", "", kind))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", parts).lower()


def _weights(part: HDF5File, group: Any, classes: Mapping[str, str]) -> dict[str, StoredTensor]:
    arrays = part.arrays(group)
    own_names = {
        path: name
        for path in {path.rpartition("/")[0] for path in arrays if path.rpartition("/")[0].endswith("vars")}
        if isinstance(name := attribute(group[path], "name"), str)
    }
    order = {name: index for index, name in enumerate(texts(group, "layer_names") or list(classes))}
    found: dict[str, StoredTensor] = {}
    for path in sorted(arrays, key=lambda path: _place(path, own_names, order)):
        if not path.startswith("optimizer/"):
            name, tensor = _weight(path, arrays[path], own_names, classes)
            found[name if name not in found else path.replace("/", ".")] = tensor
    return found


def _place(path: str, own_names: Mapping[str, str], order: Mapping[str, int]) -> tuple[int, str]:
    """Sort key: the order of the layers where the file tells it, then names with their numbers as numbers."""
    layers = [own_names.get(path.rpartition("/")[0], ""), *path.split("/")]
    place = next((order[layer] for layer in layers if layer in order), len(order))
    return place, re.sub(r"\d+", lambda digits: digits[0].zfill(20), path)


def _weight(
    path: str, tensor: StoredTensor, own_names: Mapping[str, str], classes: Mapping[str, str]
) -> tuple[str, StoredTensor]:
    """A weight by the name of its layer and its own, as filters where the class of the layer tells."""
    group, _, leaf = path.rpartition("/")
    steps = [step for step in group.split("/") if step and step not in _CONTAINERS]
    if len(steps) > 1 and re.fullmatch(rf"{re.escape(steps[0])}(_\d+)?", steps[-1]):
        steps = steps[:1]  # older versions repeat the name of the layer, numbered anew
    own = own_names.get(group)
    kernels = _KERNELS.get(_kind([*filter(None, [own]), *reversed(steps)], classes), ())
    if group.endswith("vars") and leaf.isdecimal():
        parts = (*(kernel.names[0] for kernel in kernels), "bias")
        leaf = parts[int(leaf)] if kernels and int(leaf) < len(parts) else leaf
        steps = [*steps[:-1], own or steps[-1]] if steps else steps
    leaf = leaf.partition(":")[0]
    name = ".".join([*steps, leaf])
    kernel = next((kernel for kernel in kernels if leaf in kernel.names), None)
    if kernel is None or len(tensor.shape) < 3:
        return name, tensor
    return name, replace(tensor.computed(kernel.order, kernel.ordered(tensor.shape)), is_filter=True)


def _kind(layers: Sequence[str], classes: Mapping[str, str]) -> str:
    """The class of the innermost of these layers of which it is known, or that is called after a class."""
    if known := next((layer for layer in layers if layer in classes), ""):
        return classes[known]
    bare = (re.sub(r"_\d+$", "", layer) for layer in layers)
    return next((layer for layer in bare if layer in _KERNELS), "")
