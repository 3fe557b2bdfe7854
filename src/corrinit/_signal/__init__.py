"""The signal through a model, in closed form: its dataflow, and what arrives at each layer. In numpy alone.

`corrinit._tracing` reads the dataflow of a torch model; that of others can be written down, step by step.
"""

from corrinit._signal.activations import Activation, gain
from corrinit._signal.graph import Graph, Kind, Step
from corrinit._signal.law import Law, LayerInput, LayerLaw
from corrinit._signal.propagate import propagate
from corrinit._signal.report import LayerSignal, SignalReport, StepSignal, beside
from corrinit._signal.spectrum import InputLaw, measured, moments_by_displacement, natural, power_law, white

__all__ = [
    "Graph",
    "Step",
    "Kind",
    "propagate",
    "Law",
    "LayerInput",
    "LayerLaw",
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
    "Activation",
    "gain",
]
