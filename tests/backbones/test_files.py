"""Files of checkpoints and lists that come in another form than usual."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
import torch

from hf_sfda import find_candidates, load_target
from hf_sfda.backbones import open_backbone
from hf_sfda.backbones.tokenizer import open_tokenizer
from hf_sfda.errors import ExtractionError, TargetError
from hf_sfda.files import is_lfs_pointer
from hf_sfda.hub import cached_model, download_model, shard_names
from hf_sfda.types import Candidate
from tests.factories import tiny_bert, tiny_vit

POINTER = (
    "version https://git-lfs.github.com/spec/v1\noid sha256:" + "4d7a" * 16 + "\nsize 346293852\n"
)


def attempt(path, modality):
    return open_backbone(
        path,
        Candidate(path.name, "local", path=path),
        device=torch.device("cpu"),
        dtype=torch.float32,
        max_length=32,
        modality=modality,
    )


# -- shards


def shard(path, names):
    """Split the weights of a folder over files of these names."""
    from safetensors.torch import load_file, save_file

    weights = load_file(path / "model.safetensors")
    (path / "model.safetensors").unlink()
    keys, index = sorted(weights), {}
    for i, name in enumerate(names):
        part = keys[i :: len(names)]
        (path / name).parent.mkdir(exist_ok=True)
        save_file({key: weights[key] for key in part}, path / name, metadata={"format": "pt"})
        index |= dict.fromkeys(part, name)
    (path / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": index})
    )


@pytest.mark.parametrize(
    "names",
    [
        ["shard-a.safetensors", "shard-b.safetensors"],
        ["model_1.safetensors", "model_2.safetensors"],
        ["part[0].safetensors", "part[1].safetensors"],
        ["weights/1.safetensors", "weights/2.safetensors"],
    ],
    ids=lambda names: names[0],
)
def test_shards_are_fetched_by_the_names_in_their_index(names, hub, tmp_path):
    folder = tiny_vit(tmp_path / "vit")
    shard(folder, names)
    (folder / "unused.safetensors").write_bytes(b"x" * 1000)
    repo = f"acme/shards-{tmp_path.name}"  # the cache outlives a test
    hub.put(repo, folder)
    (candidate,) = find_candidates([repo])
    assert candidate.skip is None
    assert cached_model(candidate) is None
    path = download_model(candidate)
    assert not (path / "unused.safetensors").exists()
    attempt(path, "image")
    hub.requests.clear()
    assert download_model(candidate) == path == cached_model(candidate)
    assert hub.requests == []
    (path / names[1]).unlink()
    assert cached_model(candidate) is None
    attempt(download_model(candidate), "image")
    (local,) = find_candidates([str(folder)])
    assert local.skip is None and local.params


def test_shards_that_are_not_read_are_not_downloaded(hub, tmp_path):
    """Those of an earlier upload, those in half precision, and all beside a single file."""
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    unread = ["model-00001-of-00003.safetensors", "model-00001-of-00002.fp16.safetensors"]
    for single in (False, True):
        folder = tiny_vit(tmp_path / f"vit{single}")
        whole = (folder / "model.safetensors").read_bytes()
        shard(folder, names)
        for name in unread:
            (folder / name).write_bytes(b"x" * 1000)
        if single:
            (folder / "model.safetensors").write_bytes(whole)
        repo = f"acme/stale-{single}-{tmp_path.name}"
        candidate = Candidate(model_id=repo, revision=hub.put(repo, folder))
        path = download_model(candidate)
        found = sorted(file.name for file in path.glob("*.safetensors"))
        assert found == (["model.safetensors"] if single else names)
        attempt(path, "image")
        assert cached_model(candidate) == path
        assert not hub.seen(path_regex="of-00003|fp16")


def test_a_shard_that_is_nowhere_is_named(hub, tmp_path):
    folder = tiny_vit(tmp_path / "vit")
    shard(folder, ["a.safetensors", "b.safetensors"])
    (folder / "b.safetensors").unlink()
    repo = f"acme/hole-{tmp_path.name}"
    sha = hub.put(repo, folder)
    with pytest.raises(ExtractionError, match=r"holds no b\.safetensors"):
        download_model(Candidate(model_id=repo, revision=sha))


@pytest.mark.parametrize(
    ("index", "words"),
    [
        ("{", "is not an index"),
        ("[]", "is not an index"),
        ("[" * 100_000, "is not an index"),
        ('{"weight_map": {"a": "../b.safetensors"}}', "outside its folder"),
        ('{"weight_map": {"a": "/etc/b.safetensors"}}', "outside its folder"),
        ('{"weight_map": {"a": 3}}', "outside its folder"),
        ('{"weight_map": {"a": "b.bin"}}', "not a safetensors file"),
    ],
)
def test_an_index_names_safetensors_of_its_own_folder(index, words):
    with pytest.raises(ValueError, match=words):
        shard_names(index)


# -- tokenizers

TRAIN = """
import random, sentencepiece, sys
random.seed(0)
words = "ball goal match team soup bread salt oven the a of and".split()
sentences = (" ".join(random.choices(words, k=9)) for _ in range(300))
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=sentences, model_prefix=sys.argv[1], vocab_size=60, hard_vocab_limit=False,
    minloglevel=9,
)
"""
ENCODER = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
    "max_position_embeddings": 40,
}  # fmt: skip
# File -> class, configuration, and the number of special tokens around a text.
SENTENCEPIECE = {
    "spm.model": ("DebertaV2", ENCODER, 2),
    "sentencepiece.bpe.model": ("XLMRoberta", ENCODER, 2),
    "spiece.model": (
        "T5", {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}, 1,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """A model of SentencePiece, trained in a process of its own: it writes to the terminal."""
    prefix = tmp_path_factory.mktemp("pieces") / "m"
    subprocess.run([sys.executable, "-c", TRAIN, str(prefix)], check=True, capture_output=True)
    return prefix.with_suffix(".model")


@pytest.mark.parametrize("file", SENTENCEPIECE)
def test_a_tokenizer_of_sentencepiece_alone_is_enough(file, pieces, tmp_path):
    import sentencepiece
    import transformers

    name, fields, special = SENTENCEPIECE[file]
    config = getattr(transformers, f"{name}Config")(vocab_size=300, **fields)
    architecture = "T5EncoderModel" if name == "T5" else f"{name}Model"
    getattr(transformers, architecture)(config).save_pretrained(tmp_path)
    shutil.copy(pieces, tmp_path / file)
    backbone = attempt(tmp_path, "text")
    ids = backbone.collate(["ball goal soup"])["input_ids"][0]
    model = sentencepiece.SentencePieceProcessor(model_file=str(pieces))
    words = model.encode("ball goal soup", out_type=str)
    assert len(ids) == len(words) + special
    tokens = backbone.collate.tokenizer.convert_ids_to_tokens(ids)
    assert [token for token in tokens if token in words] == words


@pytest.mark.parametrize(
    ("model_type", "file"), [("mistral", "tokenizer.model"), ("fnet", "spiece.model")]
)
def test_a_tokenizer_that_leaves_out_the_first_space_is_refused(model_type, file, pieces, tmp_path):
    shutil.copy(pieces, tmp_path / file)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    with pytest.raises(ExtractionError, match=f"made of {file}, divides words otherwise"):
        open_tokenizer(tmp_path)


# -- lists


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be-mark", "cp1252"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_list_is_read_however_it_was_written(encoding, newline, tmp_path):
    first, second = tiny_vit(tmp_path / "vit"), tiny_bert(tmp_path / "müde")
    lines = newline.join(["vit  # für später", "", "müde", ""])
    if encoding == "utf-16-be-mark":
        content = b"\xfe\xff" + lines.encode("utf-16-be")
    else:
        content = lines.encode(encoding)
    (tmp_path / "models.txt").write_bytes(content)
    found = find_candidates([str(tmp_path / "models.txt")])
    assert [(c.path, c.skip) for c in found] == [(first, None), (second, None)]


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\0\0", b"\x80\x02}q\x01.", b"\xff\xd8\x01"])
def test_a_binary_file_is_not_read_as_a_list_of_models(content, tmp_path):
    (tmp_path / "models.bin").write_bytes(content)
    (candidate,) = find_candidates([str(tmp_path / "models.bin")])
    assert candidate.skip.startswith("a file, not a model")


# -- pointers


@pytest.mark.parametrize(
    ("file", "make", "modality"),
    [
        ("model.safetensors", tiny_vit, "image"),
        ("config.json", tiny_vit, "image"),
        ("preprocessor_config.json", tiny_vit, "image"),
        ("tokenizer.json", tiny_bert, "text"),
        ("tokenizer_config.json", tiny_bert, "text"),
    ],
)
def test_a_git_lfs_pointer_is_named(file, make, modality, tmp_path):
    make(tmp_path)
    (tmp_path / file).write_text(POINTER)
    words = f"{file} is a git-lfs pointer, not the file itself; run `git lfs pull`"
    (candidate,) = find_candidates([str(tmp_path)])
    assert candidate.status == "failed" and words in candidate.skip
    with pytest.raises(ExtractionError, match="git-lfs pointer") as caught:
        attempt(tmp_path, modality)
    assert words in str(caught.value)


def test_a_shard_may_be_a_pointer(tmp_path):
    tiny_vit(tmp_path)
    shard(tmp_path, ["a.safetensors", "b.safetensors"])
    (tmp_path / "b.safetensors").write_text(POINTER)
    (candidate,) = find_candidates([str(tmp_path)])
    assert "b.safetensors is a git-lfs pointer" in candidate.skip
    with pytest.raises(ExtractionError, match=r"b\.safetensors is a git-lfs pointer"):
        attempt(tmp_path, "image")


def test_other_small_files_are_no_pointers(tmp_path):
    (tmp_path / "a").write_text("version 1")
    (tmp_path / "b").write_text(POINTER + "x" * 2000)
    assert not is_lfs_pointer(tmp_path / "a")
    assert not is_lfs_pointer(tmp_path / "b")
    assert not is_lfs_pointer(tmp_path / "missing")


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.jsonl", "pictures"])
def test_data_that_git_lfs_did_not_fetch_is_named(name, tmp_path):
    place = tmp_path / name
    if name == "pictures":
        for label in "ab":
            (place / label).mkdir(parents=True)
            for i in range(4):
                (place / label / f"{i}.jpg").write_text(POINTER)
    else:
        place.write_text(POINTER)
    with pytest.raises(TargetError, match="is a git-lfs pointer, not the file itself") as caught:
        load_target(str(place))
    assert ("(and 7 more files)" in str(caught.value)) == (name == "pictures")
    assert str(place) in str(caught.value)
