"""The store keeps whole entries or none, and notices damage."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hf_sfda import files
from hf_sfda.errors import StoreError
from hf_sfda.store import FeatureKey, FeatureStore
from hf_sfda.types import Features
from tests.waiting import PATIENCE

KEY = FeatureKey("a" * 40, "b" * 64, "image", "float32", None, 1)
DIGEST_OF_0_1 = "d1e6de1add06a7f6e2debd1f60100cbc"


def features(seed: int = 0, n: int = 7) -> Features:
    rng = np.random.default_rng(seed)
    stages = {
        "stage1": rng.normal(size=(n, 3)).astype(np.float32),
        "last": rng.normal(size=(n, 5)).astype(np.float32),
    }
    logits = rng.normal(size=(n, 2)).astype(np.float32)
    return Features(stages, logits, params=12, seconds=0.5, meta={"device": "cpu"})


def assert_same(got: Features | None, want: Features) -> None:
    assert got is not None
    assert list(got.layers) == list(want.layers)
    for name, array in want.layers.items():
        np.testing.assert_array_equal(got.layers[name], array)
    np.testing.assert_array_equal(got.source_logits, want.source_logits)
    assert (got.params, got.seconds, dict(got.meta)) == (want.params, want.seconds, want.meta)


def test_stored_features_are_read_back(tmp_path):
    store = FeatureStore(tmp_path)
    assert not store.has(KEY)
    assert store.get(KEY) is None
    store.put(KEY, features())
    assert store.has(KEY)
    assert_same(store.get(KEY), features())
    assert store.get(KEY).samples_per_second == pytest.approx(14)


def test_measured_layers_are_stored_beside_the_published_ones(tmp_path):
    store = FeatureStore(tmp_path)
    both = replace(features(), measured=dict(features(1).layers))
    store.put(KEY, both)
    got = store.get(KEY)
    assert_same(got, both)
    assert list(got.measured) == list(both.measured)
    for name, array in both.measured.items():
        np.testing.assert_array_equal(got.measured[name], array)
    store.put(KEY, features())
    assert store.get(KEY).measured == {}


@pytest.mark.parametrize("measured", ["last", {"last": 1}, [1], ["unknown"]])
def test_a_marker_with_a_wrong_list_of_measured_layers_is_no_entry(tmp_path, measured):
    store = FeatureStore(tmp_path)
    store.put(KEY, features())
    path = next(tmp_path.glob("??/*.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "measured": measured}))
    assert store.get(KEY) is None


def test_entries_of_earlier_versions_are_found():
    assert KEY.digest == DIGEST_OF_0_1


def test_logits_are_optional(tmp_path):
    store = FeatureStore(tmp_path)
    store.put(KEY, Features({"last": np.ones((2, 3), np.float32)}))
    assert store.get(KEY).source_logits is None


@pytest.mark.parametrize(
    "other",
    [
        FeatureKey("c" * 40, "b" * 64, "image", "float32", None, 1),
        FeatureKey("a" * 40, "c" * 64, "image", "float32", None, 1),
        FeatureKey("a" * 40, "b" * 64, "text", "float32", None, 1),
        FeatureKey("a" * 40, "b" * 64, "image", "bfloat16", None, 1),
        FeatureKey("a" * 40, "b" * 64, "image", "float32", 128, 1),
        FeatureKey("a" * 40, "b" * 64, "image", "float32", None, 2),
        FeatureKey("a" * 40, "b" * 64, "image", "float32", None, 1, "both"),
    ],
)
def test_every_field_of_the_key_matters(tmp_path, other):
    store = FeatureStore(tmp_path)
    store.put(KEY, features())
    assert other.digest != KEY.digest
    assert store.get(other) is None


def damage_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        damage_a_byte,
        lambda path: path.write_bytes(path.read_bytes()[:-4]),
        lambda path: path.write_bytes(b""),
    ],
    ids=["flipped byte", "truncated", "empty"],
)
def test_damage_is_found_removed_and_can_be_made_good(tmp_path, caplog, damage):
    store = FeatureStore(tmp_path)
    store.put(KEY, features())
    damage(next(tmp_path.glob("??/*.safetensors")))
    assert store.get(KEY) is None
    assert "damaged" in caplog.text
    assert not store.has(KEY)
    store.put(KEY, features())
    assert_same(store.get(KEY), features())


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff", b"[" * 5000, b'{"schema": 99}', b'{"schema": 1}'],
    ids=["empty", "cut", "list", "not UTF-8", "deep", "other schema", "schema alone"],
)
def test_an_unreadable_marker_means_no_entry(tmp_path, content):
    store = FeatureStore(tmp_path)
    store.put(KEY, features())
    next(tmp_path.glob("??/*.json")).write_bytes(content)
    assert not store.has(KEY)
    assert store.get(KEY) is None
    assert list(store.entries()) == []
    store.put(KEY, features())
    assert_same(store.get(KEY), features())


MARKER = ("key", "bytes", "sha256", "stages", "n_samples", "params", "seconds", "meta")


@pytest.mark.parametrize("name", MARKER)
@pytest.mark.parametrize("value", [None, True, "x", ["other"], ["last", []]], ids=repr)
def test_a_marker_that_lacks_a_key_is_a_damaged_entry(tmp_path, name, value):
    store = FeatureStore(tmp_path)
    store.put(KEY, features())
    path = next(tmp_path.glob("??/*.json"))
    marker = json.loads(path.read_text())
    assert set(marker) == {"schema", *MARKER}
    if value is None:
        del marker[name]
    else:
        marker[name] = value
    path.write_text(json.dumps(marker))
    assert store.get(KEY) is None
    assert all(entry.digest == KEY.digest for entry in store.entries())
    store.put(KEY, features())
    assert_same(store.get(KEY), features())


def test_leftovers_of_killed_writers_go_with_the_next_entry(tmp_path):
    store = FeatureStore(tmp_path)
    store.put(KEY, features())
    left = [tmp_path / folder / f".{'0' * 32}{end}" for folder in ("00", "ff", KEY.digest[:2])
            for end in (".safetensors.abcd1234", ".json.x_y_z_12")]  # fmt: skip
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    other = tmp_path / "ff" / ".keep"  # not ours to remove
    other.write_bytes(b"")
    FeatureStore(tmp_path).put(KEY, features(1))
    assert not [path for path in left if path.exists()]
    assert other.exists()
    assert_same(store.get(KEY), features(1))


def test_the_temporary_file_of_a_living_writer_stays(tmp_path, monkeypatch):
    path = tmp_path / "x"
    seen = []

    def look(descriptor: int) -> None:
        files.remove_leftovers(tmp_path)  # as another process would
        seen.extend(tmp_path.iterdir())

    monkeypatch.setattr(os, "fsync", look)
    files.write_atomically(path, b"new")
    assert len(seen) == 1
    assert seen[0].name.startswith(".x.")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_taken_for_a_leftover_is_made_again(tmp_path, monkeypatch):
    real, made = files.tempfile.mkstemp, []

    def swept_at_once(**options):
        descriptor, name = real(**options)
        made.append(name)
        if len(made) == 1:  # another process comes between making and locking
            files.remove_leftovers(tmp_path)
            assert not Path(name).exists()
        return descriptor, name

    monkeypatch.setattr(files.tempfile, "mkstemp", swept_at_once)
    files.write_atomically(tmp_path / "x", b"new")
    assert len(made) == 2
    assert (tmp_path / "x").read_bytes() == b"new"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_system_without_locks_takes_files_all_the_same(tmp_path, monkeypatch):
    def no_locks(descriptor: int, *, wait: bool) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(files, "_lock", no_locks)
    (tmp_path / ".x.abcd1234").write_bytes(b"may be in use")
    files.write_atomically(tmp_path / "x", b"new")
    assert {path.name for path in tmp_path.iterdir()} == {"x", ".x.abcd1234"}


def test_the_key_is_in_the_header_of_the_file(tmp_path):
    from safetensors import safe_open

    FeatureStore(tmp_path).put(KEY, features())
    with safe_open(next(tmp_path.glob("??/*.safetensors")), "numpy") as file:
        assert json.loads(file.metadata()["key"])["model"] == KEY.model


def test_disk_full_names_the_folder_and_a_way_out(tmp_path, monkeypatch):
    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("hf_sfda.store.write_atomically", full)
    with pytest.raises(StoreError, match=r"No space left on device.*HF_HOME"):
        FeatureStore(tmp_path).put(KEY, features())
    assert not FeatureStore(tmp_path).has(KEY)


def test_a_failed_write_keeps_the_old_file_and_leaves_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "x"
    files.write_atomically(path, b"old")

    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output"):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_entries_are_listed_and_cleared(tmp_path):
    store = FeatureStore(tmp_path)
    store.put(KEY, features())
    entry = next(store.entries())
    assert (entry.digest, entry.n_samples) == (KEY.digest, 7)
    assert store.clear() > entry.bytes
    assert list(store.entries()) == []


def _hold(root: Path, held: multiprocessing.Event) -> None:
    with FeatureStore(root).lock(KEY):
        held.set()
        time.sleep(PATIENCE)


def test_the_lock_excludes_and_dies_with_its_holder(tmp_path):
    from filelock import Timeout

    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=_hold, args=(tmp_path, held))
    process.start()
    assert held.wait(PATIENCE)
    lock = FeatureStore(tmp_path).lock(KEY)
    with pytest.raises(Timeout):
        lock.acquire(blocking=False)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with lock.acquire(timeout=PATIENCE):
        pass


def test_killed_writers_never_leave_half_an_entry(tmp_path):
    """Kill a process that writes entries in a loop; what is there must verify."""
    script = textwrap.dedent(
        """
        import sys
        from hf_sfda.store import FeatureKey, FeatureStore
        from tests.test_store import features
        store = FeatureStore(sys.argv[1])
        for index in range(10_000):
            store.put(FeatureKey(str(index % 5), "i", "image", "float32", None, 1),
                      features(index % 5, n=2000))
            print(index, flush=True)
        """
    )
    store = FeatureStore(tmp_path)
    for turns in (3, 8, 14):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(turns):
            assert process.stdout.readline()
        process.kill()
        process.communicate()
        for index in range(5):
            key = FeatureKey(str(index), "i", "image", "float32", None, 1)
            if store.has(key):
                assert_same(store.get(key), features(index, n=2000))


def test_a_store_that_cannot_be_made_says_so(monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("huggingface_hub.cached_assets_path", full)
    with pytest.raises(
        StoreError, match=r"Cannot create the feature store .*No space left.*HF_HOME"
    ):
        FeatureStore()


def test_a_damaged_entry_that_may_not_be_removed_counts_as_none(tmp_path, monkeypatch):
    """Such as in a store that several people read."""
    store = FeatureStore(tmp_path)
    store.put(KEY, features())
    next(tmp_path.glob("??/*.safetensors")).write_bytes(b"damaged")

    def refuse(self, missing_ok=False):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    assert store.get(KEY) is None


def test_an_entry_that_goes_away_while_it_is_looked_at_is_none(tmp_path, monkeypatch):
    store = FeatureStore(tmp_path)
    store.put(KEY, features())
    data = next(tmp_path.glob("??/*.safetensors"))
    real = FeatureStore._read_marker

    def read_and_clear(self, digest):
        marker = real(self, digest)
        data.unlink()
        return marker

    monkeypatch.setattr(FeatureStore, "_read_marker", read_and_clear)
    assert not store.has(KEY)
