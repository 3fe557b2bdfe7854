"""Where convolution filters come from: a module, a state dict, or a file of weights.

A state dict goes through four questions: which of the sets of weights in it is meant (`weight_sets`), which
tensors are parts of one weight (`stored_parts`), which are filters (`filters`), and which occur twice
(`copies`). Files are read tensor by tensor, and no code in them is ever run (`containers`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from corrinit._arrays import Array, is_module
from corrinit._weights.containers import read_file
from corrinit._weights.copies import LIKE, without_copies
from corrinit._weights.filters import Filter, find_filters
from corrinit._weights.hub import fetch, is_on_hub
from corrinit._weights.stored_parts import put_together
from corrinit._weights.stored_tensor import LeftOut
from corrinit._weights.weight_sets import choose_weights
from corrinit.errors import NoValuesError, UnmatchedNameError, WeightsError, WeightSetError, warn_caller

if TYPE_CHECKING:
    from torch import nn

Source: TypeAlias = "nn.Module | Mapping[str, Any] | str | os.PathLike[str]"

Patterns: TypeAlias = str | Sequence[str]
"""A glob of names of weights, such as `"layer1.*"`, or several."""


class Filters(NamedTuple):
    """The filters of a network, not yet read, what was not taken for filters, and where they come from."""

    filters: list[Filter]
    left_out: list[LeftOut]
    source: str


def named_weights(
    source: Source, *, include: Patterns = (), exclude: Patterns = (), weights: str | None = None
) -> Iterator[tuple[str, Array]]:
    """The filters of every convolution, as (out, in, k_1, …, k_d), with its name, in the order of the source.

    Of a module these are the weights of its convolutions. Of a state dict or a file they are those tensors of
    3 to 5 axes that their names, the biases beside them and their shapes show to be filters, see
    `read_filters`. The tensors of safetensors files, which keep no order of layers, come in that of their
    names.

    Args:
        source: see `read_filters`.
        include: see `read_filters`.
        exclude: see `read_filters`.
        weights: see `read_filters`.

    Yields:
        (name, array) pairs. Types of floating point that numpy lacks, such as bfloat16, come as float32.
        Arrays may be views of the weights, or of mapped pages of a file: read, do not write.

    Raises:
        WeightsError: see `read_filters`.

    >>> import numpy as np
    >>> [(name, weight.shape) for name, weight in named_weights({"stem.weight": np.ones((8, 3, 3, 3))})]
    [('stem.weight', (8, 3, 3, 3))]
    """
    found = read_filters(source, include=include, exclude=exclude, weights=weights)
    for name, tensor in found.filters:
        yield name, tensor.read()


def read_filters(
    source: Source, *, include: Patterns = (), exclude: Patterns = (), weights: str | None = None
) -> Filters:
    """The filters of a network, each once, and what was not taken for filters, with the reasons.

    Args:
        source: a module; a mapping from names to tensors or arrays, such as a state dict, or a checkpoint
            that holds one; the path of a file, told apart by what it holds: safetensors or what `torch.save`
            writes, whole or the index of a sharded one, ONNX, Keras, TFLite, Flax; or a name on the Hugging
            Face hub, see `corrinit._weights.hub`. Only a module needs torch.
        include: globs of names of weights or layers to take, and no others; a tensor that is named in full is
            taken for filters even where its name and shape do not tell.
        exclude: globs of names to leave out.
        weights: which set of weights is meant where a checkpoint holds several, such as `"state_dict_ema"`.

    Raises:
        WeightsError: if the source cannot be read, holds several networks and none is chosen, a layer has no
            values yet, or a pattern matches nothing.
    """
    include, exclude = _as_patterns(include, "include"), _as_patterns(exclude, "exclude")
    if weights is not None and not isinstance(weights, str):
        raise WeightSetError(
            f"weights is {weights!r:.80}; it is the name of a set of weights in a checkpoint"
        )
    if is_module(source):
        from corrinit._weights.modules import module_filters  # the one source that needs torch

        if weights is not None:
            raise WeightSetError(f"weights is {weights!r}, but a module has one set of weights only")
        filters = list(module_filters(source))
        names = [name for name, _ in filters]
        wanted = _wanted(names, include, exclude)
        kept, copies = without_copies([each for each in filters if each.name in wanted])
        _say_copies(copies, type(source).__name__)
        excluded = [LeftOut(name, "it is excluded") for name in names if name not in wanted]
        return Filters(kept, copies + excluded, type(source).__name__)
    if isinstance(source, Mapping):
        found = _state_dict_filters(source, "the mapping", include, exclude, weights)
        return found._replace(source="a state dict")
    if isinstance(source, (str, os.PathLike)):
        path, name = Path(os.fsdecode(source)), os.fsdecode(source)
        if is_on_hub(name) and not path.exists():
            path, name = fetch(name)
        return _state_dict_filters(read_file(path), name, include, exclude, weights)
    raise WeightsError(
        f"weights are given as {type(source).__name__}; give a module, a mapping from names to arrays, or "
        "the path of a file"
    )


def _state_dict_filters(
    checkpoint: Any, where: str, include: Sequence[str], exclude: Sequence[str], choice: str | None
) -> Filters:
    chosen, averages = choose_weights(checkpoint, where, choice)
    tensors, parts = put_together(chosen)
    candidates = [name for name, tensor in tensors.items() if len(tensor.shape) >= 3]
    wanted = _wanted(candidates, include, exclude)
    by_hand = not any("." in name or "/" in name for name in tensors)  # no qualified names of a module
    found = find_filters(tensors, wanted & set(include), by_hand=by_hand)
    filters = [each for each in found.filters if each.name in wanted]
    if meta := [name for name in wanted if tensors[name].obstacle == "on the meta device"]:
        raise NoValuesError(f"{meta[0]} is on the meta device and has no values; load its weights first")
    guesses = [guess for guess in found.guesses if guess.name in wanted]
    if guesses:
        name, reason = guesses[0]
        others = f", likewise {_shortened([guess.name for guess in guesses[1:]])}" if guesses[1:] else ""
        warn_caller(f"{where}: a guess: {name}: {reason}{others}; leave out what is wrong with exclude=")
    kept, copies = without_copies(filters)
    _say_copies(copies, where)
    left_out = [*averages, *parts, *(each for each in found.left_out if each.name in wanted)]
    excluded = [LeftOut(name, "it is excluded") for name in candidates if name not in wanted]
    return Filters(kept, [*left_out, *copies, *excluded], where)


def _say_copies(copies: Sequence[LeftOut], where: str) -> None:
    if near := [copy for copy in copies if copy.reason.startswith(LIKE)]:
        name, reason = near[0]
        more = f", and {len(near) - 1} more" if near[1:] else ""
        warn_caller(f"{where}: layers occur twice: {name}: {reason}{more}; they are counted once")


def _as_patterns(patterns: Patterns, argument: str) -> Sequence[str]:
    patterns = [patterns] if isinstance(patterns, str) else patterns
    if not isinstance(patterns, Sequence) or not all(isinstance(each, str) for each in patterns):
        raise UnmatchedNameError(f"{argument} is {patterns!r:.80}; give globs of names, such as 'layer1.*'")
    return patterns


def _wanted(names: Sequence[str], include: Sequence[str], exclude: Sequence[str]) -> frozenset[str]:
    """The names that a pattern of `include` matches, if there are any, and none of `exclude`."""
    for argument, patterns in (("include", include), ("exclude", exclude)):
        for pattern in patterns:
            if not any(_matches(name, pattern) for name in names):
                near = get_close_matches(pattern, names, n=3, cutoff=0.3) or names[:3]
                there = f"there are {', '.join(near)}" if near else "there are none"
                raise UnmatchedNameError(f"{argument}: {pattern!r} matches no weight of the source; {there}")
    return frozenset(
        name
        for name in names
        if (not include or any(_matches(name, pattern) for pattern in include))
        and not any(_matches(name, pattern) for pattern in exclude)
    )


def _matches(name: str, pattern: str) -> bool:
    """A glob is for the name of a weight or of its layer."""
    return fnmatchcase(name, pattern) or fnmatchcase(name.rpartition(".")[0], pattern)


def _shortened(names: Sequence[str], most: int = 3) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
