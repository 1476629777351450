"""Sphinx builds the site with this: `make docs`. Nothing is fetched."""

project = "retmask-harness"
html_title = project
extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
myst_heading_anchors = 3  # links to headings, as forges make them
exclude_patterns = ["_build"]
suppress_warnings = ["myst.header"]  # a page may begin below the first level
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_mock_imports = ["vllm"]
nitpicky = False
