"""Uploads, downloads and history on the test Hub, through huggingface_hub."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
    HfFileSystem,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.errors import (
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import get_session

from tests.factories import model_files, safetensors_bytes
from tests.hub.server import HubServer


def test_regular_and_lfs_files_round_trip(hub: HubServer, api: HfApi) -> None:
    api.create_repo("me/model")
    data = safetensors_bytes(300)
    commit = api.create_commit(
        "me/model",
        [
            CommitOperationAdd("config.json", b"{}"),
            CommitOperationAdd("model.safetensors", data),
            CommitOperationAdd("sub/empty.txt", b""),
        ],
        commit_message="Add model",
        commit_description="Long story",
    )
    assert commit.commit_url == f"{hub.url}/me/model/commit/{commit.oid}"
    assert len(hub.seen("PUT", "^/lfs-upload/")) == 1
    tree = {f.path: f for f in api.list_repo_tree("me/model", recursive=True)}
    assert tree["model.safetensors"].lfs.size == tree["model.safetensors"].size == len(data)
    assert tree["config.json"].lfs is None
    assert tree["sub/empty.txt"].size == 0
    for name, content in {
        "config.json": b"{}",
        "model.safetensors": data,
        "sub/empty.txt": b"",
    }.items():
        assert Path(hf_hub_download("me/model", name)).read_bytes() == content
    newest = api.list_repo_commits("me/model")[0]
    assert (newest.commit_id, newest.title, newest.message, newest.authors) == (
        commit.oid,
        "Add model",
        "Long story",
        ["me"],
    )


def test_uploading_the_same_again_changes_nothing(hub: HubServer, api: HfApi) -> None:
    api.create_repo("me/model")
    files = {"config.json": b"{}", "model.safetensors": safetensors_bytes(300)}

    def upload() -> str:
        operations = [CommitOperationAdd(name, data) for name, data in files.items()]
        return api.create_commit("me/model", operations, commit_message="Add").oid

    first = upload()
    assert upload() == first
    assert len(api.list_repo_commits("me/model")) == 2  # with the Hub's own


def test_old_commits_stay_readable(hub: HubServer, api: HfApi) -> None:
    old = hub.put("me/model", {"a.txt": "one", "gone.txt": "x"})
    api.create_commit(
        "me/model",
        [CommitOperationAdd("a.txt", b"two"), CommitOperationDelete("gone.txt")],
        commit_message="Change",
    )
    assert Path(hf_hub_download("me/model", "a.txt")).read_text() == "two"
    assert Path(hf_hub_download("me/model", "a.txt", revision=old)).read_text() == "one"
    assert Path(hf_hub_download("me/model", "gone.txt", revision=old)).read_text() == "x"
    with pytest.raises(RemoteEntryNotFoundError):
        hf_hub_download("me/model", "gone.txt")
    assert api.model_info("me/model", revision=old).sha == old


def test_files_are_deleted_and_copied_and_deleting_missing_ones_fails(
    hub: HubServer, api: HfApi
) -> None:
    hub.put("me/model", {"a/1": "1", "a/2": "2", "b.bin": b"\0\1", "c.txt": "c"})
    api.delete_folder("a", "me/model")
    api.delete_file("c.txt", "me/model")
    operation = CommitOperationCopy("b.bin", "copy/b.bin")
    api.create_commit("me/model", [operation], commit_message="Copy")
    assert set(hub.files("me/model")) == {".gitattributes", "b.bin", "copy/b.bin"}
    assert hub.files("me/model")["copy/b.bin"] == b"\0\1"
    for missing in (CommitOperationDelete("c.txt"), CommitOperationDelete("a/")):
        with pytest.raises(HfHubHTTPError, match="404"):
            api.create_commit("me/model", [missing], commit_message="Delete")


def test_a_stale_parent_is_refused(hub: HubServer, api: HfApi) -> None:
    parent = hub.put("me/model", {"a.txt": "one"})
    hub.put("me/model", {"b.txt": "two"})
    for create_pr in (False, True):
        with pytest.raises(HfHubHTTPError) as caught:
            api.create_commit(
                "me/model",
                [CommitOperationAdd("a.txt", b"mine")],
                commit_message="Mine",
                parent_commit=parent,
                create_pr=create_pr,
            )
        assert caught.value.response.status_code == 412
    assert hub.files("me/model")["a.txt"] == b"one"
    assert list(api.get_repo_discussions("me/model")) == []


def test_of_writers_at_once_only_one_wins_per_parent(hub: HubServer, api: HfApi) -> None:
    hub.put("me/log", {"log.txt": ""})
    lost = []

    def append(writer: int) -> None:
        while True:
            head = api.model_info("me/log").sha
            log = hub.files("me/log", revision=head)["log.txt"] + b"%d\n" % writer
            try:
                api.create_commit(
                    "me/log",
                    [CommitOperationAdd("log.txt", log)],
                    commit_message=f"Line {writer}",
                    parent_commit=head,
                )
            except HfHubHTTPError as error:
                assert error.response.status_code == 412
                lost.append(writer)
            else:
                return

    threads = [threading.Thread(target=append, args=(writer,)) for writer in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(hub.files("me/log")["log.txt"].split()) == [b"%d" % i for i in range(6)]


def test_gitignore_is_honoured(hub: HubServer, api: HfApi, tmp_path: Path) -> None:
    api.create_repo("me/model")
    for name, text in {".gitignore": "*.log\n", "a.txt": "a", "b.log": "b"}.items():
        (tmp_path / name).write_text(text)
    api.upload_folder(repo_id="me/model", folder_path=tmp_path)
    assert set(hub.files("me/model")) == {".gitattributes", ".gitignore", "a.txt"}


def test_a_chunked_body_is_read(hub: HubServer) -> None:
    body = json.dumps({"name": "model"}).encode()
    chunks = (body[i : i + 4] for i in range(0, len(body), 4))
    headers = {"Authorization": f"Bearer {hub.token}"}
    url = f"{hub.url}/api/repos/create"
    answer = get_session().post(url, content=chunks, headers=headers)
    assert answer.request.headers["Transfer-Encoding"] == "chunked"
    assert answer.json()["id"] == "me/model"


def test_corrupt_uploads_are_refused(hub: HubServer, api: HfApi) -> None:
    hub.put("me/model", {"a": "a"})
    batch = {"objects": [{"oid": "0" * 64, "size": 3}], "operation": "upload"}
    headers = {"Authorization": f"Bearer {hub.token}"}
    url = f"{hub.url}/me/model.git/info/lfs/objects/batch"
    answer = get_session().post(url, json=batch, headers=headers).json()
    href = answer["objects"][0]["actions"]["upload"]["href"]
    assert get_session().put(href, content=b"abc").status_code == 400
    lines = [
        {"key": "header", "value": {"summary": "x"}},
        {"key": "lfsFile", "value": {"path": "m.bin", "oid": "0" * 64, "size": 3}},
    ]
    body = "\n".join(map(json.dumps, lines))
    url = f"{hub.url}/api/models/me/model/commit/main"
    answer = get_session().post(url, content=body, headers=headers)
    assert answer.status_code == 400
    assert "does not exist" in answer.json()["error"]


def test_a_dry_run_lists_the_files_and_downloads_nothing(hub: HubServer, api: HfApi) -> None:
    sha = hub.put("me/model", model_files() | {"big.bin": b"\0" * 1000})
    plan = snapshot_download("me/model", allow_patterns=["*.json", "*.safetensors"], dry_run=True)
    assert {f.filename for f in plan} == {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    }
    assert {f.commit_hash for f in plan} == {sha}
    file = hf_hub_download("me/model", "big.bin", dry_run=True)
    assert (file.file_size, file.commit_hash, file.will_download) == (1000, sha, True)
    size = {f.filename: f.file_size for f in plan}["model.safetensors"]
    assert size == len(hub.files("me/model")["model.safetensors"])
    assert not any(r.method == "GET" and "/resolve/" in r.path for r in hub.requests)
    folder = Path(snapshot_download("me/model", revision=sha, ignore_patterns="*.bin"))
    assert folder.name == sha
    assert {p.name for p in folder.iterdir()} == {*model_files(), ".gitattributes"}
    again = snapshot_download("me/model", revision=sha, ignore_patterns="*.bin", dry_run=True)
    assert not any(f.will_download for f in again)


def test_trees_are_listed_by_folder_and_by_path(hub: HubServer, api: HfApi) -> None:
    first = hub.put(
        "me/data", {"a.txt": "a", "x/b.txt": "b", "x/y/c.txt": "c"}, repo_type="dataset"
    )
    hub.put("me/data", {"x/y/c.txt": "cc"}, repo_type="dataset", title="Change c")
    hub.state.page_size = 2

    def paths(**options: Any) -> list[str]:
        return [e.path for e in api.list_repo_tree("me/data", repo_type="dataset", **options)]

    assert paths() == ["x", ".gitattributes", "a.txt"]
    assert paths(path_in_repo="x") == ["x/y", "x/b.txt"]
    assert paths(path_in_repo="x", recursive=True) == ["x/y", "x/b.txt", "x/y/c.txt"]
    with pytest.raises(RemoteEntryNotFoundError):
        paths(path_in_repo="nowhere")
    info = api.get_paths_info(
        "me/data", ["a.txt", "x", "nowhere", "x/y/c.txt"], repo_type="dataset", expand=True
    )
    assert [(e.path, e.last_commit.title) for e in info] == [
        ("a.txt", "Upload"),
        ("x", "Change c"),
        ("x/y/c.txt", "Change c"),
    ]
    assert info[0].last_commit.oid == first
    fs = HfFileSystem(skip_instance_cache=True)
    assert set(fs.ls("datasets/me/data/x", detail=False)) == {
        "datasets/me/data/x/b.txt",
        "datasets/me/data/x/y",
    }
    assert fs.read_text("datasets/me/data/x/y/c.txt") == "cc"


@pytest.mark.parametrize(
    ("span", "expected"),
    [("bytes=2-4", b"234"), ("bytes=7-", b"789"), ("bytes=-3", b"789"), ("bytes=5-99", b"56789")],
)
def test_a_range_of_a_file_is_served(hub: HubServer, span: str, expected: bytes) -> None:
    hub.put("me/model", {"digits.txt": "0123456789"})
    url = f"{hub.url}/me/model/resolve/main/digits.txt"
    answer = get_session().get(url, headers={"Range": span})
    assert (answer.status_code, answer.content) == (206, expected)
    assert answer.headers["Content-Range"].endswith("/10")
    assert get_session().get(url, headers={"Range": "bytes=10-"}).status_code == 416


def test_branches_and_tags_are_read_and_unknown_revisions_refused(
    hub: HubServer, api: HfApi
) -> None:
    first = hub.put("me/model", {"a.txt": "one"})
    api.create_branch("me/model", branch="dev")
    api.create_tag("me/model", tag="v1", revision=first)
    api.upload_file(
        path_or_fileobj=b"two", path_in_repo="a.txt", repo_id="me/model", revision="dev"
    )
    refs = api.list_repo_refs("me/model")
    assert {b.name for b in refs.branches} == {"main", "dev"}
    assert [(t.name, t.target_commit) for t in refs.tags] == [("v1", first)]
    assert Path(hf_hub_download("me/model", "a.txt", revision="v1")).read_text() == "one"
    assert Path(hf_hub_download("me/model", "a.txt", revision="dev")).read_text() == "two"
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_branch("me/model", branch="dev")
    api.delete_branch("me/model", branch="dev")
    api.delete_tag("me/model", tag="v1")
    for call in (
        lambda: hf_hub_download("me/model", "a.txt", revision="dev"),
        lambda: api.model_info("me/model", revision="v1"),
        lambda: api.delete_tag("me/model", tag="v1"),
        lambda: api.upload_file(
            path_or_fileobj=b"", path_in_repo="b", repo_id="me/model", revision="dev"
        ),
    ):
        with pytest.raises(RevisionNotFoundError):
            call()
