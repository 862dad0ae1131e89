"""The results dataset: each run is a file of its own; the card has the leaderboards of all runs."""

from __future__ import annotations

import random
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hf_sfda.errors import PublishError
from hf_sfda.publish.access import (
    Account,
    Repo,
    find_head,
    hub_errors,
    hub_url,
    list_files,
    read_file,
    require_write,
)
from hf_sfda.publish.cards import render_card
from hf_sfda.publish.changes import FileChange, StepResult, diff_of
from hf_sfda.publish.commit import Commit, MovedError, place_of_commit
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
# Each failed attempt means that another writer succeeded, so n writers need at most n attempts.
_TRIES = 20
_LONGEST_PAUSE = 5.0  # seconds

# Files that a repository may hold before the first results. Any other file is somebody's data.
_HARMLESS = re.compile(r"\..*|[^/]*(?:\.md|\.ya?ml)|LICEN[CS]E[^/]*|CITATION[^/]*", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class ResultsCommit:
    """One commit that adds the rows of a run and updates the card.

    Attributes:
        repo: The results dataset.
        run: The run to add.
        files: The file with the rows, and the card.
        parent: The commit that the plan was made on; ``None`` creates the repository.
        private: Whether a new repository is private.
    """

    repo: Repo
    run: Run
    files: tuple[FileChange, ...]
    parent: str | None
    private: bool = False

    def where(self) -> str:
        """The repository and the parent commit, as one line of a plan."""
        return place_of_commit(self.repo, self.parent, private=self.private)

    def diff(self) -> str:
        """All changes as unified diffs."""
        return diff_of(self.files)

    def execute(self, api: HfApi) -> StepResult:
        """Make the commit. If somebody else committed first, plan again on top and retry.

        This is safe, because the rows are in a file of their own and the card is computed from all
        rows. Other commits must not do this.

        Raises:
            PublishError: The Hub refuses or fails, or others committed first in every attempt.
        """
        step: ResultsCommit | None = self
        for attempt in range(_TRIES):
            if step is None:  # the same command ran elsewhere and finished first
                return StepResult(f"{self.repo}: these rows are there already", self.repo.url)
            try:
                return step._commit(api).execute(api)
            except MovedError:
                # A random pause, so that concurrent writers do not collide again.
                time.sleep(random.uniform(0, min(0.1 * 2**attempt, _LONGEST_PAUSE)))
                step = plan_results(api, self.repo, self.run, private=self.private)
        raise PublishError(
            f"{self.repo} changed {_TRIES} times while these rows were about to be added. "
            "Nothing was written there; run the same command again later."
        )

    def _commit(self, api: HfApi) -> Commit:
        parent = self.parent or self._create_repo(api)
        datasets = self.run.rows[0]["dataset"]
        candidates = len(self.run.ranking.rows)
        return Commit(
            repo=self.repo,
            parent=parent,
            files=self.files,
            message=f"Add {candidates} candidates on {datasets}",
            description=f"Run {self.run.digest}, written by hf-sfda {__version__}.",
        )

    def _create_repo(self, api: HfApi) -> str:
        """Create the repository and return its first commit."""
        with hub_errors(f"Cannot make {self.repo}"):
            api.create_repo(
                self.repo.id, repo_type=self.repo.kind, private=self.private, exist_ok=True
            )
        sha = find_head(api, self.repo)
        if sha is None:
            raise PublishError(
                f"{self.repo} was created but is no longer there; run the same command."
            )
        if set(list_files(api, self.repo, sha)) - {".gitattributes"}:
            raise MovedError(f"{self.repo} was made by somebody else in the meantime.")
        return sha


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


def plan_results(
    api: HfApi, repo: Repo, run: Run, *, private: bool = False
) -> ResultsCommit | None:
    """Plan the commit that adds a run, or return ``None`` if the dataset holds the run already.

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
    return ResultsCommit(repo=repo, run=run, files=tuple(files), parent=head, private=private)


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
    with hub_errors(f"Cannot read {repo}"):
        folder = api.snapshot_download(
            repo.id, repo_type=repo.kind, revision=sha, allow_patterns=["data/*.parquet"]
        )
    rows: list[Row] = []
    for path in paths:
        rows += read_results(Path(folder) / path, f"{path} of {repo.id}")
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
