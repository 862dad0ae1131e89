"""What the documentation says is true: commands, options, names, examples, links, and the site."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import io
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import typer
import yaml

import hf_sfda
from hf_sfda import metrics
from hf_sfda.cli import app
from hf_sfda.space.settings import REFRESH, Limits, variable
from tests import factories

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
GITHUB = ROOT / ".github"

_BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^(?:\$ |.*\blaunch\b.* -m )?(?:hf-sfda|hf_sfda) ")


def blocks(path: Path, language: str) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return [code for name, code in _BLOCK.findall(text) if name == language]


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command line in a code block or in code within a sentence: page and arguments."""
    for page in PAGES:
        lines = [line for block in blocks(page, "") for line in block.splitlines()]
        lines += re.findall(r"`(hf-sfda [^`\n]+)`", page.read_text(encoding="utf-8"))
        for line in lines:
            if _COMMAND.match(line):
                words = shlex.split(line[_COMMAND.match(line).end() :], comments=True)
                yield page.name, words


def names_of(option: object) -> list[str]:
    """`--flip` and its opposite, `--no-flip`."""
    return [*option.opts, *option.secondary_opts]


def test_every_command_and_option_exists() -> None:
    root = typer.main.get_command(app)
    seen = set()
    for page, words in commands():
        command, rest = root, list(words)
        while hasattr(command, "commands"):
            assert rest, f"{page}: {words} names no command"
            if rest[0].startswith("--"):
                break
            assert rest[0] in command.commands, f"{page}: no command {rest[0]!r} in {words}"
            seen.add(rest[0])
            command = command.commands[rest.pop(0)]
        known = {name for option in command.params for name in names_of(option)}
        options = {word.split("=")[0] for word in rest if word.startswith("--")}
        assert options <= known | {"--help"}, f"{page}: {options - known} in {words}"
    assert seen >= set(root.commands), "the pages show no example of some commands"


def test_options_in_the_text_exist() -> None:
    def options(command: object) -> set[str]:
        names = {name for option in command.params for name in names_of(option)}
        parts = getattr(command, "commands", {}).values()
        return names.union(*(options(part) for part in parts)) if parts else names

    known = options(typer.main.get_command(app)) | {"--help", "--version"}
    of_others = {"--multi_gpu", "--num_processes", "--cpu"}
    for page in PAGES:
        named = set(re.findall(r"`(--[a-z_-]+)", page.read_text(encoding="utf-8")))
        assert named <= known | of_others, page.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_in_the_pages_uses_names_that_exist(page: Path) -> None:
    for code in blocks(page, "python"):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "hf_sfda":
                module = importlib.import_module(node.module)
                assert all(hasattr(module, name.name) for name in node.names), code
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "hf_sfda":
                assert node.attr in hf_sfda.__all__, code


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Metrics that a test registers are gone after it."""
    metrics.list_metrics()
    monkeypatch.setattr(metrics, "_REGISTRY", dict(metrics._REGISTRY))


@pytest.mark.usefixtures("registry")
def test_the_example_of_a_metric_keeps_its_claims() -> None:
    code = blocks(DOCS / "add-a-metric.md", "python")[0]
    exec(compile(code, "add-a-metric.md", "exec"), {})
    assert metrics.get_metric("my_metric").width_sensitive

    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    apart = rng.normal(size=(90, 4)) + 5 * labels[:, None]
    noise = rng.normal(size=(90, 4))
    assert 0 < hf_sfda.score(noise, labels, "my_metric").value < 0.2
    value = hf_sfda.score(apart, labels, "my_metric").value
    assert 0.8 < value <= 1
    rotation, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    moved = hf_sfda.score(3 * apart @ rotation + 7, labels, "my_metric").value
    assert moved == pytest.approx(value)
    assert hf_sfda.score(apart, labels, "my_metric", power=2.0).value == pytest.approx(value**2)


def test_the_arguments_of_register_metric_are_all_described() -> None:
    text = (DOCS / "add-a-metric.md").read_text(encoding="utf-8")
    arguments = set(inspect.signature(hf_sfda.register_metric).parameters) - {"name"}
    assert {name for name in arguments if not re.search(rf"\b{name}=", text)} == set()
    assert set(re.findall(r"^\| `(\w+)=", text, re.MULTILINE)) <= arguments


def test_every_public_name_is_in_the_api_page() -> None:
    documented = re.findall(r"^::: hf_sfda\.(\w+)$", (DOCS / "api.md").read_text(), re.MULTILINE)
    assert set(documented) >= set(hf_sfda.__all__) - {"__version__"}


def test_every_limit_of_the_space_is_described() -> None:
    text = (DOCS / "space.md").read_text(encoding="utf-8")
    known = {variable(field.name) for field in fields(Limits)} | {REFRESH}
    assert set(re.findall(r"HF_SFDA_\w+", text)) == known


def test_the_output_in_readme_and_page_is_the_same() -> None:
    [readme] = [block for block in blocks(ROOT / "README.md", "") if block.startswith("Target")]
    [page] = [block for block in blocks(DOCS / "ranking.md", "") if block.startswith("Target")]
    assert readme == page


def test_readme_is_short_and_its_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "AGENTS.md"):
        links = re.findall(r"\]\(([^)#\s]+)(#[\w-]+)?\)", page.read_text(encoding="utf-8"))
        for path, anchor in links:
            if path.startswith("https://"):
                continue
            assert (ROOT / path).exists(), f"{page.name}: {path}"
            if anchor:
                headings = re.findall(r"^#+ (.*)$", (ROOT / path).read_text(), re.MULTILINE)
                anchors = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
                assert anchor[1:] in anchors, f"{page.name}: {path}{anchor}"
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150


# -- the notebook


def run_notebook(replaced: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Execute the cells in order, the parameters replaced; what they print or return."""
    notebook = json.loads((DOCS / "notebook.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["metadata"].get("tags") for cell in cells].count(["parameters"]) == 1
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    printed = io.StringIO()
    for cell in cells:
        own = cell["metadata"].get("tags") != ["parameters"]
        tree = ast.parse("".join(cell["source"]) if own else replaced)
        last = tree.body[-1]
        with redirect_stdout(printed):
            if isinstance(last, ast.Expr):
                exec(compile(ast.Module(tree.body[:-1], []), "cell", "exec"), names)
                value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
                if value is not None:
                    print(value)
            else:
                exec(compile(tree, "cell", "exec"), names)
    return printed.getvalue()


@pytest.mark.usefixtures("registry", "hub")
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    factories.image_folder(tmp_path / "photos", n_per_class=15, classes=3)
    factories.tiny_vit(tmp_path / "zoo" / "vit")
    factories.tiny_resnet(tmp_path / "zoo" / "resnet")
    parameters = 'DATASET, MODELS, SAMPLES = "photos", ["zoo/vit", "zoo/resnet"], 45'
    printed = run_notebook(parameters, tmp_path, monkeypatch)
    assert re.search(r"^ +1 +(vit|resnet) ", printed, re.MULTILINE)
    assert "from place 1 to" in printed
    assert "'report.html'" in printed


def test_the_notebook_holds_its_outputs() -> None:
    notebook = json.loads((DOCS / "notebook.ipynb").read_text(encoding="utf-8"))
    text = json.dumps([cell.get("outputs") for cell in notebook["cells"]])
    assert "efficientnet-lite0" in text and "report.html" in text
    assert "Traceback" not in text and "/home/" not in text and "/tmp" not in text


# -- the site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    needed = ("mkdocs", "material", "mkdocstrings", "latex2mathml")
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        pytest.skip(f"the extra `docs` is not installed: no {missing[0]}")
    out = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.mark.slow
def test_the_site_is_complete(site: Path) -> None:
    api = (site / "api" / "index.html").read_text(encoding="utf-8")
    for name in hf_sfda.__all__:
        assert name == "__version__" or f'id="hf_sfda.{name}"' in api, name
    cards = (site / "metrics" / "index.html").read_text(encoding="utf-8")
    for metric in metrics.list_metrics():
        if metric.function.__module__.startswith("hf_sfda."):
            assert f'<h2 id="{metric.name}">' in cards, metric.name
    assert cards.count("<math") > 20
    notebook = (site / "notebook" / "index.html").read_text(encoding="utf-8")
    assert "efficientnet-lite0" in notebook


@pytest.mark.slow
def test_no_markup_of_the_docstrings_is_left_over(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        for leftover in (":class:", ":func:", ":mod:", ":math:", ".. math", 'class="arithmatex"'):
            assert leftover not in text, f"{page.relative_to(site)}: {leftover}"
        # What Markdown makes of `>>>` outside of code.
        assert not re.search(r"<blockquote>\s*<blockquote>", text), page.relative_to(site)


@pytest.mark.slow
def test_the_site_needs_no_other_host(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe)[^>]+src=\"?(https?:[^\s\">]+)", text)
        styles = re.findall(r"<link[^>]+rel=\"?(?:stylesheet|preconnect|preload)[^>]*>", text)
        assert not loaded, page
        assert not [link for link in styles if "http" in link], page


# -- the forms on GitHub


def test_issue_forms_have_what_github_requires() -> None:
    forms = sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml"))
    assert {"bug.yml", "wrong_ranking.yml", "feature.yml", "config.yml"} == {f.name for f in forms}
    for form in forms:
        content = yaml.safe_load(form.read_text(encoding="utf-8"))
        if form.name == "config.yml":
            assert set(content) <= {"blank_issues_enabled", "contact_links"}
            continue
        assert content["name"] and content["description"]
        for item in content["body"]:
            assert item["type"] in {"markdown", "textarea", "input", "dropdown", "checkboxes"}
            attributes = item["attributes"]
            assert attributes["value" if item["type"] == "markdown" else "label"]
        ids = [item["id"] for item in content["body"] if item["type"] != "markdown"]
        assert len(set(ids)) == len(ids)


def test_pre_commit_runs_what_make_lint_runs() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    entries = [hook["entry"] for repo in hooks["repos"] for hook in repo["hooks"]]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    lint = re.search(r"^lint:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE).group(1)
    commands = [line.strip().removeprefix("$(BIN)/") for line in lint.splitlines()]
    assert [entry.removeprefix(".venv/bin/") for entry in entries] == commands
