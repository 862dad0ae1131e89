"""The Jinja templates of every text we write on the Hub, and how numbers look in them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hf_sfda
from hf_sfda.hub import redact
from hf_sfda.report import format as text

if TYPE_CHECKING:
    from jinja2 import Environment

SUFFIX = ".jinja"


def cards_directory() -> Path:
    """Where the templates lie: inside the installed package, or beside it in a checkout."""
    package = Path(hf_sfda.__file__).parent
    installed, checkout = package / "_cards", package.parent / "cards"
    return installed if installed.is_dir() else checkout


def card_names() -> list[str]:
    """The templates there are."""
    files = cards_directory().glob(f"*{SUFFIX}")
    return sorted(path.name.removesuffix(SUFFIX).removesuffix(".md") for path in files)


def template_file(name: str) -> str:
    """The file of a template; those that are no Markdown carry their suffix in their name."""
    return f"{name}{SUFFIX}" if "." in name else f"{name}.md{SUFFIX}"


def render_card(name: str, **values: Any) -> str:
    """A card's text, without secrets, with one line break at the end.

    Args:
        name: One of :func:`card_names`.
        **values: What the template names; a missing one is an error.
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
        "count": text.count,
        "label": text.label,
        "score": text.score,
        "share": text.share,
        "percent": lambda value: f"{value * 100:g}%",
        "short": lambda sha: str(sha or "")[:7],
    }
    return environment


def cell(value: object) -> str:
    r"""Text from outside as Markdown that is only text: one line; no table, tag or link of its own.

    Example:
        >>> cell("a|b <!-- x -->")
        'a\\|b &lt;!-- x --&gt;'
    """
    line = " ".join(str("" if value is None else value).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for sign in "\\|[]`*":
        line = line.replace(sign, f"\\{sign}")
    return line
