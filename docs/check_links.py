"""Follow every link of a built site that leads to the site itself, and name those that lead nowhere.

python docs/check_links.py docs/_build/html
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what a tag refers to, and the name it can be referred to by."""
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.append(value)
            elif name == "id" and value:
                self.anchors.add(value)


def broken(site: Path) -> list[str]:
    """Every link to nowhere, as `page: link`."""
    pages = {file: Page(file.read_text(encoding="utf-8")) for file in site.rglob("*.html")}
    found = []
    for file, page in pages.items():
        for link in page.links:
            address = urlsplit(link)
            if address.scheme or address.netloc:
                continue
            target = (file.parent / unquote(address.path)).resolve() if address.path else file
            known = pages.get(target)
            anchor = unquote(address.fragment)
            if not target.is_file() or (known is not None and anchor and anchor not in known.anchors):
                found.append(f"{file.relative_to(site)}: {link}")
    return found


if __name__ == "__main__":
    faults = broken(Path(sys.argv[1]).resolve())
    sys.stdout.write("".join(f"{fault}\n" for fault in faults) or "every internal link leads somewhere\n")
    raise SystemExit(bool(faults))
