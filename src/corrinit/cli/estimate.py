"""`corrinit estimate`: a file of weights in, a correlation file out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from corrinit._correlation import format_size
from corrinit._correlation_views import decimal
from corrinit.cli.json_output import AsJson, correlation_record, print_json
from corrinit.errors import ConfigError, ConflictError, printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from corrinit._estimation import LayerCorrelation, LayerCorrelations


def estimate(
    file: Path,
    /,
    *,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    kernel_size: Annotated[str | None, Parameter(alias="-k")] = None,
    pooling: Literal["filters", "layers", "raw"] = "filters",
    include: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    exclude: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    weights: str | None = None,
    as_json: AsJson = False,
) -> None:
    """Estimate how the taps of the filters of a network vary: their correlation and deviations.

    Args:
        file: Weights: safetensors, what torch.save writes, ONNX, Keras, TFLite or Flax, whatever the name;
            the index of shards; or, fetched from the Hugging Face hub, hf:OWNER/NAME, timm:NAME or
            torchvision:NAME.
        output: Correlation file to write.
        kernel_size: Such as 3x3; by default the size with the most filters.
        pooling: How layers come together. filters: standardized, so that all filters count alike; layers:
            all layers count alike; raw: as in the paper, so that layers with large weights dominate.
        include: Only weights or layers of these names; a glob such as "layer1.*", may be repeated.
        exclude: No weights or layers of these names; likewise.
        weights: Which set of weights, where the file holds several, such as state_dict_ema.
        as_json: Print JSON instead of a summary.
    """
    from rich.console import Console

    from corrinit._correlation_io import is_correlation_file, save_correlation
    from corrinit._estimation import estimate_layers

    if is_correlation_file(file):
        raise ConflictError(f"{file} is a correlation file already; look at it with corrinit show {file}")
    if output is not None and output.exists() and file.exists() and output.samefile(file):
        raise ConflictError(f"{output} is the file of weights itself; write the correlation to another")
    with Console(stderr=True).status(f"reading {file}"):
        layers = estimate_layers(
            file, parse_kernel_size(kernel_size), include=include, exclude=exclude, weights=weights
        )
    if output is not None:
        save_correlation(output, layers.pooled(pooling))
    if as_json:
        print_json(_record(layers, pooling, output))
        return
    console = Console(highlight=False)
    for line in summary(layers, pooling):
        console.print(line, soft_wrap=True)
    if output is not None:
        console.print(f"written to {output}", soft_wrap=True, markup=False)


def _record(
    layers: LayerCorrelations, pooling: Literal["filters", "layers", "raw"], output: Path | None
) -> dict[str, Any]:
    return {
        "source": layers.source,
        "filters": layers.filters,
        "pooling": pooling,
        "interval": None if pooling == "raw" else layers.mean_interval(pooling=pooling),
        **correlation_record(layers.pooled(pooling)),
        "layers": layer_records(layers.layers),
        "skipped": [each._asdict() for each in layers.skipped],
        "written_to": output,
    }


def layer_records(layers: Sequence[LayerCorrelation]) -> list[dict[str, Any]]:
    """What is told of each layer, by names."""
    return [
        {
            "name": layer.name,
            "filters": layer.filters,
            "mean": layer.mean,
            "neighbours": layer.neighbours,
            "flagged": layer.flagged,
            "deviations": layer.correlation.deviations,
        }
        for layer in layers
    ]


def summary(layers: LayerCorrelations, pooling: Literal["filters", "layers", "raw"]) -> list[RenderableType]:
    """What was estimated, how sure it is, and what was left out, line by line."""
    from rich.text import Text

    certainty = "no interval: a few layers dominate raw pooling"
    if pooling != "raw":
        low, high = layers.mean_interval(pooling=pooling)
        certainty = f"95 % interval {decimal(low)} to {decimal(high)}, resampling channels"
    pooled = layers.pooled(pooling)
    size, count = format_size(layers.kernel_size), len(layers.layers)
    lines = [
        f"{layers.source}: {layers.filters:,} filters of {size} taps in {count} layer{'s' * (count != 1)}",
        f"mean correlation of two taps: {decimal(pooled.mean)} ({certainty})",
        f"deviation of a tap: {decimal(pooled.deviations.min(), 2)} to {decimal(pooled.deviations.max(), 2)} "
        "of their root mean square",
    ]
    lines += [
        f"{layer.name}: taps {', '.join(map(str, layer.flagged))} hardly vary and are left out"
        for layer in layers.layers
        if layer.flagged
    ]
    lines += [f"skipped, {text}" for text in layers.skipped_in_words()]
    return [Text(printable(line)) for line in lines]


def parse_kernel_size(text: str | None) -> tuple[int, ...] | None:
    """Read a kernel size as people write it.

    >>> parse_kernel_size("3x3")
    (3, 3)
    """
    if text is None:
        return None
    axes = text.lower().replace("×", "x").split("x")
    if not all(axis.isascii() and axis.isdigit() and int(axis) > 0 for axis in axes):
        raise ConfigError(f"kernel size is {text!r}; write one number per axis, such as 3x3 or 5")
    return tuple(int(axis) for axis in axes)
