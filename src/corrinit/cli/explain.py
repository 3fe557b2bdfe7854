"""`corrinit explain`: what an error means, and how to mend it."""

from __future__ import annotations

import sys
from pathlib import Path

from corrinit._atomic import replacing
from corrinit.errors import UnknownNameError, as_markdown, as_text, coded


def explain(code: str | None = None, /, *, markdown: Path | None = None) -> None:
    """Explain an error by the code at the end of its line.

    Args:
        code: Such as C102; without it, all codes are listed.
        markdown: Write the page of all errors to this file.
    """
    kinds = coded()
    if markdown is not None:
        with replacing(markdown) as file:
            file.write(as_markdown(kinds).encode())
    elif code is None:
        for name, kind in kinds.items():
            sys.stdout.write(f"{name}  {(kind.__doc__ or '').partition(chr(10))[0]}\n")
    elif (kind := kinds.get(code.strip("[]").upper())) is None or kind.page is None:
        raise UnknownNameError(f"no error has the code {code!r}; corrinit explain lists those that there are")
    else:
        sys.stdout.write(as_text(kind, kind.page) + "\n")
