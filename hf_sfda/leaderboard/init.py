"""The first commit of a leaderboard: its settings, an empty card, and a copy of hf-sfda."""

from __future__ import annotations

from hf_sfda.errors import ConfigError
from hf_sfda.hub import hub_api
from hf_sfda.hub.access import Repo, find_head, list_files, read_file, who_am_i
from hf_sfda.hub.changes import FileChange
from hf_sfda.hub.commit import Commit
from hf_sfda.hub.plan import Plan
from hf_sfda.leaderboard.package import changes_of_copy, copies_in
from hf_sfda.leaderboard.settings import SETTINGS_FILE, Settings, parse_settings
from hf_sfda.pipeline import check_metrics
from hf_sfda.publish.cards import render_card
from hf_sfda.publish.results_dataset import (
    check_results_repo,
    load_results,
    require_results_dataset,
    results_card,
)
from hf_sfda.versions import __version__


def plan_init(
    repo_id: str, settings_text: str | None, *, private: bool = False, token: str | None = None
) -> Plan:
    """Plan the set-up of a leaderboard; write nothing.

    Args:
        repo_id: A results dataset that we own. It need not exist, and it may hold results already.
        settings_text: The content of ``leaderboard.yaml``; ``None`` keeps the existing file.
        private: Whether a new repository is private.
        token: Hub token with write access.

    Raises:
        ConfigError: The settings are invalid, or ``settings_text`` is ``None`` and no file exists.
        PublishError: Somebody else owns the repository, or it is not a results dataset.
    """
    if settings_text is not None:
        _check(settings_text)
    api = hub_api(token)
    me = who_am_i(api)
    repo = Repo(repo_id, "dataset")
    check_results_repo(api, me, repo)
    head = find_head(api, repo)
    paths = list_files(api, repo, head) if head else []
    readme = read_file(api, repo, "README.md", head) if head and "README.md" in paths else None
    before = read_file(api, repo, SETTINGS_FILE, head) if head and SETTINGS_FILE in paths else None
    require_results_dataset(repo, paths, readme)
    settings = settings_text.encode() if settings_text is not None else before
    if settings is None:
        raise ConfigError(
            f"{repo} holds no {SETTINGS_FILE}, and the command names no datasets. Pass --dataset "
            "or --config."
        )
    if settings_text is None:
        _check(settings)
    copies = {path: read_file(api, repo, path, head) or b"" for path in copies_in(paths) if head}
    scores, finetuning = load_results(api, repo, head, paths)
    card = results_card(repo, readme, scores, finetuning)
    texts = ((SETTINGS_FILE, before, settings), ("README.md", readme, card))
    files = tuple(FileChange(path, old, new) for path, old, new in texts if old != new)
    files += changes_of_copy(copies)
    title = f"Set up leaderboard {repo_id}"
    if not files:
        return Plan(None, me.name, (), (f"{repo} is set up like this already",), title=title)
    replaced = any(file.before is not None and copies_in([file.path]) for file in files)
    commit = Commit(
        repo=repo,
        parent=head,
        files=files,
        message="Set up the leaderboard",
        description=f"Written by hf-sfda {__version__}.",
        private=private,
        note="Jobs use the new copy once they are scheduled again" if replaced else "",
    )
    return Plan(None, me.name, (commit,), title=title)


def _check(settings: str | bytes) -> None:
    for config in parse_settings(settings).targets:
        check_metrics(config)


def settings_text(
    datasets: list[str], *, models: list[str], metric: str, samples: int, top: int, seed: int = 0
) -> str:
    """The text of a ``leaderboard.yaml`` with comments, from the options of a command.

    Raises:
        ConfigError: The value of an option is not allowed.
    """
    defaults = Settings(targets=())
    text = render_card(
        "leaderboard.yaml",
        datasets=datasets,
        models=models,
        metric=metric,
        samples=samples,
        seed=seed,
        top=top,
        max_params=defaults.query.max_params,
        budget=defaults.budget,
    )
    parse_settings(text)
    return text
