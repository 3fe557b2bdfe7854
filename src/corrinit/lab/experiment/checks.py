"""Checks that configurations share: of keys, types and values, with a remedy in the error."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from corrinit.errors import ConfigError, UnknownNameError

LARGEST = 2**63
"""Whole numbers are smaller: neither tables nor generators take others."""

_TYPES = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    NoneType: "nothing",
    tuple: "a list",
}


def check_keys(keys: Iterable[str], known: Collection[str], where: str) -> None:
    """Refuse a key that is not known, with the nearest known ones."""
    for key in keys:
        if key not in known:
            near = get_close_matches(str(key), known, n=2, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
            raise UnknownNameError(f"{key!r} is no setting of {where}; {hint}")


def check_types(config: Any) -> None:
    """Check each field against its annotation; a whole number becomes a float where one is meant."""
    for name, hint in get_type_hints(type(config)).items():
        value = getattr(config, name)
        if get_origin(hint) is Literal:
            if value not in get_args(hint):
                raise UnknownNameError(f"{name} is {value!r}; it is one of {', '.join(get_args(hint))}")
            continue
        kinds = (tuple,) if get_origin(hint) is tuple else get_args(hint) or (hint,)
        if type(value) is int and abs(value) >= LARGEST:
            raise ConfigError(f"{name} is a whole number of {value.bit_length()} bits; it has at most 63")
        if float in kinds and type(value) is int:
            object.__setattr__(config, name, float(value))
        elif type(value) not in kinds:
            wanted = " or ".join(_TYPES.get(kind, "a table of settings") for kind in kinds)
            raise ConfigError(f"{name} is {value!r}; it needs {wanted}")


def require(condition: bool, name: str, value: object, rule: str) -> None:
    """Refuse a value that breaks a rule."""
    if not condition:
        raise ConfigError(f"{name} is {value}; it is {rule}")
