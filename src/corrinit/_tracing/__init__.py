"""Torch models for `corrinit._signal`: their dataflow, the laws of their weights, measured signals."""

from corrinit._tracing.activations import Activation, TensorFunction
from corrinit._tracing.measuring import measure
from corrinit._tracing.reading import read_graph
from corrinit._tracing.weights import kept_law, present_law

__all__ = ["read_graph", "Activation", "TensorFunction", "present_law", "kept_law", "measure"]
