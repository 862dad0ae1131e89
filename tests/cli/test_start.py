"""The command line: light, discoverable, and honest about mistakes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from typer.main import get_command

from hf_sfda.cli import app
from hf_sfda.cli._run_options import help_of, values_of
from hf_sfda.config import FinetuneConfig, RankConfig, ShortlistConfig, option_types
from hf_sfda.errors import ConfigError
from tests.command import run_command as run

HF_SFDA = Path(sys.executable).with_name("hf-sfda")
HEAVY = (
    "torch", "transformers", "gradio", "timm", "datasets", "accelerate", "plotly", "pandas",
    "numpy",
)  # fmt: skip


def python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize(
    "statement",
    [
        "import hf_sfda",
        "import hf_sfda.cli",
        "from hf_sfda import RankConfig, Ranking, register_metric, Candidate",
        "import sys; sys.argv = ['hf-sfda', 'rank', '--help']\n"
        "from hf_sfda.cli import main\n"
        "try: main()\nexcept SystemExit: pass",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(statement):
    code = f"{statement}\nimport sys\nprint('LOADED', [m for m in {HEAVY} if m in sys.modules])"
    assert "LOADED []" in python(code)


@pytest.fixture
def other_torch(tmp_path):
    """Write a package called torch that is imported instead of the real one."""

    def write(source: str) -> dict[str, str]:
        folder = tmp_path / "other"
        (folder / "torch").mkdir(parents=True)
        (folder / "torch" / "__init__.py").write_text(source)
        return os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}

    return write


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--dataset", "missing.csv", "--models", "m"], 1, "missing.csv"),
        (["--dataset", "texts.csv", "--models", "m", "--metric", "accuracy"], 2, "accuracy"),
        (["--dataset", "texts.csv", "--models", "m", "--samples", "-1"], 2, "samples"),
    ],
)
def test_a_refusal_does_not_wait_for_torch(arguments, code, message, other_torch, texts):
    never_imported = other_torch("import threading\nthreading.Event().wait()\n")
    done = subprocess.run(
        [HF_SFDA, "rank", *arguments],
        env=never_imported | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(texts.parent / "hf")},
        cwd=texts.parent,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == code, done.stderr
    assert message in done.stderr.splitlines()[-1]


@pytest.fixture
def texts(tmp_path) -> Path:
    """A dataset of twenty texts with two classes."""
    path = tmp_path / "texts.csv"
    rows = (f"text number {i},{'ab'[i % 2]}\n" for i in range(20))
    path.write_text("text,label\n" + "".join(rows))
    return path


def test_a_torch_that_cannot_be_imported_is_named(other_torch, texts):
    done = subprocess.run(
        [HF_SFDA, "rank", "--dataset", "texts.csv", "--models", "m", "--format", "human"],
        env=other_torch("raise ImportError('this torch is broken')")
        | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(texts.parent / "hf")},
        cwd=texts.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    first, *_, failure, _ = done.stderr.splitlines()
    assert first == "Reading  texts.csv"
    assert failure == "Error: ImportError: this torch is broken"


def test_a_run_speaks_before_it_imports(texts):
    code = f"""
        import os, sys
        from hf_sfda.cli import main

        at_first_line = []

        class Stderr:
            def __getattr__(self, name):
                return getattr(sys.__stderr__, name)
            def write(self, text):
                if not at_first_line:
                    at_first_line.append([name for name in {HEAVY} if name in sys.modules])
                    raise KeyboardInterrupt
                return len(text)

        sys.stderr = Stderr()
        os.chdir({str(texts.parent)!r})
        sys.argv = "hf-sfda rank --dataset texts.csv --models m --format human".split()
        try:
            main()
        except SystemExit as end:
            print("ENDED", end.code)
        print("LOADED AT FIRST", at_first_line[0])
    """
    out = python(textwrap.dedent(code))
    assert out.splitlines() == ["ENDED 130", "LOADED AT FIRST []"]


def test_the_list_of_commands_says_what_each_says_itself():
    import typer

    from hf_sfda import cli

    commands = typer.main.get_command(cli.app).commands
    assert list(commands) == list(cli._HELP)
    for name, command in commands.items():
        assert command.name == name
        assert " ".join(command.help.split("\n\n")[0].split()) == cli._HELP[name]


def test_public_names_are_there():
    import hf_sfda

    for name in hf_sfda.__all__:
        assert getattr(hf_sfda, name) is not None
    assert callable(hf_sfda.rank), "a module of that name must not hide the function"
    with pytest.raises(AttributeError, match="nothing"):
        _ = hf_sfda.nothing


@pytest.mark.parametrize("command", ["rank", "scan", "metrics", "env", "cache"])
def test_every_command_explains_itself(command):
    out, _ = run(command, "--help")
    assert "Usage" in out
    assert command in out


def test_every_option_of_a_run_has_a_help_text_and_a_panel():
    command = get_command(app).commands["rank"]
    options = {parameter.name: parameter for parameter in command.params}
    for name in option_types():
        assert options[name].help.endswith("."), name
        assert "``" not in options[name].help, name
        assert options[name].rich_help_panel or name == "out", name


def test_help_names_options_as_they_are_typed():
    texts = help_of(RankConfig)
    assert texts["race"] == (
        "Drop models early, on small samples, that cannot be among the first `--keep`."
    )
    assert texts["seed"] == "Random seed for sampling, folds, bootstrap and permutations."


def test_values_of_a_command_are_those_of_the_configuration():
    values = {"models": ["a", "b"], "license": "mit, isc", "language": None, "samples": 5}
    assert values_of(values) == {
        "models": ("a", "b"), "license": ("mit", "isc"), "language": (), "samples": 5
    }  # fmt: skip


def test_options_of_finetune_have_the_help_texts_of_their_classes():
    options = {
        parameter.name: parameter for parameter in get_command(app).commands["finetune"].params
    }
    for config in (ShortlistConfig, FinetuneConfig):
        texts = help_of(config)
        for name in option_types(config).keys() & options.keys():
            assert options[name].help == texts[name], name
    assert option_types(ShortlistConfig).keys() <= options.keys()


def test_a_grid_of_learning_rates_is_read_as_numbers():
    assert values_of({"learning_rates": "1e-5, .5", "samples": 5}, FinetuneConfig) == {
        "learning_rates": (1e-5, 0.5)
    }
    with pytest.raises(ConfigError, match="learning_rates is '1e-5,high'; give numbers"):
        values_of({"learning_rates": "1e-5,high"}, FinetuneConfig)


def test_help_lists_the_commands_and_version_prints():
    import hf_sfda

    out, _ = run("--help")
    for command in ("rank", "scan", "metrics", "cache", "env"):
        assert command in out
    installed = subprocess.run([HF_SFDA, "--version"], capture_output=True, text=True, check=True)
    assert installed.stdout.strip() == f"hf-sfda {hf_sfda.__version__}"


def test_metrics_are_listed_in_every_format():
    document = json.loads(run("metrics", "--json")[0])
    names = [row["name"] for row in document]
    assert {"sfda", "sfda_cv", "logme", "hscore", "knn", "logistic_probe", "params"} <= set(names)
    assert all(row["summary"] for row in document)
    assert run("metrics", "-q")[0].split() == names
    header, *rows = run("metrics", "--format", "agent")[0].splitlines()
    assert header.split("\t")[0] == "name"
    assert len(rows) == len(names)
    assert "sfda_cv" in run("metrics", "--format", "human")[0]


def test_scan_lists_local_candidates_and_reasons(tmp_path):
    from tests import factories

    factories.tiny_vit(tmp_path / "good")
    bad = factories.tiny_vit(tmp_path / "bad")
    (bad / "config.json").unlink()
    rows = json.loads(run("scan", str(tmp_path), "--json")[0])
    reasons = {Path(row["model_id"]).name: row["skip"] for row in rows}
    assert reasons["good"] is None
    assert "config.json" in reasons["bad"]
    assert run("scan", str(tmp_path), "-q")[0].strip().endswith("good")
    run("scan", str(bad), code=1)
    assert "--modality" in run("scan", code=2)[1]


def test_cache_lists_and_clears(tmp_path, monkeypatch):
    import numpy as np

    from hf_sfda.store import FeatureKey, FeatureStore, default_root
    from hf_sfda.types import Features

    monkeypatch.setenv("HF_ASSETS_CACHE", str(tmp_path))
    root = python("from hf_sfda.store import default_root; print(default_root())").strip()
    assert root.startswith(str(tmp_path))
    assert str(default_root())
    monkeypatch.setattr("hf_sfda.store.default_root", lambda: Path(root))
    key = FeatureKey("m" * 40, "i", "image", "float32", None, 1)
    FeatureStore(root).put(key, Features({"last": np.ones((3, 2), np.float32)}))
    assert json.loads(run("cache", "ls", "--json")[0])[0]["samples"] == 3
    listed = run("cache", "ls", "--format", "human")[0].splitlines()
    assert listed[0].split("  ")[-1] == "commit or checksum"
    assert listed[1].index("m" * 19) == listed[0].index("commit")
    assert listed[2].startswith("1 entries")
    assert "Freed" in run("cache", "clear", "--yes")[1]
    assert json.loads(run("cache", "ls", "--json")[0]) == []


def test_env_says_versions_and_no_token():
    facts = json.loads(run("env", "--json")[0])
    assert facts["torch"] and facts["transformers"]
    assert facts["logged in"] in ("yes", "no")
    assert not any("hf_" in str(v) for k, v in facts.items() if k == "logged in")


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """Three entries of two models in a store of their own."""
    import numpy as np

    from hf_sfda.store import FeatureKey, FeatureStore
    from hf_sfda.types import Features

    monkeypatch.setattr("hf_sfda.store.default_root", lambda: tmp_path / "store")
    store = FeatureStore()
    for model, inputs in (("abcdef", "x"), ("abcdef", "y"), ("fedcba", "x")):
        key = FeatureKey(model, inputs, "image", "float32", None, 1)
        store.put(key, Features({"last": np.ones((3, 2), np.float32)}))
    return store


def test_cache_removes_what_is_named(stored):
    assert "Removed 2 entries, freed" in run("cache", "rm", "abcd", "--yes")[1]
    [entry] = stored.entries()
    assert entry.key["model"] == "fedcba"
    assert "begins with 'nothing'" in run("cache", "rm", "nothing", "--yes", code=2)[1]
    assert "too short" in run("cache", "rm", "f", "--yes", code=2)[1]
    assert len(list(stored.entries())) == 1
    run("cache", "rm", entry.digest[:8], "--yes")
    assert not [path for path in stored.root.rglob("*") if path.is_file()]


def test_cache_verify_removes_damaged_entries(stored):
    assert run("cache", "verify", "--format", "human")[0].strip() == "3 entries are intact"
    damaged, *intact = sorted(entry.digest for entry in stored.entries())
    [path] = [entry.path for entry in stored.entries() if entry.digest == damaged]
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    document = json.loads(run("cache", "verify", "--json", code=1)[0])
    assert [row for row in document if not row["intact"]] == [{"entry": damaged, "intact": False}]
    assert sorted(entry.digest for entry in stored.entries()) == intact
    run("cache", "verify")
    [other] = [entry.path for entry in stored.entries() if entry.digest == intact[0]]
    other.unlink()
    assert run("cache", "verify", "-q", code=1)[0].split() == [intact[0]]
    assert len(list(stored.entries())) == 1
