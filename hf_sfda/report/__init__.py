"""Render a ranking as a terminal table, tab-separated text, files and an HTML page.

Importing this package loads no heavy library; rich, jinja2, plotly and pyarrow are imported when
they are used.
"""

from __future__ import annotations

from hf_sfda.report.files import save_ranking
from hf_sfda.report.html import render_html
from hf_sfda.report.resort import sorted_by
from hf_sfda.report.terminal import render_plain, render_quiet, render_table

__all__ = [
    "render_html",
    "render_plain",
    "render_quiet",
    "render_table",
    "save_ranking",
    "sorted_by",
]
