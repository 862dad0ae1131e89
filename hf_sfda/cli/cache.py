"""``hf-sfda cache``: list, verify, remove or publish the stored features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hf_sfda.cli._errors import NOTHING_RANKED
from hf_sfda.cli._options import Consent, with_shared_options
from hf_sfda.cli._output import Output
from hf_sfda.cli._plans import show_or_execute
from hf_sfda.errors import ConfigError
from hf_sfda.format import megabytes

if TYPE_CHECKING:
    from hf_sfda.store import Entry

_SHORTEST = 4  # characters that name an entry


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(
        help="Show, verify, remove or publish the stored features.", no_args_is_help=True
    )
    group.command("ls")(list_entries)
    group.command("verify")(verify)
    group.command("rm")(remove)
    group.command("clear")(clear)
    group.command("export")(export)
    app.add_typer(group, name="cache")


@with_shared_options
def list_entries(*, output: Output) -> None:
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
        f"{r['entry']}  {megabytes(r['bytes']):>8} MB  {r['samples']:7,}  {r['model'][:19]}"
        for r in rows
    ]
    if rows:
        lines.insert(0, f"{'entry':<32}  {'size':>11}  samples  commit or checksum")
    summary = f"{len(rows)} entries, {megabytes(total)} MB in {store.root}"
    output.document(
        rows,
        human=lambda width: Text(clean_lines("\n".join([*lines, summary]))),
        agent=lambda: "\n".join("\t".join(map(str, row.values())) for row in rows),
        quiet=lambda: "\n".join(str(row["entry"]) for row in rows),
    )


@with_shared_options
def verify(*, output: Output) -> None:
    """Read every entry and check its checksum; remove the damaged ones. Exit code 1 if any was."""
    from rich.text import Text

    from hf_sfda.store import FeatureStore

    store = FeatureStore()
    digests = sorted(entry.digest for entry in store.entries())
    damaged = [digest for digest in digests if store.get_by_digest(digest) is None]
    for digest in damaged:
        store.remove(digest)
    summary = f"{len(digests) - len(damaged)} entries are intact" + (
        f", {len(damaged)} were damaged and are removed; their features are extracted again"
        if damaged
        else ""
    )
    output.document(
        [{"entry": digest, "intact": digest not in damaged} for digest in digests],
        human=lambda width: Text(summary),
        agent=lambda: summary,
        quiet=lambda: "\n".join(damaged),
    )
    if damaged:
        raise typer.Exit(NOTHING_RANKED)


def remove(
    entries: Annotated[
        list[str],
        typer.Argument(
            metavar="ENTRY",
            help="Entries, or commits or checksums of models, as `cache ls` shows them; the first "
            "characters are enough.",
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Remove some entries; their features will be extracted again when needed."""
    from hf_sfda.store import FeatureStore

    store = FeatureStore()
    stored = list(store.entries())
    chosen = {digest for text in entries for digest in _matching(text, stored)}
    size = sum(entry.bytes for entry in stored if entry.digest in chosen)
    if not yes:
        typer.confirm(f"Remove {len(chosen)} entries ({megabytes(size)} MB)?", abort=True)
    freed = sum(store.remove(digest) for digest in chosen)
    typer.echo(f"Removed {len(chosen)} entries, freed {megabytes(freed)} MB.", err=True)


def _matching(text: str, stored: Sequence[Entry]) -> list[str]:
    """The entries whose name or model begins with a text.

    Raises:
        ConfigError: The text is too short, or no entry begins with it.
    """
    if len(text) < _SHORTEST:
        raise ConfigError(f"{text!r} is too short; give at least {_SHORTEST} characters.")
    digests = [
        entry.digest
        for entry in stored
        if entry.digest.startswith(text) or str(entry.key.get("model", "")).startswith(text)
    ]
    if not digests:
        raise ConfigError(
            f"No entry and no commit of a model begins with {text!r}. `hf-sfda cache ls` lists "
            "them; in ranking.json each model has its entry as feature_key."
        )
    return digests


def clear(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Remove all stored features; they will be extracted again when needed."""
    from hf_sfda.store import FeatureStore

    store = FeatureStore()
    if not yes:
        typer.confirm(f"Remove everything in {store.root}?", abort=True)
    typer.echo(f"Freed {megabytes(store.clear())} MB.", err=True)


@with_shared_options
def export(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Run directory that `hf-sfda rank` wrote.")
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="OWNER/NAME",
            help="Features dataset on the Hub; created if it does not exist.",
            show_default=False,
        ),
    ],
    private: Annotated[
        bool, typer.Option("--private", help="Create a new repository as private.")
    ] = False,
    *,
    consent: Consent,
    token: str | None,
    output: Output,
) -> None:
    """Publish the features and labels of a run: `rank --features` uses them. Plan first."""
    from hf_sfda.publish.features import plan_features
    from hf_sfda.session import Session

    plan = plan_features(run, to=to, private=private, session=Session(token))
    show_or_execute(output, plan, consent, token)
