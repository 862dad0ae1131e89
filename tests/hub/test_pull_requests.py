"""Discussions, pull requests and cards on the test Hub, through huggingface_hub."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from huggingface_hub import (
    EvalResultEntry,
    HfApi,
    ModelCard,
    ModelCardData,
    eval_result_entries_to_yaml,
    hf_hub_download,
    metadata_eval_result,
    metadata_update,
)
from huggingface_hub.errors import (
    BadRequestError,
    HfHubHTTPError,
)

from tests.factories import model_files
from tests.hub.server import HubServer

# -- discussions and pull requests


def test_a_pull_request_is_opened_discussed_and_merged(hub: HubServer, api: HfApi) -> None:
    hub.put("acme/model", model_files())
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
    api.upload_file(
        path_or_fileobj=b"new", path_in_repo="c.txt", repo_id="me/model", revision="refs/pr/2"
    )
    assert hub.files("me/model", revision="refs/pr/2")["a.txt"] == b"one"
    assert api.get_discussion_details("me/model", 1).conflicting_files == ["a.txt"]
    with pytest.raises(HfHubHTTPError, match="409"):
        api.merge_pull_request("me/model", 1)
    api.merge_pull_request("me/model", 2)
    assert hub.files("me/model")["a.txt"] == b"three"
    assert hub.files("me/model")["b.txt"] == b"two"
    assert hub.files("me/model")["c.txt"] == b"new"


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
    hub.put("me/model", model_files())
    metadata_update("me/model", {"license": "apache-2.0"}, overwrite=True)
    assert "license:apache-2.0" in (api.model_info("me/model").tags or [])

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
