"""corrinit: initialize convolutional networks with the spatial correlation that trained filters have."""

from corrinit.correlation import SpatialCorrelation
from corrinit.errors import (
    ConfigError,
    CorrelationError,
    CorrInitError,
    CorrInitWarning,
    DataError,
    PlanError,
    WeightsError,
)

__all__ = [
    "SpatialCorrelation",
    "CorrInitError",
    "CorrelationError",
    "WeightsError",
    "PlanError",
    "ConfigError",
    "DataError",
    "CorrInitWarning",
]
