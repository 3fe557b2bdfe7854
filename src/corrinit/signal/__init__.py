"""The signal through a model, in closed form: its dataflow, and what arrives at each layer."""

from corrinit.signal.activations import gain
from corrinit.signal.graph import Graph, Kind, Step
from corrinit.signal.law import Law, LayerInput, LayerLaw, kept_law, present_law
from corrinit.signal.measuring import measure
from corrinit.signal.propagate import propagate
from corrinit.signal.report import LayerSignal, SignalReport, StepSignal, beside
from corrinit.signal.spectrum import InputLaw, measured, moments_by_displacement, natural, power_law, white
from corrinit.signal.tracing import read_graph

__all__ = [
    "read_graph",
    "Graph",
    "Step",
    "Kind",
    "propagate",
    "Law",
    "LayerInput",
    "LayerLaw",
    "present_law",
    "kept_law",
    "measure",
    "beside",
    "SignalReport",
    "LayerSignal",
    "StepSignal",
    "InputLaw",
    "natural",
    "power_law",
    "white",
    "measured",
    "moments_by_displacement",
    "gain",
]
