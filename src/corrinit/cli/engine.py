"""Where runs are made, as a command names it."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from cyclopts import Parameter

from corrinit.errors import ConflictError
from corrinit.lab.training.engine import Engine
from corrinit.lab.training.on_ray import OnRay

EngineName: TypeAlias = Literal["local", "ray"]

ENGINE = "Where runs are made. local: here; ray: on a Ray cluster, all of whose nodes see --runs."
ADDRESS = (
    "Of the Ray cluster: HOST:PORT, ray://HOST:PORT or auto; by default that in RAY_ADDRESS, else one is "
    "started here with --jobs runs at a time."
)
GPUS_PER_RUN = "Part of a GPU that each run gets on a Ray cluster, such as 0.25."

EngineOption = Annotated[EngineName, Parameter(help=ENGINE)]
Address = Annotated[str | None, Parameter(help=ADDRESS)]
GpusPerRun = Annotated[float, Parameter(help=GPUS_PER_RUN)]


def chosen_engine(name: EngineName, *, jobs: int, address: str | None, gpus_per_run: float) -> Engine | None:
    """The engine of that name; None for this machine.

    Raises:
        ConfigError: if options are given that it does not have.
    """
    if name == "ray":
        return OnRay(address, jobs=jobs, gpus_per_run=gpus_per_run)
    if address is not None or gpus_per_run:
        given = f"address {address}" if address is not None else f"gpus-per-run {gpus_per_run:g}"
        raise ConflictError(f"{given} is of a Ray cluster, and the engine is local; add --engine ray")
    return None
