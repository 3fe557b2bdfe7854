# The public names, in the order of the story; `__init__.py` reads them here, and so do type checkers.

from corrinit._correlation import SpatialCorrelation as SpatialCorrelation, ProfilePoint as ProfilePoint
from corrinit._planning import initialize as initialize, plan as plan
from corrinit._input_channels import adapt_inputs as adapt_inputs
from corrinit._planning.plans import Plan as Plan
from corrinit._planning.layer_plan import LayerPlan as LayerPlan
from corrinit._signal.report import (
    SignalReport as SignalReport,
    LayerSignal as LayerSignal,
    StepSignal as StepSignal,
)
from corrinit._layers.unknown_layers import ConvolutionLike as ConvolutionLike
from corrinit._init import (
    correlated_normal_ as correlated_normal_,
    correlated_kaiming_normal_ as correlated_kaiming_normal_,
    correlated_xavier_normal_ as correlated_xavier_normal_,
)
from corrinit._scale import signal_scale as signal_scale
from corrinit._estimation import (
    estimate as estimate,
    estimate_layers as estimate_layers,
    estimate_inputs as estimate_inputs,
)
from corrinit._pooling import (
    LayerCorrelations as LayerCorrelations,
    LayerCorrelation as LayerCorrelation,
    Interval as Interval,
    Skipped as Skipped,
)
from corrinit._correlation_io import (
    save_correlation as save_correlation,
    load_correlation as load_correlation,
)
from corrinit._monitor import GradientMonitor as GradientMonitor, GradientHistory as GradientHistory
from corrinit.lab.comparison.user_loops import (
    compare as compare,
    MethodComparison as MethodComparison,
    FinishedRun as FinishedRun,
)
from corrinit.lab.comparison.contrasts import Standing as Standing
from corrinit._listings import (
    list_methods as list_methods,
    list_presets as list_presets,
    ListedMethod as ListedMethod,
    ListedPreset as ListedPreset,
    show_versions as show_versions,
)
from corrinit._tables import Listing as Listing
from corrinit.errors import (
    CorrInitError as CorrInitError,
    CorrelationError as CorrelationError,
    WeightsError as WeightsError,
    PlanError as PlanError,
    ConfigError as ConfigError,
    DataError as DataError,
    MissingLibraryError as MissingLibraryError,
    CorrInitWarning as CorrInitWarning,
)
from corrinit import (
    kernels as kernels,
    methods as methods,
    presets as presets,
    theory as theory,
    errors as errors,
    lab as lab,
)

__version__: str
__all__: list[str]
