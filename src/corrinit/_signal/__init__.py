"""The signal through a model, in closed form: its dataflow, and what arrives at each layer."""

from corrinit._signal.activations import gain
from corrinit._signal.graph import Graph, Kind, Step
from corrinit._signal.law import Law, LayerInput, LayerLaw, kept_law, present_law
from corrinit._signal.measuring import measure
from corrinit._signal.propagate import propagate
from corrinit._signal.report import LayerSignal, SignalReport, StepSignal, beside
from corrinit._signal.spectrum import InputLaw, measured, moments_by_displacement, natural, power_law, white
from corrinit._signal.tracing import read_graph

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
