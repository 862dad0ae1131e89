"""Add a model's result to its model card; the author's text does not change."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hf_sfda.errors import PublishError
from hf_sfda.hub.access import Account, Repo, find_head, read_file, require_write
from hf_sfda.hub.changes import FileChange
from hf_sfda.hub.commit import Commit
from hf_sfda.publish.cards import render_card
from hf_sfda.publish.edits import parse_card, put_section, section_key
from hf_sfda.publish.model_result import (
    EvalTask,
    ModelResult,
    entry_file,
    eval_result,
    make_model_result,
    put_result,
)
from hf_sfda.publish.rows import Run

if TYPE_CHECKING:
    from huggingface_hub import HfApi


@dataclass(frozen=True)
class CardPlanner:
    """Plans commits that add the results of a run to model cards.

    Attributes:
        api: The Hub client.
        me: The account behind the token.
        run: The run.
        results: The results dataset that holds the run; the cards link to it.
        eval_task: Also write an ``.eval_results`` file for this benchmark task.
    """

    api: HfApi
    me: Account
    run: Run
    results: Repo
    eval_task: EvalTask | None = None

    def plan(self, model: str) -> Commit | None:
        """Plan the commit to a model that we own; ``None`` if its card is up to date.

        Raises:
            PublishError: Somebody else owns the model, the model is not on the Hub, the token may
                not write there, or the card has a YAML style that cannot be extended.
        """
        repo = Repo(model)
        result = make_model_result(self.run, model, self.results)
        if not self.me.owns(repo):
            raise PublishError(
                f"{model} belongs to {repo.namespace}, and you are {self.me.name}. "
                f"Propose the change to its owner instead: --create-pr {model}"
            )
        head = self.head(repo)
        require_write(self.api, self.me, repo, exists=True)
        return self.commit(repo, result, head)

    def head(self, repo: Repo, revision: str = "main") -> str:
        """The commit of a branch.

        Raises:
            PublishError: The repository does not exist.
        """
        sha = find_head(self.api, repo, revision)
        if sha is None:
            raise PublishError(
                f"{repo} is no longer on the Hub, or this token may not see it. "
                "Publish without its card."
            )
        return sha

    def commit(
        self, repo: Repo, result: ModelResult, parent: str, revision: str = "main"
    ) -> Commit | None:
        """The commit on top of ``parent`` that adds a result; ``None`` if nothing changes."""
        files = tuple(self._files(repo, result, parent))
        if not files:
            return None
        row = result.row
        return Commit(
            repo=repo,
            parent=parent,
            files=files,
            message=f"Add transferability to {row['dataset']}",
            description=f"Place {result.entry.place} of run {self.run.digest}: {result.url}",
            revision=revision,
        )

    def _files(self, repo: Repo, result: ModelResult, sha: str) -> list[FileChange]:
        readme = read_file(self.api, repo, "README.md", sha)
        wanted = {"README.md": edit_card(readme, repo, result)}
        before = {"README.md": readme}
        if self.eval_task is not None:
            path, content = entry_file(self.eval_task, result)
            wanted[path], before[path] = content, read_file(self.api, repo, path, sha)
        return [
            FileChange(path, before[path], after)
            for path, after in wanted.items()
            if after != before[path]
        ]


def edit_card(readme: bytes | None, repo: Repo, result: ModelResult) -> bytes:
    """Add our row to a model card's metadata and our section to its body.

    Args:
        readme: The author's card; ``None`` if there is none.
        repo: The model.
        result: The model's result.

    Returns:
        The new card. All bytes outside our row and our section are as the author wrote them.

    Raises:
        PublishError: The card's YAML is invalid or cannot be extended safely.
    """
    card = parse_card(readme or b"", f"README.md of {repo}")
    row = result.row
    key = section_key(row["dataset"], row["dataset_config"], row["dataset_split"])
    body = put_section(card, key, render_card("model_section", result=result))
    name = repo.id.split("/")[-1]
    return str(put_result(replace(card, body=body), name, eval_result(result))).encode()
