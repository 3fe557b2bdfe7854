"""Choosing layers of a model by name, pattern, type or predicate."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TypeAlias

from torch import nn

from corrinit._layers import named_layers
from corrinit.errors import PlanError, UnknownLayerError

Selector: TypeAlias = str | re.Pattern[str] | type[nn.Module] | Callable[[str, nn.Module], bool]
"""A glob of qualified names, a compiled regular expression, a module type, or a predicate (name, module)."""

Selectors: TypeAlias = Selector | Sequence[Selector] | None


def select(model: nn.Module, selectors: Selectors, argument: str) -> frozenset[str]:
    """Canonical names of all modules that any selector chooses, with everything inside them.

    A glob or regular expression is matched against the whole qualified name of a module or of one of its
    parameters, so `"head"` and `"head.*"` both choose the layer `head`.

    Args:
        model: the model.
        selectors: one selector, several, or none.
        argument: the name of the argument, for the error.

    Raises:
        PlanError: if a selector chooses nothing; the nearest names are suggested.

    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    >>> sorted(select(model, nn.Conv2d, "exclude"))
    ['0']
    """
    modules = named_layers(model)
    chosen: set[str] = set()
    for selector in as_sequence(selectors):
        found = matching(model, selector, argument)
        chosen |= {name for name in modules if not found.isdisjoint(_with_parents(name))}
    return frozenset(chosen)


def matching(model: nn.Module, selector: Selector, argument: str) -> frozenset[str]:
    """Names of the modules that one selector matches themselves; see `select`."""
    if not (callable(selector) or isinstance(selector, (str, re.Pattern))):
        raise PlanError(f"{argument}: {selector!r} is no name pattern, regular expression, type or predicate")
    modules = named_layers(model)
    found = frozenset(name for name, module in modules.items() if _matches(selector, name, module))
    if not found:
        raise UnknownLayerError(_no_match(selector, argument, list(modules)))
    return found


def as_sequence(selectors: Selectors) -> Sequence[Selector]:
    """The selectors of an argument, one by one."""
    if selectors is None:
        return ()
    if isinstance(selectors, Sequence) and not isinstance(selectors, str):
        return selectors
    return (selectors,)


def _matches(selector: Selector, name: str, module: nn.Module) -> bool:
    if isinstance(selector, type):
        return isinstance(module, selector)
    if isinstance(selector, (str, re.Pattern)):
        own = [f"{name}.{parameter}" for parameter, _ in module.named_parameters(recurse=False)]
        return any(_full_match(selector, candidate) for candidate in (name, *own))
    return bool(selector(name, module))


def _full_match(pattern: str | re.Pattern[str], name: str) -> bool:
    if isinstance(pattern, str):
        return fnmatchcase(name, pattern)
    return pattern.fullmatch(name) is not None


def _with_parents(name: str) -> list[str]:
    """The name of a module and of everything around it, the model itself, "", included."""
    parts = name.split(".")
    return ["", *(".".join(parts[:end]) for end in range(1, len(parts) + 1))]


def _no_match(selector: Selector, argument: str, names: list[str]) -> str:
    if not isinstance(selector, (str, re.Pattern)):
        return f"{argument}: {selector!r} matches no module of the model"
    pattern = selector if isinstance(selector, str) else selector.pattern
    near = get_close_matches(pattern, names, n=3, cutoff=0.3) or names[1:4]
    return f"{argument}: {pattern!r} matches no module of the model; there are {', '.join(near)}, ..."
