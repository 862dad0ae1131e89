"""Render the Jinja templates of all texts that we write on the Hub."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hf_sfda
from hf_sfda import format as text
from hf_sfda import tasks
from hf_sfda.secrets import redact

if TYPE_CHECKING:
    from jinja2 import Environment

SUFFIX = ".jinja"


def cards_directory() -> Path:
    """The folder of the templates: inside the installed package, or beside it in a checkout."""
    package = Path(hf_sfda.__file__).parent
    installed, checkout = package / "_cards", package.parent / "cards"
    return installed if installed.is_dir() else checkout


def card_names() -> list[str]:
    """The names of all templates, sorted."""
    files = cards_directory().glob(f"*{SUFFIX}")
    return sorted(path.name.removesuffix(SUFFIX).removesuffix(".md") for path in files)


def template_file(name: str) -> str:
    """The file name of a template; a name without a suffix is a Markdown template."""
    return f"{name}{SUFFIX}" if "." in name else f"{name}.md{SUFFIX}"


def render_card(name: str, **values: Any) -> str:
    """Render a template; mask secrets and end the text with one line break.

    Args:
        name: One of :func:`card_names`.
        **values: The template's variables; a missing one raises ``UndefinedError``.
    """
    template = _environment().get_template(template_file(name))
    return redact(template.render(**values)).rstrip("\n") + "\n"


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(cards_directory()),
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "cell": cell,
        "calibration": tasks.calibration_warning,
        "count": text.count,
        "facts": lambda about: ", ".join(tasks.label_facts(about)),
        "has_classes": lambda task: tasks.has_classes(tasks.kind_of_task(task)),
        "interval": text.interval,
        "label": text.label,
        "points": text.points,
        "score": text.score,
        "share": text.share,
        "percent": lambda value: f"{value * 100:g}%",
        "short": lambda sha: str(sha or "")[:7],
    }
    return environment


def cell(value: object) -> str:
    r"""Escape text from others for a Markdown table cell: one line, no markup of its own.

    Example:
        >>> cell("a|b <!-- x -->")
        'a\\|b &lt;!-- x --&gt;'
    """
    line = " ".join(str("" if value is None else value).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for sign in "\\|[]`*":
        line = line.replace(sign, f"\\{sign}")
    return line
