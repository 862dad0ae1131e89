"""``hf-sfda cache``: list or remove the stored features."""

from __future__ import annotations

from typing import Annotated

import typer

from hf_sfda.cli._options import FormatOption, JsonOption, QuietOption, choose_format
from hf_sfda.cli._output import Format, Output
from hf_sfda.format import megabytes


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(help="Show or clear the stored features.", no_args_is_help=True)
    group.command("ls")(list_entries)
    group.command("clear")(clear)
    app.add_typer(group, name="cache")


def list_entries(
    format_: FormatOption = Format.auto, json_: JsonOption = False, quiet: QuietOption = False
) -> None:
    """List what is stored."""
    from rich.text import Text

    from hf_sfda.foreign import clean_lines
    from hf_sfda.store import FeatureStore

    store = FeatureStore()
    rows = [
        {"entry": e.digest, "samples": e.n_samples, "bytes": e.bytes, **e.key}
        for e in sorted(store.entries(), key=lambda entry: entry.digest)
    ]
    total = sum(int(row["bytes"]) for row in rows)
    lines = [
        f"{r['entry']}  {megabytes(r['bytes']):>8} MB  {r['samples']:6,}  {r['model'][:19]}"
        for r in rows
    ]
    summary = f"{len(rows)} entries, {megabytes(total)} MB in {store.root}"
    Output(choose_format(format_, json_, quiet)).document(
        rows,
        human=lambda width: Text(clean_lines("\n".join([*lines, summary]))),
        agent=lambda: "\n".join("\t".join(map(str, row.values())) for row in rows),
        quiet=lambda: "\n".join(str(row["entry"]) for row in rows),
    )


def clear(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Remove all stored features; they will be extracted again when needed."""
    from hf_sfda.store import FeatureStore

    store = FeatureStore()
    if not yes:
        typer.confirm(f"Remove everything in {store.root}?", abort=True)
    typer.echo(f"Freed {megabytes(store.clear())} MB.", err=True)
