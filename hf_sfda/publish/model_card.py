"""What publishing changes in a model's repository: its card, and nothing the author wrote."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hf_sfda.errors import PublishError
from hf_sfda.publish.access import Account, Repo, find_head, read_file, require_write
from hf_sfda.publish.cards import render_card
from hf_sfda.publish.changes import FileChange
from hf_sfda.publish.commit import Commit
from hf_sfda.publish.eval_results import EvalTask, entry_file
from hf_sfda.publish.front_matter import parse_card
from hf_sfda.publish.model_index import eval_result, put_result
from hf_sfda.publish.rows import Run
from hf_sfda.publish.section import put_section, section_key
from hf_sfda.publish.statement import Statement, make_statement

if TYPE_CHECKING:
    from huggingface_hub import HfApi


@dataclass(frozen=True)
class CardPlanner:
    """Knows a run and where it is published; plans what a model's repository will say of it.

    Attributes:
        api: The client.
        me: Whose token it is.
        run: The run.
        results: The results dataset.
        eval_task: Also write ``.eval_results`` for this benchmark task.
    """

    api: HfApi
    me: Account
    run: Run
    results: Repo
    eval_task: EvalTask | None = None

    def plan(self, model: str) -> Commit | None:
        """The commit to a model of one's own; ``None`` if it says all that already.

        Raises:
            PublishError: It belongs to somebody else, is gone, cannot be written, or its card
                cannot be extended.
        """
        repo = Repo(model)
        statement = make_statement(self.run, model, self.results)
        if not self.me.owns(repo):
            raise PublishError(
                f"{model} belongs to {repo.namespace}, and you are {self.me.name}. "
                f"Propose the change to its owner instead: --create-pr {model}"
            )
        head = self.head(repo)
        require_write(self.api, self.me, repo, exists=True)
        return self.commit(repo, statement, head)

    def head(self, repo: Repo, revision: str = "main") -> str:
        """The commit a branch points at.

        Raises:
            PublishError: The repository is gone.
        """
        sha = find_head(self.api, repo, revision)
        if sha is None:
            raise PublishError(
                f"{repo} is no longer on the Hub, or this token may not see it. "
                "Publish without its card."
            )
        return sha

    def commit(
        self, repo: Repo, statement: Statement, parent: str, revision: str = "main"
    ) -> Commit | None:
        """What changes on top of a commit; ``None`` if nothing does."""
        files = tuple(self._files(repo, statement, parent))
        if not files:
            return None
        row = statement.row
        return Commit(
            repo=repo,
            parent=parent,
            files=files,
            message=f"Add transferability to {row['dataset']}",
            description=f"Place {statement.entry.place} of run {self.run.digest}: {statement.url}",
            revision=revision,
        )

    def _files(self, repo: Repo, statement: Statement, sha: str) -> list[FileChange]:
        readme = read_file(self.api, repo, "README.md", sha)
        wanted = {"README.md": edit_card(readme, repo, statement)}
        before = {"README.md": readme}
        if self.eval_task is not None:
            path, content = entry_file(self.eval_task, statement)
            wanted[path], before[path] = content, read_file(self.api, repo, path, sha)
        return [
            FileChange(path, before[path], after)
            for path, after in wanted.items()
            if after != before[path]
        ]


def edit_card(readme: bytes | None, repo: Repo, statement: Statement) -> bytes:
    """A model card with our row in the metadata and our section in the body.

    Args:
        readme: The author's card; ``None`` if there is none.
        repo: The model.
        statement: What to say.

    Returns:
        The new card. Every byte outside the row and the section is the author's.

    Raises:
        PublishError: The card's YAML is broken, or cannot be extended safely.
    """
    card = parse_card(readme or b"", f"README.md of {repo}")
    row = statement.row
    key = section_key(row["dataset"], row["dataset_config"], row["dataset_split"])
    body = put_section(card, key, render_card("model_section", statement=statement))
    name = repo.id.split("/")[-1]
    return str(put_result(replace(card, body=body), name, eval_result(statement))).encode()
