"""Who becomes a candidate, and the reason of everyone who does not."""

from __future__ import annotations

import errno
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import pytest

from hf_sfda import find_candidates
from hf_sfda.config import CandidateOptions
from hf_sfda.errors import ScanError
from hf_sfda.hub import download_model
from hf_sfda.scan import rules, scan_candidates
from hf_sfda.scan.query import EXPAND, PIPELINE_TAGS
from tests import factories


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """One folder of each kind; copy before changing."""
    root = tmp_path_factory.mktemp("zoo")
    factories.tiny_vit(root / "vit")
    factories.write_card(root / "vit", license="apache-2.0", pipeline_tag="image-classification")
    factories.tiny_bert(root / "bert")
    factories.write_card(root / "bert", license="mit")
    factories.tiny_timm(root / "timm")
    factories.write_card(root / "timm", library_name="timm", pipeline_tag="image-classification")
    return root


@pytest.fixture
def waits(monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


def config_of(folder, **changes):
    return json.dumps(json.loads((folder / "config.json").read_text()) | changes)


def variant(folder, **files):
    """The folder's files with some replaced, added or (``None``) removed."""
    kept = {f.name: f.read_bytes() for f in folder.iterdir() if f.is_file()}
    return {name: data for name, data in (kept | files).items() if data is not None}


def by_id(candidates):
    return {candidate.model_id: candidate for candidate in candidates}


def card(**metadata):
    """A README with this front matter."""
    lines = [f"{key}: {value}" for key, value in metadata.items()]
    return "\n".join(["---", *lines, "---", ""])


# -- the Hub query


def test_a_query_takes_the_most_downloaded_of_all_pipeline_tags(hub, zoo):
    hub.put("acme/few", zoo / "vit", downloads=1)
    hub.put("acme/many", zoo / "timm", downloads=100)
    hub.put("acme/some", zoo / "vit", downloads=50)
    factories.write_card(zoo / "vit", pipeline_tag="image-feature-extraction")
    hub.put("acme/backbone", zoo / "vit", downloads=70)
    factories.write_card(zoo / "vit", license="apache-2.0", pipeline_tag="image-classification")
    hub.put("acme/text", zoo / "bert", downloads=999)
    hub.requests.clear()
    found = find_candidates(modality="image", top=3)
    assert [c.model_id for c in found] == ["acme/many", "acme/backbone", "acme/some"]
    assert all(c.skip is None and c.source == "hub" for c in found)
    many, some = found[0], found[2]
    assert (many.library, some.library) == ("timm", "transformers")
    assert some.license == "apache-2.0" and some.downloads == 50
    assert some.pipeline_tag == "image-classification"
    assert some.revision == hub.repo("acme/some").head.sha
    assert some.params > 1000
    assert some.download_bytes == 4 * some.params
    lists = hub.seen("GET", "^/api/models$")
    assert len(lists) == len(PIPELINE_TAGS["image"])
    assert hub.requests == lists, "no call a model"
    assert {r.query["sort"][0] for r in lists} == {"downloads"}


def test_pages_are_fetched_as_they_are_used(hub, zoo):
    for number in range(12):
        hub.put(f"acme/m{number:02d}", zoo / "vit", downloads=100 - number)
    hub.state.page_size = 3
    hub.requests.clear()
    assert len(find_candidates(modality="image", top=2)) == 2
    assert len(hub.requests) == 2, "the first page of each tag"
    hub.requests.clear()
    assert [c.model_id for c in find_candidates(modality="image", top=7)] == [
        f"acme/m{number:02d}" for number in range(7)
    ]
    assert len(hub.requests) == 2 + 2


def test_left_out_models_come_with_their_reason_and_do_not_count(hub, zoo):
    bert = zoo / "bert"
    quantised = config_of(bert, quantization_config={"quant_method": "gptq", "bits": 4})
    code = config_of(bert, auto_map={"AutoModel": "modeling.Odd"})
    masked = card(pipeline_tag="fill-mask")
    repos = {
        "pickle": variant(bert, **{"model.safetensors": None, "pytorch_model.bin": "x"}),
        "gguf": {"README.md": card(pipeline_tag="fill-mask", library_name="gguf"), "m.gguf": b"x"},
        "onnx": variant(bert, **{"model.safetensors": None, "onnx/model.onnx": "x"}),
        "code": variant(bert, **{"config.json": code, "README.md": masked}),
        "quantised": variant(bert, **{"config.json": quantised}),
        "adapter": {
            "README.md": card(pipeline_tag="fill-mask", library_name="peft", base_model="acme/ok"),
            "adapter_config.json": b'{"peft_type": "LORA"}',
            "adapter_model.safetensors": b"x",
        },
        "gated": variant(bert),
        "disabled": variant(bert),
        "no-config": variant(
            bert,
            **{
                "config.json": None,
                "README.md": card(pipeline_tag="fill-mask", library_name="transformers"),
            },
        ),
        "odd-type": variant(
            bert, **{"config.json": '{"architectures": ["X"]}', "README.md": masked}
        ),
        "spacy": variant(
            bert, **{"README.md": card(pipeline_tag="fill-mask", library_name="spacy")}
        ),
        "picture": variant(zoo / "vit", **{"README.md": card(pipeline_tag="feature-extraction")}),
    }
    for number, (name, files) in enumerate(repos.items()):
        hub.put(f"acme/{name}", files, downloads=1000 - number)
    hub.set("acme/gated", gated="auto")
    hub.set("acme/disabled", disabled=True)
    hub.put("acme/ok", bert, downloads=1)
    found = by_id(find_candidates(modality="text", top=1))
    words = {
        "pickle": "pickle (pytorch_model.bin)", "gguf": "gguf", "onnx": "ONNX (onnx/model.onnx)",
        "code": "remote code", "quantised": "quantised (gptq)", "adapter": "adapter",
        "gated": "gated", "disabled": "disabled", "no-config": "no config.json",
        "odd-type": "neither a model_type", "spacy": "made for spacy", "picture": "takes images",
    }  # fmt: skip
    assert set(found) == {f"acme/{name}" for name in (*words, "ok")}
    for name, word in words.items():
        candidate = found[f"acme/{name}"]
        assert word in (candidate.skip or ""), name
        assert candidate.status == "skipped"
    assert found["acme/ok"].skip is None


def test_a_clip_of_open_clip_is_a_candidate_if_transformers_opens_it(hub, zoo):
    """LAION's repositories hold the files of both libraries; most others of open_clip do not."""
    made_for = card(library_name="open_clip", pipeline_tag="zero-shot-image-classification")
    own = {"README.md": made_for, "open_clip_model.safetensors": b"x" * 1000}
    hub.put("laion/both", variant(zoo / "vit", **own, **{"open_clip_config.json": "{}"}))
    hub.put("acme/own", {**own, "open_clip_config.json": b"{}"})
    both, alone = find_candidates(["laion/both", "acme/own"], modality="image")
    assert (both.skip, both.library) == (None, "transformers")
    names = {file.name for file in download_model(both).iterdir()}
    assert names == {"README.md", "config.json", "model.safetensors", "preprocessor_config.json"}
    assert alone.skip.startswith("made for open_clip")


def test_models_over_the_largest_size_are_left_out(hub, zoo):
    hub.put("acme/vit", zoo / "vit", downloads=2)
    params = find_candidates(modality="image")[0].params
    assert find_candidates(modality="image", max_params=params)[0].skip is None
    left_out = find_candidates(modality="image", max_params=params - 1)[0]
    assert left_out.skip.startswith("too large") and left_out.params == params
    hub.put("acme/vit", variant(zoo / "vit", **{"model.safetensors": "not safetensors"}))
    assert find_candidates(modality="image", max_params=5) == [], "the Hub filters by known size"
    assert "not stated" in find_candidates(["acme/vit"], max_params=5)[0].skip
    assert find_candidates(modality="image")[0].skip is None, "the download will tell"


def test_a_query_survives_passing_failures(hub, zoo, waits):
    hub.put("acme/vit", zoo / "vit")
    hub.faults.add(path_regex="^/api/models$", status=429)
    hub.faults.add(path_regex="^/api/models$", status=503)
    assert [c.model_id for c in find_candidates(modality="image")] == ["acme/vit"]
    assert len(waits) == 2


def test_a_hub_that_cannot_be_asked_says_what_to_do(hub, waits):
    hub.stop()
    with pytest.raises(ScanError, match=r"cannot be reached.*--models"):
        find_candidates(modality="image")
    hub.start()
    hub.faults.add(path_regex="^/api/models$", status=503, times=None)
    with pytest.raises(ScanError, match=r"fails \(503\).*--models"):
        find_candidates(modality="image")
    hub.faults.clear()
    with pytest.raises(ScanError, match="token is valid"):
        find_candidates(modality="image", token="hf_wrong")


def test_private_models_are_seen_by_their_owner_only(hub, zoo):
    hub.put("me/mine", zoo / "vit", private=True)
    stranger = hub.account("stranger")
    assert [c.model_id for c in find_candidates(modality="image")] == ["me/mine"]
    assert find_candidates(modality="image", token=stranger) == []
    named = find_candidates(["me/mine"], token=stranger)[0]
    assert "not on the Hub" in named.skip and named.status == "failed"


# -- named models


def test_named_ids_are_resolved_to_commits_in_the_order_given(hub, zoo):
    old = hub.put("acme/vit", zoo / "vit")
    new = hub.put("acme/vit", {"README.md": "later"}, title="later")
    hub.put("acme/bert", zoo / "bert")
    hub.requests.clear()
    entries = ["acme/vit", "acme/bert", f"acme/vit@{old}", "acme/vit"]
    found = find_candidates(entries)
    assert [(c.model_id, c.skip) for c in found] == [
        ("acme/vit", None), ("acme/bert", None), ("acme/vit", None),
    ]  # fmt: skip
    assert [found[0].revision, found[2].revision] == [new, old]
    assert len(hub.requests) == len(entries), "one call a name"


def test_named_models_that_are_not_there_become_failed_rows(hub, zoo):
    hub.put("acme/vit", zoo / "vit")
    found = by_id(
        find_candidates(["acme/gone", "acme/vit@v9", "not a model", "./nowhere", "a/b/c"])
    )
    assert {c.status for c in found.values()} == {"failed"}
    assert "acme/gone is not on the Hub" in found["acme/gone"].skip
    assert "no such revision" in found["acme/vit"].skip
    for name in ("not a model", "./nowhere", "a/b/c"):
        assert "neither a path that exists nor a Hub id" in found[name].skip


def test_a_named_gated_model_is_tried(hub, zoo):
    hub.put("acme/gated", zoo / "vit", gated="manual")
    left_out = find_candidates(["acme/gated"])[0]
    assert left_out.status == "skipped" and left_out.skip.startswith("gated, and no token")
    hub.grant("acme/gated", "me")
    assert find_candidates(["acme/gated"])[0].skip is None


def test_rules_hold_for_named_models_too(hub, zoo):
    hub.put("acme/pickle", variant(zoo / "vit", **{"model.safetensors": None, "m.bin": "x"}))
    hub.put("acme/bert", zoo / "bert")
    found = by_id(find_candidates(["acme/pickle", "acme/bert"], modality="image"))
    assert "no safetensors" in found["acme/pickle"].skip
    assert found["acme/bert"].skip == "takes text, the dataset holds images"


def test_one_bad_answer_does_not_stop_the_others(hub, zoo, waits):
    hub.put("acme/vit", zoo / "vit")
    hub.put("acme/ill", zoo / "vit")
    hub.faults.add(path_regex="/api/models/acme/ill", status=500, times=None)
    found = by_id(find_candidates(["acme/ill", "acme/vit"]))
    assert "fails (500)" in found["acme/ill"].skip and found["acme/vit"].skip is None


def test_a_dead_network_is_waited_for_once_and_the_cache_stands_in(hub, zoo, waits, tmp_path):
    from hf_sfda.hub import download_model

    repo = f"acme/{tmp_path.name}"
    hub.put(repo, zoo / "vit")
    before = find_candidates([repo])[0]
    download_model(before)
    hub.stop()
    found = find_candidates(["acme/never-seen", repo, f"{repo}@{before.revision}"])
    assert waits == [1.0, 2.0, 4.0]
    assert "cannot be reached" in found[0].skip and found[0].status == "failed"
    assert len(found) == 2, "the cached commit is the one named"
    assert (found[1].revision, found[1].params) == (before.revision, before.params)
    assert found[1].skip is None and found[1].license == "apache-2.0"


def test_offline_mode_resolves_names_from_the_cache(hub, zoo, hub_env):
    hub.put("acme/vit", zoo / "vit")
    code = (
        "import json, sys; from hf_sfda import find_candidates\n"
        "from hf_sfda.hub import download_model\n"
        "found = find_candidates(sys.argv[1:], modality='image')\n"
        "print(json.dumps([(c.model_id, c.revision, c.skip) for c in found]))\n"
        "[download_model(c) for c in found if c.skip is None]"
    )

    def run(*names, **env):
        return subprocess.run(
            [sys.executable, "-c", code, *names],
            env=hub_env | env, capture_output=True, text=True, check=False,
        )  # fmt: skip

    online = json.loads(run("acme/vit").stdout)
    hub.requests.clear()
    offline = json.loads(run("acme/vit", "acme/other", HF_HUB_OFFLINE="1").stdout)
    assert offline[0] == online[0]
    assert "HF_HUB_OFFLINE" in offline[1][2]
    query = run(HF_HUB_OFFLINE="1")
    assert "ScanError: HF_HUB_OFFLINE is set" in query.stderr and "--models" in query.stderr
    assert hub.requests == []


# -- folders and lists


def test_a_folder_is_described_by_its_files_alone(hub, zoo, tmp_path):
    found = by_id(find_candidates([str(zoo / "vit"), str(zoo / "timm")]))
    vit = found[str(zoo / "vit")]
    assert (vit.source, vit.library, vit.license) == ("local", "transformers", "apache-2.0")
    assert vit.path == zoo / "vit" and vit.skip is None and vit.downloads is None
    names = ("config.json", "model.safetensors", "preprocessor_config.json")
    assert vit.download_bytes == sum((zoo / "vit" / name).stat().st_size for name in names)
    hub.put("acme/vit", zoo / "vit")
    assert vit.params == find_candidates(["acme/vit"])[0].params
    assert found[str(zoo / "timm")].library == "timm"


def test_a_folder_is_known_by_its_content(hub, zoo, tmp_path):
    shutil.copytree(zoo / "vit", tmp_path / "copy")
    (tmp_path / "copy" / "notes.txt").write_text("changes nothing")
    first, second = find_candidates([str(zoo / "vit"), str(tmp_path / "copy")])
    assert first.revision == second.revision and first.revision.startswith("sha256:")
    factories.tiny_vit(tmp_path / "copy", seed=1)
    assert find_candidates([str(tmp_path / "copy")])[0].revision != first.revision


def test_a_folder_of_models_gives_them_sorted(hub, zoo, monkeypatch):
    (zoo / "empty").mkdir(exist_ok=True)
    monkeypatch.chdir(zoo.parent)
    found = find_candidates([f"{zoo.name}/"])
    assert [c.model_id for c in found] == [f"{zoo.name}/{name}" for name in ("bert", "timm", "vit")]


def test_the_same_folder_twice_is_one(hub, zoo, monkeypatch):
    monkeypatch.chdir(zoo)
    assert [c.model_id for c in find_candidates(["vit", "./vit", str(zoo / "vit")])] == ["vit"]


def test_broken_folders_say_what_is_wrong(hub, zoo, tmp_path):
    def make(name, **files):
        (tmp_path / name).mkdir()
        for file, data in variant(zoo / "vit", **files).items():
            (tmp_path / name / file).write_bytes(data if isinstance(data, bytes) else data.encode())

    weights = (zoo / "vit" / "model.safetensors").read_bytes()
    shards = {key: f"model-0000{n}-of-00002.safetensors" for n, key in ((1, "a"), (2, "b"))}
    index = json.dumps({"weight_map": shards})
    make("no-config", **{"config.json": None})
    make("bad-config", **{"config.json": "{"})
    make("list-config", **{"config.json": "[]"})
    make("odd-config", **{"config.json": "{}"})
    make("truncated", **{"model.safetensors": weights[:-1000]})
    make("header", **{"model.safetensors": b"\xff" * 100})
    make("empty", **{"model.safetensors": b""})
    make("pickle", **{"model.safetensors": None, "pytorch_model.bin": b"x"})
    make("no-weights", **{"model.safetensors": None})
    make("shard", **{"model.safetensors": None, "model.safetensors.index.json": index,
                     "model-00001-of-00002.safetensors": weights})  # fmt: skip
    make("bad-index", **{"model.safetensors": None, "model.safetensors.index.json": "[]"})
    words = {
        "no-config": "no config.json", "bad-config": "config.json is not JSON",
        "list-config": "no JSON object", "odd-config": "neither a model_type",
        "truncated": "truncated or damaged", "header": "truncated or damaged",
        "empty": "truncated or damaged", "pickle": "pickle (pytorch_model.bin); pickles are never",
        "no-weights": "no weights",
        "shard": "names model-00002-of-00002.safetensors, which is missing",
        "bad-index": "not an index",
    }  # fmt: skip
    found = {c.path.name: c for c in find_candidates([str(tmp_path)])}
    assert set(found) == set(words)
    for name, word in words.items():
        assert word in found[name].skip and "\n" not in found[name].skip
        assert (found[name].status, found[name].revision) == ("failed", None)


def test_folders_left_out_by_rule_are_skipped(hub, zoo, tmp_path):
    for name, changes in {
        "code": {"auto_map": {"AutoModel": "x.Y"}},
        "quantised": {"quantization_config": {"quant_method": "bitsandbytes"}},
    }.items():
        shutil.copytree(zoo / "vit", tmp_path / name)
        (tmp_path / name / "config.json").write_text(config_of(zoo / "vit", **changes))
    (tmp_path / "lora").mkdir()
    settings = '{"base_model_name_or_path": "acme/base"}'
    (tmp_path / "lora" / "adapter_config.json").write_text(settings)
    (tmp_path / "lora" / "adapter_model.safetensors").write_bytes(b"x")
    (tmp_path / "lora" / "config.json").write_text('{"model_type": "vit"}')
    found = {c.path.name: c for c in find_candidates([str(tmp_path)])}
    assert {c.status for c in found.values()} == {"skipped"}
    assert "code" in found["code"].skip
    assert "bitsandbytes" in found["quantised"].skip
    assert "adapter only; merge it into its base model acme/base" in found["lora"].skip
    large = find_candidates([str(zoo / "vit")], max_params=10)[0]
    assert large.skip.startswith("too large") and large.revision


def test_an_adapter_beside_weights_is_refused(tmp_path):
    """Where peft is installed, transformers would add it to the weights."""
    folder = factories.tiny_bert(tmp_path / "both")
    (candidate,) = find_candidates([str(folder)])
    assert candidate.skip is None
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (candidate,) = find_candidates([str(folder)])
    assert "an adapter (adapter_config.json) in one folder" in candidate.skip


def test_shards_are_counted_together(hub, zoo, tmp_path):
    from safetensors.numpy import load_file, save_file

    weights = load_file(zoo / "vit" / "model.safetensors")
    folder = tmp_path / "sharded"
    folder.mkdir()
    shutil.copy(zoo / "vit" / "config.json", folder)
    keys = sorted(weights)
    shards = {}
    for number, part in enumerate((keys[:5], keys[5:]), start=1):
        name = f"model-{number:05d}-of-00002.safetensors"
        save_file({key: weights[key] for key in part}, folder / name)
        shards |= dict.fromkeys(part, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    sharded, whole = find_candidates([str(folder), str(zoo / "vit")])
    assert sharded.skip is None and sharded.params == whole.params
    hub.put("acme/sharded", folder)
    assert find_candidates(["acme/sharded"])[0].skip is None


def test_a_folder_without_models_says_so(hub, tmp_path):
    (tmp_path / "sub").mkdir()
    only = find_candidates([str(tmp_path)])
    assert len(only) == 1 and only[0].status == "failed"
    assert "neither a model folder" in only[0].skip


def test_an_unreadable_file_is_that_models_problem(hub, zoo, tmp_path, monkeypatch):
    shutil.copytree(zoo / "vit", tmp_path / "vit")
    (tmp_path / "vit" / "model.safetensors").unlink()
    (tmp_path / "vit" / "model.safetensors").symlink_to(tmp_path / "gone")
    found = find_candidates([str(tmp_path / "vit"), str(zoo / "vit")])
    assert found[0].status == "failed" and found[1].skip is None


def test_a_careless_card_does_not_lose_the_model(hub, zoo, tmp_path):
    shutil.copytree(zoo / "vit", tmp_path / "vit")
    (tmp_path / "vit" / "README.md").write_text("---\nlicense: [: {\n---\n")
    only = find_candidates([str(tmp_path / "vit")])[0]
    assert only.skip is None and only.license is None


def test_lists_name_models_relative_to_themselves(hub, zoo, tmp_path):
    hub.put("acme/bert", zoo / "bert")
    shutil.copytree(zoo / "vit", tmp_path / "lists" / "models" / "vit")
    listing = tmp_path / "lists" / "mine.txt"
    listing.write_text("# mine\n\nmodels/vit\t# the small one\nacme/bert\nacme/gone\nmine.txt\n")
    found = by_id(find_candidates([str(listing)]))
    assert list(found) == ["models/vit", "acme/bert", "acme/gone", "mine.txt"]
    assert found["models/vit"].skip is None and found["models/vit"].source == "local"
    assert found["acme/bert"].skip is None
    assert found["mine.txt"].status == "failed", "a list within a list"


@pytest.mark.parametrize(
    "content",
    [
        "acme/bert\nacme/vit\n".encode("utf-8-sig"),
        "acme/bert\r\nacme/vit\r\n".encode("utf-16"),
        "acme/bert\nacme/vit\n".encode("utf-16-le"),
        b"\xfe\xff" + "acme/bert\nacme/vit\n".encode("utf-16-be"),
        "acme/bert\nacme/vit\n".encode("utf-16-be"),
        "acme/bert\nacme/vit\n".encode("utf-32"),
        b"# caf\xe9\nacme/bert\nacme/vit\n",
        b"acme/bert\racme/vit\r",
        b"\n  acme/bert  # why\n\t\nacme/vit\t\n\x1a",
        b'"acme/bert",\n"acme/vit",\n',
        b"'acme/bert'\n`acme/vit`;\n",
        "\u201cacme/bert\u201d\n\u2022 acme/vit\n".encode(),
        b"- acme/bert\n* acme/vit\n",
        "\u200bacme/bert\n\ufeffacme/vit\u00a0\n".encode(),
        b"https://huggingface.co/acme/bert\nhttp://hf.co/acme/vit/\n",
        b"huggingface.co/acme/bert?library=transformers\nhf://acme/vit\n",
        b"https://huggingface.co/acme/bert/tree/main\n"
        b"https://huggingface.co/acme/vit/blob/main/config.json#L3\n",
        b"acme/bert\nacme/vit\nacme/bert\n",
    ],
)
def test_lists_are_read_from_any_editor_or_page(hub, zoo, tmp_path, content):
    for name in ("bert", "vit"):
        hub.put(f"acme/{name}", zoo / name)
    listing = tmp_path / "models.txt"
    listing.write_bytes(content)
    candidates = find_candidates([str(listing)])
    assert [(c.model_id, c.skip) for c in candidates] == [("acme/bert", None), ("acme/vit", None)]


def test_addresses_that_are_no_model_are_left_out_with_a_reason(hub, zoo):
    hub.put("acme/vit", zoo / "vit")
    dataset, other, good = find_candidates(
        [
            "https://huggingface.co/datasets/acme/birds",
            "https://example.com/acme/vit",
            "https://huggingface.co/acme/vit",
        ]
    )
    assert dataset.skip == "a dataset or Space, not a model"
    assert "neither a path that exists nor a Hub id" in other.skip
    assert good.skip is None


def test_a_path_with_quotes_or_a_comma_stays_a_path(hub, zoo, tmp_path):
    shutil.copytree(zoo / "vit", tmp_path / "'vit'")
    shutil.copytree(zoo / "vit", tmp_path / "vit,")
    (tmp_path / "models.txt").write_text("'vit'\nvit,\n")
    candidates = find_candidates([str(tmp_path / "models.txt")])
    assert [(c.model_id, c.skip) for c in candidates] == [("'vit'", None), ("vit,", None)]


def test_a_weights_file_is_not_a_list(hub, zoo):
    only = find_candidates([str(zoo / "vit" / "model.safetensors")])
    assert len(only) == 1 and "name the folder" in only[0].skip


# -- rules


def test_reasons_are_one_line_without_full_stop():
    reasons = [
        rules.weights_reason([]),
        rules.weights_reason(["a.bin", "b.pt"]),
        rules.weights_reason(["unet/x.safetensors"]),
        rules.code_reason({}, ["custom_code"]),
        rules.compression_reason({}, ["base_model:quantized:acme/x"]),
        rules.compression_reason({}, ["base_model:adapter:acme/x"]),
        rules.library_reason(None, "mlx"),
        rules.size_reason(None, 5),
        rules.modality_reason("AutoFeatureExtractor", "text"),
    ]
    for reason in reasons:
        assert reason and "\n" not in reason and not reason.endswith(".")


@pytest.mark.parametrize(
    ("config", "tags"),
    [
        ({"peft": {"base_model_name_or_path": "acme/x"}}, ["base_model:adapter:acme/y"]),
        ({}, ["base_model:adapter:acme/x"]),
    ],
)
def test_an_adapter_names_its_base_model(config, tags):
    reason = rules.compression_reason(config, tags)
    assert reason == "an adapter only; merge it into its base model acme/x to rank it"


@pytest.mark.parametrize("settings", ["[]", "{", '{"base_model_name_or_path": 5}'])
def test_an_adapter_that_names_none_is_still_one(settings, tmp_path):
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "adapter_config.json").write_text(settings)
    (tmp_path / "lora" / "adapter_model.safetensors").write_bytes(b"x")
    [only] = find_candidates([str(tmp_path / "lora")])
    assert only.skip == "an adapter only; merge it into its base model to rank it"


def test_training_arguments_are_no_weights():
    assert rules.weights_reason(["training_args.bin", "optimizer.pt"]) == "no weights"


def test_bytes_follow_the_dtype():
    assert rules.weights_bytes({"F32": 10, "BF16": 10, "I64": 1, "F8_E4M3": 3}) == 40 + 20 + 8 + 3


@pytest.mark.skipif(os.name == "nt", reason="paths")
def test_scanning_needs_no_torch(zoo):
    code = (
        "import sys; from hf_sfda import find_candidates\n"
        f"assert find_candidates([{str(zoo / 'vit')!r}])[0].skip is None\n"
        "print([m for m in ('torch', 'transformers', 'datasets', 'timm') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


# -- hostile input

DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"config.json": DEEP}, "config.json is nested more than 64 levels"),
        ({"config.json": '{"a":' * 5000}, "config.json is nested more"),
        ({"config.json": '{"model_type": "vit"'}, "config.json is not JSON"),
        ({"config.json": b"\xff\xfe{}"}, "config.json is not UTF-8"),
        ({"config.json": "[]"}, "config.json holds no JSON object"),
        ({"config.json": '{"architectures": 5}'}, "its config.json names neither"),
        (
            {"model.safetensors": None, "model.safetensors.index.json": DEEP},
            "model.safetensors.index.json is not an index of shards",
        ),
        (
            {
                "model.safetensors": None,
                "model.safetensors.index.json": '{"weight_map": {"a": [1]}}',
            },
            "model.safetensors.index.json is not an index of shards",
        ),
    ],
)  # fmt: skip
def test_files_that_cannot_be_read_are_a_failed_row(hub, zoo, tmp_path, files, reason):
    for name, data in variant(zoo / "vit", **files).items():
        (tmp_path / name).write_bytes(data.encode() if isinstance(data, str) else data)
    (candidate,) = find_candidates([str(tmp_path)])
    assert candidate.status == "failed"
    assert candidate.skip.startswith(reason)
    assert len(candidate.skip) < 400


def test_whatever_goes_wrong_with_a_folder_is_its_row(hub, zoo, monkeypatch):
    def endless(path: pathlib.Path, pattern: str):
        raise RecursionError("maximum recursion depth exceeded")  # folders in folders

    monkeypatch.setattr(pathlib.Path, "rglob", endless)
    (candidate,) = find_candidates([str(zoo / "vit")])
    assert candidate.status == "failed"
    assert candidate.skip.startswith("its files are not what a checkpoint holds (RecursionError")


@pytest.mark.parametrize(
    ("front", "license"),
    [
        (f"a: {DEEP}", None),
        ("a: &a [*a]", None),
        ("a: !!timestamp x", None),
        ("license: 2024-13-01", None),
        ("license: [mit]", None),
        ('license: "m\\uD800i\\x1Bt"', "m\ufffdi\ufffdt"),
    ],
)
def test_a_card_may_hold_anything(hub, zoo, tmp_path, front, license):
    for name, data in variant(zoo / "vit").items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "README.md").write_text(f"---\n{front}\n---\n", encoding="utf-8")
    (candidate,) = find_candidates([str(tmp_path)])
    assert (candidate.skip, candidate.license) == (None, license)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("~nosuchuser/m", "there is no such user on this machine"),
        ("x" * 5000, "too long for a path or a Hub id"),
        (f"acme/{'x' * 300}", "neither a path that exists nor a Hub id"),
        ("a\0b", "neither a path that exists nor a Hub id"),
        ("a\ud800b", "neither a path that exists nor a Hub id"),
        ("\x1b[31m", "neither a path that exists nor a Hub id"),
    ],
)
@pytest.mark.parametrize("listed", [False, True])
def test_odd_entries_are_failed_rows_and_the_others_go_on(
    hub, zoo, tmp_path, entry, reason, listed
):
    entries = [entry, str(zoo / "vit")]
    if listed:
        path = tmp_path / "models.txt"
        path.write_text("\n".join(entries), encoding="utf-8", errors="replace")
        if {"\0", "\x1b"} & set(entry):
            pytest.skip("a file with control characters is no list")
        entries = [str(path)]
    odd, good = find_candidates(entries)
    assert odd.status == "failed" and reason in odd.skip
    assert good.skip is None
    assert odd.model_id.isprintable() and len(odd.model_id) <= 320
    odd.model_id.encode()


def denied(monkeypatch, method: str, name: str) -> None:
    """As for a user without the right to read; root may read everything."""
    real = getattr(pathlib.Path, method)

    def refuse(path, *arguments, **options):
        if path.name == name:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *arguments, **options)

    monkeypatch.setattr(pathlib.Path, method, refuse)


def test_a_list_that_may_not_be_read_is_a_failed_row(hub, zoo, tmp_path, monkeypatch):
    (tmp_path / "models.txt").write_text("acme/vit")
    denied(monkeypatch, "open", "models.txt")
    bad, good = find_candidates([str(tmp_path / "models.txt"), str(zoo / "vit")])
    assert bad.skip == "cannot be read: Permission denied; check its permissions"
    assert (bad.status, good.skip) == ("failed", None)


def test_a_folder_that_may_not_be_listed_is_a_failed_row(hub, zoo, tmp_path, monkeypatch):
    shutil.copytree(zoo / "vit", tmp_path / "b")
    (tmp_path / "a").mkdir()
    denied(monkeypatch, "iterdir", "a")
    bad, good = find_candidates([str(tmp_path)])
    assert bad.skip == "cannot be read: Permission denied; check its permissions"
    assert (bad.status, bad.path, good.skip) == ("failed", tmp_path / "a", None)
    denied(monkeypatch, "iterdir", tmp_path.name)
    (bad,) = find_candidates([str(tmp_path)])
    assert (bad.status, bad.model_id) == ("failed", str(tmp_path))


@pytest.mark.parametrize(
    "content", [b"[", DEEP.encode(), b"\xff", b'{"a": 1}', b'[{"id": "a/b", "downloads": "x"}]']
)
def test_a_page_of_the_hub_that_cannot_be_read_is_a_scan_error(hub, waits, content):
    hub.faults.add(path_regex="^/api/models$", action="replace", content=content, times=None)
    with pytest.raises(ScanError, match=r"cannot be asked for candidates: .*--models"):
        find_candidates(modality="image")


@pytest.mark.parametrize("action", ["half", "corrupt", "cut", "reset"])
def test_a_page_that_arrives_broken_is_a_scan_error(hub, zoo, waits, action):
    hub.put("acme/vit", zoo / "vit")
    hub.faults.add(path_regex="^/api/models$", action=action, times=None)
    with pytest.raises(ScanError, match="cannot be asked for candidates"):
        find_candidates(modality="image")


def test_redirects_without_end_are_a_scan_error_and_a_failed_row(hub, waits):
    for path in ("/api/models", "/api/models/acme/vit"):
        headers = {"Location": path}
        hub.faults.add(path_regex=f"^{path}$", status=302, headers=headers, times=None)
    with pytest.raises(ScanError, match="redirect"):
        find_candidates(modality="image")
    (candidate,) = find_candidates(["acme/vit"])
    assert (candidate.status, "redirect" in candidate.skip) == ("failed", True)


@pytest.mark.parametrize("content", [b"{", DEEP.encode(), b"[]", b"5"])
def test_an_answer_about_one_model_that_cannot_be_read_is_its_row(hub, zoo, waits, content):
    hub.put("acme/vit", zoo / "vit")
    hub.put("acme/other", zoo / "vit")
    path = "^/api/models/acme/vit"
    hub.faults.add(path_regex=path, action="replace", content=content, times=None)
    bad, good = find_candidates(["acme/vit", "acme/other"])
    assert bad.status == "failed"
    assert "the Hub's answer cannot be read" in bad.skip
    assert good.skip is None


def test_a_field_that_is_nonsense_costs_one_model_and_not_the_scan(hub, zoo):
    hub.put("acme/vit", zoo / "vit", downloads=1)
    strange = {"id": "acme/odd", "downloads": 9, "config": ["a"], "tags": [5], "siblings": []}
    page = hub_page("acme/vit")
    content = json.dumps([strange, *page]).encode()
    hub.faults.add(path_regex="^/api/models$", action="replace", content=content, times=None)
    odd, good = find_candidates(modality="image", top=1)
    assert (odd.model_id, good.model_id, good.skip) == ("acme/odd", "acme/vit", None)
    assert odd.skip is not None


def hub_page(name: str) -> list[dict[str, object]]:
    """A listing as the Hub sends it."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    parameters = [("expand", field) for field in EXPAND] + [("search", name)]
    return get_session().get(f"{constants.ENDPOINT}/api/models", params=parameters).json()


def test_sounds_ask_for_models_that_hear(hub):
    """A listing of a task that other inputs share brings only families that are read."""
    files = factories.model_files()

    def put(name: str, kind: str, tag: str) -> None:
        config = {"model_type": kind}
        card = f"---\npipeline_tag: {tag}\nlibrary_name: transformers\n---\n"
        hub.put(name, {**files, "config.json": json.dumps(config), "README.md": card})

    put("a/hubert", "hubert", "feature-extraction")
    put("a/bert", "bert", "feature-extraction")
    put("a/whisper", "whisper", "automatic-speech-recognition")
    put("a/ast", "audio-spectrogram-transformer", "audio-classification")
    put("a/vit", "vit", "image-classification")
    scan = scan_candidates((), CandidateOptions(candidates="popular"), modality="audio")
    assert {c.model_id for c in scan.candidates if c.skip is None} == {
        "a/hubert", "a/whisper", "a/ast",
    }  # fmt: skip
    assert scan.rejected == {"no audio model that is read": 1}


def test_a_named_model_of_another_family_is_left_out_by_name(hub):
    hub.put("a/bert", {**factories.model_files(), "config.json": '{"model_type": "bert"}'})
    [candidate] = find_candidates(["a/bert"], modality="audio")
    assert "model type bert is not read for sounds; read are audio-spec" in (candidate.skip or "")


def test_a_model_for_sounds_is_left_out_for_texts(hub, tmp_path):
    hub.put("a/wave", factories.tiny_wav2vec2(tmp_path))
    [heard] = find_candidates(["a/wave"], modality="audio")
    assert (heard.skip, heard.pipeline_tag) == (None, "feature-extraction")
    [read] = find_candidates(["a/wave"], modality="text")
    assert read.skip == "takes audio or images, the dataset holds texts"
