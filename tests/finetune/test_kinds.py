"""Fine-tuning of several labels a sample, of values and of sounds, and saving what was trained."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hf_sfda.config import FinetuneConfig
from hf_sfda.errors import FinetuneError, TargetError
from hf_sfda.finetune import finetune
from hf_sfda.finetune.export import Exported, Trained, export
from hf_sfda.finetune.parts import divide
from hf_sfda.publish.finetuned_model import usage
from hf_sfda.ranking.measurements import read_measurements
from hf_sfda.ranking.runs import read_ranking
from hf_sfda.types import Finetuned, Measurement, Sound, Target, TextPair, Word
from tests import factories
from tests.command import run_command
from tests.finetune.test_finetune import local, target_of
from tests.targets import target_with

RECIPE = FinetuneConfig(learning_rates=(1e-3,), epochs=3, min_steps=0, max_length=32)


def labelled(modality: str, kind: str, n_per_class: int = 24, seed: int = 0) -> Target:
    """The classes of a learnable target as labels of another kind."""
    target = target_of(modality, n_per_class, seed)
    if kind == "regression":
        return replace(
            target, labels=20.0 + 5 * target.labels, class_names=(), label_kind="regression"
        )
    labels = np.array([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 0]])[target.labels]
    return replace(target, labels=labels, class_names=("one", "two", "three", "one or two"))


def sounds(n_per_class: int, seed: int = 0) -> Target:
    """Tones of three pitches."""
    tones, labels = factories.sounds(n_per_class, 3, seed=seed)
    order = np.random.default_rng(seed).permutation(len(labels))
    target = target_of("text", n_per_class, seed)
    return replace(
        target,
        modality="audio",
        samples=[Sound(tones[i], 16_000) for i in order],
        labels=np.asarray(labels)[order],
        inputs_fingerprint=f"sounds {seed}",
    )


@pytest.mark.parametrize("kind", ["multi-label", "regression"])
@pytest.mark.parametrize(
    ("make", "modality"),
    [
        (factories.tiny_vit, "image"),
        pytest.param(factories.tiny_timm, "image", marks=pytest.mark.slow),
        (factories.tiny_bert, "text"),
    ],
    ids=["vit", "timm", "bert"],
)
def test_other_labels_are_learnt_and_the_result_repeats(make, modality, kind, tmp_path):
    path = make(tmp_path / "model")
    train, test = labelled(modality, kind), labelled(modality, kind, 20, seed=1)
    measured = finetune(local(path), train, RECIPE, test=test)
    assert measured.measure == ("F1" if kind == "multi-label" else "R²")
    assert measured.value > (0.6 if kind == "multi-label" else 0.2)
    assert measured.interval[0] <= measured.value <= measured.interval[1]
    assert measured.value == pytest.approx(np.mean(measured.per_sample))
    again = finetune(local(path), train, RECIPE, test=test)
    assert again.trials == measured.trials and again.per_sample == measured.per_sample
    json.dumps(measured.to_dict())


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_sounds_are_learnt(norm, tmp_path):
    # The masks of SpecAugment would be longer than these sounds: the model fails with them.
    path = factories.tiny_wav2vec2(
        tmp_path / "model", feat_extract_norm=norm, mask_time_length=100, mask_time_prob=0.5
    )
    measured = finetune(local(path), sounds(16), RECIPE, test=sounds(12, seed=1))
    assert measured.value > 0.5
    assert len(measured.curve) > 1 and np.isfinite(measured.curve[1].train_loss)


def words(n: int, seed: int = 0) -> Target:
    """Words whose tag depends on their neighbour: a topic word behind "of" has the tag 1 or 2."""
    rng = np.random.default_rng(seed)
    samples, labels = [], []
    for i in range(n):
        sentence = [str(word) for word in rng.choice(factories.FILLER[5:], 6)]
        topics = [factories.TOPICS[("sea", "food")[k]] for k in (i // 2 % 2, rng.integers(2))]
        sentence[2:6] = "of", str(rng.choice(topics[0])), "the", str(rng.choice(topics[1]))
        samples.append(Word(tuple(sentence), 3 if i % 2 else 5))
        labels.append(1 + i // 2 % 2 if i % 2 else 0)
    target = target_of("text", 2, seed)
    return replace(
        target,
        task="text-token-classification",
        label_kind="token",
        input_column="tokens",
        samples=samples,
        sample_ids=tuple(f"train/{i}" for i in range(n)),
        labels=np.array(labels),
        class_names=("O", "SEA", "FOOD"),
        inputs_fingerprint=f"words {seed} {n}",
    )


def test_tags_of_words_are_learnt_and_not_saved(tmp_path):
    reasons = []

    def save(trained: Trained) -> None:
        with pytest.raises(FinetuneError, match="a model for single words cannot be saved") as info:
            export(trained, tmp_path / "saved")
        reasons.append(info)

    path = factories.tiny_bert(tmp_path / "model")
    measured = finetune(local(path), words(80), RECIPE, test=words(40, 1), on_trained=save)
    assert measured.measure == "accuracy" and measured.value > 0.6 and reasons
    assert len(measured.curve) > 1


def test_parts_of_other_labels_hold_all_of_them():
    for kind in ("multi-label", "regression"):
        target = labelled("text", kind)
        parts = divide(target, validation=None, test=None, validation_share=0.25, test_share=0.3)
        assert len(parts.train) + len(parts.validation) + len(parts.test) == len(target)
        for part in (parts.train, parts.validation, parts.test):
            assert len(np.unique(part.labels, axis=0)) == 3
            assert part.labels.dtype == target.labels.dtype


def test_labels_of_a_given_part_are_read_by_name():
    target = labelled("text", "multi-label")
    test = replace(target, labels=target.labels[:, ::-1], class_names=target.class_names[::-1])
    parts = divide(target, validation=None, test=test, validation_share=0.25, test_share=0.3)
    np.testing.assert_array_equal(parts.test.labels, target.labels)


def test_a_part_with_one_value_has_no_r2():
    target, test = target_with(np.arange(20.0), 0), target_with(np.ones(5), 0)
    with pytest.raises(TargetError, match=r"All values in the test part .* are 1, so R² has no"):
        divide(target, validation=None, test=test, validation_share=0.3, test_share=0.3)


# -- saving


def saved(
    path: Path, target: Target, folder: Path, **recipe: Any
) -> tuple[Trained, torch.Tensor, Exported]:
    """Fine-tune for an epoch and save: the network, its outputs on its samples, and the format."""
    folder.mkdir()
    kept: list[tuple[Trained, torch.Tensor, Exported]] = []

    def keep(trained: Trained) -> None:
        batches = [trained.backbone.collate([sample]) for sample in trained.samples]
        with torch.no_grad():
            outputs = torch.cat([trained.classifier(batch) for batch in batches])
        kept.append((trained, outputs, export(trained, folder)))

    finetune(local(path), target, replace(RECIPE, epochs=1, **recipe), on_trained=keep)
    return kept[0]


@pytest.mark.parametrize("kind", ["multi-label", "regression"])
@pytest.mark.parametrize("name", ["timm", "resnet", "bert"])
def test_the_code_of_the_card_predicts_what_was_measured(name, kind, tmp_path, monkeypatch, capsys):
    import huggingface_hub

    make: Any = getattr(factories, f"tiny_{name}")
    target = labelled("text" if name == "bert" else "image", kind, 12)
    folder = tmp_path / "saved"
    trained, expected, exported = saved(make(tmp_path / "source"), target, folder)
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", lambda repo, path: str(Path(repo) / path)
    )
    code = usage(str(folder), exported, trained.objective.measure)
    code = code.replace("hf-hub:", "local-dir:")
    for sample, wanted in zip(trained.samples, expected, strict=True):
        capsys.readouterr()
        names: dict[str, Any] = {}
        if exported.modality == "image":
            sample.save(tmp_path / "image.png")
            exec(code.replace('"image.png"', repr(str(tmp_path / "image.png"))), names)
        else:
            exec(code.replace('"a text"', repr(sample)), names)
        printed = capsys.readouterr().out.strip()
        if kind == "regression":
            value = trained.objective.as_trained(names["values"])[0]
            torch.testing.assert_close(value, wanted, atol=1e-3, rtol=0)
            assert float(printed) == float(names["values"][0])
            assert 0 < float(printed) < 50, "in the unit of the labels"
        else:
            torch.testing.assert_close(names["logits"][0], wanted, atol=1e-3, rtol=1e-3)
            chosen = np.array(target.class_names)[(wanted > 0).numpy()].tolist()
            assert printed == str(chosen)
    if exported.format == "classifier":
        config = json.loads((folder / "config.json").read_text())
        problem = "regression" if kind == "regression" else "multi_label_classification"
        assert config["problem_type"] == problem


SOUNDS = {
    "wav2vec2": ("Wav2Vec2Model", "group", "body and head", ""),
    "wav2vec2 layer": ("Wav2Vec2Model", "layer", "body and head", ""),
    "whisper": ("WhisperForConditionalGeneration", "", "body and head", "WhisperEncoder"),
    "ast": ("ASTModel", "", "body and head", ""),
    "clap": ("ClapModel", "", "body and head", "ClapAudioModel"),
    "hubert classifier": ("HubertForSequenceClassification", "layer", "classifier", ""),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in ("whisper", "clap") else ())
        for name in SOUNDS
    ],
)
def test_the_code_of_the_card_hears_what_was_measured(name, tmp_path, monkeypatch, capsys):
    import huggingface_hub
    import soundfile

    from tests.backbones.test_audio import save

    architecture, variant, wanted, loader = SOUNDS[name]
    save(tmp_path / "source", architecture, variant)
    folder = tmp_path / "saved"
    trained, outputs, exported = saved(tmp_path / "source", sounds(6), folder)
    expected = outputs.log_softmax(1)
    assert (exported.format, exported.modality) == (wanted, "audio")
    assert exported.loader.rpartition(".")[2] == loader
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", lambda repo, path: str(Path(repo) / path)
    )
    code = usage(str(folder), exported)
    path = tmp_path / "sound.wav"
    for sample, row in zip(trained.samples[:3], expected, strict=False):
        rate = exported.rate
        soundfile.write(path, trained.backbone.collate.wave(sample), rate, subtype="FLOAT")
        names: dict[str, Any] = {}
        exec(code.replace('"sound.wav"', repr(str(path))), names)
        found = names["logits"].log_softmax(1)[0]
        torch.testing.assert_close(found, row, atol=1e-3, rtol=0)
        assert capsys.readouterr().out.split()[-1] in trained.output_names


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2"])
def test_the_code_of_the_card_reads_pairs_as_they_were_trained(name, tmp_path, monkeypatch):
    import huggingface_hub

    from tests.backbones import test_pairs

    target = target_of("text", 12)
    pairs = [TextPair(text[:20], text[:15:-1]) for text in target.samples]
    target = replace(target, samples=pairs, input_column="text, other")
    path = getattr(test_pairs, name)(tmp_path / "source")
    folder = tmp_path / "saved"
    trained, outputs, exported = saved(path, target, folder, max_length=64)
    expected = outputs.log_softmax(1)
    assert exported.pair == ("joined" if name == "gpt2" else "separated")
    assert exported.types == (name == "bert")
    assert not (folder / "modules.json").exists(), "sentence-transformers takes single texts"
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", lambda repo, path: str(Path(repo) / path)
    )
    code = usage(str(folder), exported)
    for pair, row in zip(trained.samples[:4], expected, strict=False):
        names: dict[str, Any] = {}
        shown = code.replace('"a text"', repr(pair.first))
        exec(shown.replace('"another text"', repr(pair.second)), names)
        found = names["logits"].log_softmax(1)[0]
        torch.testing.assert_close(found, row, atol=1e-3, rtol=0)


# -- documents


def measurement(**changes: Any) -> Measurement:
    values: dict[str, Any] = {
        "model_id": "a/a",
        "revision": None,
        "value": -0.25,
        "interval": (-1.0, 0.5),
        "probe_value": 0.1,
        "learning_rate": 1e-3,
        "epoch": 1,
        "samples_trained": 10,
        "seconds": 1.0,
        "device": "cpu",
        "per_sample": (0.5, -1.0),
        "measure": "R²",
    }
    return Measurement(**{**values, **changes})


def test_documents_hold_what_was_measured():
    for one in (
        measurement(),
        measurement(measure="F1", value=0.5, per_sample=(0.0, 1.0)),
        measurement(measure="accuracy", value=0.5, per_sample=(0, 1)),
    ):
        whole = Finetuned("samples", {}, {}, (one,))
        again = Finetuned.from_dict(json.loads(json.dumps(whole.to_dict())))
        assert again.measurements == (one,)
        assert again.measure == one.measure
    document = measurement(measure="accuracy", value=0.5, per_sample=(0, 1)).to_dict()
    assert (document["accuracy"], document["correct"]) == (0.5, "01")
    assert not {"measure", "value", "per_sample"} & set(document), "as in earlier versions"


@pytest.mark.parametrize(
    "changes",
    [
        {"measure": "F2"},
        {"measure": "F1", "value": -0.1},
        {"value": 1.5},
        {"value": float("nan")},
        {"per_sample": (float("inf"), 0.0)},
        {"measure": "accuracy", "value": 0.5, "per_sample": (0.5, 0.5)},
    ],
)
def test_values_that_the_measure_cannot_have_are_refused(changes):
    with pytest.raises(ValueError, match="the measurement of a/a is no"):
        measurement(**changes)


# -- the command


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """Three runs: values of texts, several labels a text, and sounds."""
    from datasets import ClassLabel, Dataset, Features, List, Value

    folder = tmp_path_factory.mktemp("kinds")
    rows = {kind: labelled("text", kind, 30) for kind in ("regression", "multi-label")}
    target = rows["regression"]
    noise = np.random.default_rng(0).normal(0, 0.5, len(target))
    texts = [f"{text} {i}" for i, text in enumerate(target.samples)]
    Dataset.from_dict({"text": texts, "score": target.labels + noise}).to_parquet(
        folder / "regression.parquet"
    )
    features = Features({"text": Value("string"), "tags": List(ClassLabel(names=[*"abcd"]))})
    tags = [np.flatnonzero(row).tolist() for row in rows["multi-label"].labels]
    Dataset.from_dict({"text": texts, "tags": tags}, features=features).to_parquet(
        folder / "multi-label.parquet"
    )
    factories.audio_dataset(16).to_parquet(folder / "audio.parquet")
    factories.tiny_bert(folder / "text" / "one", seed=1)
    factories.tiny_bert(folder / "text" / "two", seed=4)
    factories.tiny_wav2vec2(folder / "sound" / "one")
    factories.tiny_wav2vec2(folder / "sound" / "two", seed=1, feat_extract_norm="layer")
    return folder


@pytest.mark.parametrize(
    ("name", "measure", "kind"),
    [
        pytest.param("regression", "R²", "text", marks=pytest.mark.slow),
        ("multi-label", "F1", "text"),
        pytest.param("audio", "accuracy", "sound", marks=pytest.mark.slow),
    ],
)
def test_the_command_measures_every_kind(work, name, measure, kind):
    run = f"runs/{name}"
    quick = ("--learning-rates", "1e-3", "--epochs", "2", "--top", "2", "--yes")
    options = ("--resamples", "100", "--permutations", "0", "--quiet")
    run_command(
        *("rank", "--dataset", f"{name}.parquet", "--models", kind, "-o", run, *options), cwd=work
    )
    out, _ = run_command("finetune", run, *quick, "--format", "human", cwd=work)
    assert ("fine-tuned" if measure == "accuracy" else f"fine-tuned {measure}") in out
    assert f"test {measure}" in " ".join(out.split())
    settings = read_measurements(work / run)
    assert [m.measure for m in settings[-1].measurements] == [measure] * 2
    ranking = read_ranking(work / run)
    assert ranking.finetuned is not None and ranking.finetuned.measure == measure
    page = (work / run / "report.html").read_text()
    assert f"<th>test {measure}</th>" in page
    document = json.loads(run_command("finetune", run, *quick, "--json", cwd=work)[0])
    assert all(model["measured"] for model in document["models"]), "nothing is trained again"


def test_halving_compares_other_measures(work):
    run = "runs/halving"
    run_command(
        *("rank", "--dataset", "regression.parquet", "--models", "text", "-o", run),
        *("--resamples", "100", "--permutations", "0", "--quiet"),
        cwd=work,
    )
    quick = ("--learning-rates", "1e-3", "--epochs", "2", "--top", "1", "--halving", "--yes")
    run_command("finetune", run, *quick, cwd=work)
    [finetuned] = read_measurements(work / run)
    assert len(finetuned.rounds) == 2 and len(finetuned.measurements) == 1
    best = max(finetuned.rounds, key=lambda brief: brief.validation_value)
    assert finetuned.measurements[0].model_id == best.model_id


def test_values_are_published_apart_from_accuracies(work, hub):
    from datasets import load_dataset

    run = work / "runs/regression"
    if not run.exists():
        test_the_command_measures_every_kind(work, "regression", "R²", "text")
    run_command("publish", str(run), "--to", "me/results", "--yes", cwd=work)
    files = [f for f in hub.files("me/results", "dataset") if f.startswith("finetuning")]
    assert len(files) == 1 and files[0].startswith("finetuning-other/")
    data = load_dataset("me/results", "finetuning-other", split="train")
    measured = read_ranking(run).finetuned.measurements
    assert sorted(data["value"]) == sorted(m.value for m in measured)
    assert set(data["measure"]) == {"R²"} and set(data["accuracy"]) == {None}
    card = hub.files("me/results", "dataset")["README.md"].decode()
    assert "fine-tuned R²" in card and "finetuning-other" in card
    again = run_command("publish", str(run), "--to", "me/results", "--json", cwd=work)[0]
    assert json.loads(again)["steps"] == [], "what is there is recognised"
