"""The results dataset: each run is a file of its own; the card has the leaderboards of all runs."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from hf_sfda.errors import PublishError
from hf_sfda.hub import hub_url
from hf_sfda.hub.access import (
    Account,
    Repo,
    download_files,
    find_head,
    list_files,
    read_file,
    require_write,
)
from hf_sfda.hub.changes import FileChange
from hf_sfda.hub.commit import Commit
from hf_sfda.publish.cards import render_card
from hf_sfda.publish.front_matter import add_key, parse_card
from hf_sfda.publish.leaderboards import make_leaderboards
from hf_sfda.publish.rows import Row, Run, read_results
from hf_sfda.publish.section import has_section, put_section
from hf_sfda.versions import __version__

if TYPE_CHECKING:
    from huggingface_hub import HfApi

DATA_FILES = "data/**/*.parquet"
_OURS = re.compile(r"data/[^/]+/[0-9a-f]{16}\.parquet|leaderboard/.+")
CONFIGS = [
    {"config_name": "default", "data_files": [{"split": "train", "path": DATA_FILES}]},
]
_SECTION = "results"

# Files that a repository may hold before the first results. Any other file is somebody's data.
_HARMLESS = re.compile(r"\..*|[^/]*(?:\.md|\.ya?ml)|LICEN[CS]E[^/]*|CITATION[^/]*", re.IGNORECASE)


def check_results_repo(api: HfApi, me: Account, repo: Repo) -> None:
    """Check that we own the results dataset and may write to it.

    Raises:
        PublishError: Somebody else owns it, or the token may not write.
    """
    if not me.owns(repo):
        raise PublishError(
            f"{repo.id} belongs to {repo.namespace}, and you are {me.name}. Publish results to "
            f"a dataset of your own: --to {me.name}/results"
        )
    require_write(api, me, repo, exists=find_head(api, repo) is not None)


def plan_results(api: HfApi, repo: Repo, run: Run, *, private: bool = False) -> Commit | None:
    """Plan the commit that adds a run, or return ``None`` if the dataset holds the run already.

    If somebody else commits first, the commit is planned again on top. This is safe, because the
    rows are in a file of their own and the card is computed from all rows.

    Args:
        api: The Hub client.
        repo: The results dataset; it need not exist.
        run: The run to add.
        private: Whether a new repository is private.

    Raises:
        PublishError: The repository is not a results dataset, has rows of a newer hf-sfda, or its
            card has a YAML style that cannot be extended.
    """
    head = find_head(api, repo)
    paths = list_files(api, repo, head) if head else []
    readme = read_file(api, repo, "README.md", head) if head and "README.md" in paths else None
    require_results_dataset(repo, paths, readme)
    existing = load_rows(api, repo, head) if head else []
    new = run.path not in paths
    after = results_card(repo, readme, [*existing, *run.rows] if new else existing)
    files = []
    if new:
        files.append(FileChange(run.path, None, run.parquet(), preview=preview_rows(run)))
    if after != readme:
        files.append(FileChange("README.md", readme, after))
    if not files:
        return None
    return Commit(
        repo=repo,
        parent=head,
        files=tuple(files),
        message=f"Add {len(run.ranking.rows)} candidates on {run.rows[0]['dataset']}",
        description=f"Run {run.digest}, written by hf-sfda {__version__}.",
        private=private,
        rebuild=lambda api: plan_results(api, repo, run, private=private),
    )


def load_rows(api: HfApi, repo: Repo, sha: str) -> list[Row]:
    """Load all rows of a results dataset at a commit.

    Raises:
        PublishError: hf-sfda did not write one of the files, or a newer version did.
    """
    paths = [
        path
        for path in list_files(api, repo, sha)
        if path.startswith("data/") and path.endswith(".parquet")
    ]
    if not paths:
        return []
    folder = download_files(api, repo, ["data/*.parquet"], sha)
    rows: list[Row] = []
    for path in paths:
        rows += read_results(folder / path, f"{path} of {repo.id}")
    return rows


def require_results_dataset(repo: Repo, paths: list[str], readme: bytes | None) -> None:
    """Check that a dataset is empty or holds results: never write into a dataset with other data.

    Args:
        repo: The dataset.
        paths: The paths of its files.
        readme: Its card.

    Raises:
        PublishError: It holds other files, for example the data that was ranked on.
    """
    if readme is not None and has_section(readme.decode("utf-8", "replace"), _SECTION):
        return
    foreign = [p for p in paths if not _HARMLESS.fullmatch(p) and not _OURS.fullmatch(p)]
    if foreign:
        raise PublishError(
            f"{repo} is not a results dataset: it holds {foreign[0]}"
            + (f" and {len(foreign) - 1} more files" if len(foreign) > 1 else "")
            + f". Publish to a repository of its own, such as --to {repo.namespace}/results"
        )


def holds_results(api: HfApi, repo: Repo, sha: str) -> bool:
    """Whether a dataset is a results dataset: its card has our section."""
    readme = read_file(api, repo, "README.md", sha)
    return readme is not None and has_section(readme.decode("utf-8", "replace"), _SECTION)


def results_card(repo: Repo, readme: bytes | None, rows: list[Row]) -> bytes:
    """The card with the leaderboards of all rows; text of others in the card stays."""
    section = render_card(
        "results_section", repo=repo.id, leaderboards=make_leaderboards(rows), hub=hub_url()
    )
    if readme is None or not readme.strip():
        front = render_card("results_dataset", repo=repo.id, configs=CONFIGS)
        readme = front.encode()
    card = parse_card(readme, f"README.md of {repo}")
    if "configs" not in card.data:
        card = add_key(card, "configs", CONFIGS)
    elif DATA_FILES not in str(card.data["configs"]):
        raise PublishError(
            f"README.md of {repo} sets `configs` to something else. It is left as it is; add "
            f"`{DATA_FILES}` to it, or publish to a repository of its own."
        )
    body = put_section(card, _SECTION, section)
    return str(replace(card, body=body)).encode()


def preview_rows(run: Run) -> tuple[str, ...]:
    """The rows as lines of text, for the diff: the file itself is binary."""
    columns = ("model", "status", "metric", "value", "low", "high", "rank", "reason")
    lines = ["\t".join(columns)]
    for row in run.rows:
        cells = ("" if row[name] is None else row[name] for name in columns)
        lines.append(
            "\t".join(f"{value:.4f}" if isinstance(value, float) else str(value) for value in cells)
        )
    return tuple(lines)
