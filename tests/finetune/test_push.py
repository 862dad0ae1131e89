"""``hf-sfda finetune --save`` and ``--push-to``: the best model on disk, and on a Hub over HTTP."""

from __future__ import annotations

import json
import os
import shutil
import signal

import pytest
import yaml
from PIL import Image

from hf_sfda.errors import FinetuneError
from hf_sfda.finetune import kept, shortlist
from hf_sfda.finetune.kept import read_kept
from hf_sfda.ranking.measurements import read_measurements
from tests import factories
from tests.command import run_command
from tests.finetune.test_command import QUICK, finetune, fork, order, ranked, work

__all__ = ["ranked", "work"]  # fixtures
NAME = "me/shapes-classifier"
TO = ("--push-to", NAME)


def files_on(hub) -> dict[str, bytes]:
    return {k: v for k, v in hub.files(NAME).items() if k != ".gitattributes"}


def test_the_winner_is_published_with_a_card_and_loads_with_its_library(work, hub, monkeypatch):
    out, err = finetune("--top", "2", "--format", "human", *TO, *QUICK)
    assert f"model {NAME}: a new public repository" in " ".join(out.split())
    assert "Nothing was trained" in err
    assert ("models", NAME) not in hub.state.repos
    text = " ".join(err.split())
    assert "states no licence, so none is stated" in text, "before anything is trained"
    _, err = finetune("--yes", "--expect", "0" * 12, "--top", "2", *TO, *QUICK, code=1)
    assert "known only after training" in " ".join(err.split())

    document = json.loads(finetune("--yes", "--json", "--top", "2", *TO, *QUICK)[0])
    measurements = document["finetuned"]["measurements"]
    best = max(measurements, key=lambda m: m["accuracy"])
    assert document["kept"] == best["model_id"]
    assert [step["what"] for step in document["push"]["done"]] == [f"model {NAME}"]
    files = files_on(hub)
    assert {"README.md", "config.json", "model.safetensors"} <= files.keys()
    assert "hf-sfda.json" not in files
    _, front, body = files["README.md"].decode().split("---\n", 2)
    card = yaml.safe_load(front)
    assert card["tags"] == ["hf-sfda"]
    assert "base_model" not in card, "a folder is no model of the Hub"
    assert "license" not in card
    assert "states no licence" in body
    [result] = card["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == pytest.approx(best["accuracy"], abs=1e-4)
    assert f"**Accuracy {best['accuracy']:.3f}**" in body

    # The code of the card, on one of the images, with weights from the Hub.
    code = body.split("```python\n")[1].split("```")[0]
    picture = sorted((work / "shapes" / "test").glob("*/*.png"))[0]
    Image.open(picture).save(work / "image.png")
    exec(code, {})

    # The same command again trains nothing and writes nothing.
    monkeypatch.setattr(shortlist, "finetune", None)
    again = json.loads(finetune("--yes", "--json", "--top", "2", *TO, *QUICK)[0])
    assert again["push"]["steps"] == []
    assert files_on(hub) == files
    plan = json.loads(finetune("--json", "--top", "2", *TO, *QUICK)[0])
    assert plan["push"]["settled"] == [f"model {NAME} holds this model already"]


def test_a_base_from_the_hub_is_named_with_its_licence_and_the_data(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    vit = factories.tiny_vit(tmp_path / "vit")
    factories.write_card(vit, license="apache-2.0")
    hub.put("acme/vit", vit)
    pictures = factories.image_dataset(n_per_class=12, classes=3)
    (tmp_path / "data" / "data").mkdir(parents=True)
    pictures.to_parquet(tmp_path / "data" / "data" / "train-00000-of-00001.parquet")
    hub.put("acme/shapes", tmp_path / "data", repo_type="dataset")
    options = ("--resamples", "100", "--permutations", "0", "--metrics", "knn", "--metric", "knn")
    run_command("rank", "--dataset", "acme/shapes", "--models", "acme/vit", *options, "-o", "run")
    _out, err = finetune("--yes", "--save", *QUICK)
    assert "run/model (acme/vit)" in err
    plan, err = finetune("--private", *TO, *QUICK)
    assert f"model {NAME}: a new private repository" in plan
    assert "+**Accuracy" in plan
    assert "no licence" not in err
    _, refused = finetune("--yes", "--private", "--expect", "0" * 12, *TO, *QUICK, code=1)
    assert "Nothing was written" in refused
    assert ("models", NAME) not in hub.state.repos
    expected = err.split("--expect ")[1].split()[0]
    finetune("--yes", "--private", "--expect", expected, *TO, *QUICK)
    card = yaml.safe_load(files_on(hub)["README.md"].decode().split("---\n")[1])
    assert (card["base_model"], card["base_model_relation"]) == ("acme/vit", "finetune")
    assert (card["license"], card["datasets"]) == ("apache-2.0", ["acme/shapes"])
    assert hub.state.repos[("models", NAME)].private


def test_only_the_best_of_a_run_is_kept(work):
    _first, second, _third = order()
    finetune("--yes", "--save", "--models", second, *QUICK)
    assert read_kept(work / "run").model_id == second
    finetune("--yes", "--save", "--top", "3", *QUICK)
    [finetuned] = read_measurements(work / "run")
    accuracies = {m.model_id: m.value for m in finetuned.measurements}
    best = max(order(), key=lambda name: accuracies[name])
    found = read_kept(work / "run")
    assert found.model_id == best
    assert found.is_of(finetuned, next(m for m in finetuned.measurements if m.model_id == best))
    assert not list((work / "run" / ".finetuning").glob("*.model"))


def test_a_winner_that_was_not_kept_is_trained_again(work):
    first = order()[0]
    finetune("--yes", "--models", first, *QUICK)
    plan, _ = finetune("--save", "--models", first, *QUICK)
    assert "it is trained again for that" in " ".join(plan.split())
    finetune("--yes", "--save", "--models", first, *QUICK)
    assert read_kept(work / "run").model_id == first
    [finetuned] = read_measurements(work / "run")
    assert len(finetuned.measurements) == 1


def test_a_network_that_cannot_be_saved_is_measured_and_told(work, hub, monkeypatch):
    def refuse(trained, folder):
        raise FinetuneError("no library reads it")

    monkeypatch.setattr(shortlist, "export", refuse)
    out, err = finetune("--yes", "--json", "--models", order()[0], *TO, *QUICK, code=1)
    document = json.loads(out)
    assert len(document["finetuned"]["measurements"]) == 1
    assert document["not_saved"] == {order()[0]: "no library reads it"}
    assert "push" not in document
    assert "its network was not kept: no library reads it" in " ".join(err.split())
    assert ("models", NAME) not in hub.state.repos


def test_a_push_that_fails_is_done_by_the_same_command_without_training(work, hub, monkeypatch):
    fault = hub.faults.add(method="POST", path_regex="commit", status=500, times=None)
    out, err = finetune("--yes", "--json", "--models", order()[0], *TO, *QUICK, code=1)
    assert fault.hits > 0
    assert len(json.loads(out)["finetuned"]["measurements"]) == 1
    assert "The same command does the rest" in " ".join(err.split())
    hub.faults.clear()
    monkeypatch.setattr(shortlist, "finetune", None)
    finetune("--yes", "--models", order()[0], *TO, *QUICK)
    assert "model.safetensors" in files_on(hub)


@pytest.mark.slow
def test_a_push_that_is_killed_is_done_by_the_same_command_without_training(work, hub, monkeypatch):
    command = ("finetune", "run", "--yes", "--models", order()[0], *TO, *QUICK)
    pid = fork(*command)
    hub.faults.add(
        method="POST",
        path_regex="preupload",
        action="call",
        function=lambda: os.kill(pid, signal.SIGKILL),
        times=1,
    )
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    assert "model.safetensors" not in hub.files(NAME)
    monkeypatch.setattr(shortlist, "finetune", None)
    finetune(*command[2:])
    assert "model.safetensors" in files_on(hub)


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("nobody", "OWNER/NAME"),
        ("strangers/model", "cannot make model strangers/model: it belongs to strangers"),
        ("me/other", "a model that hf-sfda did not publish"),
    ],
)
def test_a_wrong_destination_is_refused_before_anything_is_trained(
    work, hub, monkeypatch, to, words
):
    hub.put("me/other", {"README.md": "---\ntags:\n- vision\n---\nMine.\n", "model.bin": b"x"})
    monkeypatch.setattr(shortlist, "finetune", None)
    _, err = finetune("--yes", "--models", order()[0], "--push-to", to, *QUICK, code=1)
    assert words in " ".join(err.split())


def test_a_folder_of_somebody_else_is_left_alone(work, monkeypatch):
    (work / "run" / "model").mkdir()
    (work / "run" / "model" / "notes.txt").write_text("mine")
    monkeypatch.setattr(shortlist, "finetune", None)
    _, err = finetune("--yes", "--save", "--models", order()[0], *QUICK, code=2)
    assert "was not written by hf-sfda" in " ".join(err.split())
    shutil.rmtree(work / "run" / "model")


def test_a_new_model_leaves_the_files_that_the_owner_added(work, hub):
    ours = "---\ntags:\n- hf-sfda\n---\nAn old model.\n"
    old = {"README.md": ours, "old.safetensors": b"x", "LICENSE": "MIT", "plot.png": b"png"}
    hub.put(NAME, old)
    out, _ = finetune("--models", order()[0], *TO, *QUICK)
    assert "whose model and card are replaced" in " ".join(out.split())
    finetune("--yes", "--models", order()[0], *TO, *QUICK)
    files = files_on(hub)
    assert {"LICENSE", "plot.png", "model.safetensors"} <= files.keys()
    assert "old.safetensors" not in files


def test_a_kill_while_the_old_model_is_deleted_leaves_the_new_one(work, monkeypatch):
    """The folder is taken away by its name first; its files are deleted elsewhere."""
    _first, second, _third = order()
    finetune("--yes", "--save", "--models", second, *QUICK)
    [finetuned] = read_measurements(work / "run")
    saved = work / "run" / ".finetuning" / "new.model"
    saved.mkdir()
    (saved / "weights").write_text("new")
    delete = shutil.rmtree

    def killed(path, ignore_errors=False):
        if path.exists():
            raise KeyboardInterrupt
        delete(path, ignore_errors=ignore_errors)

    monkeypatch.setattr(kept.shutil, "rmtree", killed)
    [measurement] = finetuned.measurements
    with pytest.raises(KeyboardInterrupt):
        kept.keep(work / "run", saved, finetuned, measurement, read_kept(work / "run").exported)
    assert (work / "run" / "model" / "weights").read_text() == "new"
    assert read_kept(work / "run").is_of(finetuned, measurement)


def test_offline_a_push_is_refused_before_anything_is_trained(work, hub, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(shortlist, "finetune", None)
    _, err = finetune("--yes", "--models", order()[0], *TO, *QUICK, code=1)
    assert "Cannot publish" in err
    assert "offline" in err.lower()


@pytest.mark.parametrize("option", [("--private",), ("--expect", "0" * 12)])
def test_options_of_a_publication_need_one(work, option):
    _, err = finetune(*option, "--models", order()[0], *QUICK, code=2)
    assert "give --push-to" in " ".join(err.split())
