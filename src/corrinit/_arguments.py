"""What users give as arguments: each is what it should be, or one error names it."""

from __future__ import annotations

from typing import Any

from corrinit.errors import CorrelationError


def real(name: str, value: Any) -> float:
    """A real number, of whatever library.

    Raises:
        CorrelationError: if it is none.

    >>> real("gain", 2)
    2.0
    >>> real("gain", "2")
    Traceback (most recent call last):
    corrinit.errors.CorrelationError: gain is '2'; it is a number [C100]
    """
    try:
        if isinstance(value, str | bytes):  # float() would take them
            raise TypeError
        return float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:  # the last is of tensors
        raise CorrelationError(f"{name} is {value!r:.80}; it is a number") from error
