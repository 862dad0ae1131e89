"""A saved network, loaded by its own library, predicts what the measured one predicted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from hf_sfda.errors import FinetuneError
from hf_sfda.finetune import export as module
from hf_sfda.finetune import finetune
from hf_sfda.finetune.export import Exported, Trained, export
from hf_sfda.publish.finetuned_model import usage
from tests.factories import tiny_bert, tiny_resnet, tiny_timm, tiny_vit
from tests.finetune.test_finetune import PLAIN, local, target_of

QUICK = replace(PLAIN, epochs=1)


def train(path: Path, modality: str, folder: Path) -> tuple[list[Any], torch.Tensor, Exported]:
    """Fine-tune and save; some samples, their log-probabilities, and how it was saved."""
    got: list[Any] = []
    folder.mkdir()

    def keep(trained: Trained) -> None:
        classifier, backbone = trained.classifier, trained.backbone
        batches = [backbone.collate([sample]) for sample in trained.samples]
        scale = trained.input_scale
        if scale != 1:
            batches = [{k: v.float() / scale for k, v in batch.items()} for batch in batches]
        with torch.no_grad():
            logits = torch.cat([classifier(batch) for batch in batches])
        got.extend([list(trained.samples), logits.log_softmax(1), export(trained, folder)])

    finetune(local(path), target_of(modality, 12), QUICK, on_trained=keep)
    return got[0], got[1], got[2]


def run_the_code_of_the_card(exported: Exported, folder: Path, samples, tmp_path, monkeypatch):
    """Log-probabilities of the samples by the code that the card shows."""
    import huggingface_hub

    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", lambda repo, path: str(Path(repo) / path)
    )
    code = usage(str(folder), exported).replace("hf-hub:", "local-dir:")
    rows = []
    for sample in samples:
        names: dict[str, Any] = {}
        if exported.modality == "image":
            sample.save(tmp_path / "image.png")
            run = code.replace('"image.png"', repr(str(tmp_path / "image.png")))
        else:
            run = code.replace('"a text"', repr(sample))
        exec(run, names)
        rows.append(names["logits"])
    return torch.cat(rows).log_softmax(1)


CASES = {
    "timm": (tiny_timm, "image", "timm"),
    "resnet": (tiny_resnet, "image", "classifier"),
    "vit": (tiny_vit, "image", None),
    "bert": (tiny_bert, "text", "body and head"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_code_of_the_card_predicts_what_was_measured(name, tmp_path, monkeypatch, capsys):
    make, modality, wanted = CASES[name]
    folder = tmp_path / "saved"
    samples, expected, exported = train(make(tmp_path / "source"), modality, folder)
    assert wanted in (None, exported.format)
    found = run_the_code_of_the_card(exported, folder, samples, tmp_path, monkeypatch)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert capsys.readouterr().out.split()[-1] in target_of(modality, 12).class_names
    assert not list(folder.rglob("*.bin"))


@pytest.mark.parametrize("normalised", [False, True], ids=["integers", "floats"])
def test_a_network_that_reads_pixels_in_0_to_255_is_saved_for_them(
    tmp_path, monkeypatch, normalised
):
    path = tiny_resnet(tmp_path / "source")
    settings = json.loads((path / "preprocessor_config.json").read_text())
    settings |= {"do_rescale": False, "do_normalize": normalised}
    settings |= {"image_mean": [0.0] * 3, "image_std": [1.0] * 3}
    (path / "preprocessor_config.json").write_text(json.dumps(settings))
    scales: list[float] = []
    plain = module._undo_input_scale
    monkeypatch.setattr(
        module,
        "_undo_input_scale",
        lambda trained, batch: (scales.append(trained.input_scale), plain(trained, batch)),
    )
    folder = tmp_path / "saved"
    samples, expected, exported = train(path, "image", folder)
    assert scales[0] > 8
    found = run_the_code_of_the_card(exported, folder, samples, tmp_path, monkeypatch)
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)


def grey_resnet(path: Path) -> Path:
    """A network that reads one channel."""
    return tiny_resnet(path, num_channels=1)


def lower_casing_bert(path: Path) -> Path:
    """A text model whose texts are lower-cased before its tokenizer, which keeps the case."""
    tiny_bert(path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (path / name).read_text()
        (path / name).write_text(
            text.replace('"lowercase": true', '"lowercase": false').replace(
                '"do_lower_case": true', '"do_lower_case": false'
            )
        )
    (path / "sentence_bert_config.json").write_text('{"do_lower_case": true}')
    return path


@pytest.mark.parametrize(
    ("make", "modality", "code"),
    [(grey_resnet, "image", 'convert("L")'), (lower_casing_bert, "text", ".lower()]")],
    ids=["one channel", "lower-cased"],
)
def test_the_code_of_the_card_prepares_samples_as_they_were_trained(
    make, modality, code, tmp_path, monkeypatch
):
    folder = tmp_path / "saved"
    samples, expected, exported = train(make(tmp_path / "source"), modality, folder)
    assert code in usage("me/model", exported)
    found = run_the_code_of_the_card(exported, folder, samples, tmp_path, monkeypatch)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_a_preprocessing_that_gives_other_predictions_is_never_kept(tmp_path, monkeypatch):
    """The folder is judged as its user runs it: by its own image processor."""
    plain = module._save_processor

    def darker(trained: Trained, folder: Path) -> None:
        plain(trained, folder)
        path = folder / "preprocessor_config.json"
        settings = json.loads(path.read_text())
        settings = settings.get("image_processor", settings) | {"image_mean": [0.9] * 3}
        path.write_text(json.dumps(settings))

    monkeypatch.setattr(module, "_save_processor", darker)
    with pytest.raises(FinetuneError, match="predicts otherwise"):
        train(tiny_resnet(tmp_path / "source"), "image", tmp_path / "saved")


def test_what_predicts_otherwise_is_never_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_set_head", lambda linear, weight, bias: None)
    with pytest.raises(FinetuneError, match=r"cannot be saved for its library.*predicts otherwise"):
        train(tiny_timm(tmp_path / "source"), "image", tmp_path / "saved")
    assert not list((tmp_path / "saved").iterdir())


def test_the_layout_of_a_text_model_is_that_of_sentence_transformers(tmp_path):
    """Its modules, carried out by hand, give the logits: tokens, mean, linear layer."""
    from safetensors.torch import load_file
    from transformers import AutoModel, AutoTokenizer

    folder = tmp_path / "saved"
    samples, expected, _ = train(tiny_bert(tmp_path / "source"), "text", folder)
    modules = json.loads((folder / "modules.json").read_text())
    assert [m["type"].rsplit(".", 1)[1] for m in modules] == ["Transformer", "Pooling", "Dense"]
    pooling = json.loads((folder / modules[1]["path"] / "config.json").read_text())
    assert [name for name, on in pooling.items() if on is True] == ["pooling_mode_mean_tokens"]
    dense = folder / modules[2]["path"]
    settings = json.loads((dense / "config.json").read_text())
    weights = load_file(dense / "model.safetensors")
    assert weights["linear.weight"].shape == (settings["out_features"], settings["in_features"])
    tokens = AutoTokenizer.from_pretrained(folder)(
        samples, padding=True, truncation=True, return_tensors="pt"
    )
    with torch.no_grad():
        hidden = AutoModel.from_pretrained(folder).eval()(**tokens).last_hidden_state
    mask = tokens["attention_mask"].unsqueeze(-1)
    features = (hidden * mask).sum(1) / mask.sum(1)
    logits = functional.linear(features, weights["linear.weight"], weights["linear.bias"])
    torch.testing.assert_close(logits.log_softmax(1), expected, atol=1e-3, rtol=0)
