"""The files of a run directory: complete, readable by others, and never half written."""

from __future__ import annotations

import csv
import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet
import pytest

from hf_sfda.config import RankConfig
from hf_sfda.errors import StoreError
from hf_sfda.report import files, save_ranking
from hf_sfda.types import Ranking
from tests.report_fixture import HOSTILE, example_ranking

NAMES = {"ranking.json", "ranking.parquet", "ranking.csv", "config.yaml", "report.html"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    return save_ranking(example_ranking(), tmp_path_factory.mktemp("run") / "deep" / "emoji")


def test_a_run_directory_holds_these_files_only(saved):
    assert {path.name for path in saved.iterdir()} == NAMES


def test_json_comes_back_as_the_same_ranking(saved):
    document = json.loads((saved / "ranking.json").read_text(encoding="utf-8"))
    again = Ranking.from_dict(document)
    assert again.rows == example_ranking().rows
    assert again.to_dict() == example_ranking().to_dict()


def test_config_can_be_run_again(saved):
    config = RankConfig.from_yaml(saved / "config.yaml")
    assert config.to_dict() == example_ranking().config


def test_parquet_has_every_row_typed_columns_and_the_provenance(saved):
    table = pyarrow.parquet.read_table(saved / "ranking.parquet")
    assert table.num_rows == 24
    rows = table.to_pylist()
    assert rows[0]["score.sfda_cv"] == 0.584
    assert (rows[0]["low.sfda_cv"], rows[0]["high.sfda_cv"]) == (0.561, 0.608)
    assert (rows[0]["rank_low"], rows[0]["rank_high"]) == (1, 3)
    assert rows[23]["reason"] == "no config.json in the folder <b>./my-checkpoint</b>"
    assert rows[23]["score.sfda_cv"] is None
    provenance = json.loads(table.schema.metadata[files.METADATA_KEY])
    assert provenance["dataset"]["fingerprint"] == "ab" * 32
    assert "rows" not in provenance


def test_columns_keep_their_type_when_they_are_empty():
    full = files.to_arrow(example_ranking()).schema
    ranking = example_ranking()
    poor = replace(ranking, rows=tuple(
        replace(row, license=None, params=None, samples_per_second=None) for row in ranking.rows
    ))  # fmt: skip
    assert files.to_arrow(poor).schema.equals(full)


def test_every_field_of_a_row_reaches_the_columns():
    flat = example_ranking().to_pandas()
    assert set(flat.columns) == set(files.to_arrow(example_ranking()).column_names)


def test_csv_is_read_by_the_standard_library(saved):
    with (saved / "ranking.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24
    assert rows[0]["model_id"] == "acme/convnext-small-in22k"
    assert float(rows[0]["score.sfda_cv"]) == 0.584
    assert HOSTILE in {row["model_id"] for row in rows}


def test_json_has_null_where_there_is_no_number():
    ranking = example_ranking()
    row = replace(ranking.rows[0], scores={**ranking.rows[0].scores, "logme": float("nan")})
    document = json.loads(files.to_json(replace(ranking, rows=(row,))))
    assert document["rows"][0]["scores"]["logme"] is None
    assert files.to_arrow(replace(ranking, rows=(row,))).column("score.logme").null_count == 1


def failing(monkeypatch, code: int, name: str) -> None:
    """The file system refuses to finish one of the files."""
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if name in Path(f"/proc/self/fd/{descriptor}").readlink().name:
            raise OSError(code, os.strerror(code))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
@pytest.mark.parametrize("name", ["ranking.json", "ranking.parquet", "report.html"])
def test_a_full_disk_is_said_and_leaves_the_old_file(name, tmp_path, monkeypatch):
    run = save_ranking(example_ranking(), tmp_path / "run")
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    failing(monkeypatch, errno.ENOSPC, name)
    changed = replace(example_ranking(), tool_version="9.9.9", warnings=())
    with pytest.raises(StoreError) as caught:
        save_ranking(changed, run)
    message = str(caught.value)
    assert f"No space left on the disk while writing {run / name}" in message
    assert "MB needed" in message
    assert "--out" in message
    assert (run / name).read_bytes() == before[name]
    assert {path.name for path in run.iterdir()} == NAMES  # no temporary file is left


def test_a_place_that_may_not_be_written_is_an_error(tmp_path, monkeypatch):
    def denied(*args, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(files, "write_atomically", denied)
    with pytest.raises(StoreError, match=r"No permission to write .*ranking\.json\. Choose"):
        save_ranking(example_ranking(), tmp_path)


def test_a_file_in_the_way_of_the_run_directory_is_an_error_and_stays(tmp_path):
    (tmp_path / "run").write_text("in the way")
    with pytest.raises(StoreError, match=r"Cannot write .*run: File exists"):
        save_ranking(example_ranking(), tmp_path / "run")
    with pytest.raises(StoreError, match="Not a directory"):
        save_ranking(example_ranking(), tmp_path / "run" / "deeper")
    assert (tmp_path / "run").read_text() == "in the way"


def test_saving_from_python_writes_the_same_files(tmp_path):
    assert {path.name for path in save_ranking(example_ranking(), tmp_path).iterdir()} == NAMES
