"""Folders of sound files and ``Audio`` columns: what is read, cut, left out and refused."""

from __future__ import annotations

import base64
import io
from pathlib import PurePosixPath

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_sfda.dataset import inputs, load_target, sounds
from hf_sfda.errors import TargetError
from hf_sfda.types import Sound
from tests import factories


def encoded(values, rate: int = 16_000, **options) -> bytes:
    sink = io.BytesIO()
    soundfile.write(sink, np.asarray(values), rate, **{"format": "WAV", **options})
    return sink.getvalue()


def test_a_folder_of_sounds_is_a_target(tmp_path):
    factories.sound_folder(tmp_path, 8, ["low", "high"], suffixes=(".wav", ".flac", ".ogg", ".mp3"))
    target = load_target(str(tmp_path))
    assert (target.modality, target.task) == ("audio", "audio-classification")
    assert (len(target), target.class_names, target.left_out) == (16, ("high", "low"), {})
    assert (target.input_column, target.label_column) == ("audio", "label")
    assert set(target.sample_ids) >= {"low/0000.wav", "low/0002.ogg"}
    assert all(sound.rate == 16_000 and sound.values.ndim == 1 for sound in target.samples)


def test_the_same_sounds_have_the_same_fingerprint_in_every_container(tmp_path):
    data = factories.audio_dataset(6, 2)
    data.to_parquet(tmp_path / "data.parquet")
    data.save_to_disk(str(tmp_path / "saved"))
    targets = [load_target(str(tmp_path / name)) for name in ("data.parquet", "saved")]
    assert len({target.inputs_fingerprint for target in targets}) == 1
    assert targets[0].modality == "audio"
    lossless = [
        encoded(target, format=name) for name in ("FLAC", "AIFF") for target in [np.zeros(4000)]
    ]
    first, second = map(sounds.decode_or_reason, lossless)
    assert np.array_equal(first.values, second.values)


def test_a_hub_dataset_with_an_audio_column_is_a_target(hub, tmp_path):
    factories.audio_dataset(6, 2).to_parquet(tmp_path / "train.parquet")
    content = (tmp_path / "train.parquet").read_bytes()
    hub.put("me/tones", {"data/train.parquet": content}, repo_type="dataset")
    target = load_target("me/tones")
    assert (target.modality, len(target), target.n_classes) == ("audio", 12, 2)


def test_a_folder_of_sounds_on_the_hub_is_a_target(hub, tmp_path):
    folder = factories.sound_folder(tmp_path, 5, ["low", "high"])
    files = {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*.wav")}
    hub.put("me/tones", files, repo_type="dataset")
    target = load_target("me/tones")
    assert (target.modality, len(target), target.class_names) == ("audio", 10, ("high", "low"))


def test_metadata_gives_the_labels_of_sounds_inside_the_folder_only(tmp_path):
    factories.sound_folder(tmp_path / "sounds", 6, ["low", "high"])
    files = sorted((tmp_path / "sounds").rglob("*.wav"))
    lines = [f"{file.relative_to(tmp_path)},{file.parent.name}" for file in files]
    (tmp_path / "metadata.csv").write_text("file_name,label\n" + "\n".join(lines) + "\n")
    target = load_target(str(tmp_path))
    assert (target.modality, len(target), target.class_names) == ("audio", 12, ("high", "low"))
    assert target.sample_ids[0].startswith("sounds/")
    (tmp_path / "metadata.csv").write_text("file_name,label\n../secret.wav,low\n")
    with pytest.raises(TargetError, match="names a file outside the folder"):
        load_target(str(tmp_path))
    (tmp_path / "metadata.csv").write_text("name,label\nx.wav,low\n")
    with pytest.raises(TargetError, match="has no column file_name"):
        load_target(str(tmp_path))


def test_metadata_of_sounds_on_the_hub_gives_the_values(hub, tmp_path):
    folder = factories.sound_folder(tmp_path, 5, ["low", "high"])
    paths = sorted(folder.rglob("*.wav"))
    files = {f"train/{path.parent.name}-{path.name}": path.read_bytes() for path in paths}
    lines = [f"{PurePosixPath(name).name},{4 * name.count('low') + 0.5}" for name in files]
    lines = [f"{line[:-1]}{i}" for i, line in enumerate(lines)]
    files["train/metadata.csv"] = "\n".join(["file_name,score", *lines]).encode()
    hub.put("me/tones", files, repo_type="dataset")
    target = load_target("me/tones")
    assert (target.task, len(target), target.split) == ("audio-regression", 10, "train")


def described(tmp_path, **columns):
    """A folder with 12 sounds in ``clips/`` and a ``metadata.csv``; columns replace its own."""
    import pandas as pd

    (tmp_path / "clips").mkdir()
    for i, tone in enumerate(factories.sounds(6, 2)[0]):
        soundfile.write(tmp_path / "clips" / f"{i}.wav", tone, 16_000)
    names = [f"clips/{i}.wav" for i in range(12)]
    rows = {"file_name": names, "label": ["low"] * 6 + ["high"] * 6, **columns}
    rows = {name: column for name, column in rows.items() if column is not None}
    pd.DataFrame(rows).to_csv(tmp_path / "metadata.csv", index=False)
    return str(tmp_path)


def test_files_that_metadata_names_and_that_are_missing_are_counted(tmp_path):
    names = [f"clips/{i}.wav" for i in range(12)]
    names[0], names[1], names[2] = "clips/gone.wav", "", "clips"
    target = load_target(described(tmp_path, file_name=names))
    assert len(target) == 9
    assert target.left_out == {
        "sound file not found": 2,
        "no sound": 1,
        "sound file that metadata.csv does not name": 3,
    }


def test_metadata_may_have_backslashes_and_other_splits_are_not_counted(tmp_path):
    names = [f"clips\\{i}.wav" for i in range(12)]
    folder = described(tmp_path, file_name=names)
    (tmp_path / "test").mkdir()
    soundfile.write(tmp_path / "test" / "0.wav", np.zeros(8000), 16_000)
    (tmp_path / "test" / "metadata.csv").write_text("file_name,label\n0.wav,low\n")
    target = load_target(folder)
    assert (len(target), target.left_out) == (12, {})
    soundfile.write(tmp_path / "test" / "1.wav", np.zeros(8000), 16_000)
    assert load_target(folder).left_out == {}


def test_metadata_may_have_a_column_called_audio_but_needs_labels(tmp_path):
    target = load_target(described(tmp_path, audio=["x", "y"] * 6))
    assert (target.modality, target.label_column, len(target)) == ("audio", "label", 12)
    (tmp_path / "clips").rename(tmp_path / "sounds")
    with pytest.raises(TargetError, match=r"has only the column file_name\. Add a column with"):
        load_target(described(tmp_path, label=None))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([f"clips/{i}.wav" for i in range(12)], "names of sound files"),
        ([f"{i}.M4A" for i in range(12)], "names of sound files"),
        ([f"https://a.org/{i}.mp3?x=1" for i in range(12)], "URLs of sounds"),
        ([base64.b64encode(encoded(np.zeros(99))).decode()] * 12, "sounds encoded as base64"),
        (["data:audio/ogg;base64,T2dnUwAC"] * 12, "sounds encoded as base64"),
    ],
)
def test_texts_that_stand_for_sounds_are_refused(tmp_path, values, words):
    import pandas as pd

    pd.DataFrame({"path": values, "label": ["a", "b"] * 6}).to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(TargetError, match=rf"'path' holds {words} .*not sounds.*datasets.Audio"):
        load_target(str(tmp_path / "x.csv"))


def test_rows_without_a_readable_sound_are_left_out_with_the_reason(tmp_path):
    from datasets import Audio, Dataset

    rows = [{"bytes": encoded(tone), "path": None} for tone in factories.sounds(6, 2)[0]]
    rows[0] = {"bytes": None, "path": None}
    rows[1] = {"bytes": b"\0\0\0\x1cftypM4A ", "path": "a.m4a"}
    rows[2] = rows[2] | {"path": "named_wrongly.m4a"}
    data = Dataset.from_dict({"audio": rows, "label": ["a", "b"] * 6})
    data.cast_column("audio", Audio(decode=False)).to_parquet(tmp_path / "x.parquet")
    target = load_target(str(tmp_path / "x.parquet"))
    assert len(target) == 10
    assert target.left_out == {"no sound": 1, "sound format that cannot be read (.m4a)": 1}


def test_values_far_beyond_one_are_noticed(tmp_path):
    folder = factories.sound_folder(tmp_path, 6, ["low", "high"])
    assert load_target(str(folder)).warnings == ()
    loud = folder / "low" / "0000.wav"
    soundfile.write(loud, 2e4 * np.sin(np.arange(8000.0)), 16_000, subtype="FLOAT")
    (warning,) = load_target(str(folder)).warnings
    assert warning.startswith("1 of 12 sounds hold values up to 20,000; files of floats should")


def test_bytes_of_sounds_without_a_feature_are_recognised(tmp_path):
    import pandas as pd

    rows = [
        {"sound": encoded(tone), "kind": f"k{label}"}
        for tone, label in zip(*factories.sounds(6, 2), strict=True)
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "plain.parquet")
    target = load_target(str(tmp_path / "plain.parquet"), label_column="kind")
    assert (target.modality, target.input_column) == ("audio", "sound")


def test_what_cannot_be_used_is_counted(tmp_path):
    folder = factories.sound_folder(tmp_path, 6, ["low", "high"])
    (folder / "low" / "broken.wav").write_bytes(b"RIFF\0\0\0\0WAVE")
    (folder / "low" / "empty.mp3").write_bytes(b"")
    soundfile.write(folder / "high" / "click.wav", np.zeros(100), 16_000)
    nan = np.array([0, np.nan] * 4000)
    soundfile.write(folder / "high" / "nan.wav", nan, 16_000, subtype="FLOAT")
    (folder / "high" / "song.m4a").write_bytes(b"\0")
    (folder / "high" / "notes.txt").write_text("no sound")
    (folder / "high" / "._0001.wav").write_bytes(b"\0")
    (folder / "__MACOSX").mkdir()
    soundfile.write(folder / "outside.wav", np.zeros(9000), 16_000)
    target = load_target(str(folder))
    assert len(target) == 12
    assert target.left_out == {
        sounds.BROKEN: 2, sounds.TOO_SHORT: 1, sounds.NO_RANGE: 1,
        "sound format that cannot be read (.m4a)": 1, "not a sound file (.txt)": 1,
        "left by a system or a tool": 1, "sound file outside the class folders": 1,
    }  # fmt: skip


def test_of_a_long_sound_the_beginning_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(sounds, "LONGEST", 0.25)
    folder = factories.sound_folder(tmp_path, 8, ["low", "high"])
    target = load_target(str(folder))
    longest = max(len(sound.values) for sound in target.samples)
    assert longest == 4_000
    n_long = sum(len(soundfile.read(file)[0]) > 4_000 for file in folder.rglob("*.wav"))
    assert f"{n_long} of 16 sounds are longer than 0.25 s; the rest is not read." in target.warnings


def test_a_large_sample_is_decoded_when_it_is_used(tmp_path, monkeypatch):
    monkeypatch.setattr(sounds, "LONGEST", 0.25)
    folder = factories.sound_folder(tmp_path, 5, ["low", "high"])
    decoded = load_target(str(folder))
    monkeypatch.setattr(inputs, "IN_MEMORY", 1000)
    lazy = load_target(str(folder))
    assert isinstance(lazy.samples, sounds.LazySounds)
    assert lazy.inputs_fingerprint == decoded.inputs_fingerprint
    assert sounds.sizes_of(lazy.samples) == sounds.sizes_of(decoded.samples)
    for one, other in zip(lazy.samples, decoded.samples, strict=True):
        assert one.rate == other.rate and np.array_equal(one.values, other.values)
    assert len(lazy.samples[2:4]) == 2


@settings(max_examples=25, deadline=None)
@given(
    channels=st.integers(1, 6),
    rate=st.sampled_from([8_000, 11_025, 44_100]),
    scale=st.floats(0.01, 1),
)
def test_channels_are_averaged(channels, rate, scale):
    values = scale * np.random.default_rng(channels).uniform(-1, 1, (rate // 5, channels))
    sound = sounds.decode_or_reason(encoded(values, rate, subtype="FLOAT"))
    assert isinstance(sound, Sound) and sound.rate == rate
    np.testing.assert_allclose(sound.values, values.mean(1), atol=1e-6)


@pytest.mark.parametrize(("rate", "channels"), [(100, 1), (500_000, 1), (16_000, 200)])
def test_absurd_headers_are_broken(rate, channels):
    data = encoded(np.zeros((max(rate // 4, 1), channels)), rate)
    assert sounds.decode_or_reason(data) == sounds.BROKEN


def test_a_folder_of_images_and_sounds_asks(tmp_path):
    factories.sound_folder(tmp_path, 6, ["low", "high"])
    factories.image_folder(tmp_path, 6, ["low", "high"])
    with pytest.raises(TargetError, match=r"12 images and 12 sound files.*--input-column audio"):
        load_target(str(tmp_path))
    heard = load_target(str(tmp_path), input_column="audio")
    seen = load_target(str(tmp_path), input_column="image")
    assert (heard.modality, heard.left_out) == ("audio", {"not a sound file (.png)": 12})
    assert (seen.modality, seen.left_out) == ("image", {"not an image (.wav)": 12})


def test_the_message_says_what_to_install(tmp_path, monkeypatch):
    factories.sound_folder(tmp_path, 6, ["low", "high"])
    find = sounds.importlib.util.find_spec
    monkeypatch.setattr(
        sounds.importlib.util, "find_spec", lambda name: None if name == "soxr" else find(name)
    )
    with pytest.raises(TargetError, match=r"soxr to read them is not.*pip install 'hf-sfda\[audio"):
        load_target(str(tmp_path))


def test_sounds_take_values_and_several_labels(tmp_path):
    data = factories.audio_dataset(10, 3)
    pitches = [200.5 * 1.6**label for label in data["label"]]
    tags = [["low"] if label == 0 else ["high", "odd"][: 1 + i % 2] for i, label in
            enumerate(data["label"])]  # fmt: skip
    plain = data.remove_columns("label")
    plain.add_column("pitch", pitches).to_parquet(tmp_path / "pitch.parquet")
    plain.add_column("tags", tags).to_parquet(tmp_path / "tags.parquet")
    assert load_target(str(tmp_path / "pitch.parquet")).task == "audio-regression"
    target = load_target(str(tmp_path / "tags.parquet"))
    assert target.task == "audio-multi-label-classification"
    assert target.class_names == ("high", "low", "odd")
