"""The filters in an ONNX file: the constants that its graph gives to convolutions.

The graph says what is a filter and how its axes lie, so no name has to be believed. Nothing of it is run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from corrinit._weights.libraries import needed
from corrinit._weights.onnx_constants import computed_constant, dequantized, stored_constant
from corrinit._weights.stored_tensor import StoredTensor, unreadable
from corrinit.errors import DamagedWeightsError

_WEIGHT_INPUT = {
    "Conv": 1,
    "ConvTranspose": 1,
    "FusedConv": 1,
    "DeformConv": 1,
    "ConvInteger": 1,
    "QLinearConv": 3,
}
"""Which input of a node are the filters: (out, in, k_1, …, k_d), of `ConvTranspose` (in, out, …)."""

_DOMAINS = {"FusedConv": ("com.microsoft",), "QLinearConv": ("", "ai.onnx", "com.microsoft")}
"""Whose operators these are, if not ONNX's own alone: others of the same names have blocks of channels."""

_ANONYMOUS = re.compile(r"((onnx::\w+|const_fold_opt_)_)?\d+|", re.IGNORECASE)
"""Names that exporters number through, and no name at all."""


def read_onnx(path: Path) -> dict[str, Any]:
    """The filters in an ONNX file, by the names of their tensors, and other constants of as many axes.

    Those of graphs inside of others, such as the branches of an `If`, are sets of their own, by their place.

    Raises:
        WeightsError: if the file is damaged.
        MissingPackageError: if the library `onnx` is not installed.
    """
    onnx = needed("onnx", "an ONNX file")
    message = needed("google.protobuf.message", "an ONNX file")
    try:
        model = onnx.ModelProto.FromString(path.read_bytes())
        if model.functions:
            model = needed("onnx.inliner", "an ONNX file").inline_local_functions(model)
    except (message.DecodeError, ValueError, RuntimeError) as error:
        raise DamagedWeightsError(f"{path} is no ONNX file, or damaged: {error}") from error
    if not model.graph.node:
        raise DamagedWeightsError(f"{path} is an ONNX file without a graph, or damaged")
    found = _Found(path)
    try:
        found.graph(model.graph, {}, {}, "")
    except IndexError as error:
        raise DamagedWeightsError(f"{path} is damaged: a node has no output") from error
    for (place, name), shape in found.others.items():
        if name not in found.used:
            other = unreadable(shape, "no convolution of the graph uses it")
            found.sets.setdefault(place, {}).setdefault(name, other)
    return {**found.sets.pop("", {}), **found.sets}


class _Found:
    """The filters found while a graph is gone through."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sets: dict[str, dict[str, StoredTensor]] = {}
        self.others: dict[tuple[str, str], tuple[int, ...]] = {}
        self.used: set[str] = set()

    def graph(
        self, graph: Any, around: Mapping[str, StoredTensor], makers: Mapping[str, str], place: str
    ) -> None:
        """Go through a graph, or one inside a node of another.

        Args:
            graph: the message.
            around: the constants of the graph that it lies in.
            makers: the operators that make the other tensors there.
            place: where it lies; empty for the outermost.
        """
        if not all(isinstance(text, str) for text in _texts(graph)):
            raise DamagedWeightsError(f"{self.path} is damaged: a name in its graph is no UTF-8")
        constants, makers = dict(around), dict(makers)
        stored = {tensor.name: tensor for tensor in graph.initializer}
        stored |= {node.output[0]: tensor for node in graph.node for tensor in _constant(node)}
        for name, tensor in stored.items():
            constants[name] = replace(stored_constant(tensor, self.path.parent), place=(place, name))
        for sparse in graph.sparse_initializer:
            constants[sparse.values.name] = unreadable(tuple(sparse.dims), "it is sparse")
        for name in stored:
            if len(constants[name].shape) >= 3:
                self.others[place, name] = constants[name].shape
        for node in graph.node:
            if node.op_type != "Constant" and (value := computed_constant(node, constants)) is not None:
                constants[node.output[0]] = value
                self.used |= set(node.input)
            makers |= dict.fromkeys(node.output, node.op_type)
            if "Conv" in node.op_type:
                self.used |= set(node.input)
                self.convolution(node, constants, makers, self.sets.setdefault(place, {}))
            for attribute in node.attribute:
                for inner in (attribute.g, *attribute.graphs):
                    if inner.node:
                        name = f"{node.name or node.op_type}.{attribute.name}"
                        self.graph(inner, constants, makers, f"{place}.{name}" if place else name)

    def convolution(
        self,
        node: Any,
        constants: Mapping[str, StoredTensor],
        makers: Mapping[str, str],
        tensors: dict[str, StoredTensor],
    ) -> None:
        """Put the filters of a convolution to the others, unless another one has them too."""
        index = _WEIGHT_INPUT.get(node.op_type)
        if index is None or node.domain not in _DOMAINS.get(node.op_type, ("", "ai.onnx")):
            for given in node.input:
                if given in constants and len(constants[given].shape) >= 3:
                    operator = f"{node.domain}.{node.op_type}".lstrip(".")
                    reason = f"the operator {operator} is not known"
                    tensors[given] = unreadable(constants[given].shape, reason)
            return
        given = node.input[index] if len(node.input) > index else ""
        weight = constants.get(given)
        name = _name(node, given)
        if weight is None:
            maker = makers.get(given)
            reason = f"it is computed by {maker}" if maker else "it is an input of the graph, or missing"
            tensors[name] = unreadable((0, 0, 0), reason)
            return
        if node.op_type in ("ConvInteger", "QLinearConv"):
            weight = _rescaled(node, weight, given, constants)
        if node.op_type == "ConvTranspose" and len(weight.shape) > 1:
            swapped = (weight.shape[1], weight.shape[0], *weight.shape[2:])
            weight = weight.computed(lambda array: np.swapaxes(array, 0, 1), swapped)
        if name in tensors and tensors[name].place != weight.place:
            name = f"{name} of {node.name or len(tensors)}"
        tensors[name] = replace(weight, is_filter=True)


def _texts(graph: Any) -> Iterator[str | bytes]:
    """All names in a graph; one that is no UTF-8 comes as bytes."""
    for node in graph.node:
        yield from (*node.input, *node.output, node.op_type, node.domain, node.name)
        yield from (attribute.name for attribute in node.attribute)
        for tensor in _constant(node):
            yield from (each for entry in tensor.external_data for each in (entry.key, entry.value))
    for tensor in graph.initializer:
        yield tensor.name
        yield from (each for entry in tensor.external_data for each in (entry.key, entry.value))
    yield from (sparse.values.name for sparse in graph.sparse_initializer)


def _constant(node: Any) -> list[Any]:
    """The tensor in a node `Constant`; numbers that stand there otherwise are too few for filters."""
    if node.op_type != "Constant":
        return []
    return [attribute.t for attribute in node.attribute if attribute.name == "value"]


def _name(node: Any, given: str) -> str:
    """The name of a weight; where its tensor has none, that of the node, such as `/layer1/conv1/Conv`."""
    if not _ANONYMOUS.fullmatch(given) or not node.name:
        return given or node.op_type
    return node.name.strip("/").removesuffix("/Conv").replace("/", ".") + ".weight"


def _rescaled(
    node: Any, weight: StoredTensor, name: str, constants: Mapping[str, StoredTensor]
) -> StoredTensor:
    """Filters of integers times their scale: an input of the node, or a constant that is named after them."""
    names = [*node.input, *[""] * 9]
    stem = name.removesuffix("_quantized")
    scale, zero = (names[4], names[5]) if node.op_type == "QLinearConv" else (f"{stem}_scale", names[3])
    if scale not in constants:
        return unreadable(weight.shape, "it is quantized, and its scale is not stored beside it")
    return dequantized(weight, constants[scale], constants.get(zero), axis=0)
