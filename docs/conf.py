"""The documentation as a site: `make docs` builds it, and every warning is an error."""

project = "dropgate"
author = "the dropgate authors"
extensions = ["myst_parser", "sphinxcontrib.mermaid"]
root_doc = "index"
# README.md is the same page for those who read in the repository; index.md includes it.
exclude_patterns = ["README.md"]
myst_fence_as_directive = ["mermaid"]
# Fragments as they are on GitHub, so that a link works in both places.
myst_heading_anchors = 4
html_theme = "furo"
html_title = "dropgate"
html_copy_source = False
html_show_copyright = False
