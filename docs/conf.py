"""The documentation as a site: `make docs` builds it, and every warning is an error.

A folder's README.md is its index for readers of the repository and of the site alike: the site's
navigation is made of the links in its lists, under the bold lines that stand above them.
"""

import re
from pathlib import Path

from sphinx.application import Sphinx

project = "dropgate"
author = "the dropgate authors"
extensions = ["myst_parser", "sphinxcontrib.mermaid"]
root_doc = "README"
myst_fence_as_directive = ["mermaid"]
# Fragments as they are on GitHub, so that a link works in both places.
myst_heading_anchors = 4
html_theme = "furo"
html_title = "dropgate"
html_copy_source = False
html_show_copyright = False

# README is not what a web server shows first, so index.html leads there.
_START = '<!doctype html><title>{0}</title><meta http-equiv="refresh" content="0; url={1}.html">\n'
# A link that leaves this folder leads to no page of the site: only its text is kept.
_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./[^)]+\)")
_SECTION = re.compile(r"^\*\*(?P<caption>.+)\*\*$|\]\((?P<page>[^)#:]+\.md)\)", re.MULTILINE)


def navigation(text: str, *, is_root: bool) -> str:
    """The hidden tables of contents that stand for the links of an index page.

    The root's pages are each in the section they are first named in. Any other index names pages of
    its own folder; what else it links to has a place elsewhere.
    """
    sections: dict[str, list[str]] = {"": []}
    caption, seen = "", set()
    for match in _SECTION.finditer(text):
        page = match["page"]
        if page is None:
            caption = match["caption"]
        elif page not in seen and (is_root or "/" not in page):
            seen.add(page)
            sections.setdefault(caption, []).append(page)
    return "".join(
        "\n```{toctree}\n:hidden:\n"
        + (f":caption: {caption}\n" if caption else "")
        + "\n".join(["", *pages, "```", ""])
        for caption, pages in sections.items()
        if pages
    )


def _add_navigation(_app: Sphinx, page: str, source: list[str]) -> None:
    if page == root_doc:
        source[0] = _OUTSIDE.sub(r"\1", source[0])
    if Path(page).name == "README":
        source[0] += navigation(source[0], is_root=page == root_doc)


def _begin_at_index(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.name == "html":
        (Path(app.outdir) / "index.html").write_text(
            _START.format(project, root_doc), encoding="utf-8"
        )


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _add_navigation)
    app.connect("build-finished", _begin_at_index)
