"""What is checked of the finished site: its links lead somewhere, and it needs no network.

Sphinx itself checks what it resolves while it builds. These checks look at the pages as a browser
would, so they also see what themes, extensions and notebooks wrote.
"""

from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:  # so that the checks themselves need no Sphinx
    from sphinx.application import Sphinx

LOADED = {"img": "src", "script": "src", "iframe": "src", "source": "src", "link": "href"}
"""What a browser loads without being asked, and the attribute that says from where."""

FURTHER = ("url(http", "url(//", '@import "http', "@import url(http")
"""How a style sheet loads something from elsewhere."""


class Page(HTMLParser):
    """Names, links and loaded resources of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors = {"", "top"}
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag names, leads to or loads."""
        given = dict(attrs)
        self.anchors.update(value for name in ("id", "name") if (value := given.get(name)))
        if tag == "a" and (link := given.get("href")):
            self.links.append(link)
        if (attribute := LOADED.get(tag)) and (source := given.get(attribute)):
            self.loaded.append(source)


def faults_of(folder: Path) -> list[str]:
    """Return what is wrong with the pages of a site."""
    pages = {path.resolve(): Page(path) for path in sorted(folder.rglob("*.html"))}
    faults = []
    for path, page in pages.items():
        where = path.relative_to(folder.resolve())
        for source in page.loaded:
            parts = urlsplit(source)
            if parts.scheme == "data":
                continue
            if parts.scheme or parts.netloc:
                faults.append(f"{where} loads {source} from the network")
            elif not (path.parent / unquote(parts.path)).exists():
                faults.append(f"{where} loads {source}, which isn't there")
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            to = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not to.exists():
                faults.append(f"{where} leads to {link}, which isn't there")
            elif to in pages and unquote(parts.fragment) not in pages[to].anchors:
                faults.append(f"{where} leads to {link}, a place that isn't in that page")
    for path in sorted(folder.rglob("*.css")):
        text = path.read_text(encoding="utf-8")
        faults += [f"{path.name} loads something: {way}" for way in FURTHER if way in text]
    return faults


def _check(app: "Sphinx", error: Exception | None) -> None:
    from sphinx.util import logging

    if error is None and app.builder.format == "html":
        for fault in faults_of(Path(app.outdir)):
            logging.getLogger(__name__).warning(fault)


def setup(app: "Sphinx") -> dict[str, bool]:
    """Have the site checked once it is built."""
    app.connect("build-finished", _check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
