"""``benchmarks.gpu`` on the CPU: its code runs, and what it reports can be relied on."""

from __future__ import annotations

import json
import math
import time

import pytest
import torch

from benchmarks import gpu

FIGURES = {
    "metrics": {"sfda_cv", "three_heads", "knn", "leep"},
    "features": {"tiny vit", "tiny resnet", "tiny timm", "tiny bert", "tiny wav2vec2", "ViT-B/16"},
    "memory": {"extraction", "training step"},
    "finetune": {"tiny vit", "tiny resnet: saving", "tiny bert: resuming"},
    "scores": {"sfda, float32", "sfda_cv, float64"},
    "throughput": {"ViT-B/16, float32", "ResNet-50, bfloat16", "BERT-base, float32"},
}


QUICK = ("memory", "scores")


@pytest.mark.parametrize(
    "part", [pytest.param(p, marks=() if p in QUICK else pytest.mark.slow) for p in FIGURES]
)
def test_each_part_runs_on_the_cpu_without_failures(part, tmp_path, capsys):
    code = gpu.main(["--device", "cpu", "--here", "--parts", part, "--out", str(tmp_path)])
    document = json.loads((tmp_path / "gpu.json").read_text())
    result = document["parts"][part]
    assert (code, result["failures"]) == (0, [])
    figures = {figure["what"]: figure for figure in result["figures"]}
    assert figures.keys() >= FIGURES[part]
    assert document["machine"]["versions"]["torch"]
    printed = capsys.readouterr().out
    assert "| part | what | figures |" in printed
    assert all(f"| {part} | {what} | " in printed for what in figures)
    # Device and CPU are the same here, so nothing may differ.
    for figure in result["figures"]:
        assert figure.get("largest_difference", 0) == 0
    if part == "memory":
        assert figures["extraction"]["first_batch"] == 32
        assert figures["extraction"]["smallest_batch"] == 8
        assert figures["training step"]["limit"] == 2
    if part == "throughput":
        # How large it is says nothing here: sizes are tiny, and the machine may be busy.
        assert all(0 < figure["share_of_bare"] < math.inf for figure in result["figures"])


def test_a_failure_is_kept_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    def broken(setting, record):
        record.add("first", value=1.5)
        with record.attempt("second"):
            raise RuntimeError("CUDA error: an illegal memory access | was encountered")
        record.check("third", False, "differs")
        raise ValueError("the part itself")

    def fine(setting, record):
        record.add("fourth", rate=12_345.6)

    monkeypatch.setattr(gpu, "PARTS", {"metrics": (broken, 60), "scores": (fine, 60)})
    assert gpu.main(["--device", "cpu", "--here", "--out", str(tmp_path)]) == 1
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert [failure["what"] for failure in parts["metrics"]["failures"]] == [
        "second",
        "third",
        "metrics",
    ]
    assert "in broken" in parts["metrics"]["failures"][0]["traceback"]
    assert parts["metrics"]["figures"] == [{"what": "first", "value": 1.5}]
    assert parts["scores"]["figures"] == [{"what": "fourth", "rate": 12_345.6}]
    printed = capsys.readouterr().out
    assert "| metrics | first | value 1.5 |" in printed
    assert "| metrics | second | **failed**: RuntimeError: CUDA error: an illegal" in printed
    assert "| scores | fourth | rate 12,346 |" in printed


def test_a_part_in_a_process_of_its_own_ends_at_its_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "PARTS", {"scores": (gpu.time_scores, 0.5)})
    monkeypatch.setattr(gpu, "SHORTEST", 0)
    begun = time.monotonic()
    assert gpu.main(["--device", "cpu", "--out", str(tmp_path)]) == 1
    assert time.monotonic() - begun < 60
    (failure,) = json.loads((tmp_path / "gpu.json").read_text())["parts"]["scores"]["failures"]
    assert failure["error"] == "ended after its 0.5 seconds"


def test_a_part_runs_in_a_process_of_its_own(tmp_path):
    arguments = ["--device", "cpu", "--parts", "scores"]
    assert gpu.main([*arguments, "--out", str(tmp_path)]) == 0
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert parts["scores"]["failures"] == []
    assert len(parts["scores"]["figures"]) == 4


def test_without_a_gpu_the_benchmark_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        gpu.main(["--out", str(tmp_path)])
    assert "finds no GPU here; --device cpu runs tiny sizes" in capsys.readouterr().err


def test_a_report_of_pytest_is_read(tmp_path):
    (tmp_path / "tests.xml").write_text(
        '<testsuites><testsuite><testcase name="a"/><testcase name="b"><skipped/></testcase>'
        '<testcase name="c"><failure message="assert 1 == 2">in line 3</failure></testcase>'
        '<testcase name="d"><error>no fixture</error></testcase></testsuite></testsuites>'
    )
    counts, failed = gpu.read_report(tmp_path / "tests.xml")
    assert counts == {"passed": 1, "failed": 2, "skipped": 1}
    assert failed == {"c": "assert 1 == 2\nin line 3", "d": "\nno fixture"}


@pytest.mark.slow
def test_the_project_s_own_tests_are_found(tmp_path):
    arguments = ["--device", "cpu", "--here", "--parts", "tests", "--out", str(tmp_path)]
    assert gpu.main(arguments) == 0
    part = json.loads((tmp_path / "gpu.json").read_text())["parts"]["tests"]
    (figure,) = part["figures"]
    assert figure["passed"] + figure["skipped"] > 10
