"""A commit to a repository that is new, or that somebody else changes at the same time.

Outages at each request are in ``tests/publish/test_outage.py``.
"""

from __future__ import annotations

import pytest

from hf_sfda.errors import PublishError
from hf_sfda.hub.access import Repo
from hf_sfda.hub.changes import FileChange
from hf_sfda.hub.commit import Commit, MovedError

REPO = Repo("me/results", "dataset")


def commit(parent: str | None = None, **options) -> Commit:
    files = (FileChange("a.txt", None, b"ours\n"),)
    return Commit(repo=REPO, parent=parent, files=files, message="Add a", **options)


def contents(hub) -> dict[str, bytes]:
    files = hub.files(REPO.id, "dataset")
    return {path: data for path, data in files.items() if not path.startswith(".")}


@pytest.mark.parametrize("private", [False, True])
def test_a_new_repository_is_created_as_planned(hub, api, private):
    planned = commit(private=private, note="look at it")
    assert f"a new {'private' if private else 'public'} repository" in planned.where()
    done = planned.execute(api)
    assert done.commit == hub.repo(REPO.id).head.sha
    assert done.description == "dataset me/results; look at it"
    assert contents(hub) == {"a.txt": b"ours\n"}
    assert api.repo_info(REPO.id, repo_type="dataset").private is private


def test_a_repository_that_somebody_else_creates_after_the_plan_is_left_alone(hub, api):
    planned = commit(private=True)
    api.create_repo(REPO.id, repo_type="dataset")  # public, which was not planned
    with pytest.raises(MovedError, match="was made by somebody else after the plan"):
        planned.execute(api)
    assert contents(hub) == {}


def test_a_commit_that_can_be_rebuilt_goes_on_top_of_a_new_repository(hub, api):
    planned = commit(rebuild=lambda api: commit(hub.repo(REPO.id).head.sha))
    hub.put(REPO.id, {"theirs.txt": b"theirs\n"}, repo_type="dataset")
    planned.execute(api)
    assert contents(hub) == {"a.txt": b"ours\n", "theirs.txt": b"theirs\n"}


def test_nothing_is_written_twice(hub, api):
    hub.put(REPO.id, {"theirs.txt": b"theirs\n"}, repo_type="dataset")
    done = commit(rebuild=lambda api: None).execute(api)
    assert "there already" in done.description
    assert contents(hub) == {"theirs.txt": b"theirs\n"}


def test_a_space_is_created_by_a_step_of_its_own(hub, api):
    space = Repo("me/board", "space")
    files = (FileChange("app.py", None, b"1\n"),)
    planned = Commit(repo=space, parent=None, files=files, message="Deploy")
    with pytest.raises(PublishError, match="is no longer there"):
        planned.execute(api)
    api.create_repo(space.id, repo_type="space", space_sdk="gradio")
    planned.execute(api)
    assert hub.files(space.id, "space")["app.py"] == b"1\n"


def test_a_new_space_that_somebody_else_fills_first_is_left_alone(hub, api):
    space = Repo("me/board", "space")
    api.create_repo(space.id, repo_type="space", space_sdk="gradio")
    hub.put(space.id, {"app.py": b"theirs\n"}, repo_type="space")
    files = (FileChange("app.py", None, b"ours\n"),)
    with pytest.raises(MovedError, match="Somebody else wrote to space me/board"):
        Commit(repo=space, parent=None, files=files, message="Deploy").execute(api)
    assert hub.files(space.id, "space")["app.py"] == b"theirs\n"
