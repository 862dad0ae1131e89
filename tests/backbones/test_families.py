"""Every family gives the features that its plainest class gives, whatever a checkpoint lacks."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch

from hf_sfda.backbones import loading, open_backbone
from hf_sfda.backbones.pooling import pool, stage_indices
from hf_sfda.errors import ExtractionError
from hf_sfda.types import Candidate
from tests.backbone_zoo import IMAGES, TEXTS, VIT, Case, build, drop_weights, text
from tests.factories import images, texts, tiny_bert, tiny_resnet, tiny_timm, tiny_vit

PICTURES = images(2, 3)[0]
# Of 3 to 13 words, so that every batch has padding.
SENTENCES = [" ".join(t.split()[: 3 + 2 * i]) for i, t in enumerate(texts(2, 3, length=13)[0])]
SAMPLES = {"image": PICTURES, "text": SENTENCES}


def opened(path, modality, *, dtype=torch.float32, max_length=128):
    return open_backbone(
        path,
        Candidate(path.name, "local", path=path),
        device=torch.device("cpu"),
        dtype=dtype,
        max_length=max_length,
        modality=modality,
    )


def run(backbone, samples):
    with torch.inference_mode():
        return backbone.forward(backbone.collate(samples))


def close(found, expected):
    """Equal but for rounding: our convolutions run in another memory layout."""
    torch.testing.assert_close(found, expected, atol=1e-5 * expected.abs().max().item(), rtol=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a case, written once."""
    root = tmp_path_factory.mktemp("zoo")

    def get(case: Case):
        path = root / case.name
        if not path.exists():
            case.make(path)
        return path

    return get


@pytest.mark.parametrize("case", [*IMAGES, *TEXTS], ids=lambda case: case.name)
def test_features_are_those_of_the_reference(case, folder):
    path = folder(case)
    backbone = opened(path, case.modality)
    samples = SAMPLES[case.modality]
    outputs = run(backbone, samples)
    with torch.inference_mode():
        expected = case.last(path, backbone.collate(samples))

    *stages, last = outputs.layers
    assert last == "last"
    assert tuple(outputs.layers[name].shape[1] for name in stages) == case.layers
    assert all(values.dtype == torch.float32 for values in outputs.layers.values())
    # Features that do not depend on the input would agree with anything.
    assert expected.std(dim=0).max() > 1e-3
    close(outputs.layers["last"], expected)
    assert (outputs.logits is None) == (case.classes is None)
    if case.classes is not None:
        assert outputs.logits.shape == (len(samples), case.classes)


@pytest.mark.parametrize("case", [*IMAGES, *TEXTS], ids=lambda case: case.name)
def test_features_do_not_depend_on_the_random_seed(case, folder):
    outputs = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        outputs.append(run(opened(folder(case), case.modality), SAMPLES[case.modality]))
    for name, values in outputs[0].layers.items():
        torch.testing.assert_close(values, outputs[1].layers[name], atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("case", TEXTS, ids=lambda case: case.name)
def test_other_texts_in_a_batch_do_not_change_features(case, folder):
    backbone = opened(folder(case), "text")
    together = run(backbone, SENTENCES).layers["last"]
    alone = torch.cat([run(backbone, [sentence]).layers["last"] for sentence in SENTENCES])
    torch.testing.assert_close(together, alone, atol=2e-6, rtol=1e-4)


def test_the_logits_are_the_classifiers_own(folder):
    import timm
    import transformers

    heads = {
        "image": transformers.AutoModelForImageClassification,
        "text": transformers.AutoModelForSequenceClassification,
    }
    for case in (*IMAGES, *TEXTS):
        if case.classes is None:
            continue
        path = folder(case)
        backbone = opened(path, case.modality)
        batch = backbone.collate(SAMPLES[case.modality])
        if case.name.startswith("timm"):
            head = timm.create_model(f"local-dir:{path}", pretrained=True).eval()
        else:
            head = heads[case.modality].from_pretrained(path).eval()
            head.config.pad_token_id = 0
        with torch.inference_mode():
            answer = head(**batch)
            logits = backbone.forward(batch).logits
        close(logits, getattr(answer, "logits", answer))


# -- what the checkpoint leaves out


def test_a_classifier_without_its_head_still_gives_features(tmp_path):
    tiny_vit(tmp_path)
    whole = run(opened(tmp_path, "image"), PICTURES)
    drop_weights(tmp_path, "classifier")
    headless = run(opened(tmp_path, "image"), PICTURES)
    assert headless.logits is None
    assert headless.pooling == "class token"
    torch.testing.assert_close(headless.layers["last"], whole.layers["last"])


def test_a_pooler_without_weights_is_not_used(tmp_path):
    tiny_vit(tmp_path, architecture="ViTModel")
    assert run(opened(tmp_path, "image"), PICTURES).pooling == "pooler"
    drop_weights(tmp_path, "pooler")
    outputs = run(opened(tmp_path, "image"), PICTURES)
    assert outputs.pooling == "class token"


def test_a_siglip_tower_without_pooler_averages(tmp_path):
    build("SiglipVisionModel", "SiglipVisionConfig", **VIT)(tmp_path)
    drop_weights(tmp_path, "head.")
    outputs = run(opened(tmp_path, "image"), PICTURES)
    assert outputs.pooling == "mean"


def test_a_timm_model_without_its_head_still_gives_features(tmp_path):
    tiny_timm(tmp_path)
    whole = run(opened(tmp_path, "image"), PICTURES)
    drop_weights(tmp_path, "fc.")
    headless = run(opened(tmp_path, "image"), PICTURES)
    assert headless.logits is None
    torch.testing.assert_close(headless.layers["last"], whole.layers["last"])


# -- stages


def test_stages_are_pooled_hidden_states(tmp_path):
    import transformers

    tiny_vit(tmp_path / "vit", num_hidden_layers=6)
    backbone = opened(tmp_path / "vit", "image")
    batch = backbone.collate(PICTURES)
    with torch.inference_mode():
        stages = backbone.forward(batch).layers
        model = transformers.ViTModel.from_pretrained(tmp_path / "vit").eval()
        hidden = model(**batch, output_hidden_states=True).hidden_states
    for depth in (2, 3, 5, 6):
        torch.testing.assert_close(stages[f"block{depth}"], hidden[depth].mean(1))

    tiny_resnet(tmp_path / "resnet")
    backbone = opened(tmp_path / "resnet", "image")
    batch = backbone.collate(PICTURES)
    with torch.inference_mode():
        stages = backbone.forward(batch).layers
        model = transformers.ResNetModel.from_pretrained(tmp_path / "resnet").eval()
        hidden = model(**batch, output_hidden_states=True).hidden_states
    for stage in (1, 2):
        torch.testing.assert_close(stages[f"stage{stage}"], hidden[stage].mean((2, 3)))

    tiny_bert(tmp_path / "bert")
    backbone = opened(tmp_path / "bert", "text")
    batch = backbone.collate(SENTENCES[:1])  # alone: nothing is padding
    with torch.inference_mode():
        stages = backbone.forward(batch).layers
        model = transformers.BertModel.from_pretrained(tmp_path / "bert").eval()
        hidden = model(**batch, output_hidden_states=True).hidden_states
    torch.testing.assert_close(stages["block1"], hidden[1].mean(1))


@pytest.mark.parametrize(
    ("resolutions", "expected"),
    [
        ([(56,), (28,), (14,), (7,)], [0, 1, 2, 3]),
        ([(16, 16), (8, 8), (4, 4), (2, 2), (2, 2)], [0, 1, 2, 3, 4]),
        ([(8, 8), (4, 4), (4, 4), (4, 4), (2, 2), (2, 2), (1, 1)], [0, 3, 5, 6]),
        ([(197,)], [0]),
        ([(197,)] * 2, [0, 1]),
        ([(197,)] * 3, [0, 1, 2]),
        ([(197,)] * 4, [0, 1, 2, 3]),
        ([(197,)] * 6, [1, 2, 4, 5]),
        ([(197,)] * 12, [2, 5, 8, 11]),
        ([(197,)] * 24, [5, 11, 17, 23]),
        ([], []),
    ],
)
def test_the_last_blocks_of_resolutions_or_quarters_stand_for_stages(resolutions, expected):
    assert list(stage_indices(resolutions).values()) == expected


def test_pooling_ignores_padding_and_survives_an_empty_text():
    tokens = torch.arange(12.0).reshape(2, 3, 2)
    mask = torch.tensor([[1, 1, 0], [0, 0, 0]])
    assert pool(tokens, mask).tolist() == [[1.0, 2.0], [0.0, 0.0]]


def test_pooling_half_precision_averages_in_float32():
    # 1 + 1/1024 is no bfloat16, nor is any sum of 2,049 ones.
    tokens = torch.ones(1, 4096, 1, dtype=torch.bfloat16)
    assert pool(tokens).dtype == torch.float32
    assert pool(tokens).item() == 1.0


# -- inputs


def test_long_texts_end_where_the_positions_end(tmp_path):
    long = " ".join(["planet"] * 200)
    roberta = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
               "intermediate_size": 32, "max_position_embeddings": 32}  # fmt: skip
    text("RobertaModel", "RobertaConfig", pad_token_id=1, **roberta)(tmp_path / "roberta")
    backbone = opened(tmp_path / "roberta", "text")
    # Positions of RoBERTa start behind the padding index: 32 rows hold 30 tokens.
    assert backbone.costs([long, "moon"]) == [30, 3]
    assert run(backbone, [long]).layers["last"].isfinite().all()

    tiny_bert(tmp_path / "bert")
    assert opened(tmp_path / "bert", "text").costs([long]) == [64]
    assert opened(tmp_path / "bert", "text", max_length=16).costs([long]) == [16]


def test_pictures_of_any_size_and_channel_count_go_in(tmp_path):
    from PIL import Image

    tiny_timm(tmp_path)
    backbone = opened(tmp_path, "image")
    wide = Image.fromarray(np.zeros((10, 200, 3), np.uint8))
    assert run(backbone, [wide, *PICTURES]).layers["last"].shape[0] == 1 + len(PICTURES)


def test_convolutional_networks_run_with_their_channels_last(tmp_path):
    tiny_timm(tmp_path / "timm")
    tiny_resnet(tmp_path / "resnet")
    tiny_vit(tmp_path / "vit")
    layouts = {}
    for path in sorted(tmp_path.iterdir()):
        model = opened(path, "image").module
        kernels = [p for p in model.parameters() if p.ndim == 4 and p.shape[2] > 1]
        layouts[path.name] = all(
            kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels
        )
    assert layouts == {"resnet": True, "timm": True, "vit": False}


@pytest.mark.parametrize("make", [tiny_vit, tiny_timm], ids=["transformers", "timm"])
def test_half_precision_comes_out_as_float32(make, tmp_path):
    make(tmp_path)
    exact = run(opened(tmp_path, "image"), PICTURES)
    half = run(opened(tmp_path, "image", dtype=torch.bfloat16), PICTURES)
    assert {values.dtype for values in half.layers.values()} == {torch.float32}
    assert half.logits.dtype == torch.float32
    torch.testing.assert_close(half.layers["last"], exact.layers["last"], atol=0.1, rtol=0.1)


def test_collate_travels_to_a_worker_without_the_model(tmp_path):
    import pickle

    for make, modality in ((tiny_vit, "image"), (tiny_timm, "image"), (tiny_bert, "text")):
        path = tmp_path / make.__name__
        make(path)
        backbone = opened(path, modality)
        packed = pickle.dumps(backbone.collate)
        assert len(packed) < 100_000
        again = pickle.loads(packed)(SAMPLES[modality])
        for name, values in backbone.collate(SAMPLES[modality]).items():
            torch.testing.assert_close(again[name], values)


def test_a_checkpoint_saved_by_the_timm_wrapper_goes_to_timm(tmp_path):
    import transformers

    tiny_timm(tmp_path / "timm", "test_resnet", num_classes=0)
    plain = run(opened(tmp_path / "timm", "image"), PICTURES)
    config = transformers.AutoConfig.from_pretrained(tmp_path / "timm")
    config.model_args = {}  # the wrapper cannot read what timm writes there
    wrapped = transformers.TimmWrapperModel.from_pretrained(tmp_path / "timm", config=config)
    wrapped.save_pretrained(tmp_path / "wrapped")
    again = run(opened(tmp_path / "wrapped", "image"), PICTURES)
    torch.testing.assert_close(again.layers["last"], plain.layers["last"])


def test_threads_that_open_at_once_leave_torch_as_it_was(tmp_path, monkeypatch):
    path = tiny_vit(tmp_path / "vit")
    real, inside, most = loading.blueprint, [], []

    def slow(*arguments):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.2)
        try:
            return real(*arguments)
        finally:
            inside.pop()

    monkeypatch.setattr(loading, "blueprint", slow)
    before = {name: getattr(torch.nn.init, name) for name in dir(torch.nn.init)}
    threads = [threading.Thread(target=opened, args=(path, "image")) for _ in range(3)]
    for number, thread in enumerate(threads):
        thread.start()
        time.sleep(0.05 * number)
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1]
    assert {name: getattr(torch.nn.init, name) for name in dir(torch.nn.init)} == before


def test_a_model_of_texts_is_refused_by_what_it_takes(tmp_path):
    tiny_bert(tmp_path)
    reason = "takes images; it has a tokenizer, so it seems to take texts"
    with pytest.raises(ExtractionError, match=reason):
        opened(tmp_path, "image")
