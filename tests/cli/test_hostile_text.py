"""What strangers wrote reaches no terminal as a command, and no file as a formula."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from rich.console import Console

from hf_sfda.cli._errors import report_failure
from hf_sfda.cli._options import Consent, choose_token
from hf_sfda.cli._output import Format, Output
from hf_sfda.cli._plans import show_or_execute
from hf_sfda.cli._progress import ConsoleProgress
from hf_sfda.cli._tables import terminal_table
from hf_sfda.cli.scan import _table
from hf_sfda.errors import ConfigError, TargetError
from hf_sfda.hub.plan import Plan
from hf_sfda.progress import TqdmProgress
from hf_sfda.report import (
    files,
    render_html,
    render_plain,
    render_quiet,
    render_table,
    save_ranking,
)
from hf_sfda.secrets import redact
from hf_sfda.types import Candidate, ModelRow, Ranking, RowWarning, Scan
from tests.report_fixture import example_ranking

HIDDEN = "\x1b]8;;http://evil.example\x1b\\\u202e\u2066\x9b31m\x07\ud800"
MARKUP = "[red]a[/red] [link=http://evil.example]b[/link] [/nothing] [bold"
NAME = f"acme/{MARKUP}{HIDDEN}"
CONTROLS = {character for character in HIDDEN if not character.isprintable()}


def harmless(text: str) -> None:
    """Nothing but what may be drawn, and the colours that rich makes itself."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert not set(plain) & CONTROLS
    plain.encode()


@pytest.fixture
def terminal():
    """A console as a person has it, in memory."""
    return Console(file=io.StringIO(), force_terminal=True, width=200, color_system="truecolor")


def test_progress_bars_draw_names_as_they_are(terminal):
    with (
        ConsoleProgress(terminal) as progress,
        progress.task("download", NAME, total=10, unit="B") as advance,
    ):
        advance(5)
        progress._bars.refresh()
    shown = terminal.file.getvalue()
    assert "[red]a[/red]" in shown
    assert "[/nothing]" in shown
    assert "\x1b]8" not in shown, "no link"
    assert not set(shown) & (CONTROLS - {"\x1b"})  # the bar itself moves the cursor


def test_tqdm_draws_names_as_they_are(capsys):
    with TqdmProgress().task("extract", NAME, total=10, unit="img") as advance:
        advance(5)
    assert not set(capsys.readouterr().err) & (CONTROLS - {"\x1b"})


def test_the_list_of_candidates_draws_names_as_they_are(terminal):
    found = Scan((Candidate(NAME, license=MARKUP, skip=NAME),), rejected={NAME: 3})
    terminal.print(_table(found))
    shown = terminal.file.getvalue()
    assert "[red]a[/red]" in shown and "[/nothing]" in shown
    assert "\x1b]8" not in shown
    harmless(shown)


def test_small_tables_draw_names_as_they_are(terminal):
    terminal.print(terminal_table((("model", MARKUP), [(NAME, 1.0)]), text_columns=("model",)))
    assert "[/nothing]" in terminal.file.getvalue()
    harmless(terminal.file.getvalue())


@pytest.mark.parametrize("mode", list(Format))
def test_every_form_of_output_is_clean(mode, capsys, monkeypatch):
    ranking = hostile_ranking()
    output = Output(mode)
    output.log(NAME)
    output.warn(NAME)
    output.document(
        {**ranking.to_dict(), "extra": NAME},
        human=lambda width: render_table(ranking, width=width),
        agent=lambda: render_plain(ranking) + NAME,
        quiet=lambda: render_quiet(ranking) + NAME,
    )
    captured = capsys.readouterr()
    for text in captured:
        assert not set(text) & CONTROLS
    if output.mode is Format.json:
        assert json.loads(captured.out)["extra"].startswith("acme/[red]")


def test_an_error_shows_no_hidden_characters(capsys):
    for error in (TargetError(NAME), ConfigError(NAME), ValueError(NAME)):
        report_failure(error)
    harmless(capsys.readouterr().err)


def test_a_plan_shows_no_hidden_characters(capsys):
    plan = Plan(None, "me", (), up_to_date=(NAME,), warnings=(NAME,), title=NAME)
    show_or_execute(Output(Format.human), plan, Consent(yes=False, expect=None), token=None)
    captured = capsys.readouterr()
    harmless(captured.out + captured.err)
    assert "[/nothing]" in captured.out


def test_warnings_show_no_hidden_characters(capsys):
    from hf_sfda.cli._logging import send_warnings_to

    send_warnings_to(Output(Format.agent).warn)
    try:
        logging.getLogger("hf_sfda.x").warning("%s", NAME)
    finally:
        send_warnings_to(None)
        logging.getLogger("hf_sfda").propagate = True
        logging.captureWarnings(False)
    harmless(capsys.readouterr().err)


# -- files


def hostile_ranking() -> Ranking:
    base = example_ranking()
    rows = [
        replace(
            row,
            model_id=f"{name}{number}{HIDDEN}",
            license=name,
            warnings=(RowWarning(None, name),),
        )
        for number, (row, name) in enumerate(
            zip(base.rows, ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", MARKUP), strict=False)
        )
    ]
    failed = ModelRow("=cmd", None, "failed", reason="=HYPERLINK(1)", license="-", downloads=-5)
    dataset = {**base.dataset, "class_names": [NAME], "id": NAME}
    return Ranking(base.config, dataset, (*rows, failed), (NAME,), base.agreement)


def test_a_finished_run_is_not_lost_to_odd_names(tmp_path):
    ranking = hostile_ranking()
    folder = save_ranking(ranking, tmp_path / "run")
    document = json.loads((folder / "ranking.json").read_bytes())
    assert document["dataset"]["class_names"] == list(ranking.dataset["class_names"])
    for name in ("ranking.json", "ranking.csv", "config.yaml"):
        text = (folder / name).read_text(encoding="utf-8")
        assert not set(text) & CONTROLS, name
    harmless(render_html(ranking))


def test_no_cell_of_the_csv_is_a_formula():
    ranking = hostile_ranking()
    rows = list(csv.DictReader(io.StringIO(files.to_csv(ranking).decode(), newline="")))
    for row in rows:
        for column in ("model_id", "license", "reason", "warnings"):
            assert row[column][:1] not in ("=", "+", "-", "@", "\t", "\r"), row
    assert [row["license"] for row in rows[:5]] == ["'=1+1", "'+1", "'-1", "'@SUM(A1)", "'\t=1"]
    assert rows[-1]["reason"] == "'=HYPERLINK(1)"
    assert rows[-1]["downloads"] == "-5", "numbers stay numbers"
    lowest = min(float(row["score.hscore"]) for row in rows if row["score.hscore"])
    assert lowest == min(row.scores["hscore"] for row in ranking.ranked)


def test_other_files_keep_names_as_they_are():
    ranking = hostile_ranking()
    assert json.loads(files.to_json(ranking))["rows"][1]["license"] == "+1"
    assert files.to_arrow(ranking).column("license")[1].as_py() == "+1"


# -- tokens

TOKEN = "hf_" + "aZ9" * 11


def test_a_token_is_read_from_a_file_and_kept_secret(tmp_path, capsys):
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert choose_token(None, tmp_path / "token") == TOKEN
    assert TOKEN not in redact(f"sent {TOKEN}")
    assert choose_token(None, None) is None
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_a_token_file_from_windows_is_read(tmp_path, encoding):
    mark = b"\xff\xfe" if encoding == "utf-16-le" else b""
    (tmp_path / "token").write_bytes(mark + f"{TOKEN}\r\n".encode(encoding))
    assert choose_token(None, tmp_path / "token") == TOKEN


def test_a_tilde_in_a_path_is_expanded(tmp_path, monkeypatch):
    from hf_sfda.config import RankConfig
    from hf_sfda.ranking.runs import read_ranking

    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "token").write_text(TOKEN)
    assert choose_token(None, Path("~/token")) == TOKEN
    assert RankConfig("me/ds", out="~/run").run_directory == tmp_path / "run"
    assert RankConfig("me/ds", out="~nosuchuser/run").run_directory == Path("~nosuchuser/run")
    (tmp_path / "c.yaml").write_text("dataset: me/ds\n")
    assert RankConfig.from_yaml("~/c.yaml").dataset == "me/ds"
    save_ranking(example_ranking(), tmp_path / "run")
    assert read_ranking("~/run").rows == read_ranking(tmp_path / "run").rows


@pytest.mark.parametrize("token", ["", " ", "a b", "hf_a\nb", "schlüssel", "a\x00b"])
def test_a_token_that_cannot_be_sent_is_refused(token, capsys):
    with pytest.raises(ConfigError, match="--token must be one word of ASCII"):
        choose_token(token, None)


def test_a_token_that_is_typed_works_and_warns(capsys):
    assert choose_token(TOKEN, None) == TOKEN
    err = capsys.readouterr().err
    assert "list of processes shows --token" in err and "HF_TOKEN or use --token-file" in err
    assert TOKEN not in err


@pytest.mark.parametrize("content", [b"", b"\n", b"a b", b"a\nb", b"\xff\xfe", b"x y" * 9000])
def test_a_token_file_without_exactly_one_token_is_refused(tmp_path, content):
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(ConfigError, match="must hold one token and nothing else"):
        choose_token(None, tmp_path / "token")


def test_a_token_given_twice_or_a_missing_token_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="Both --token and --token-file"):
        choose_token(TOKEN, tmp_path / "token")
    with pytest.raises(ConfigError, match=r"Cannot read --token-file .*No such file"):
        choose_token(None, tmp_path / "token")


def test_every_command_that_takes_a_token_takes_a_file():
    from hf_sfda.cli import app

    command = typer.main.get_command(app)

    def walk(group, path=()):
        for name, one in getattr(group, "commands", {}).items():
            yield from walk(one, (*path, name))
        if not hasattr(group, "commands"):
            yield " ".join(path), {option for p in group.params for option in p.opts}

    with_token = {name: options for name, options in walk(command) if "--token" in options}
    assert len(with_token) >= 12
    assert all("--token-file" in options for options in with_token.values())


def test_the_token_of_a_file_is_used(hub, tmp_path, monkeypatch, capsys):
    from hf_sfda.cli import main

    (tmp_path / "token").write_text(hub.account("acme"))
    hub.put("acme/secret", {"config.json": "{}"})
    hub.set("acme/secret", private=True)
    arguments = ["scan", "acme/secret", "--token-file", str(tmp_path / "token"), "--json"]
    monkeypatch.setattr(sys, "argv", ["hf-sfda", *arguments])
    with pytest.raises(SystemExit):
        main()
    (row,) = json.loads(capsys.readouterr().out)
    assert "no weights" in row["skip"], "it was seen, so the token was sent"
