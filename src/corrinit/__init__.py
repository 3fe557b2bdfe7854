"""Initialize convolutional networks with the spatial correlation that trained filters have.

The public names are those that `__init__.pyi` imports. They are imported when first used, so that
`corrinit --help` and the reading of correlations and reports stay quick, and what needs no torch works
without it.
"""

from __future__ import annotations

import ast
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

_HOME_OF = {
    imported.name: statement.module
    for statement in ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")).body
    if isinstance(statement, ast.ImportFrom) and statement.module is not None
    for imported in statement.names
}
"""The module of each public name, in their order; of modules the package itself."""

__all__ = list(_HOME_OF)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    if name == "__version__":
        return version(__name__)
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        if home == __name__:
            return import_module(f"{home}.{name}")
        value = getattr(import_module(home), name)
    except ModuleNotFoundError as error:
        from corrinit.errors import missing_library

        raise missing_library(f"{__name__}.{name}", error) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
