"""`corrinit methods` and `corrinit presets`: what can be named."""

from __future__ import annotations

from rich.console import Console

from corrinit._listings import list_methods, list_presets
from corrinit._tables import Listing
from corrinit.cli.json_output import AsJson, print_json


def methods(*, as_json: AsJson = False) -> None:
    """List the initialization methods by name.

    Args:
        as_json: Print JSON instead of a table.
    """
    _print(list_methods(), as_json)


def presets(*, as_json: AsJson = False) -> None:
    """List the correlations of trained networks that come with corrinit.

    Args:
        as_json: Print JSON instead of a table.
    """
    _print(list_presets(), as_json)


def _print(listing: Listing, as_json: bool) -> None:
    if as_json:
        print_json([row._asdict() for row in listing])
    else:
        Console(highlight=False).print(listing)
