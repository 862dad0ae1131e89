"""What MkDocs does beyond Markdown for this site.

- The docstrings use the roles of reStructuredText (``:class:`X```, ``:math:`x```) and examples
  with ``>>>``: they become links, formulas and code.
- Formulas become MathML, which browsers draw without a script.
- The cards of ``metrics.md`` come from the registry and the docstrings of the metrics.
- The lists of ``models.md`` come from the test that walks over all model types of transformers.
- ``notebook.ipynb`` becomes a page.
"""

from __future__ import annotations

import html
import importlib
import inspect
import json
import logging
import re
import sys
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from markdown import Extension, Markdown
from markdown.preprocessors import Preprocessor
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

HERE = Path(__file__).parent
CARDS, OVERVIEW = "*`make docs` puts the cards here.*", "<!-- overview -->"
MODELS = "*`make docs` puts the lists here.*"
DEFAULT_METRIC = "sfda_cv"

# A warning of this logger fails a strict build.
log = logging.getLogger("mkdocs.hooks")

_ROLE = re.compile(r":(class|func|meth|mod|data|attr|exc):`(~?)([^`]+)`")
_INLINE_MATH = re.compile(r":math:`([^`]+)`")
_MATH_BLOCK = re.compile(r"^( *)\.\. math::[ ]*(.*)\n((?:\n*\1 +\S.*\n?)*)", re.MULTILINE)
_ARITHMATEX = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)
_EXAMPLE = re.compile(r"(?<=\n\n)(>>> .*(?:\n.+)*)", re.MULTILINE)
_OPTION = re.compile(r"<code>(--[a-z-]+)</code>")
_LOG = re.compile(r"\\log(?= *[a-zA-Z\\])")
_DOCUMENTED = re.compile(r"^::: (\S+)", re.MULTILINE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the extension that reads the roles; it also applies to docstrings."""
    config.markdown_extensions.append(RolesExtension())  # type: ignore[arg-type]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page of the notebook."""
    notebook = json.loads((HERE / "notebook.ipynb").read_text(encoding="utf-8"))
    files.append(File.generated(config, "notebook.md", content=notebook_page(notebook)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in the table of metrics and their cards, or the lists of models."""
    if MODELS in markdown:
        return markdown.replace(MODELS, models_tables())
    if CARDS not in markdown:
        return markdown
    metrics = ordered_metrics()
    header = ["| metric | what | error bars |", "|---|---|---|"]
    overview = "\n".join([*header, *(overview_row(metric) for metric in metrics)])
    cards = "\n\n".join(metric_card(metric) for metric in metrics)
    return markdown.replace(OVERVIEW, overview).replace(CARDS, cards)


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replace each formula by MathML, and keep the name of an option on one line."""
    content = _OPTION.sub(r'<code class="option">\1</code>', content)
    return _ARITHMATEX.sub(_mathml, content)


# -- formulas and roles


class RolesExtension(Extension):
    """Markdown with the roles of reStructuredText."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        """Called by Python-Markdown."""
        md.preprocessors.register(_Roles(md), "rst-roles", 40)


class _Roles(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        return replace_roles("\n".join(lines)).split("\n")


def replace_roles(text: str) -> str:
    """Roles, ``.. math::`` blocks and examples with ``>>>`` as Markdown."""
    text = _EXAMPLE.sub(r"\n```pycon\n\1\n```\n", text)
    text = _MATH_BLOCK.sub(_math_block, text)
    text = _INLINE_MATH.sub(r"$\1$", text)
    return _ROLE.sub(_reference, text)


def _math_block(match: re.Match[str]) -> str:
    indent, first, rest = match.groups()
    formula = " ".join(line.strip() for line in (first, *rest.splitlines()) if line.strip())
    return f"\n{indent}$$\n{indent}{formula}\n{indent}$$\n\n"


def _reference(match: re.Match[str]) -> str:
    """A link if the API page documents the object, else its name as code."""
    _, short, name = match.groups()
    label = name.rsplit(".", 1)[-1] if short else name
    if not name.startswith("hf_sfda."):
        return f"`{label}`"  # of the same module, or of another library
    documented = _canonical(name)
    return f"[`{label}`][{documented}]" if documented else f"`{label}`"


def _canonical(name: str) -> str | None:
    """The documented object of a dotted name; warns where there is no object at all."""
    try:
        value = _resolve(name)
    except (ImportError, AttributeError) as error:
        log.warning("a docstring refers to %s: %s", name, error)
        return None
    page = (HERE / "api.md").read_text(encoding="utf-8")
    for documented in _DOCUMENTED.findall(page):
        if _resolve(documented) is value and not inspect.ismodule(value):
            return documented
    return None


def _resolve(name: str) -> Any:
    """Import the longest prefix that is a module, then take attributes."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            value: Any = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[end:]:
            value = getattr(value, attribute)
        return value
    raise ImportError(f"no module {parts[0]}")


def _mathml(match: re.Match[str]) -> str:
    tag, _, formula = match.groups()
    display = "block" if tag == "div" else "inline"
    spaced = _LOG.sub(r"\\log\\,", html.unescape(formula).strip())
    return convert(spaced, display=display)


# -- supported models


def models_tables() -> str:
    """For texts, images and sounds: the model types that are tried, refused, and not tried."""
    sys.path.insert(0, str(HERE.parent))
    from hf_sfda.scan.rules import AUDIO_TYPES
    from tests.backbones import architectures as known

    parts = [
        _types("Texts", known.TEXT_MAPPINGS, known.TEXT_REFUSED, known.TEXT_NOT_TRIED),
        _types("Images", known.IMAGE_MAPPINGS, known.IMAGE_REFUSED, known.IMAGE_NOT_TRIED),
        f"## Sounds\n\n{len(AUDIO_TYPES)} model types; all others are refused by name.\n\n"
        + ", ".join(f"`{name}`" for name in AUDIO_TYPES),
    ]
    return "\n\n".join(parts)


def _types(
    title: str,
    mappings: tuple[str, ...],
    refused: dict[str, str],
    not_tried: dict[str, str],
) -> str:
    from tests.backbones.architectures import types_of

    names = sorted(types_of(mappings))
    tried = [name for name in names if name not in refused and name not in not_tried]
    lines = [
        f"## {title}",
        "",
        f"{len(tried)} model types of transformers are tried with a tiny random network each:",
        "",
        ", ".join(f"`{name}`" for name in tried),
        "",
        "| not tried, or refused | why |",
        "|---|---|",
    ]
    for kind, table in (("refused: ", refused), ("", not_tried)):
        for reason in sorted(set(table.values())):
            types = ", ".join(f"`{name}`" for name in sorted(table) if table[name] == reason)
            lines.append(f"| {types} | {kind}{reason} |")
    return "\n".join(lines)


# -- metric cards


def ordered_metrics() -> list[Any]:
    """The metrics of this package: the default first, then by name."""
    from hf_sfda.metrics import list_metrics

    metrics = [m for m in list_metrics() if m.function.__module__.startswith("hf_sfda.")]
    return sorted(metrics, key=lambda m: (m.name != DEFAULT_METRIC, m.name))


def overview_row(metric: Any) -> str:
    """The line of a metric in the table at the top of the page."""
    return f"| [`{metric.name}`](#{metric.name}) | {metric.summary} | {error_bars(metric)} |"


def metric_card(metric: Any) -> str:
    """The card of one metric, from its registration and its docstring."""
    _, _, text = inspect.getdoc(metric.function).partition("\n")
    facts = {
        "Needs": _NEEDS[metric.needs],
        "Labels": ", ".join(sorted(metric.tasks)),
        "Held out": "yes" if metric.held_out else "no",
        "Error bars": error_bars(metric),
        "Highest value": highest(metric),
        "Rises with width alone": "yes" if metric.width_sensitive else "no",
        "Does not change with": ", ".join(sorted(metric.invariant_to)) or "nothing",
        "Cost": f"`{metric.cost}`" if metric.cost else "none",
        "Source": metric.reference or "none",
    }
    if metric.needs == "candidate":
        facts = {key: facts[key] for key in ("Needs", "Labels", "Error bars", "Source")}
    lines = [f"## `{metric.name}`", "", f"**{metric.summary}.**", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in facts.items()]
    return "\n".join([*lines, "", sections(text.strip())])


_NEEDS = {
    "features": "features and labels",
    "source_logits": "the outputs of the checkpoint's own classification head, and labels",
    "candidate": "only what the Hub or the folder states about the checkpoint",
}


def error_bars(metric: Any) -> str:
    """How the interval of a metric is made; the code's rule, in words."""
    if not metric.scores_samples:
        return "none"
    return "bootstrap" if _per_sample(metric) else "jackknife"


def _per_sample(metric: Any) -> bool:
    """Whether the score of a small problem comes with one value a sample."""
    import numpy as np

    import hf_sfda

    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    features = rng.normal(size=(60, 4)) + labels[:, None]
    options: dict[str, Any] = {}
    if metric.needs == "source_logits":
        options["source_logits"] = rng.normal(size=(60, 5))
    score = hf_sfda.score(features, labels, metric.name, **options)
    return score.per_sample is not None


def highest(metric: Any) -> str:
    """The bound of the metric."""
    if metric.maximum is None:
        return "unbounded"
    if callable(metric.maximum):
        return "C - 1, for C classes" if metric.maximum(7) == 6 else "depends on the classes"
    return f"{metric.maximum:g}"


def sections(text: str) -> str:
    """The rest of a docstring: arguments as a list, without ``problem``, ``Raises`` and so on."""
    body, options = [], []
    section = ""
    for line in text.splitlines():
        if re.fullmatch(r"[A-Z]\w+:", line):
            section = line[:-1]
        elif section == "":
            body.append(line)
        elif section == "Args" and line.strip():
            options.append(line[4:])
        elif section == "Returns" and line.strip():
            options.append(line)
    parsed = "\n".join(body).strip()
    parsed = re.sub(r"^(Traps?|Quirks?): ", r"**\1.** ", parsed, flags=re.MULTILINE)
    arguments = _arguments(options)
    return f"{parsed}\n\n{arguments}" if arguments else parsed


def _arguments(lines: list[str]) -> str:
    joined: list[str] = []
    for line in lines:
        if re.match(r"\w+: ", line) and not line.startswith(" "):
            joined.append(line)
        elif joined:
            joined[-1] += " " + line.strip()
    kept = [line.partition(": ") for line in joined if not line.startswith("problem:")]
    if not kept:
        return ""
    return "**Options.**\n\n" + "\n".join(f"- `{name}`: {text}" for name, _, text in kept)


# -- the notebook


def notebook_page(notebook: dict[str, Any]) -> str:
    """Cells as Markdown, with the stored outputs."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        parts += [f'```text title="Output"\n{text}\n```' for text in outputs(cell)]
    return "\n\n".join(parts)


def outputs(cell: dict[str, Any]) -> list[str]:
    """The texts that a code cell has printed or returned."""
    texts = []
    for output in cell["outputs"]:
        text = output.get("text") or output.get("data", {}).get("text/plain") or ""
        texts.append("".join(text).rstrip())
    return [text for text in texts if text]
