"""The test Hub against the real huggingface_hub: repositories, listings, commits, pull requests."""

from __future__ import annotations

import json
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    EvalResultEntry,
    HfApi,
    HfFileSystem,
    ModelCard,
    ModelCardData,
    SpaceHardware,
    eval_result_entries_to_yaml,
    get_safetensors_metadata,
    hf_hub_download,
    metadata_eval_result,
    metadata_update,
    snapshot_download,
)
from huggingface_hub.errors import (
    BadRequestError,
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    NotASafetensorsRepoError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors.numpy import save as save_safetensors

from tests.hub.routing import find_route, route
from tests.hub_server import HubServer


@pytest.fixture
def api(hub: HubServer) -> HfApi:
    """The client of user ``me``."""
    return HfApi()


def weights(*shape: int, dtype: str = "float32") -> bytes:
    return save_safetensors({"w": np.zeros(shape, dtype)})


def vit_files(**card: object) -> dict[str, bytes | str]:
    """A classifier repository as small as can be."""
    config = {"architectures": ["ViTForImageClassification"], "model_type": "vit"}
    front = yaml.safe_dump({"license": "mit", "tags": ["tiny"], **card})
    return {
        "config.json": json.dumps(config),
        "preprocessor_config.json": "{}",
        "model.safetensors": weights(3, 5),
        "README.md": f"---\n{front}---\n# Tiny\n",
    }


# -- accounts


def test_whoami_tells_name_organisations_and_role(hub: HubServer, api: HfApi) -> None:
    token = hub.account("boss", orgs=("acme",))
    assert api.whoami()["name"] == "me"
    assert api.whoami(token=hub.read_token)["auth"]["accessToken"]["role"] == "read"
    assert [org["name"] for org in api.whoami(token=token)["orgs"]] == ["acme"]
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        api.whoami(token="nonsense")


def test_a_wrong_token_is_refused_even_for_public_repos(hub: HubServer, api: HfApi) -> None:
    hub.put("me/model", vit_files())
    with pytest.raises(HfHubHTTPError) as caught:
        api.model_info("me/model", token="nonsense")
    assert caught.value.response.status_code == 401
    assert not isinstance(caught.value, RepositoryNotFoundError)


@pytest.mark.parametrize(
    ("who", "status"), [("read", 403), ("stranger", 403), ("nobody", 401)], ids=str
)
def test_writes_need_the_right_token(hub: HubServer, api: HfApi, who: str, status: int) -> None:
    hub.put("me/model", vit_files())
    head = api.model_info("me/model").sha
    token = {"read": hub.read_token, "stranger": hub.account("stranger"), "nobody": False}[who]
    writes = [
        lambda: api.create_repo("me/other", token=token),
        lambda: api.upload_file(
            path_or_fileobj=b"x", path_in_repo="x", repo_id="me/model", token=token
        ),
        lambda: api.delete_repo("me/model", token=token),
        lambda: api.create_tag("me/model", tag="v1", token=token),
        lambda: api.update_repo_settings("me/model", private=True, token=token),
    ]
    for write in writes:
        with pytest.raises(HfHubHTTPError) as caught:
            write()
        assert caught.value.response.status_code == status
    assert api.model_info("me/model").sha == head
    assert not api.repo_exists("me/other")


def test_organisation_members_write_to_its_repos(hub: HubServer, api: HfApi) -> None:
    token = hub.account("boss", orgs=("acme",))
    api.create_repo("acme/model", token=token)
    with pytest.raises(HfHubHTTPError, match="403"):
        api.create_repo("acme/other")


# -- repositories


@pytest.mark.parametrize("kind", ["model", "dataset", "space"])
def test_create_list_and_delete(hub: HubServer, api: HfApi, kind: str) -> None:
    sdk = "gradio" if kind == "space" else None
    url = api.create_repo("me/thing", repo_type=kind, space_sdk=sdk)
    assert (url.repo_id, url.repo_type, url.endpoint) == ("me/thing", kind, hub.url)
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_repo("me/thing", repo_type=kind, space_sdk=sdk)
    again = api.create_repo("me/thing", repo_type=kind, space_sdk=sdk, exist_ok=True)
    assert again == url
    assert api.repo_info("me/thing", repo_type=kind).id == "me/thing"
    api.delete_repo("me/thing", repo_type=kind)
    assert not api.repo_exists("me/thing", repo_type=kind)
    with pytest.raises(RepositoryNotFoundError):
        api.delete_repo("me/thing", repo_type=kind)
    api.delete_repo("me/thing", repo_type=kind, missing_ok=True)


def test_a_name_without_owner_is_mine(api: HfApi) -> None:
    assert api.create_repo("thing").repo_id == "me/thing"


def test_an_old_repo_without_namespace_is_found(hub: HubServer, api: HfApi) -> None:
    hub.put("gpt2", vit_files())
    assert api.model_info("gpt2").id == "gpt2"
    assert [f.path for f in api.list_repo_tree("gpt2")][-1] == "preprocessor_config.json"
    assert Path(hf_hub_download("gpt2", "config.json")).is_file()


def test_moving_keeps_history(hub: HubServer, api: HfApi) -> None:
    sha = hub.put("me/old", vit_files())
    api.move_repo("me/old", "me/new")
    assert api.model_info("me/new").sha == sha
    assert not api.repo_exists("me/old")


def test_private_repos_look_missing_to_strangers(hub: HubServer, api: HfApi) -> None:
    stranger = hub.account("stranger")
    hub.put("me/secret", vit_files(), private=True)
    for token in (stranger, False):
        assert not api.repo_exists("me/secret", token=token)
        assert list(api.list_models(token=token)) == []
        with pytest.raises(RepositoryNotFoundError):
            hf_hub_download("me/secret", "config.json", token=token)
    assert [m.id for m in api.list_models()] == ["me/secret"]
    api.update_repo_settings("me/secret", private=False)
    assert api.repo_exists("me/secret", token=False)


def test_gated_repos_can_be_seen_but_not_downloaded(hub: HubServer, api: HfApi) -> None:
    token = hub.account("reader", "read")
    hub.put("acme/gated", vit_files(), gated="manual")
    assert api.model_info("acme/gated").gated == "manual"
    for who in (token, False):
        with pytest.raises(GatedRepoError):
            hf_hub_download("acme/gated", "config.json", token=who)
        with pytest.raises(GatedRepoError):
            api.auth_check("acme/gated", token=who)
    assert ModelCard.load("acme/gated", token=token).data.license == "mit"
    hub.grant("acme/gated", "reader")
    assert Path(hf_hub_download("acme/gated", "config.json", token=token)).is_file()
    api.auth_check("acme/gated", token=token)


def test_the_owner_gates_and_grants_through_the_api(hub: HubServer, api: HfApi) -> None:
    token = hub.account("reader", "read")
    hub.put("me/model", vit_files())
    api.update_repo_settings("me/model", gated="auto")
    with pytest.raises(GatedRepoError):
        api.auth_check("me/model", token=token)
    api.grant_access("me/model", "reader")
    api.auth_check("me/model", token=token)


def test_disabled_and_vanished_repos(hub: HubServer, api: HfApi) -> None:
    hub.put("me/model", vit_files())
    hub.set("me/model", disabled=True)
    with pytest.raises(DisabledRepoError):
        api.model_info("me/model")
    assert [m.disabled for m in api.list_models(expand=["disabled"])] == [True]
    hub.delete("me/model")
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("me/model")


def test_settings_are_checked(hub: HubServer) -> None:
    hub.put("me/model", vit_files())
    with pytest.raises(ValueError, match=r"Unknown setting 'download'; allowed: .*downloads"):
        hub.set("me/model", download=3)
    hub.put("me/model", {"a.csv": "a"}, repo_type="dataset")
    with pytest.raises(KeyError, match="2 repositories"):
        hub.set("me/model", downloads=3)


# -- what the Hub says about a model


def test_information_comes_from_the_files(hub: HubServer, api: HfApi) -> None:
    files = vit_files(base_model="google/vit", datasets=["mnist"], language="en")
    sha = hub.put("me/vit", files, downloads=12, likes=3, last_modified="2026-01-02T03:04:05+00:00")
    info = api.model_info("me/vit")
    assert (info.sha, info.author, info.private, info.gated) == (sha, "me", False, False)
    assert (info.downloads, info.likes) == (12, 3)
    assert info.last_modified is not None
    assert info.last_modified.isoformat() == "2026-01-02T03:04:05+00:00"
    assert (info.library_name, info.pipeline_tag) == ("transformers", "image-classification")
    assert info.config == {
        "architectures": ["ViTForImageClassification"],
        "model_type": "vit",
    }
    assert info.transformers_info is not None
    assert info.transformers_info.auto_model == "AutoModelForImageClassification"
    assert info.transformers_info.processor == "AutoImageProcessor"
    assert info.transformers_info.custom_class is None
    assert info.safetensors is not None
    assert (info.safetensors.parameters, info.safetensors.total) == ({"F32": 15}, 15)
    assert info.card_data is not None
    assert info.card_data.license == "mit"
    assert {
        "license:mit",
        "tiny",
        "safetensors",
        "base_model:google/vit",
        "base_model:finetune:google/vit",
        "dataset:mnist",
        "en",
    } <= set(info.tags or [])
    assert [s.rfilename for s in info.siblings or []] == sorted([*files, ".gitattributes"])
    sizes = {name: len(data) for name, data in files.items()}
    blobs = api.model_info("me/vit", files_metadata=True).siblings or []
    assert {s.rfilename: s.size for s in blobs if s.rfilename in sizes} == sizes
    assert [s.rfilename for s in blobs if s.lfs] == ["model.safetensors"]


def test_expand_gives_what_was_asked_and_nothing_else(hub: HubServer, api: HfApi) -> None:
    hub.put("me/vit", vit_files(base_model="google/vit"), downloads=7)
    hub.put("google/vit", vit_files())
    names = "safetensors config downloadsAllTime baseModels usedStorage childrenModelCount".split()
    info = api.model_info("me/vit", expand=names)
    assert (info.sha, info.tags, info.siblings) == (None, None, None)
    assert info.downloads_all_time == 7
    assert info.used_storage > sum(map(len, vit_files().values()))
    assert info.base_models == {
        "relation": "finetune",
        "models": [{"_id": "google/vit", "id": "google/vit"}],
    }
    assert info.children_model_count == 0
    assert api.model_info("google/vit", expand=names).children_model_count == 1
    with pytest.raises(BadRequestError, match="Invalid expand"):
        api.model_info("me/vit", expand=["nonsense"])  # type: ignore[list-item]


def test_remote_code_adapters_and_quantised_models_show(hub: HubServer, api: HfApi) -> None:
    config = {"architectures": ["MyModel"], "model_type": "mine"}
    auto_map = {"AutoModel": "modeling_mine.MyModel"}
    hub.put("x/code", {"config.json": json.dumps(config | {"auto_map": auto_map})})
    hub.put(
        "x/adapter",
        {
            "adapter_config.json": json.dumps({"base_model_name_or_path": "x/base"}),
            "README.md": "---\nbase_model: x/base\n---\n",
        },
    )
    quantised = config | {"quantization_config": {"quant_method": "gptq"}}
    hub.put(
        "x/quant", {"config.json": json.dumps(quantised), "README.md": "---\nbase_model: b\n---"}
    )
    hub.put("x/pickle", {"config.json": json.dumps(config), "pytorch_model.bin": b"\x80"})
    info = {
        m.id.split("/")[1]: m
        for m in api.list_models(
            expand=[
                "config",
                "tags",
                "transformersInfo",
                "baseModels",
                "library_name",
                "safetensors",
            ]
        )
    }
    assert info["code"].config["auto_map"] == auto_map
    assert info["code"].transformers_info.custom_class == "modeling_mine.MyModel"
    assert "custom_code" in info["code"].tags
    assert info["adapter"].library_name == "peft"
    assert info["adapter"].config["peft"]["base_model_name_or_path"] == "x/base"
    assert info["adapter"].base_models["relation"] == "adapter"
    assert info["quant"].base_models["relation"] == "quantized"
    assert info["pickle"].safetensors is None
    assert "pytorch" in info["pickle"].tags


def test_sharded_and_mixed_safetensors_are_counted(hub: HubServer, api: HfApi) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    hub.put(
        "me/sharded",
        {
            "model.safetensors.index.json": json.dumps(index),
            "model-1.safetensors": weights(4),
            "model-2.safetensors": weights(2, 3, dtype="float16"),
            "other.safetensors": weights(100),
        },
    )
    counts = api.model_info("me/sharded").safetensors
    assert counts is not None
    assert (counts.parameters, counts.total) == ({"F32": 4, "F16": 6}, 10)
    assert get_safetensors_metadata("me/sharded").parameter_count == {"F32": 4, "F16": 6}
    hub.put("me/broken", {"model.safetensors": b"\xff" * 4})
    assert api.model_info("me/broken").safetensors is None
    hub.put("me/none", {"config.json": "{}"})
    with pytest.raises(NotASafetensorsRepoError):
        get_safetensors_metadata("me/none")


def test_dataset_information(hub: HubServer, api: HfApi) -> None:
    front = {
        "license": "cc0-1.0",
        "task_categories": ["image-classification"],
        "dataset_info": {"features": [{"name": "image", "dtype": "image"}]},
    }
    readme = f"---\n{yaml.safe_dump(front)}---\n"
    hub.put("me/pets", {"README.md": readme, "a.parquet": b"PAR1"}, repo_type="dataset")
    info = api.dataset_info("me/pets")
    assert {
        "modality:image",
        "format:parquet",
        "license:cc0-1.0",
        "task_categories:image-classification",
    } <= set(info.tags or [])
    assert [d.id for d in api.list_datasets(task_categories="image-classification")] == ["me/pets"]
    assert list(api.list_datasets(benchmark=True)) == []
    hub.set("me/pets", benchmark=True)
    assert [d.id for d in api.list_datasets(benchmark=True)] == ["me/pets"]


# -- listings


@pytest.fixture
def zoo(hub: HubServer) -> HubServer:
    """Five models, popular in the order c, a, d, b, e."""
    for name, downloads, tag in zip(
        "abcde", [40, 20, 50, 30, 10], ["x", "x", "y", "x", "y"], strict=True
    ):
        hub.put(f"acme/{name}", vit_files(tags=[tag]), downloads=downloads)
    hub.put(
        "me/bert", {"config.json": '{"architectures": ["BertForMaskedLM"], "model_type": "bert"}'}
    )
    return hub


def test_listing_filters_and_sorts(zoo: HubServer, api: HfApi) -> None:
    def names(**query: Any) -> str:
        found = api.list_models(**query)
        return "".join(m.id.removeprefix("acme/") for m in found)

    assert names(author="acme", sort="downloads") == "cadbe"
    assert names(author="acme", sort="downloads", limit=2) == "ca"
    assert names(filter="y", sort="downloads") == "ce"
    assert names(filter=["x", "license:mit"], sort="downloads") == "adb"
    assert names(filter=["x", "y"]) == ""
    assert names(pipeline_tag="fill-mask") == "me/bert"
    assert names(search="BER") == "me/bert"
    assert names(num_parameters="min:10,max:1K", author="acme", sort="downloads") == "cadbe"
    assert names(num_parameters="min:1K") == ""
    zoo.set("acme/a", gated="auto")
    assert names(gated=True) == "a"
    zoo.set("acme/d", last_modified="2030-01-01T00:00:00+00:00")
    assert names(sort="last_modified", limit=1) == "d"


def test_listing_with_expand_is_one_request(zoo: HubServer, api: HfApi) -> None:
    names = ["sha", "safetensors", "siblings", "downloads", "cardData"]
    models = list(api.list_models(author="acme", expand=names))
    assert all(m.sha and m.safetensors and m.siblings and m.card_data for m in models)
    assert len(models) == 5
    assert len(zoo.requests) == 1
    assert zoo.requests[0].query["expand"] == names
    assert zoo.requests[0].with_token


def test_listing_pages_by_link_header(zoo: HubServer, api: HfApi) -> None:
    zoo.state.page_size = 2
    ids = [m.id for m in api.list_models(author="acme", sort="downloads", expand=["downloads"])]
    assert ids == [f"acme/{name}" for name in "cadbe"]
    assert len(zoo.seen("GET", "^/api/models$")) == 3
    zoo.requests.clear()
    assert len(list(api.list_models(author="acme", sort="downloads", limit=3))) == 3
    assert len(zoo.requests) == 2


def test_short_full_and_config_listings(zoo: HubServer, api: HfApi) -> None:
    short = next(iter(api.list_models(author="acme")))
    assert short.tags
    assert (short.sha, short.config, short.card_data, short.siblings) == (None,) * 4
    full = next(iter(api.list_models(author="acme", full=True, cardData=True, fetch_config=True)))
    assert all((full.sha, full.config, full.card_data, full.siblings))


# -- commits and files


def test_regular_and_lfs_files_round_trip(hub: HubServer, api: HfApi) -> None:
    api.create_repo("me/model")
    data = weights(300)
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
    files = {"config.json": b"{}", "model.safetensors": weights(300)}

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


def test_deleting_copying_and_missing_things(hub: HubServer, api: HfApi) -> None:
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


def test_corrupt_uploads_are_refused(hub: HubServer, api: HfApi) -> None:
    hub.put("me/model", {"a": "a"})
    from huggingface_hub.utils import get_session

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


def test_snapshots_and_dry_runs(hub: HubServer, api: HfApi) -> None:
    sha = hub.put("me/model", vit_files() | {"big.bin": b"\0" * 1000})
    plan = snapshot_download("me/model", allow_patterns=["*.json", "*.safetensors"], dry_run=True)
    assert {f.filename for f in plan} == {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    }
    assert {f.commit_hash for f in plan} == {sha}
    size = {f.filename: f.file_size for f in plan}["model.safetensors"]
    assert size == len(hub.files("me/model")["model.safetensors"])
    assert not any(r.method == "GET" and "/resolve/" in r.path for r in hub.requests)
    folder = Path(snapshot_download("me/model", revision=sha, ignore_patterns="*.bin"))
    assert folder.name == sha
    assert {p.name for p in folder.iterdir()} == {*vit_files(), ".gitattributes"}
    again = snapshot_download("me/model", revision=sha, ignore_patterns="*.bin", dry_run=True)
    assert not any(f.will_download for f in again)


def test_trees_paths_and_the_file_system(hub: HubServer, api: HfApi) -> None:
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
def test_ranges(hub: HubServer, span: str, expected: bytes) -> None:
    from huggingface_hub.utils import get_session

    hub.put("me/model", {"digits.txt": "0123456789"})
    url = f"{hub.url}/me/model/resolve/main/digits.txt"
    answer = get_session().get(url, headers={"Range": span})
    assert (answer.status_code, answer.content) == (206, expected)
    assert answer.headers["Content-Range"].endswith("/10")
    assert get_session().get(url, headers={"Range": "bytes=10-"}).status_code == 416


def test_branches_tags_and_unknown_revisions(hub: HubServer, api: HfApi) -> None:
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


# -- discussions and pull requests


def test_a_pull_request_from_commit_to_merge(hub: HubServer, api: HfApi) -> None:
    hub.put("acme/model", vit_files())
    owner = hub.account("acme")
    made = api.upload_file(
        path_or_fileobj=b"- value: 1",
        path_in_repo=".eval_results/x.yaml",
        repo_id="acme/model",
        commit_message="Add results",
        create_pr=True,
    )
    assert (made.pr_num, made.pr_revision) == (1, "refs/pr/1")
    (found,) = api.get_repo_discussions(
        "acme/model", author="me", discussion_type="pull_request", discussion_status="open"
    )
    assert (found.num, found.title, found.status, found.git_reference) == (
        1,
        "Add results",
        "open",
        "refs/pr/1",
    )
    assert list(api.get_repo_discussions("acme/model", author="acme")) == []
    # A second push to the same pull request, and nothing on main.
    api.upload_file(
        path_or_fileobj=b"- value: 2",
        path_in_repo=".eval_results/x.yaml",
        repo_id="acme/model",
        revision="refs/pr/1",
    )
    file = hf_hub_download("acme/model", ".eval_results/x.yaml", revision="refs/pr/1")
    assert Path(file).read_text() == "- value: 2"
    assert ".eval_results/x.yaml" not in hub.files("acme/model")
    (ref,) = api.list_repo_refs("acme/model", include_pull_requests=True).pull_requests or []
    assert ref.ref == "refs/pr/1"
    details = api.get_discussion_details("acme/model", 1)
    assert "+- value: 2" in details.diff
    assert [e.type for e in details.events] == ["comment", "commit", "commit"]
    assert details.conflicting_files == []
    with pytest.raises(HfHubHTTPError, match="403"):
        api.merge_pull_request("acme/model", 1)
    api.merge_pull_request("acme/model", 1, token=owner, comment="Thanks")
    details = api.get_discussion_details("acme/model", 1)
    assert details.status == "merged"
    assert details.merge_commit_oid == api.model_info("acme/model").sha
    assert hub.files("acme/model")[".eval_results/x.yaml"] == b"- value: 2"
    assert list(api.get_repo_discussions("acme/model", discussion_status="open")) == []
    with pytest.raises(BadRequestError, match="cannot be merged: merged"):
        api.merge_pull_request("acme/model", 1, token=owner)


def test_conflicts_are_found(hub: HubServer, api: HfApi) -> None:
    hub.put("me/model", {"a.txt": "one", "b.txt": "one"})
    for name in ("a.txt", "b.txt"):
        api.upload_file(
            path_or_fileobj=b"two", path_in_repo=name, repo_id="me/model", create_pr=True
        )
    hub.put("me/model", {"a.txt": "three"})
    assert api.get_discussion_details("me/model", 1).conflicting_files == ["a.txt"]
    with pytest.raises(HfHubHTTPError, match="409"):
        api.merge_pull_request("me/model", 1)
    api.merge_pull_request("me/model", 2)
    assert hub.files("me/model")["a.txt"] == b"three"
    assert hub.files("me/model")["b.txt"] == b"two"


def test_a_draft_is_opened_renamed_commented_and_closed(hub: HubServer, api: HfApi) -> None:
    hub.put("acme/data", {"a": "a"}, repo_type="dataset")
    draft = api.create_pull_request("acme/data", "A title", description="Why", repo_type="dataset")
    assert (draft.status, draft.num, draft.is_pull_request) == ("draft", 1, True)
    where = {"repo_id": "acme/data", "discussion_num": 1, "repo_type": "dataset"}
    assert api.change_discussion_status(new_status="open", **where).new_status == "open"
    assert api.rename_discussion(new_title="Another title", **where).new_title == "Another title"
    comment = api.comment_discussion(comment="Hello", **where)
    assert comment.content == "Hello"
    edited = api.edit_discussion_comment(comment_id=comment.id, new_content="Bye", **where)
    assert (edited.content, edited.edited) == ("Bye", True)
    api.change_discussion_status(new_status="closed", **where)
    assert api.get_discussion_details(**where).status == "closed"
    stranger = hub.account("stranger")
    with pytest.raises(HfHubHTTPError, match="403"):
        api.rename_discussion(new_title="Mine now", token=stranger, **where)
    with pytest.raises(HfHubHTTPError, match="403"):
        api.upload_file(
            path_or_fileobj=b"x",
            path_in_repo="x",
            repo_id="acme/data",
            repo_type="dataset",
            revision="refs/pr/1",
            token=stranger,
        )


def test_discussions_are_paged(hub: HubServer, api: HfApi) -> None:
    hub.put("me/model", {"a": "a"})
    for i in range(5):
        api.create_discussion("me/model", f"Question {i}")
    hub.state.page_size = 2
    titles = [d.title for d in api.get_repo_discussions("me/model")]
    assert titles == [f"Question {i}" for i in reversed(range(5))]
    with pytest.raises(HfHubHTTPError, match="404"):
        api.get_discussion_details("me/model", 6)


# -- cards


def test_cards_load_push_and_are_validated(hub: HubServer, api: HfApi) -> None:
    api.create_repo("me/model")
    card = ModelCard.from_template(ModelCardData(license="mit", tags=["sfda"]), model_id="me/model")
    card.push_to_hub("me/model")
    assert ModelCard.load("me/model").data.license == "mit"
    assert "sfda" in (api.model_info("me/model").tags or [])
    readme = {"path_in_repo": "README.md", "repo_id": "me/model"}
    nameless = b"---\nmodel-index:\n- results: []\n---\n"
    for broken in (b"---\na: [1\n---\n", b"---\n- list\n---\n", nameless):
        with pytest.raises(ValueError, match="Invalid metadata"):
            api.upload_file(path_or_fileobj=broken, **readme)
    with pytest.warns(UserWarning, match="empty or missing"):
        api.upload_file(path_or_fileobj=b"# Nothing", **readme)
    assert hub.files("me/model")["README.md"] == b"# Nothing"


def test_model_index_is_merged_and_pull_requested(hub: HubServer, api: HfApi) -> None:
    hub.put("me/model", vit_files())

    def result(value: float) -> dict[str, object]:
        return metadata_eval_result(
            model_pretty_name="Tiny",
            task_pretty_name="Image Classification",
            task_id="image-classification",
            metrics_pretty_name="Accuracy",
            metrics_id="accuracy",
            metrics_value=value,
            dataset_pretty_name="Pets",
            dataset_id="me/pets",
        )

    metadata_update("me/model", result(0.5))
    assert api.model_info("me/model").card_data.eval_results[0].metric_value == 0.5
    assert "model-index" in (api.model_info("me/model").tags or [])
    with pytest.raises(ValueError, match="overwrite=True"):
        metadata_update("me/model", result(0.6))
    url = metadata_update("me/model", result(0.6), overwrite=True, create_pr=True)
    assert url.endswith(
        "/me/model/commit/" + api.list_repo_commits("me/model", revision="refs/pr/1")[0].commit_id
    )
    assert api.model_info("me/model").card_data.eval_results[0].metric_value == 0.5
    api.merge_pull_request("me/model", 1)
    assert api.model_info("me/model").card_data.eval_results[0].metric_value == 0.6


def test_broken_front_matter_reads_as_none(hub: HubServer, api: HfApi) -> None:
    hub.put("me/model", {"README.md": "---\nlicense: [mit\n---\n"})
    assert api.model_info("me/model").card_data is None


def test_eval_results_count_for_benchmarks_only(hub: HubServer, api: HfApi) -> None:
    entries = [
        EvalResultEntry(dataset_id=d, task_id="t", value=v)
        for d, v in (("b/bench", 0.7), ("b/other", 1))
    ]
    text = yaml.safe_dump(eval_result_entries_to_yaml(entries))
    hub.put("b/bench", {"eval.yaml": "name: Bench"}, repo_type="dataset", benchmark=True)
    hub.put("me/good", {".eval_results/b.yaml": text.replace("0.7", "0.9"), "a": "a"})
    hub.put(
        "me/child", {".eval_results/b.yaml": text, "README.md": "---\nbase_model: me/good\n---"}
    )
    hub.put("x/model", {"config.json": "{}"})
    api.upload_file(
        path_or_fileobj=text.encode(),
        path_in_repo=".eval_results/b.yaml",
        repo_id="x/model",
        create_pr=True,
    )
    (entry,) = api.model_info("me/good", expand=["evalResults"]).eval_results or []
    assert (entry.dataset_id, entry.value) == ("b/bench", 0.9)
    board = api.get_dataset_leaderboard("b/bench")
    assert [(r.rank, r.model_id, r.value, r.pull_request) for r in board] == [
        (1, "me/good", 0.9, None),
        (2, "x/model", 0.7, 1),
    ]
    everyone = api.get_dataset_leaderboard("b/bench", base_model_only=False)
    assert {r.model_id for r in everyone} == {"me/good", "me/child", "x/model"}


# -- Spaces and collections


def test_spaces(hub: HubServer, api: HfApi, tmp_path: Path) -> None:
    api.create_repo(
        "me/app",
        repo_type="space",
        space_sdk="gradio",
        space_secrets=[{"key": "TOKEN", "value": "s3cret"}],
        space_variables=[{"key": "RESULTS", "value": "me/results"}],
    )
    (tmp_path / "app.py").write_text("import gradio\n")
    api.upload_folder(repo_id="me/app", folder_path=tmp_path, repo_type="space")
    assert "app.py" in hub.files("me/app")
    info = api.space_info("me/app")
    assert (info.sdk, info.runtime.stage) == ("gradio", "BUILDING")
    api.add_space_secret("me/app", "OTHER", "x", description="Why")
    listed = api.get_space_secrets("me/app")
    assert listed["OTHER"].description == "Why"
    assert "s3cret" not in str(hub.requests)
    api.delete_space_secret("me/app", "OTHER")
    assert set(api.get_space_secrets("me/app")) == {"TOKEN"}
    assert hub.repo("me/app").space["secrets"]["TOKEN"]["value"] == "s3cret"
    api.add_space_variable("me/app", "A", "1")
    assert {k: v.value for k, v in api.get_space_variables("me/app").items()} == {
        "RESULTS": "me/results",
        "A": "1",
    }
    assert set(api.delete_space_variable("me/app", "A")) == {"RESULTS"}
    runtime = api.request_space_hardware("me/app", SpaceHardware.ZERO_A10G)
    assert runtime.requested_hardware == "zero-a10g"
    assert api.get_space_runtime("me/app").requested_hardware == "zero-a10g"
    assert api.set_space_sleep_time("me/app", 60).sleep_time == 60
    assert api.pause_space("me/app").stage == "PAUSED"
    assert api.restart_space("me/app").stage == "BUILDING"
    assert "zero-a10g" in {h.name for h in api.list_spaces_hardware()}
    with pytest.raises(HfHubHTTPError, match="403"):
        api.get_space_secrets("me/app", token=hub.account("stranger"))


def test_collections(hub: HubServer, api: HfApi) -> None:
    for name in "abc":
        hub.put(f"acme/{name}", vit_files())
    made = api.create_collection("Best for pets", namespace="me", description="By SFDA")
    assert made.slug.startswith("me/best-for-pets-")
    assert api.create_collection("Best for pets", namespace="me", exists_ok=True).slug == made.slug
    for name in "abc":
        api.add_collection_item(made.slug, f"acme/{name}", "model", note=f"No {name}")
    with pytest.raises(HfHubHTTPError, match="409"):
        api.add_collection_item(made.slug, "acme/a", "model")
    with pytest.raises(RepositoryNotFoundError):
        api.add_collection_item(made.slug, "acme/nothing", "model")
    items = api.get_collection(made.slug).items
    assert [(i.item_id, i.note) for i in items] == [(f"acme/{n}", f"No {n}") for n in "abc"]
    api.update_collection_item(made.slug, items[2].item_object_id, position=0, note="New")
    api.delete_collection_item(made.slug, items[1].item_object_id)
    items = api.get_collection(made.slug).items
    assert [(i.item_id, i.note, i.position) for i in items] == [
        ("acme/c", "New", 0),
        ("acme/a", "No a", 1),
    ]
    assert api.update_collection_metadata(made.slug, private=True).private
    (listed,) = api.list_collections(owner="me")
    assert listed.title == "Best for pets"
    assert list(api.list_collections(owner="me", token=False)) == []
    api.delete_collection(made.slug)
    api.delete_collection(made.slug, missing_ok=True)


# -- the server itself


def test_a_route_is_one_decorated_function() -> None:
    found = find_route("GET", "/api/models/me/refs/refs")
    assert found is not None
    assert (found[0].endpoint.__name__, found[1]["repo"]) == ("refs", "me/refs")
    found = find_route("HEAD", "/datasets/me/x/resolve/refs%2Fpr%2F1/a/b%20c.txt")
    assert found is not None
    assert found[1] == {
        "prefix": "datasets/",
        "repo": "me/x",
        "revision": "refs/pr/1",
        "rest": "a/b c.txt",
    }
    with pytest.raises(ValueError, match="has an endpoint already"):
        route("GET", "/api/whoami-v2")(found[0].endpoint)


def test_unknown_requests_are_remembered(hub: HubServer, api: HfApi) -> None:
    with pytest.raises(HfHubHTTPError):
        api.get_user_overview("me")
    assert hub.unknown == ["GET /api/users/me/overview"]


def test_reset_empties_everything(hub: HubServer, api: HfApi) -> None:
    hub.put("me/model", vit_files())
    hub.account("boss")
    api.create_collection("Best", namespace="me")
    hub.faults.add(times=None)
    hub.reset()
    assert list(api.list_models()) == []
    assert list(api.list_collections()) == []
    assert set(hub.state.accounts) == {hub.token, hub.read_token}
    assert len(hub.requests) == 2


def test_two_hubs_are_independent(hub: HubServer) -> None:
    with HubServer() as other:
        other.put("me/model", vit_files())
        assert HfApi(endpoint=other.url).repo_exists("me/model")
        assert not HfApi().repo_exists("me/model")


@pytest.fixture(autouse=True)
def _no_unexpected_warnings() -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        yield
