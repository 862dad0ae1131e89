"""Every family of audio models: padding changes nothing, and "last" is what the own head reads."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from hf_sfda.backbones import open_backbone
from hf_sfda.backbones.pooling import pool
from hf_sfda.compat import ensure_torchvision
from hf_sfda.errors import ExtractionError
from hf_sfda.extract.loop import form_batches
from hf_sfda.scan.rules import AUDIO_TYPES
from hf_sfda.types import Candidate, Sound
from tests import factories

ensure_torchvision()  # before transformers

SHAPE = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "num_labels": 5, "initializer_range": 0.1,
}  # fmt: skip
WAVES = SHAPE | {
    "conv_dim": [16, 16], "conv_stride": [20, 16], "conv_kernel": [40, 16],
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 12,
}  # fmt: skip
OWN = {
    "SEW": {"squeeze_factor": 2},
    "SEWD": {"squeeze_factor": 2},
    "Wav2Vec2Conformer": {"conv_depthwise_kernel_size": 3},
    "Data2VecAudio": {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 5},
}
MASKED = ("Wav2Vec2", "Hubert", "WavLM", "UniSpeech", "UniSpeechSat")
WAVEFORMS = [
    *((name, norm) for name in MASKED for norm in ("group", "layer")),
    *((name, "group") for name in ("SEW", "SEWD", "Wav2Vec2Conformer")),
    ("Data2VecAudio", "layer"),
]
WAVE_HEADS = [(f"{name}ForSequenceClassification", norm) for name, norm in WAVEFORMS]
WHOLE = [(name, "") for name in ("WhisperForConditionalGeneration", "ASTModel", "ClapModel")]
FUSED = [("ClapModel", "fusion")]
HUB = {  # of facebook/wav2vec2-base
    "do_normalize": True, "feature_extractor_type": "Wav2Vec2FeatureExtractor", "feature_size": 1,
    "padding_side": "right", "padding_value": 0.0, "sampling_rate": 16_000,
}  # fmt: skip


def save(path, architecture: str, variant: str = ""):
    """A tiny checkpoint of a class."""
    import transformers

    torch.manual_seed(3)
    name = architecture.split("For")[0].removesuffix("Model")
    if name == "Whisper":
        sizes = {f"{part}_{key}": 2 for part in ("encoder", "decoder") for key in ("layers",)}
        heads = {f"{part}_attention_heads": 2 for part in ("encoder", "decoder")}
        ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
        config = transformers.WhisperConfig(
            d_model=16, encoder_ffn_dim=32, decoder_ffn_dim=32, vocab_size=60, num_labels=5,
            decoder_start_token_id=1, init_std=0.1, classifier_proj_size=12,
            **sizes, **heads, **ends,
        )  # fmt: skip
        extractor = transformers.WhisperFeatureExtractor()
    elif name == "AST":
        config = transformers.ASTConfig(**SHAPE, num_mel_bins=32, max_length=128)
        extractor = transformers.ASTFeatureExtractor(num_mel_bins=32, max_length=128)
    elif name == "Clap":
        audio = {
            "hidden_size": 32, "patch_embeds_hidden_size": 8, "depths": [1, 1, 1],
            "num_attention_heads": [1, 2, 2], "num_hidden_layers": 3,
            "enable_fusion": variant == "fusion",
        }  # fmt: skip
        text = SHAPE | {"vocab_size": 50, "max_position_embeddings": 32}
        config = transformers.ClapConfig(audio_config=audio, text_config=text, projection_dim=16)
        truncation = variant or "rand_trunc"
        extractor = transformers.ClapFeatureExtractor(truncation=truncation)
    else:
        norm = {"feat_extract_norm": variant, "do_stable_layer_norm": variant == "layer"}
        config = getattr(transformers, f"{name}Config")(**WAVES | OWN.get(name, {}), **norm)
        extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True)
    model = getattr(transformers, architecture)(config)
    model.save_pretrained(path)
    extractor.save_pretrained(path)
    return model.eval()


def opened(path):
    return open_backbone(
        path, Candidate("x"), device=torch.device("cpu"), dtype=torch.float32, max_length=8,
        modality="audio",
    )  # fmt: skip


def noise(seconds: float, rate: int, seed: int) -> Sound:
    rng = np.random.default_rng(seed)
    n = int(seconds * rate)
    return Sound((rng.normal(0, 0.1, n) * np.linspace(0.2, 1, n)).astype(np.float32), rate)


# Of other rates, of equal lengths, and one that is longer than AST and CLAP take.
SOUNDS = [
    noise(0.55, 16_000, 0), noise(1, 16_000, 1), noise(0.6, 8_000, 2), noise(1.4, 22_050, 3),
    noise(0.55, 16_000, 4), noise(10.5, 16_000, 5),
]  # fmt: skip


@torch.inference_mode()
def run(backbone, sounds):
    return backbone.forward(backbone.collate(sounds))


@pytest.mark.parametrize(("architecture", "variant"), [*WAVE_HEADS, *WHOLE, *FUSED])
def test_padding_does_not_change_any_layer(architecture, variant, tmp_path):
    save(tmp_path, architecture, variant)
    backbone = opened(tmp_path)
    alone = [run(backbone, [sound]) for sound in SOUNDS]
    batches = form_batches(backbone.costs(SOUNDS), 8, backbone.groups(SOUNDS))
    assert sorted(i for batch in batches for i in batch) == list(range(len(SOUNDS)))
    for batch in batches:
        together = run(backbone, [SOUNDS[i] for i in batch])
        for row, i in enumerate(batch):
            for name, values in together.layers.items():
                torch.testing.assert_close(values[row], alone[i].layers[name][0])
            if together.logits is not None:
                torch.testing.assert_close(together.logits[row], alone[i].logits[0])
    assert len(backbone.module.config.model_type) and list(alone[0].layers)[-1] == "last"
    different = alone[0].layers["last"] - alone[1].layers["last"]
    assert different.abs().max() > 1e-4  # otherwise equal features would prove nothing


@pytest.mark.parametrize(
    "stated",
    [
        {},
        {"return_attention_mask": False},
        {"return_attention_mask": False, "do_normalize": False},
        {"return_attention_mask": True, "padding_side": "left"},
        {"return_attention_mask": True, "padding_value": 1.0},
    ],
    ids=str,
)
def test_a_sound_is_prepared_as_if_it_were_alone(stated, tmp_path):
    """Without a mask, the extractor would take mean and deviation over the padding, too."""
    save(tmp_path, "Wav2Vec2ForSequenceClassification", "layer")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(HUB | stated))
    backbone = opened(tmp_path)
    sounds = SOUNDS[:5]
    assert backbone.groups(sounds) is None
    together = run(backbone, sounds).layers["last"]
    for row, sound in zip(together, sounds, strict=True):
        torch.testing.assert_close(row, run(backbone, [sound]).layers["last"][0])
    values = backbone.collate(SOUNDS[:1])["input_values"][0].numpy()
    raw = SOUNDS[0].values
    normalised = (raw - raw.mean()) / np.sqrt(raw.var() + 1e-7)
    expected = normalised if stated.get("do_normalize", True) else raw
    np.testing.assert_allclose(values, expected, atol=1e-5)


@pytest.mark.parametrize(("architecture", "variant"), WAVE_HEADS)
def test_sounds_are_padded_only_where_it_is_known_to_change_nothing(
    architecture, variant, tmp_path
):
    save(tmp_path, architecture, variant)
    backbone = opened(tmp_path)
    masked = architecture.split("For")[0] in MASKED and variant == "layer"
    assert backbone.padding == ("masked" if masked else "never")
    if masked:
        return
    backbone.padding = "masked"  # the reason: with a mask the features are others
    together = run(backbone, SOUNDS[:4]).layers["block1"][0]
    backbone.padding = "never"
    alone = run(backbone, SOUNDS[:1]).layers["block1"][0]
    assert (together - alone).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("architecture", "variant"), [*WAVE_HEADS, ("ASTForAudioClassification", "")]
)
def test_last_is_what_the_own_head_reads(architecture, variant, tmp_path):
    model = save(tmp_path, architecture, variant)
    backbone = opened(tmp_path)
    seen = {}
    head = model.classifier
    head.register_forward_pre_hook(lambda module, arguments: seen.update(read=arguments[0]))
    sound = SOUNDS[1]
    from transformers import AutoFeatureExtractor

    extractor = AutoFeatureExtractor.from_pretrained(tmp_path)
    inputs = extractor(sound.values, sampling_rate=16_000, return_tensors="pt")
    with torch.inference_mode():
        logits = model(input_values=inputs["input_values"]).logits
    outputs = run(backbone, [sound])
    torch.testing.assert_close(outputs.layers["last"], seen["read"])
    torch.testing.assert_close(outputs.logits, logits)
    assert outputs.pooling == "input of the classifier"


def test_last_of_clap_is_what_its_projection_reads(tmp_path):
    model = save(tmp_path, "ClapModel")
    seen = {}
    model.audio_projection.register_forward_pre_hook(
        lambda module, arguments: seen.update(read=arguments[0])
    )
    backbone = opened(tmp_path)
    batch = backbone.collate(SOUNDS[:1])
    with torch.inference_mode():
        model.get_audio_features(batch["input_features"], is_longer=batch["is_longer"])
    torch.testing.assert_close(run(backbone, SOUNDS[:1]).layers["last"], seen["read"])


def test_whisper_counts_only_the_frames_with_sound(tmp_path):
    model = save(tmp_path, "WhisperForConditionalGeneration")
    backbone = opened(tmp_path)
    batch = backbone.collate([SOUNDS[1]])  # one second: 50 of 1,500 frames
    with torch.inference_mode():
        hidden = model.model.encoder(batch["input_features"]).last_hidden_state
    last = run(backbone, [SOUNDS[1]]).layers["last"]
    torch.testing.assert_close(last, pool(hidden[:, :50]))
    assert backbone.params < sum(p.numel() for p in model.parameters())  # the encoder alone


def test_ast_counts_only_the_patches_with_sound(tmp_path):
    model = save(tmp_path, "ASTModel")
    backbone = opened(tmp_path)
    batch = backbone.collate([SOUNDS[0]])  # 0.55 of 1.28 s: patches begin every 0.1 s
    with torch.inference_mode():
        states = model(batch["input_values"], output_hidden_states=True).hidden_states
    grid = states[1][:, 2:].reshape(1, 2, 12, 16)  # 2 bands of frequencies, 12 times
    block = run(backbone, [SOUNDS[0]]).layers["block1"]
    torch.testing.assert_close(block, grid[:, :, :6].mean(dim=(1, 2)))


def test_a_sound_is_resampled_to_the_rate_of_the_checkpoint(tmp_path):
    factories.tiny_wav2vec2(tmp_path)
    backbone = opened(tmp_path)

    def tone(rate: int) -> Sound:
        times = np.arange(rate) / rate
        return Sound(np.sin(2 * np.pi * 440 * times).astype(np.float32), rate)

    expected = run(backbone, [tone(16_000)]).layers["last"]
    for rate in (8_000, 11_025, 44_100, 48_000):
        batch = backbone.collate([tone(rate)])
        assert batch["input_values"].shape == (1, 16_000)
        torch.testing.assert_close(
            backbone.forward(batch).layers["last"], expected, atol=0.02, rtol=0
        )
    unchanged = backbone.collate([tone(8_000), tone(8_000)])["input_values"]
    assert torch.equal(unchanged[0], unchanged[1])


@pytest.mark.parametrize("architecture", ["ForCTC", "ForPreTraining", "Model"])
def test_checkpoints_of_speech_recognition_and_pre_training_give_their_body(architecture, tmp_path):
    """Also with the names of weights that older versions of torch gave to a weight norm."""
    from safetensors.torch import load_file, save_file

    sizes = {"proj_codevector_dim": 8, "codevector_dim": 8, "num_codevectors_per_group": 4}
    factories.tiny_wav2vec2(tmp_path, architecture=f"Wav2Vec2{architecture}", **sizes)
    before = run(opened(tmp_path), SOUNDS[:1]).layers
    file = tmp_path / "model.safetensors"
    former = {"parametrizations.weight.original0": "weight_g"}
    former["parametrizations.weight.original1"] = "weight_v"
    weights = load_file(file)
    for new, old in former.items():
        weights = {name.replace(new, old): tensor for name, tensor in weights.items()}
    assert any(name.endswith("weight_g") for name in weights)
    save_file(weights, file, metadata={"format": "pt"})
    after = run(opened(tmp_path), SOUNDS[:1]).layers
    for name, values in before.items():
        torch.testing.assert_close(after[name], values)


def test_families_that_are_not_known_are_refused_by_name(tmp_path):
    factories.tiny_wav2vec2(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "encodec"}))
    with pytest.raises(ExtractionError, match=r"model type encodec is not read for sounds.*hubert"):
        opened(tmp_path)
    assert "encodec" not in AUDIO_TYPES


def test_broken_feature_extractors_are_refused_with_the_reason(tmp_path):
    factories.tiny_wav2vec2(tmp_path)
    file = tmp_path / "preprocessor_config.json"
    settings = json.loads(file.read_text())
    for wrong, reason in (
        ({"sampling_rate": 3}, "states sampling_rate = 3"),
        ({"sampling_rate": "fast"}, "states sampling_rate = 'fast'"),
        ({"feature_size": 10**12}, "feature_size"),
    ):
        file.write_text(json.dumps(settings | wrong))
        with pytest.raises(ExtractionError, match=reason):
            opened(tmp_path)
    file.unlink()
    with pytest.raises(ExtractionError, match="which says how it takes sounds"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("architecture", "variant", "wrong", "reason"),
    [
        (
            "WhisperForConditionalGeneration", "", {"feature_size": 128},
            "input_features of 128 x 3000 values, its network takes 80 x 3000",
        ),
        (
            "ASTModel", "", {"max_length": 1024, "num_mel_bins": 128},
            "input_values of 1024 x 128 values, its network takes 128 x 32",
        ),
        (
            "ClapModel", "", {"truncation": "fusion"},
            "input_features of 4 x 1001 x 64 values, its network takes 1 x any x 64",
        ),
        (
            "HubertModel", "layer",
            {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 80},
            "its WhisperFeatureExtractor makes input_features, which its network does not take",
        ),
    ],
)  # fmt: skip
def test_a_feature_extractor_of_another_network_is_refused(
    architecture, variant, wrong, reason, tmp_path
):
    save(tmp_path, architecture, variant)
    file = tmp_path / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | wrong))
    with pytest.raises(ExtractionError, match=reason):
        opened(tmp_path)
