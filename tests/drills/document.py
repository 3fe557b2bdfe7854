"""Sections of docs/reliability.md that commands write."""

from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"


def write(section, text, document=DOCUMENT):
    """Put a text between the marks of a section."""
    begin, end = f"<!-- {section} -->\n", f"<!-- end of {section} -->\n"
    before, _, rest = document.read_text().partition(begin)
    _, there, after = rest.partition(end)
    if not there:
        raise ValueError(f"{document} has no marks of {section}")
    document.write_text(f"{before}{begin}\n{text.strip()}\n\n{end}{after}")
