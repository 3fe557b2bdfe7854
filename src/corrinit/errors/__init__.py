"""The errors and the warning of corrinit.

Every error says what is wrong, where (file, layer, shape) and what to do about it, in one line that ends with
a code. What the code means and how to mend it say `corrinit explain CODE` and the page `docs/errors.md`,
which are both written from the class of the error: its docstring and its `Page`.

Six classes are families, to be caught by who does not care for details; the others are of one of them.
"""

from corrinit.errors._base import CorrInitError as CorrInitError
from corrinit.errors._base import CorrInitWarning as CorrInitWarning
from corrinit.errors._base import Page as Page
from corrinit.errors._base import one_line as one_line
from corrinit.errors._base import printable as printable
from corrinit.errors._base import warn_caller as warn_caller
from corrinit.errors._correlations import CancelledSignalError as CancelledSignalError
from corrinit.errors._correlations import CorrelationError as CorrelationError
from corrinit.errors._correlations import CorrelationFileError as CorrelationFileError
from corrinit.errors._correlations import KernelMismatchError as KernelMismatchError
from corrinit.errors._correlations import NotACorrelationError as NotACorrelationError
from corrinit.errors._correlations import NotFiniteError as NotFiniteError
from corrinit.errors._correlations import NotPositiveSemidefiniteError as NotPositiveSemidefiniteError
from corrinit.errors._correlations import UnfitTensorError as UnfitTensorError
from corrinit.errors._correlations import UnknownCorrelationError as UnknownCorrelationError
from corrinit.errors._data import DamagedDataError as DamagedDataError
from corrinit.errors._data import DataError as DataError
from corrinit.errors._data import ImageShapeError as ImageShapeError
from corrinit.errors._data import LabelError as LabelError
from corrinit.errors._data import MissingDataError as MissingDataError
from corrinit.errors._files import ClusterError as ClusterError
from corrinit.errors._files import MissingLibraryError as MissingLibraryError
from corrinit.errors._files import WriteError as WriteError
from corrinit.errors._files import missing_library as missing_library
from corrinit.errors._models import ActivationError as ActivationError
from corrinit.errors._models import InputChannelsError as InputChannelsError
from corrinit.errors._models import LazyParameterError as LazyParameterError
from corrinit.errors._models import ModelRunError as ModelRunError
from corrinit.errors._models import NeedsImagesError as NeedsImagesError
from corrinit.errors._models import OptimizerError as OptimizerError
from corrinit.errors._models import OtherModelError as OtherModelError
from corrinit.errors._models import PlanError as PlanError
from corrinit.errors._models import UnknownLayerError as UnknownLayerError
from corrinit.errors._models import UnwritableWeightError as UnwritableWeightError
from corrinit.errors._pages import as_markdown as as_markdown
from corrinit.errors._pages import as_text as as_text
from corrinit.errors._pages import coded as coded
from corrinit.errors._records import CheckpointError as CheckpointError
from corrinit.errors._records import FailedRunsError as FailedRunsError
from corrinit.errors._records import NoRunsError as NoRunsError
from corrinit.errors._records import RecordError as RecordError
from corrinit.errors._records import RunBusyError as RunBusyError
from corrinit.errors._records import UnreadableError as UnreadableError
from corrinit.errors._settings import ConfigError as ConfigError
from corrinit.errors._settings import ConflictError as ConflictError
from corrinit.errors._settings import ExperimentFileError as ExperimentFileError
from corrinit.errors._settings import FactoryError as FactoryError
from corrinit.errors._settings import PluginError as PluginError
from corrinit.errors._settings import ResultsTableError as ResultsTableError
from corrinit.errors._settings import SharedStateError as SharedStateError
from corrinit.errors._settings import StudyError as StudyError
from corrinit.errors._settings import TrainingFunctionError as TrainingFunctionError
from corrinit.errors._settings import UnknownNameError as UnknownNameError
from corrinit.errors._settings import ValuesError as ValuesError
from corrinit.errors._weights import DamagedWeightsError as DamagedWeightsError
from corrinit.errors._weights import DivergedWeightsError as DivergedWeightsError
from corrinit.errors._weights import HubError as HubError
from corrinit.errors._weights import MissingWeightsError as MissingWeightsError
from corrinit.errors._weights import NothingToEstimateError as NothingToEstimateError
from corrinit.errors._weights import NotWeightsError as NotWeightsError
from corrinit.errors._weights import NoValuesError as NoValuesError
from corrinit.errors._weights import UnmatchedNameError as UnmatchedNameError
from corrinit.errors._weights import WeightsError as WeightsError
from corrinit.errors._weights import WeightSetError as WeightSetError
