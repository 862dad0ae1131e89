"""The benchmark of regressions: its data are read without running anything, its table is right."""

from __future__ import annotations

import io
import tarfile
import zipfile

from benchmarks import regression


def test_ratings_are_read_from_the_archive_in_the_archive(tmp_path):
    text = "1\t2.5\tso good\r\n2\t-1.25\ttwo\ttabs\r\n3\t0.5\t \r\nnot a rating\r\n"
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as archive:
        info = tarfile.TarInfo("hutto_ICWSM_2014/tweets_GroundTruth.txt")
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text.encode()))
    sdist = tmp_path / "sdist.zip"
    with zipfile.ZipFile(sdist, "w") as outer:
        outer.writestr(regression._ARCHIVE, inner.getvalue())
    rows = regression.read_ratings(sdist, "tweets")
    assert rows == [("so good", 2.5), ("two\ttabs", -1.25)]


def test_the_table_says_what_the_first_pick_of_each_score_loses(tmp_path, monkeypatch):
    header = f"target,checkpoint,{','.join(regression.SCORES)},r2"
    scores = [("a", 3, 1, 1, 1, 1, 0.5), ("b", 2, 2, 2, 2, 2, 0.4), ("c", 1, 3, 3, 3, 3, 0.1)]
    lines = [header, *("one," + ",".join(map(str, row)) for row in scores)]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(lines))
    monkeypatch.setattr(regression, "TABLE", table)
    report = regression.report().splitlines()
    assert report[2] == "| `logme` | 1.00 (0.0) | 1.00 | 0.0 |"
    assert report[3] == "| `linear_probe` | -1.00 (40.0) | -1.00 | 40.0 |"
