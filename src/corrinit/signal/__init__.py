"""The signal through a model, in closed form: its dataflow, and what arrives at each layer."""

from corrinit.signal.graph import Graph, Kind, Step
from corrinit.signal.tracing import read_graph

__all__ = ["Graph", "Kind", "Step", "read_graph"]
