"""`corrinit plan`: a dry run of the initialization of a model."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from corrinit.cli.json_output import AsJson, print_json
from corrinit.errors import ExperimentFileError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from corrinit._planning.plans import Plan


def plan(
    factory: str,
    /,
    *,
    recipe: Annotated[str | None, Parameter(show_default=False)] = None,
    method: str | None = None,
    scale: Literal["he", "paper", "measured", "natural"] | None = None,
    correlation: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = (),
    strength: float = 1.0,
    rules: Path | None = None,
    exclude: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = (),
    missing: Literal["error", "resize", "independent"] = "error",
    input_size: int | None = None,
    signal: Annotated[bool, Parameter(negative="")] = False,
    data: str | None = None,
    svg: Path | None = None,
    as_json: AsJson = False,
    inputs: Annotated[Literal["identical", "independent"] | None, Parameter(show=False)] = None,
) -> None:
    """Say what initialization would do to each layer of a model, and why.

    Args:
        factory: MODULE:FACTORY, PATH.py:FACTORY, timm:NAME or torchvision:NAME.
        recipe: Name of a recipe: 2026.1 (the default), schneider, kaiming.
        method: Initialization method of all convolutions, such as orthogonal.
        scale: What the scale takes the inputs of a patch to be; by default that of the recipe or method.
        correlation: Correlation file, preset, or closed form such as exponential:0.3 or centre:0.8; may be
            given once per kernel size.
        strength: Factor on the correlations.
        rules: TOML file with a table of options per pattern of names, or role: ["stem.*"], scale = "he".
        exclude: Pattern of layers to keep; may be given several times.
        missing: For kernel sizes that have no correlation: stop, resize one, or draw independent taps.
        input_size: Pixels a side of the images.
        signal: Print what is expected to arrive at each layer: mean square, correlation of neighbours, and so
            on.
        svg: Draw how strong the signal is in every layer, under each recipe and as asked for.
        data: Training images, such as folder:DIR or parquet:DIR; what they give is printed beside it.
        as_json: Print JSON instead of a table.
        inputs: The older name of scale.
    """
    from corrinit._factory import build_model
    from corrinit._planning import plan as plan_model

    own_rules = None if rules is None else read_rules_file(rules)
    with contextlib.redirect_stdout(sys.stderr):
        model = build_model(factory)
    images = None if data is None else _load_images(data)
    planned = plan_model(
        model,
        recipe=recipe,
        method=method,
        scale=scale,
        correlation=correlation or None,
        strength=strength,
        rules=own_rules,
        exclude=list(exclude) or None,
        missing=missing,
        input_size=input_size,
        inputs=inputs,
        images=images,
    )
    if svg is not None:
        _draw_signal(planned, model, input_size, svg)
    elif signal or data is not None:
        _print_signal(planned, model, input_size, images)
    elif as_json:
        print_json(planned._table().records())
    else:
        from rich.console import Console

        Console(highlight=False).print(planned)


_MOST_IMAGES = 256


def _load_images(data: str) -> Tensor:
    """A few hundred training images, standardized by channel as the laboratory does."""
    import torch

    from corrinit.lab.data.dataset import load
    from corrinit.lab.training.initialized import channel_moments

    images = torch.tensor(load(data).train_images[:_MOST_IMAGES])
    mean, std = channel_moments(images)
    return (images.float() - mean) / std


def _print_signal(planned: Plan, model: nn.Module, input_size: int | None, images: Tensor | None) -> None:
    from corrinit._planning.expected import expected_signal
    from corrinit._signal import beside
    from corrinit._tracing import measure

    size = input_size if images is None else tuple(images.shape[1:])
    expected = expected_signal(planned, model, size)
    if images is None:
        sys.stdout.write(f"{expected}\n")
        return
    planned.apply(model, seed=0)
    sys.stdout.write(f"{beside(expected, measure(model, images))}\n")


def _draw_signal(planned: Plan, model: nn.Module, input_size: int | None, svg: Path) -> None:
    from corrinit._planning import plan as plan_model
    from corrinit._planning.expected import expected_signal
    from corrinit._planning.recipes import RECIPES
    from corrinit.lab.document.correlation_figure import save_figure
    from corrinit.lab.document.signal_figure import signal_figure

    plans = {f"recipe {name}": plan_model(model, recipe=name, input_size=input_size) for name in RECIPES}
    if planned not in plans.values():
        scales = ", ".join(dict.fromkeys(layer.scale for layer in planned.layers if layer.is_drawn))
        plans[f"asked for: {planned.recipe or 'method'}, scale {scales}"] = planned
    signals = {name: expected_signal(each, model, input_size) for name, each in plans.items()}
    save_figure(signal_figure(signals), svg)
    sys.stdout.write(f"{svg}\n")


def read_rules_file(path: Path) -> Mapping[str, Any]:
    """The rules in a TOML file: a table of options per pattern of layer names, or per role.

    Raises:
        PlanError: if there is no such file, or it is no TOML.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        return tomlkit.parse(path.read_text(encoding="utf-8")).unwrap()
    except FileNotFoundError:
        raise ExperimentFileError(f"there is no file {path}") from None
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise ExperimentFileError(f"{path} is no TOML: {error}") from error
