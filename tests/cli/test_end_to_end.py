"""The main job as a user does it: the installed command against a Hub, over HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hf_sfda.config import DEFAULT_METRICS
from hf_sfda.store import default_root
from tests import factories
from tests.command import run_command

HF_SFDA = Path(sys.executable).with_name("hf-sfda")
SECRET = "hf_thisIsASecretThatMustNeverShow012345"


def hf_sfda(*arguments: str, env: dict[str, str], cwd: Path, code: int = 0) -> tuple[str, str]:
    """Run the installed command; returns stdout and stderr."""
    done = subprocess.run([HF_SFDA, *arguments], env=env, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def push_model(hub, repo_id: str, folder: Path, **card: object) -> None:
    """As people do who push files."""
    from huggingface_hub import HfApi

    factories.write_card(folder, **card)
    api = HfApi(token=hub.account("acme"))
    api.create_repo(repo_id, exist_ok=True)
    api.upload_folder(repo_id=repo_id, folder_path=folder)


def push_with_transformers(hub, repo_id: str, folder: Path, **card: object) -> None:
    from huggingface_hub import metadata_update
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    token = hub.account("acme")
    AutoModelForImageClassification.from_pretrained(folder).push_to_hub(repo_id, token=token)
    AutoImageProcessor.from_pretrained(folder).push_to_hub(repo_id, token=token)
    metadata_update(repo_id, card, overwrite=True, token=token)


def push_with_timm(hub, repo_id: str, folder: Path, **card: object) -> None:
    import timm
    from huggingface_hub import metadata_update

    token = hub.account("acme")
    model = timm.create_model(f"local-dir:{folder}", pretrained=True)
    timm.models.push_to_hf_hub(model, repo_id, token=token, safe_serialization=True)
    metadata_update(repo_id, card, overwrite=True, token=token)


@pytest.fixture
def images_on_hub(hub, tmp_path):
    """A dataset and six checkpoints of every kind, pushed with the libraries users push with."""
    factories.image_dataset(n_per_class=14, classes=4).push_to_hub("me/shapes", split="train")
    zoo = tmp_path / "zoo"
    card = {"pipeline_tag": "image-classification", "license": "apache-2.0"}
    push_with_transformers(hub, "acme/vit", factories.tiny_vit(zoo / "vit"), **card)
    push_with_transformers(hub, "acme/resnet", factories.tiny_resnet(zoo / "resnet"), **card)
    push_with_timm(hub, "acme/timm", factories.tiny_timm(zoo / "timm"), **card)
    card["library_name"] = "transformers"
    custom = factories.tiny_vit(zoo / "custom")
    config = json.loads((custom / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "modeling.Custom"}
    (custom / "config.json").write_text(json.dumps(config))
    push_model(hub, "acme/custom-code", custom, **card)
    pickle_only = factories.tiny_vit(zoo / "pickle")
    (pickle_only / "model.safetensors").rename(pickle_only / "pytorch_model.bin")
    push_model(hub, "acme/pickle-only", pickle_only, **card)
    push_model(hub, "acme/gated", factories.tiny_vit(zoo / "gated"), **card)
    hub.set("acme/gated", gated="manual")
    for downloads, name in enumerate(
        ["gated", "pickle-only", "custom-code", "timm", "resnet", "vit"]
    ):
        hub.set(f"acme/{name}", downloads=1000 * (downloads + 1))
    return hub


def test_rank_asks_the_hub_and_ranks_what_it_finds(images_on_hub, tmp_path):
    hub = images_on_hub
    hub.requests.clear()
    out, _ = run_command("rank", "--dataset", "me/shapes", "--json", cwd=tmp_path)
    document = json.loads(out)

    assert document["schema_version"] == 1
    assert document["dataset"]["id"] == "me/shapes"
    assert len(document["dataset"]["revision"]) == 40
    assert document["dataset"]["task"] == "image-classification"
    assert document["dataset"]["split"] == "train"
    assert (document["dataset"]["n_samples"], document["dataset"]["n_classes"]) == (56, 4)

    rows = {row["model_id"]: row for row in document["rows"]}
    ranked = [row for row in document["rows"] if row["status"] == "ok"]
    assert {row["model_id"] for row in ranked} == {"acme/vit", "acme/resnet", "acme/timm"}
    assert [row["rank"] for row in ranked] == [1, 2, 3]
    values = [row["scores"]["three_heads"] for row in ranked]
    assert values == sorted(values, reverse=True)
    assert sum(row["p_best"] for row in ranked) == pytest.approx(1)
    for row in ranked:
        low, high = row["intervals"]["three_heads"]
        assert low < row["scores"]["three_heads"] < high
        assert set(row["scores"]) == set(DEFAULT_METRICS)
        assert row["rank_interval"][0] <= row["rank"] <= row["rank_interval"][1]
        assert 0 < row["noise_floor"] < 1
        assert row["params"] > 0
        assert row["feature_dim"] > 0
        assert row["download_bytes"] > 0
        assert row["samples_per_second"] > 0
        assert row["license"] == "apache-2.0"
        assert len(row["revision"]) == 40
    assert rows["acme/vit"]["downloads"] == 6000
    for name, word in [("custom-code", "code"), ("pickle-only", "safetensors"), ("gated", "gated")]:
        assert rows[f"acme/{name}"]["status"] == "skipped"
        assert word in rows[f"acme/{name}"]["reason"]
        assert rows[f"acme/{name}"]["rank"] is None

    lists = [r for r in hub.requests if r.path == "/api/models"]
    assert 1 <= len(lists) <= 2, "one list call a pipeline tag"
    assert not [r for r in hub.requests if r.path.startswith("/api/models/acme/pickle-only")]

    run = tmp_path / "runs" / "me--shapes"
    assert json.loads((run / "ranking.json").read_text()) == document
    for name in ("ranking.parquet", "report.html", "config.yaml", "journal.jsonl"):
        assert (run / name).stat().st_size > 0
    assert "NaN" not in out


def weights_fetched(hub) -> list[str]:
    return [r.path for r in hub.requests if r.method == "GET" and r.path.endswith(".safetensors")]


def test_second_run_extracts_nothing_and_damage_is_made_good(images_on_hub, tmp_path):
    arguments = [
        "rank", "--dataset", "me/shapes", "--json", "--models", "acme/vit", "acme/resnet",
        "--metric", "knn", "--metrics", "knn,sfda_cv",
    ]  # fmt: skip
    first = json.loads(run_command(*arguments, cwd=tmp_path)[0])
    assert len(weights_fetched(images_on_hub)) == 2
    images_on_hub.requests.clear()
    second = json.loads(run_command(*arguments, cwd=tmp_path)[0])
    assert second["rows"] == first["rows"]
    assert not weights_fetched(images_on_hub)
    events = [json.loads(x) for x in (tmp_path / "runs/me--shapes/journal.jsonl").open()]
    assert [e["cached"] for e in events if e["event"] == "extracted"] == [False] * 2 + [True] * 2

    stored = next(default_root().rglob("*.safetensors"))
    content = bytearray(stored.read_bytes())
    content[-1] ^= 1
    stored.write_bytes(content)
    out, err = run_command(*arguments, cwd=tmp_path)
    assert "damaged" in err

    def without_speed(document: dict) -> list[dict]:
        return [{**row, "samples_per_second": None} for row in document["rows"]]

    assert without_speed(json.loads(out)) == without_speed(first)
    assert stored.read_bytes() != bytes(content)


@pytest.mark.parametrize("launched", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_text_from_a_csv_with_local_models(hub, hub_env, tmp_path, launched):
    """In this process the Hub could be asked. A launched one is offline, as the user wants it."""
    from datasets import Dataset

    data: Dataset = factories.text_dataset(n_per_class=20, classes=3)
    names = data.features["label"].names
    frame = data.to_pandas()
    frame["label"] = [names[i] for i in frame["label"]]
    frame.to_csv(tmp_path / "topics.csv", index=False)
    factories.tiny_bert(tmp_path / "zoo" / "a")
    factories.tiny_bert(tmp_path / "zoo" / "b", seed=1)
    (tmp_path / "models.txt").write_text("# two encoders\nzoo\n")
    offline = {"HF_HUB_OFFLINE": "1"} if launched else {}
    out, err = (hf_sfda if launched else run_command)(
        "rank", "--dataset", "topics.csv", "--models", "models.txt", "--format", "human",
        env={**hub_env, "COLUMNS": "120", **offline}, cwd=tmp_path,
    )  # fmt: skip
    assert "Target   topics.csv · text classification · 3 classes · 60 train samples" in err
    assert "report.html" in err
    assert "sfda_cv" in out
    document = json.loads((tmp_path / "runs/topics.csv/ranking.json").read_text())
    assert [row["status"] for row in document["rows"]] == ["ok", "ok"]
    assert not hub.requests, "local data and models need no Hub"


def test_a_run_that_ranks_nothing_replaces_no_ranking(hub, hub_env, tmp_path):
    data = factories.text_dataset(n_per_class=20, classes=3)
    data.to_parquet(tmp_path / "topics.parquet")
    factories.tiny_bert(tmp_path / "zoo" / "a")
    arguments = ("rank", "--dataset", "topics.parquet", "--out", "run", "--models")
    _, err = run_command(*arguments, "zo/b", env=hub_env, cwd=tmp_path, code=1)
    assert "report.html" in err, "nothing was there, so the reasons are saved"
    run_command(*arguments, "zoo/a", env=hub_env, cwd=tmp_path)
    files = {file: file.read_bytes() for file in (tmp_path / "run").glob("r*")}
    _, err = run_command(*arguments, "zo/a", env=hub_env, cwd=tmp_path, code=1)
    assert "No model was ranked, so the earlier ranking in run was kept." in err
    assert "report.html" not in err
    assert files == {file: file.read_bytes() for file in (tmp_path / "run").glob("r*")}
    run_command(*arguments, "zoo/a", "zo/a", env=hub_env, cwd=tmp_path)
    assert len(json.loads((tmp_path / "run" / "ranking.json").read_text())["rows"]) == 2


def test_one_bad_model_never_stops_a_run(images_on_hub, tmp_path):
    """Every way a checkpoint can be broken becomes a row with its reason."""
    from safetensors.numpy import load_file, save_file

    zoo = tmp_path / "bad"

    def broken(name: str) -> tuple[Path, dict[str, np.ndarray]]:
        folder = factories.tiny_vit(zoo / name)
        return folder / "model.safetensors", load_file(folder / "model.safetensors")

    path, weights = broken("nan")
    key = next(key for key in weights if key.endswith("layernorm_before.weight"))
    save_file({**weights, key: np.full_like(weights[key], np.nan)}, path, {"format": "pt"})
    path, weights = broken("wrong-shape")
    save_file({**weights, key: np.ones(3, np.float32)}, path, {"format": "pt"})
    path, _ = broken("truncated")
    path.write_bytes(path.read_bytes()[:-1000])
    path, _ = broken("no-config")
    (path.parent / "config.json").unlink()
    images_on_hub.faults.add(
        method="GET", path_regex="acme/resnet/resolve/.*safetensors", action="cut", times=None
    )
    out, _ = run_command(
        "rank", "--dataset", "me/shapes", "--json", "--models", "bad",
        "acme/vit", "acme/resnet", "acme/gone", "acme/gated", "not a model", cwd=tmp_path,
    )  # fmt: skip
    rows = {row["model_id"]: row for row in json.loads(out)["rows"]}
    assert rows["acme/vit"]["rank"] == 1
    reasons = {name: row["reason"] for name, row in rows.items() if row["status"] != "ok"}
    assert set(reasons) == {
        "bad/nan", "bad/wrong-shape", "bad/truncated", "bad/no-config",
        "acme/resnet", "acme/gone", "acme/gated", "not a model",
    }  # fmt: skip
    assert "layernorm_before.weight holds NaN" in reasons["bad/nan"]
    assert "shape" in reasons["bad/wrong-shape"]
    assert "config.json" in reasons["bad/no-config"]
    assert "gated" in reasons["acme/gated"]
    assert "\n" not in "".join(reasons.values()), "a reason is one line"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--dataset", "me/none"], 1, "me/none"),
        (["--dataset", "me/shapes", "--split", "dev"], 1, "train"),
        (["--dataset", "me/shapes", "--label-column", "lable"], 1, "label"),
        (["--dataset", "me/shapes", "--metric", "sdfa"], 2, "'sdfa'. Allowed: .*sfda_cv"),
        (["--dataset", "me/shapes", "--samples", "1"], 2, "samples is 1"),
        (["--dataset", "me/shapes", "--max-params", "many"], 2, "300M"),
        (["--dataset", "me/shapes", "extra"], 2, "Unexpected argument 'extra'"),
        ([], 2, "--dataset"),
        (["--dataset", "me/shapes", "--wrong"], 2, "No such option"),
        (["--dataset", "me/shapes", "--models", "acme/gone"], 1, "acme/gone"),
    ],
)  # fmt: skip
def test_bad_input_says_what_to_do(hub, tmp_path, arguments, code, message):
    import re

    factories.image_dataset(n_per_class=3, classes=2).push_to_hub("me/shapes", split="train")
    out, err = run_command("rank", *arguments, cwd=tmp_path, code=code)
    assert re.search(message, out + err), err
    assert "Traceback" not in err


@pytest.mark.slow
def test_the_token_shows_nowhere(images_on_hub, hub_env, tmp_path):
    images_on_hub.faults.add(
        path_regex="acme/resnet", status=500, times=None, headers={"Retry-After": "0"}
    )
    token = images_on_hub.token
    done = subprocess.run(
        [HF_SFDA, "rank", "--dataset", "me/shapes", "--token", token, "--out", "run",
         "--models", "acme/vit", "acme/resnet", f"acme/{token}", f"no model {SECRET}"],
        env={**hub_env, "HF_TOKEN": SECRET}, cwd=tmp_path,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    texts = [done.stdout, done.stderr]
    texts += [path.read_text(errors="replace") for path in (tmp_path / "run").glob("*")]
    texts += [
        path.read_text(errors="replace")
        for path in Path(hub_env["HF_HOME"]).rglob("features/**/*")
        if path.is_file()
    ]
    assert len(texts) > 6
    assert not any(secret in text for text in texts for secret in (token, SECRET))


@pytest.mark.slow
def test_killed_at_any_moment_the_next_run_gives_the_same(images_on_hub, hub_env, tmp_path):
    models = ["--models", "acme/vit", "acme/resnet", "acme/timm"]
    command = [str(HF_SFDA), "rank", "--dataset", "me/shapes", "--json", *models]
    journal = tmp_path / "runs" / "me--shapes" / "journal.jsonl"
    for extracted in (0, 1, 2):
        process = subprocess.Popen(
            command, env=hub_env, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None:
            if journal.exists() and journal.read_text().count('"extracted"') > extracted:
                os.kill(process.pid, signal.SIGKILL)
            time.sleep(0.02)
        process.wait()
        journal.unlink(missing_ok=True)
    resumed = json.loads(hf_sfda(*command[1:], env=hub_env, cwd=tmp_path)[0])
    clean = json.loads(run_command(*command[1:], "--out", "clean-run", cwd=tmp_path)[0])
    for one, other in zip(resumed["rows"], clean["rows"], strict=True):
        assert one["model_id"] == other["model_id"]
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-6)
        assert one["intervals"].keys() == other["intervals"].keys()


# Without a GPU `--multi_gpu` starts two processes on the CPU; `--cpu` starts one (accelerate 1.15).
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "processes", "work"),
    [("--multi_gpu", 2, "models"), ("--multi_gpu", 2, "samples"), ("--cpu", 1, "auto")],
)
def test_launched_processes_give_what_one_gives(
    images_on_hub, hub_env, tmp_path, kind, processes, work
):
    arguments = ["rank", "--dataset", "me/shapes", "--json", "--models", "acme/vit", "acme/timm"]
    alone = json.loads(run_command(*arguments, cwd=tmp_path)[0])
    launch = [sys.executable, "-m", "accelerate.commands.launch", kind, "--num_processes", "2"]
    done = subprocess.run(
        [*launch, "-m", "hf_sfda", *arguments, "--work", work, "--batch-size", "5", "--out", "two"],
        env={**hub_env, "HF_HOME": str(tmp_path / "two-home"), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    together = json.loads(done.stdout)
    started = json.loads((tmp_path / "two/journal.jsonl").read_text().splitlines()[0])
    assert started["processes"] == processes
    for one, other in zip(alone["rows"], together["rows"], strict=True):
        assert one["model_id"] == other["model_id"]
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-5)
        assert other["status"] == "ok"
