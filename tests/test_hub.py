"""Hub access against the real huggingface_hub and a real server."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError

from hf_sfda.dataset import load_target
from hf_sfda.errors import ExtractionError, TargetError
from hf_sfda.hub import (
    cached_model,
    download_model,
    explain,
    hub_api,
    is_unreachable,
    model_files,
    retry_read,
)
from hf_sfda.hub.api import requested_wait
from hf_sfda.secrets import keep_secret, redact
from hf_sfda.session import Session
from hf_sfda.types import Candidate
from tests import factories

TOKEN = "hf_" + "aB3" * 12


@pytest.fixture
def waits(monkeypatch):
    """The seconds slept, without sleeping them."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


@pytest.fixture
def vit(hub, tmp_path):
    """A candidate on the Hub with everything beside the weights that real repositories have."""
    folder = factories.tiny_vit(tmp_path / "vit")
    for name in ("pytorch_model.bin", "model.fp16.safetensors", "tf_model.h5", "onnx/model.onnx"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x" * 1000)
    repo = f"acme/vit-{tmp_path.name}"  # the cache outlives a test
    sha = hub.put(repo, folder)
    hub.requests.clear()
    return Candidate(model_id=repo, revision=sha, download_bytes=1)


class Recorder:
    """A listener that remembers what it was told."""

    def __init__(self):
        self.tasks, self.amounts = [], []

    def task(self, kind, name, *, total, unit):
        from contextlib import nullcontext

        self.tasks.append((kind, name, total, unit))
        return nullcontext(self.amounts.append)


# -- redact


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("token hf_oauth_eyJhbGci.eyJzdWIi.c2ln-bmF0_dXJl used", "token <redacted> used"),
        (f"token {TOKEN} used", "token <redacted> used"),
        ('{"authorization": "Bearer abc.def"}', '{"authorization": "Bearer <redacted>"}'),
        ("curl -H 'Bearer abcdefgh12'", "curl -H 'Bearer <redacted>'"),
        ("the bearer of good news", "the bearer of good news"),
        ("proxy http://me:pass@proxy:80/x", "proxy http://<redacted>@proxy:80/x"),
        (
            'GET "https://cdn.example/f?X-Amz-Expires=9&X-Amz-Signature=beef" failed',
            'GET "https://cdn.example/f?<redacted>" failed',
        ),
        (
            "https://cdn.example/f?Expires=1&Policy=abc&Key-Pair-Id=K",
            "https://cdn.example/f?<redacted>",
        ),
        ("hf_transfer and hf_hub_download", "hf_transfer and hf_hub_download"),
        ("https://hub.example/api/models?limit=5", "https://hub.example/api/models?limit=5"),
    ],
)
def test_redact_masks_tokens(text, clean):
    assert redact(text) == clean


def test_redact_knows_tokens_of_any_shape(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "from-the-environment")
    keep_secret("given/by:hand")
    assert redact("a from-the-environment b given/by:hand c") == "a <redacted> b <redacted> c"
    keep_secret("abc")
    assert redact("abcdef") == "abcdef", "short strings are words, not tokens"


def test_a_token_passed_to_the_api_is_remembered(hub):
    hub_api("very-special-token")
    assert "special" not in redact("sent very-special-token to the Hub")


# -- read


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_read_tries_again_after_a_passing_failure(hub, vit, waits, status):
    hub.faults.add(path_regex="/api/models/acme", status=status, times=2)
    assert retry_read(hub_api().model_info, vit.model_id).sha == vit.revision
    assert len(hub.seen("GET", "/api/models/acme")) == 3
    assert waits == ([1.0, 1.0] if status == 429 else [1.0, 2.0]), "RateLimit says t=0, plus one"


def test_read_waits_as_long_as_it_is_asked_to(hub, vit, waits):
    limit = {"RateLimit": '"api";r=0;t=55'}
    hub.faults.add(path_regex="/api/models/acme", status=429, headers=limit)
    hub.faults.add(path_regex="/api/models/acme", status=503, headers={"Retry-After": "7"})
    retry_read(hub_api().model_info, vit.model_id)
    assert waits == [56.0, 8.0]


def test_read_does_not_wait_for_hours(hub, vit, waits):
    headers = {"Retry-After": "7200"}
    hub.faults.add(path_regex="/api/models/acme", status=429, headers=headers, times=None)
    with pytest.raises(Exception, match="429"):
        retry_read(hub_api().model_info, vit.model_id)
    assert waits == []


def test_read_gives_up_in_the_end(hub, vit, waits):
    hub.faults.add(path_regex="/api/models/acme", status=503, times=None)
    with pytest.raises(Exception, match="503"):
        retry_read(hub_api().model_info, vit.model_id)
    assert waits == [1.0, 2.0, 4.0]


def test_read_tries_again_after_a_dropped_connection(hub, vit, waits):
    hub.faults.add(path_regex="/api/models/acme", action="drop", times=1)
    assert retry_read(hub_api().model_info, vit.model_id).sha == vit.revision
    assert waits == [1.0]


@pytest.mark.parametrize("repo", ["acme/none", "acme/gated"])
def test_read_does_not_repeat_what_will_not_change(hub, waits, repo):
    hub.put("acme/gated", {"config.json": "{}"}, gated="manual")
    with pytest.raises(Exception, match=r"40[134]"):
        retry_read(hub_api().auth_check, repo)
    assert waits == [] and len(hub.requests) == 1


def test_requests_carry_our_name(hub, vit):
    hub_api().model_info(vit.model_id)
    assert hub.requests[-1].user_agent.startswith("hf-sfda/")


# -- explain


def _raised(function, *args, **kwargs) -> Exception:
    with pytest.raises(Exception) as caught:
        function(*args, **kwargs)
    return caught.value


def test_errors_of_repositories_are_explained(hub, vit):
    api = hub_api()
    hub.put("acme/gated", {"config.json": "{}"}, gated="manual")
    gated = explain(_raised(api.hf_hub_download, "acme/gated", "config.json"))
    assert gated.startswith("gated, and no token that may read it; request access")
    assert "--token" in gated and "HF_TOKEN" in gated
    assert "is not on the Hub" in explain(_raised(api.model_info, "acme/none"))
    revision = _raised(api.hf_hub_download, vit.model_id, "config.json", revision="v9")
    assert "no such revision" in explain(revision)
    missing = explain(_raised(api.hf_hub_download, vit.model_id, "nope.json"))
    assert "lacks a file" in missing and "nope.json" in missing
    hub.set(vit.model_id, disabled=True)
    assert "disabled" in explain(_raised(api.hf_hub_download, vit.model_id, "merges.txt"))
    assert "not a Hub id" in explain(_raised(api.model_info, "a/b/c"))


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (429, "rate limit"),
        (503, "its side"),
        (403, "refuses access"),
        (402, "payment required"),
        (418, "answered 418"),
    ],
)
def test_error_statuses_of_the_hub_are_explained(hub, vit, status, words):
    hub.faults.add(path_regex="/api/models", status=status)
    assert words in explain(_raised(hub_api().model_info, vit.model_id))


def test_explain_says_what_the_token_may_not_do(hub, vit, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", hub.account("stranger"))
    api, name = hub_api(), vit.model_id
    writes = [
        _raised(api.upload_file, path_or_fileobj=b"x", path_in_repo="x", repo_id=name),
        _raised(api.create_repo, "acme/new"),
        _raised(api.delete_repo, name),
        _raised(api.auth_check, name, write=True),
    ]
    for error in writes:
        assert "may write here" in explain(error), error
    hub.faults.add(status=403, times=None)
    for error in (_raised(api.model_info, name), _raised(api.get_paths_info, name, "config.json")):
        assert "may read this" in explain(error), error


def test_explain_finds_the_cause_inside_wrappers(hub):
    hub.put("acme/gated", {"config.json": "{}"}, gated="manual")
    inner = _raised(hub_api().hf_hub_download, "acme/gated", "config.json")
    try:
        try:
            raise inner
        except Exception as error:
            raise OSError("Can't load the model") from error
    except OSError as outer:
        assert explain(outer).startswith("gated")


def test_other_errors_are_explained_without_secrets():
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/cache/model.safetensors")
    assert explain(full).startswith("the disk is full while writing /cache/model.safetensors")
    assert explain(ValueError("two\nlines")) == "ValueError: two"
    assert explain(KeyError()) == "KeyError"
    assert "cannot be reached" in explain(ConnectionResetError())
    keep_secret("sesame-seeds")
    assert "sesame" not in explain(ValueError("token sesame-seeds is wrong"))


def test_a_hub_that_is_gone_is_explained(hub, waits):
    hub.stop()
    error = _raised(hub_api().model_info, "acme/vit")
    assert is_unreachable(error)
    assert "cannot be reached" in explain(error)


# -- download


def test_model_files_takes_what_is_needed_and_no_more():
    """Shards are not among them: the index says which there are."""
    names = [
        "README.md", "config.json", "preprocessor_config.json", "tokenizer.json",
        "1_Pooling/config.json",
        "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
        "model.safetensors.index.json", "model.fp16.safetensors", "pytorch_model.bin", "model.onnx",
        "onnx/model.onnx", "original/model.safetensors", "flax_model.msgpack", "tf_model.h5",
        "adapter_model.safetensors", "training_args.bin", "openvino/config.json",
    ]  # fmt: skip
    assert model_files(names) == [
        "1_Pooling/config.json", "config.json", "model.safetensors.index.json",
        "preprocessor_config.json", "tokenizer.json",
    ]  # fmt: skip


def test_download_is_pinned_and_brings_only_what_is_needed(hub, vit, tmp_path):
    hub.put(vit.model_id, {"config.json": "{}"}, title="a later, broken commit")
    listener = Recorder()
    folder = download_model(vit, Session(progress=listener))
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
    assert names == ["config.json", "model.safetensors", "preprocessor_config.json"]
    assert "ViT" in (folder / "config.json").read_text()
    assert listener.tasks == [("download", vit.model_id, 1, "B")]
    assert sum(listener.amounts) == sum((folder / name).stat().st_size for name in names)
    assert not hub.seen(path_regex="resolve/main"), "always the commit that was scanned"


def test_a_second_download_asks_nobody(hub, vit):
    assert cached_model(vit) is None
    folder = download_model(vit)
    hub.requests.clear()
    listener = Recorder()
    assert download_model(vit, Session(progress=listener)) == folder == cached_model(vit)
    assert hub.requests == [] and listener.tasks == []
    hub.stop()
    assert download_model(vit) == folder, "nor does it need the Hub"


def test_an_incomplete_cache_is_completed(hub, vit):
    folder = download_model(vit)
    (folder / "preprocessor_config.json").unlink()
    assert cached_model(vit) is None
    hub.requests.clear()
    assert (download_model(vit) / "preprocessor_config.json").exists()
    assert not hub.seen("GET", "safetensors")


def test_a_cut_download_is_picked_up(hub, vit, waits):
    hub.faults.add(method="GET", path_regex="resolve/.*model.safetensors", action="cut", times=2)
    folder = download_model(vit)
    wanted = hub.files(vit.model_id, revision=vit.revision)["model.safetensors"]
    assert (folder / "model.safetensors").read_bytes() == wanted


def test_a_download_survives_an_ill_hub(hub, vit, waits):
    hub.faults.add(method="GET", path_regex="resolve/", status=503, times=2)
    assert (download_model(vit) / "model.safetensors").exists()
    assert waits


def test_a_download_that_stays_cut_says_so(hub, vit, waits):
    hub.faults.add(method="GET", path_regex="resolve/.*safetensors", action="cut", times=None)
    with pytest.raises(ExtractionError) as caught:
        download_model(vit)
    assert "\n" not in str(caught.value) and "Hub" in str(caught.value)
    hub.faults.clear()
    assert (download_model(vit) / "model.safetensors").exists()


def test_what_cannot_be_downloaded_says_why(hub, vit):
    hub.put("acme/gated", {"config.json": "{}"}, gated="manual")
    gated = Candidate(model_id="acme/gated", revision=hub.repo("acme/gated").head.sha)
    with pytest.raises(ExtractionError, match="gated, and no token"):
        download_model(gated)
    hub.delete(vit.model_id)
    with pytest.raises(ExtractionError, match="not on the Hub"):
        download_model(vit)
    sha = hub.put("acme/pickle", {"config.json": "{}", "pytorch_model.bin": b"x"})
    with pytest.raises(ExtractionError, match=r"no model\.safetensors"):
        download_model(Candidate(model_id="acme/pickle", revision=sha))


def test_a_full_disk_is_named(hub, vit, monkeypatch):
    import huggingface_hub.file_download as file_download

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/cache/blob")

    monkeypatch.setattr(file_download, "http_get", full)
    with pytest.raises(ExtractionError, match="disk is full"):
        download_model(vit)


def test_a_local_candidate_is_where_it_is(hub, tmp_path):
    candidate = Candidate(model_id="m", source="local", path=tmp_path)
    assert download_model(candidate) == tmp_path and hub.requests == []


def test_progress_may_be_told_from_several_threads(hub, vit):
    names = set()

    class Listener(Recorder):
        def task(self, kind, name, *, total, unit):
            context = super().task(kind, name, total=total, unit=unit)
            context.enter_result = lambda n: names.add(threading.current_thread().name)
            return context

    download_model(vit, Session(progress=Listener()))
    assert names and "MainThread" not in names


def test_offline_mode_uses_the_cache(hub, vit, hub_env):
    """HF_HUB_OFFLINE is read at import, so this is a process of its own."""
    code = (
        "import sys; from hf_sfda.hub import download_model; from hf_sfda.types import Candidate\n"
        "print(download_model(Candidate(model_id=sys.argv[1], revision=sys.argv[2])))"
    )

    def run(revision, **env):
        return subprocess.run(
            [sys.executable, "-c", code, vit.model_id, revision],
            env=hub_env | env, capture_output=True, text=True, check=False,
        )  # fmt: skip

    first = run(vit.revision)
    assert first.returncode == 0, first.stderr
    hub.requests.clear()
    offline = run(vit.revision, HF_HUB_OFFLINE="1")
    assert offline.stdout == first.stdout and hub.requests == []
    unknown = run("0" * 40, HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE forbids" in unknown.stderr


def test_the_import_is_light():
    code = (
        "import sys, hf_sfda.hub\n"
        "print([m for m in ('huggingface_hub.hf_api', 'torch', 'httpx2') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_a_candidate_without_a_revision_is_never_taken_from_the_cache(vit):
    assert cached_model(replace(vit, revision=None)) is None


# -- hostile answers


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": " 12 "}, 12),
        ({"Retry-After": "²"}, None),
        ({"Retry-After": "١٢"}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "1e9"}, None),
        ({"Retry-After": "9" * 400}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"Retry-After": "Wed, 99 Oct 2015 07:28:00 GMT"}, None),
        ({"RateLimit": '"api";r=0;t=55', "Retry-After": "1"}, 55),
        ({"RateLimit": '"api";r=3;t=55', "Retry-After": "1"}, 1),
        ({"RateLimit": "nonsense"}, None),
        ({"RateLimit": f'"api";r=0;t={"9" * 5000}'}, None),
    ],
)
def test_the_wait_is_read_from_the_headers_of_an_answer(headers, seconds):
    assert requested_wait(headers) == seconds


def test_a_date_to_wait_for_is_understood():
    moment = datetime.now(UTC) + timedelta(seconds=100)
    seconds = requested_wait({"Retry-After": format_datetime(moment, usegmt=True)})
    assert seconds is not None and 90 < seconds <= 100


@pytest.mark.parametrize(
    "headers", [{"RateLimit": '"api";r=0;t=99999999'}, {"Retry-After": "99999999"}]
)
@pytest.mark.parametrize("status", [429, 503])
def test_the_client_never_waits_for_days(hub, vit, waits, caplog, headers, status):
    if status == 503 and "RateLimit" in headers:
        pytest.skip("it counts for 429 only")
    hub.faults.add(status=status, headers=headers, times=None)
    with pytest.raises(HfHubHTTPError, match=str(status)):
        list(hub_api().list_models())
    with pytest.raises(ExtractionError, match=r"rate limit|its side"):
        download_model(vit)
    assert all(seconds < 20 for seconds in waits)
    assert "asks to wait 99999999 s" in caplog.text
    assert "given up" in caplog.text


def test_the_client_tells_how_long_it_waits(hub, vit, waits, caplog):
    hub.faults.add(path_regex="^/api/models$", status=429, headers={"RateLimit": '"api";r=0;t=7'})
    list(hub_api().list_models())
    assert "The Hub asks to wait 7 s (429)." in caplog.text
    assert 8.0 in waits


def test_wrong_bytes_of_the_right_length_are_fetched_again(hub, vit):
    fault = hub.faults.add(method="GET", path_regex="model.safetensors$", action="corrupt")
    folder = download_model(vit)
    content = hub.files(vit.model_id)["model.safetensors"]
    assert (folder / "model.safetensors").read_bytes() == content
    assert fault.hits == 1


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_bytes_that_stay_wrong_are_never_used(hub, vit, name):
    hub.faults.add(method="GET", path_regex=f"{name}$", action="corrupt", times=None)
    with pytest.raises(ExtractionError, match=rf"{name} of {vit.model_id} arrives damaged"):
        download_model(vit)
    hub.faults.clear()
    folder = download_model(vit)
    assert (folder / name).read_bytes() == hub.files(vit.model_id)[name]


def test_a_listing_that_is_half_written_is_none(hub, vit):
    from huggingface_hub import constants

    folder = download_model(vit)
    listings = list(Path(constants.HF_HUB_CACHE).glob("**/trees/*.json"))
    assert listings, "the client keeps a listing"
    for path in listings:
        path.write_bytes(path.read_bytes()[:20])
    assert download_model(vit) == folder


def dataset_on(hub, tmp_path) -> str:
    data = tmp_path / "data"
    (data / "data").mkdir(parents=True)
    pictures = factories.image_dataset(n_per_class=6, classes=3)
    pictures.to_parquet(data / "data" / "train-00000-of-00001.parquet")
    hub.put(name := f"me/shapes-{tmp_path.name}", data, repo_type="dataset")
    return name


@pytest.mark.parametrize("damage", ["corrupt", "quiet"])
def test_data_that_arrives_damaged_is_fetched_again(hub, tmp_path, damage):
    name = dataset_on(hub, tmp_path)
    content = next(v for k, v in hub.files(name, "dataset").items() if k.endswith(".parquet"))
    at = content.index(b"IDAT") + 8  # inside a picture: the file can be read all the same
    quiet = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
    action = {"action": damage} if damage == "corrupt" else {"action": "replace"}
    fault = hub.faults.add(method="GET", path_regex="parquet$", content=quiet, **action)
    target = load_target(name, samples=18)
    assert fault.hits == 1
    assert (len(target), dict(target.left_out)) == (18, {})


@pytest.mark.parametrize("file", ["circle/0000.png", "README.md", "train/metadata.csv"])
def test_files_of_an_image_folder_that_arrive_damaged_are_fetched_again(hub, tmp_path, file):
    folder = factories.image_folder(tmp_path / "data", n_per_class=4, classes=["circle", "square"])
    (folder / "README.md").write_text("---\nlicense: mit\n---\nPictures.\n")
    if file == "train/metadata.csv":  # class by class in a table instead of in folders
        pictures = sorted(folder.glob("*/*.png"))
        (folder / "train").mkdir()
        rows = [f"{i}.png,{picture.parent.name}" for i, picture in enumerate(pictures)]
        (folder / file).write_text("\n".join(["file_name,label", *rows]))
        for i, picture in enumerate(pictures):
            picture.rename(folder / "train" / f"{i}.png")
            with suppress(OSError):
                picture.parent.rmdir()
    hub.put(name := f"me/folder-{tmp_path.name}", folder, repo_type="dataset")
    content = hub.files(name, "dataset")[file]
    damaged = content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]
    fault = hub.faults.add(method="GET", path_regex=f"{file}$", action="replace", content=damaged)
    target = load_target(name, samples=8)
    assert fault.hits == 1
    assert (len(target), dict(target.left_out)) == (8, {})
    assert target.class_names == ("circle", "square")
    cached = hf_hub_download(name, file, repo_type="dataset", local_files_only=True)
    assert Path(cached).read_bytes() == content


def test_data_that_stays_damaged_is_refused_and_not_kept(hub, tmp_path):
    name = dataset_on(hub, tmp_path)
    hub.faults.add(method="GET", path_regex="parquet$", action="corrupt", times=None)
    with pytest.raises(TargetError, match=rf"a file of {name} arrives damaged"):
        load_target(name, samples=18)
    hub.faults.clear()
    assert len(load_target(name, samples=18)) == 18
