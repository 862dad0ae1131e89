"""Networks that put channels, stages, heads or padding where others do not."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from hf_sfda.backbones import open_backbone
from hf_sfda.backbones.axes import channels_first
from hf_sfda.backbones.pooling import pool
from hf_sfda.errors import ExtractionError
from hf_sfda.extract.loop import form_batches
from hf_sfda.hub import model_files
from hf_sfda.types import Candidate
from tests.backbone_zoo import (
    POSITIONS,
    STD,
    TRANSFORMER,
    build,
    dual,
    edit_weights,
    extract,
    text,
)
from tests.factories import FILLER, images, tiny_bert, tiny_resnet, tiny_timm, tiny_vit

PICTURES = images(2, 3)[0]
SQUARE = {**TRANSFORMER, **STD, "image_size": 32, "patch_size": 8}


def opened(path, modality="image", *, max_length=64):
    return open_backbone(
        path,
        Candidate(path.name, "local", path=path),
        device=torch.device("cpu"),
        dtype=torch.float32,
        max_length=max_length,
        modality=modality,
    )


def run(backbone, samples):
    with torch.inference_mode():
        return backbone.forward(backbone.collate(samples))


def widths(outputs):
    return [values.shape[1] for name, values in outputs.layers.items() if name != "last"]


def close(left, right):
    torch.testing.assert_close(left, right, atol=1e-5 * right.abs().max().item(), rtol=0)


# -- which axis holds the channels

SAM = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "mlp_dim": 64,
    "output_channels": 16,
    "image_size": 32,
    "patch_size": 8,
    "global_attn_indexes": [1],
    "window_size": 2,
    **STD,
}


@pytest.mark.parametrize("name", ["Sam", "SamHQ"])
def test_maps_with_their_channels_last_are_averaged_over_space(name, tmp_path):
    import transformers

    build(f"{name}VisionModel", f"{name}VisionConfig", **SAM)(tmp_path)
    backbone = opened(tmp_path)
    outputs = run(backbone, PICTURES)
    model = getattr(transformers, f"{name}VisionModel").from_pretrained(tmp_path).eval()
    with torch.inference_mode():
        answer = model(**backbone.collate(PICTURES), output_hidden_states=True)
    for depth in (1, 2):
        close(outputs.layers[f"block{depth}"], answer.hidden_states[depth].mean((1, 2)))
    close(outputs.layers["last"], answer.last_hidden_state.mean((2, 3)))


def test_stages_of_sam_2_are_averaged_over_space(tmp_path):
    import transformers

    encoder = {
        "hidden_size": 8, "num_attention_heads": 1, "image_size": [32, 32],
        "blocks_per_stage": [1, 1, 1, 1], "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 2, 2], "window_size_per_stage": [4, 2, 2, 2],
        "window_positional_embedding_background_size": [4, 4], "global_attention_blocks": [],
    }  # fmt: skip
    build(
        "Sam2VisionModel", "Sam2VisionConfig", fpn_hidden_size=16,
        backbone_config=transformers.Sam2HieraDetConfig(**encoder),
        backbone_channel_list=[64, 32, 16, 8], backbone_feature_sizes=[[8, 8], [4, 4], [2, 2]],
    )(tmp_path)  # fmt: skip
    backbone = opened(tmp_path)
    outputs = run(backbone, PICTURES)
    model = transformers.Sam2VisionModel.from_pretrained(tmp_path).eval()
    with torch.inference_mode():
        answer = model(**backbone.collate(PICTURES), output_hidden_states=True)
    assert widths(outputs)[-3:] == [16, 32, 64]
    last = [name for name in outputs.layers if name != "last"][-1]
    close(outputs.layers[last], answer.hidden_states[-1].mean((1, 2)))
    close(outputs.layers["last"], answer.last_hidden_state.mean((1, 2)))


@pytest.mark.parametrize(
    ("shape", "image", "stated", "last"),
    [
        ((8, 8, 32), (64, 64), set(), True),
        ((32, 8, 8), (64, 64), set(), False),
        ((4, 8, 16), (32, 64), {16}, True),  # both readings have the image's aspect ratio
        ((4, 8, 16), (32, 64), {4}, False),
        ((8, 6, 32), (80, 60), set(), True),
        ((32, 8, 6), (80, 60), set(), False),
        ((192, 8, 16), (64, 64), set(), False),  # strides that differ by direction
    ],
)
def test_the_axis_of_channels_is_recognised(shape, image, stated, last):
    activation = torch.rand(2, *shape)
    (oriented,) = channels_first([activation], image, stated, convolutional=False)
    expected = activation.mean((1, 2)) if last else activation.mean((2, 3))
    torch.testing.assert_close(pool(oriented), expected)


def test_a_map_that_could_be_read_both_ways_follows_the_others_or_is_refused():
    cube, clear = torch.rand(2, 8, 8, 8), torch.rand(2, 4, 4, 16)
    oriented = channels_first([cube, clear], (64, 64), {8, 16}, convolutional=False)
    torch.testing.assert_close(pool(oriented[0]), cube.mean((1, 2)))
    with pytest.raises(ExtractionError, match=r"\[8, 8, 8\].*which axis holds the channels"):
        channels_first([cube], (64, 64), {8}, convolutional=False)
    (kept,) = channels_first([cube], (64, 64), {8}, convolutional=True)
    assert kept is cube


# -- stages

PYRAMID = {"hidden_sizes": [8, 16, 24, 32], "depths": [1] * 4}
PYRAMIDS = {
    "Segformer": {**PYRAMID, "num_attention_heads": [1, 2, 2, 2]},
    "Pvt": {**PYRAMID, "num_attention_heads": [1, 2, 2, 2], "image_size": 32},
    "PvtV2": {**PYRAMID, "num_attention_heads": [1, 2, 2, 2], "image_size": 32},
    "PoolFormer": PYRAMID,
    "Cvt": {"embed_dim": [8, 16, 24], "num_heads": [1, 2, 2], "depth": [1, 2, 3]},
    "ConvNext": PYRAMID,  # gives an embedding first
    "Swin": {
        "image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1],
        "num_heads": [2, 2], "window_size": 4,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", PYRAMIDS)
def test_every_stage_of_a_pyramid_is_there(name, tmp_path):
    fields = PYRAMIDS[name]
    build(f"{name}ForImageClassification", f"{name}Config", num_labels=3, **fields)(tmp_path)
    expected = fields.get("hidden_sizes") or fields["embed_dim"]
    expected = [16, 16] if name == "Swin" else expected
    assert widths(run(opened(tmp_path), PICTURES)) == expected


# -- what the head reads

HEADS = {
    "SwiftFormer": (
        {"image_size": 32, "embed_dims": [8, 12, 16, 20], "depths": [1] * 4}, ["head"],
    ),
    "HGNetV2": ({
        "embedding_size": 8, "stem_channels": [3, 8, 8], "hidden_sizes": [8, 8, 16, 16],
        "stage_in_channels": [8, 8, 8, 16], "stage_mid_channels": [8] * 4,
        "stage_out_channels": [8, 8, 16, 16], "stage_num_blocks": [1] * 4,
    }, ["fc"]),
    "TextNet": ({
        "stem_out_channels": 8,
        "conv_layer_kernel_sizes": [[[3, 3]], [[3, 3]], [[3, 3]], [[3, 3]]],
        "conv_layer_strides": [[2], [2], [1], [1]], "hidden_sizes": [8, 8, 8, 12, 16],
    }, ["fc"]),
    "DeiT": (SQUARE, ["cls_classifier", "distillation_classifier"]),
    "CLIP": ({"vision_config": SQUARE}, ["classifier"]),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADS)
def test_last_is_what_the_heads_read(name, tmp_path):
    import transformers

    fields, heads = HEADS[name]
    teacher = "WithTeacher" if name == "DeiT" else ""
    cls = f"{name}ForImageClassification{teacher}"
    build(cls, f"{name}Config", num_labels=5, **fields)(tmp_path)
    model = getattr(transformers, cls).from_pretrained(tmp_path).eval()
    read = []
    for head in heads:
        model.get_submodule(head).register_forward_pre_hook(
            lambda m, a: read.append(a[0].flatten(1))
        )
    backbone = opened(tmp_path)
    with torch.inference_mode():
        logits = model(**backbone.collate(PICTURES)).logits
    outputs = run(backbone, PICTURES)
    assert outputs.pooling == "input of the classifier"
    close(outputs.layers["last"], torch.cat(read, dim=1))
    close(outputs.logits, logits)


def test_a_head_that_is_the_whole_model_gives_its_input_and_its_logits(tmp_path):
    import transformers

    blocks = [[[3, 8, 16, 1, False]], *([[3, 16, 16, 2, False]] for _ in range(4))]
    build(
        "PPLCNetForImageClassification", "PPLCNetConfig", num_labels=5, block_configs=blocks,
        stem_channels=8, class_expand=24, scale=1.0,
    )(tmp_path)  # fmt: skip
    model = transformers.PPLCNetForImageClassification.from_pretrained(tmp_path).eval()
    read = []
    model.head.register_forward_pre_hook(lambda m, a: read.append(a[0]))
    backbone = opened(tmp_path)
    with torch.inference_mode():
        answer = model(**backbone.collate(PICTURES)).last_hidden_state
    outputs = run(backbone, PICTURES)
    close(outputs.layers["last"], read[0])
    close(outputs.logits, answer)


@pytest.mark.parametrize("name", ["ResNet", "Dinov2"])
def test_a_backbone_class_gives_the_mean_of_its_last_map(name, tmp_path):
    import transformers

    fields = {"ResNet": {"embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 1]},
              "Dinov2": SQUARE}[name]  # fmt: skip
    build(f"{name}Backbone", f"{name}Config", **fields)(tmp_path)
    backbone = opened(tmp_path)
    outputs = run(backbone, PICTURES)
    model = getattr(transformers, f"{name}Backbone").from_pretrained(tmp_path).eval()
    with torch.inference_mode():
        maps = model(**backbone.collate(PICTURES)).feature_maps
    close(outputs.layers["last"], maps[-1].mean((2, 3)))


DINOV3 = {
    "DINOv3ViT": {**SQUARE, "num_register_tokens": 4},
    "DINOv3ConvNext": {"hidden_sizes": [8, 12, 16, 20], "depths": [1] * 4, "image_size": 32},
}


@pytest.mark.parametrize("name", DINOV3)
def test_dinov3_gives_its_pooler(name, tmp_path):
    import transformers

    build(f"{name}Model", f"{name}Config", **DINOV3[name])(tmp_path)
    backbone = opened(tmp_path)
    outputs = run(backbone, PICTURES)
    model = transformers.AutoModel.from_pretrained(tmp_path).eval()
    with torch.inference_mode():
        close(outputs.layers["last"], model(**backbone.collate(PICTURES)).pooler_output)


def test_a_detector_is_refused_with_a_reason(tmp_path):
    build(
        "DetrModel", "DetrConfig", d_model=16, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16,
        decoder_ffn_dim=16, use_timm_backbone=False, use_pretrained_backbone=False, backbone=None,
        backbone_config={"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 12],
                         "depths": [1, 1], "out_features": ["stage2"]},
    )(tmp_path)  # fmt: skip
    with pytest.raises(ExtractionError, match="takes no pixel_values"):
        opened(tmp_path)


# -- padding, channels and sizes of images


def siglip2(path, architecture="Siglip2VisionModel"):
    import transformers

    fields = {**TRANSFORMER, **STD, "patch_size": 4, "num_patches": 64}
    build(architecture, "Siglip2VisionConfig", processor=False, **fields)(path)
    transformers.Siglip2ImageProcessor(patch_size=4, max_num_patches=64).save_pretrained(path)


def sized(*sizes):
    generator = np.random.default_rng(0)
    return [Image.fromarray(generator.integers(0, 255, (h, w, 3), "uint8")) for w, h in sizes]


def test_patches_that_pad_are_left_out_of_every_mean(tmp_path):
    import transformers

    siglip2(tmp_path)
    backbone = opened(tmp_path)
    samples = sized((60, 40), (64, 48), (32, 32))
    batch = backbone.collate(samples)
    mask = batch["pixel_attention_mask"].bool()
    assert not mask.all()
    outputs = run(backbone, samples)
    model = transformers.Siglip2VisionModel.from_pretrained(tmp_path).eval()
    with torch.inference_mode():
        states = model(**batch, output_hidden_states=True).hidden_states
    for depth in (1, 2):
        expected = torch.stack([s[m].mean(0) for s, m in zip(states[depth], mask, strict=True)])
        close(outputs.layers[f"block{depth}"], expected)


def test_pixels_that_pad_are_left_out_of_a_map():
    activation, mask = torch.rand(1, 3, 2, 4), torch.ones(1, 8, 16)
    mask[:, :, 8:] = 0
    torch.testing.assert_close(pool(activation, mask), activation[:, :, :, :2].mean((2, 3)))


@pytest.mark.parametrize("means", [[0.5], [0.4, 0.5, 0.6]])
@pytest.mark.parametrize("make", [tiny_vit, tiny_resnet])
def test_networks_of_one_channel_are_fed_grey_images(make, means, tmp_path):
    import transformers

    make(tmp_path, num_channels=1)
    transformers.ViTImageProcessorPil(
        size={"height": 32, "width": 32}, image_mean=means, image_std=[0.5] * len(means)
    ).save_pretrained(tmp_path)
    backbone = opened(tmp_path)
    batch = backbone.collate(PICTURES)
    assert batch["pixel_values"].shape == (len(PICTURES), 1, 32, 32)
    grey = np.asarray(PICTURES[0].convert("L").resize((32, 32), Image.Resampling.BILINEAR))
    expected = torch.tensor((grey / 255 - 0.5) / 0.5, dtype=torch.float32)
    torch.testing.assert_close(batch["pixel_values"][0, 0], expected, atol=0.02, rtol=0)
    assert run(backbone, PICTURES).layers["last"].isfinite().all()


def test_networks_of_other_channels_are_refused(tmp_path):
    tiny_resnet(tmp_path, num_channels=6)
    with pytest.raises(ExtractionError, match="takes images of 6 channels; 1 and 3"):
        opened(tmp_path)


@pytest.mark.parametrize(
    "options",
    [{"do_resize": False}, {"size": {"shortest_edge": 24}, "do_center_crop": False}],
    ids=["no-resize", "shortest-edge"],
)
def test_images_that_stay_of_different_sizes_are_batched_by_size(options, tmp_path):
    import transformers

    tiny_resnet(tmp_path)
    transformers.CLIPImageProcessorPil(do_center_crop=False, **{
        k: v for k, v in options.items() if k != "do_center_crop"
    }).save_pretrained(tmp_path)  # fmt: skip
    backbone = opened(tmp_path)
    samples = sized((64, 64), (70, 50), (32, 40), (70, 50))
    groups = backbone.groups(samples)
    assert len(set(groups)) == 3
    found = extract(backbone, samples, batch_size=4)
    for i, sample in enumerate(samples):
        close(torch.tensor(found.layers["last"][i]), run(backbone, [sample]).layers["last"][0])


def test_images_of_different_sizes_may_be_given_at_once(tmp_path):
    import transformers

    tiny_resnet(tmp_path)
    transformers.ViTImageProcessorPil(do_resize=False).save_pretrained(tmp_path)
    backbone = opened(tmp_path)
    samples = sized((64, 64), (70, 50), (32, 40))
    together = run(backbone, samples)
    for i, sample in enumerate(samples):
        close(together.layers["last"][i], run(backbone, [sample]).layers["last"][0])
    assert together.logits.shape == (3, 10)
    backbone.forward(backbone.collate(samples)).layers["last"].sum().backward()
    assert any(p.grad is not None for p in backbone.module.parameters())


def test_images_of_one_size_share_batches(tmp_path):
    tiny_vit(tmp_path)
    assert opened(tmp_path).groups(sized((64, 64), (70, 50))) is None


def test_batches_hold_one_group_each():
    costs, groups = [3, 9, 9, 1, 3, 9], ["a", "b", "b", "a", "a", "c"]
    batches = form_batches(costs, 2, groups)
    assert sorted(i for batch in batches for i in batch) == list(range(6))
    assert all(len({groups[i] for i in batch}) == 1 for batch in batches)
    assert max(map(len, batches)) == 2


@pytest.mark.parametrize(
    ("tag", "width", "logits"),
    [
        ("clip_laion2b", 512, False),
        ("openai", 512, True),  # of an architecture that is no CLIP
        ("clip_laion2b_augreg_ft_in1k", 1024, True),
        ("clip_laion2b", 3, True),  # fine-tuned by somebody; timm keeps the tag
        (None, 512, True),
    ],
)
def test_the_projection_of_a_clip_tower_is_no_classifier(tag, width, logits, tmp_path):
    tiny_timm(tmp_path, "test_vit", num_classes=width)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    config["pretrained_cfg"]["tag"] = tag
    file.write_text(json.dumps(config))
    outputs = run(opened(tmp_path, "image"), images(1, 2)[0])
    assert (outputs.logits is not None) is logits
    assert outputs.pooling == "input of the classifier"
    assert outputs.layers["last"].shape == (2, 64)


@pytest.mark.parametrize(
    "arch", ["test_vit", "test_resnet", "test_efficientnet", "test_convnext", "test_vit3"]
)
def test_a_timm_model_saved_without_pooling_is_pooled(arch, tmp_path):
    import timm
    from timm.models import save_for_hf

    torch.manual_seed(0)
    model = timm.create_model(arch, num_classes=0, global_pool="").eval()
    save_for_hf(model, str(tmp_path), safe_serialization=True, model_args={"global_pool": ""})
    backbone = opened(tmp_path)
    outputs = run(backbone, PICTURES)
    with torch.inference_mode():
        raw = model.forward_head(
            model.forward_features(backbone.collate(PICTURES)["x"]), pre_logits=True
        )
    if raw.ndim == 4:
        expected, rule = raw.mean((2, 3)), "mean"
    elif getattr(model, "cls_token", None) is not None:
        expected, rule = raw[:, 0], "class token"
    else:
        expected, rule = raw[:, model.num_prefix_tokens :].mean(1), "mean"
    assert outputs.pooling == rule
    close(outputs.layers["last"], expected)


# -- texts

WORDS = FILLER[:18]


def write_tokenizer(path, *, template, pad):
    """A tokenizer of whole words; ``template`` says which special tokens surround a text."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {word: i for i, word in enumerate(["<pad>", "<unk>", "<s>", "</s>", *WORDS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    if template:
        special = [("<s>", 2), ("</s>", 3)]
        inner.post_processor = processors.TemplateProcessing(
            single=template, special_tokens=special
        )
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, **names, **({"pad_token": pad} if pad else {})
    )
    tokenizer.save_pretrained(path)
    return tokenizer


def sentences(*lengths):
    generator = np.random.default_rng(0)
    return [" ".join(generator.choice(WORDS, length)) for length in lengths]


DECODER = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64,
    "initializer_range": 0.3,
}  # fmt: skip
GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "initializer_range": 0.3}
DECODERS = {"Llama": DECODER, "Qwen3": DECODER, "GPT2": GPT2, "OPT": {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 32,
    "max_position_embeddings": 64, "word_embed_proj_dim": 16, "init_std": 0.3,
}}  # fmt: skip


@pytest.mark.parametrize(
    ("template", "pad", "config_pad"),
    [
        ("$A </s>", None, None),  # the end of a text is what pads
        ("$A </s>", "<pad>", 3),  # tokenizer and configuration disagree
        ("$A", "<pad>", 0),
    ],
    ids=["eos-pads", "two-pads", "plain"],
)
@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_classifies_by_the_last_token_of_each_text(
    name, template, pad, config_pad, tmp_path
):
    import transformers

    tokenizer = write_tokenizer(tmp_path, template=template, pad=pad)
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(
        **DECODERS[name], vocab_size=len(WORDS) + 4, num_labels=3, pad_token_id=config_pad,
        bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    model = getattr(transformers, f"{name}ForSequenceClassification")(config).eval()
    model.save_pretrained(tmp_path)
    texts = sentences(4, 9, 3, 12, 6)
    logits = run(opened(tmp_path, "text"), texts).logits
    body = getattr(model, model.base_model_prefix)
    with torch.inference_mode():
        expected = [
            model.score(body(**tokenizer(t, return_tensors="pt")).last_hidden_state[:, -1])
            for t in texts
        ]
    close(logits, torch.cat(expected))


MIXERS = {
    "FNet": {**TRANSFORMER, **POSITIONS},
    "ConvBert": {**TRANSFORMER, **POSITIONS, **STD},
    "Nystromformer": {**TRANSFORMER, "max_position_embeddings": 64, **STD},
    "Yoso": {**TRANSFORMER, "max_position_embeddings": 64, **STD},
    "Funnel": {"block_sizes": [1, 1], "d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 32},
    "Gemma": {
        **TRANSFORMER, "num_key_value_heads": 2, "head_dim": 8, "initializer_range": 0.3,
        "use_bidirectional_attention": True,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", MIXERS)
def test_texts_of_a_type_that_sees_padding_do_not_share_it(name, tmp_path):
    text(f"{name}Model", f"{name}Config", **MIXERS[name])(tmp_path)
    backbone = opened(tmp_path, "text", max_length=24)
    texts = sentences(4, 9, 12, 4, 9)
    alone = torch.cat([run(backbone, [t]).layers["last"] for t in texts])
    for size in (2, 16):
        found = extract(backbone, texts, batch_size=size)
        torch.testing.assert_close(torch.tensor(found.layers["last"]), alone, atol=1e-5, rtol=1e-4)
    padded = run(backbone, texts).layers["last"]
    assert (padded - alone).abs().max() > 1e-3 * alone.abs().max(), "it does not see padding"


def test_the_text_side_of_a_multimodal_model_is_run(tmp_path):
    import transformers

    for name in ("Gemma3", "Llava"):
        path = tmp_path / name
        tokenizer = write_tokenizer(path, template="$A", pad="<pad>")
        size = len(WORDS) + 10
        language = {**DECODER, "vocab_size": size, "pad_token_id": 0}
        if name == "Gemma3":
            config = transformers.Gemma3Config(
                text_config=language, vision_config=SQUARE, mm_tokens_per_image=4,
                image_token_index=size - 1, boi_token_index=size - 2, eoi_token_index=size - 3,
            )  # fmt: skip
        else:
            config = transformers.LlavaConfig(
                text_config={"model_type": "llama", **language}, image_token_index=size - 1,
                vision_config={"model_type": "clip_vision_model", **SQUARE},
            )  # fmt: skip
        torch.manual_seed(0)
        getattr(transformers, f"{name}ForConditionalGeneration")(config).save_pretrained(path)
        texts = sentences(4, 9)
        outputs = run(opened(path, "text"), texts)
        model = transformers.AutoModel.from_pretrained(path).eval()
        with torch.inference_mode():
            expected = [
                model(**tokenizer(t, return_tensors="pt")).last_hidden_state[0].mean(0)
                for t in texts
            ]
        close(outputs.layers["last"], torch.stack(expected))


MARIAN = {
    "d_model": 16, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
    "max_position_embeddings": 64, "pad_token_id": 0, "decoder_start_token_id": 0,
}  # fmt: skip


def test_positions_that_are_never_saved_are_no_holes(tmp_path):
    import transformers
    from safetensors import safe_open

    text("MarianMTModel", "MarianConfig", **MARIAN)(tmp_path)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert not [name for name in file.keys() if "embed_positions" in name]
    backbone = opened(tmp_path, "text")
    texts = sentences(4)
    encoder = transformers.MarianMTModel.from_pretrained(tmp_path).eval().get_encoder()
    with torch.inference_mode():
        expected = encoder(**backbone.collate(texts)).last_hidden_state.mean(1)
    close(run(backbone, texts).layers["last"], expected)


REACHES = {
    "GPT2": {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32, "eos_token_id": 3},
    "OpenAIGPT": {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32},
    "GPTJ": {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32, "rotary_dim": 4},
    "CTRL": {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32, "dff": 32},
    "Mpt": {"d_model": 16, "n_layers": 1, "n_heads": 2, "max_seq_len": 32, "expansion_ratio": 2},
    "XLM": {"emb_dim": 16, "n_layers": 1, "n_heads": 2, "max_position_embeddings": 32},
    "Marian": {**MARIAN, "max_position_embeddings": 32},
}


@pytest.mark.parametrize("name", REACHES)
def test_texts_are_cut_to_the_table_of_positions(name, tmp_path):
    text(f"{name}Model", f"{name}Config", **REACHES[name])(tmp_path)
    backbone = opened(tmp_path, "text", max_length=500)
    long = " ".join(["the"] * 60)
    assert backbone.costs([long]) == [32]
    assert run(backbone, [long, "the a"]).layers["last"].isfinite().all()


@pytest.mark.parametrize("file", ["sentence_bert_config.json", "sentence_xlm-roberta_config.json"])
def test_texts_are_lower_cased_where_sentence_transformers_does(file, tmp_path):
    write_tokenizer(tmp_path, template="$A", pad="<pad>")
    import transformers

    config = transformers.BertConfig(**TRANSFORMER, vocab_size=len(WORDS) + 4)
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(tmp_path)
    lower, upper = "the of the", "THE OF THE"
    plain = opened(tmp_path, "text")
    assert not torch.equal(plain.collate([lower])["input_ids"], plain.collate([upper])["input_ids"])
    (tmp_path / file).write_text(json.dumps({"do_lower_case": True}))
    backbone = opened(tmp_path, "text")
    assert "lower-cased" in backbone.preprocessing
    assert torch.equal(
        backbone.collate([lower])["input_ids"], backbone.collate([upper])["input_ids"]
    )
    assert backbone.costs([upper]) == [3]
    assert model_files([file]) == [file]


# -- tokenizers that do not fit their networks


def test_a_padding_token_without_an_embedding_does_not_change_features(tmp_path):
    """It has no embedding. A text is padded with another token, which the mask hides as well."""
    from transformers import AutoTokenizer

    text("LlamaModel", "LlamaConfig", **DECODER)(tmp_path)
    samples = ["the", "the star and the moon"]
    right = run(opened(tmp_path, "text"), samples).layers["last"]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.add_special_tokens({"pad_token": "[LATER]"})
    tokenizer.save_pretrained(tmp_path)
    close(run(opened(tmp_path, "text"), samples).layers["last"], right)


def test_a_tokenizer_of_another_model_is_named(tmp_path):
    tiny_bert(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "vocab_size": 20}))
    edit_weights(
        tmp_path,
        lambda weights: weights.update(
            {n: w[:20].clone() for n, w in weights.items() if "word_embeddings" in n}
        ),
    )
    backbone = opened(tmp_path, "text")
    with pytest.raises(ExtractionError, match="only 20 rows: the tokenizer belongs to another"):
        run(backbone, ["the star and the moon"])


@pytest.mark.parametrize(
    ("stated", "kept"),
    [(None, 40), (10**30, 40), (8, 8), (8.0, 8), (0, 40), (-1, 40), (2, 40), ("8", 40)],
)
def test_what_is_no_limit_of_a_tokenizer_is_left_out(stated, kept, tmp_path):
    tiny_bert(tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    changed = json.dumps({**settings, "model_max_length": stated})
    (tmp_path / "tokenizer_config.json").write_text(changed)
    backbone = opened(tmp_path, "text", max_length=40)
    assert backbone.costs(["the " * 90]) == [kept]
    assert backbone.collate(["the " * 90])["input_ids"].shape == (1, kept)


def test_a_limit_that_leaves_nothing_of_a_text_is_refused(tmp_path):
    tiny_bert(tmp_path)
    with pytest.raises(ExtractionError, match="adds 2 special tokens; raise --max-length"):
        opened(tmp_path, "text", max_length=2)
    assert opened(tmp_path, "text", max_length=3).costs(["the star"]) == [3]


# -- fine-tuning


@pytest.mark.parametrize(
    ("make", "modality"),
    [(tiny_vit, "image"), (tiny_timm, "image"), (tiny_bert, "text"), (dual("CLIP"), "text")],
    ids=["vit", "timm", "bert", "clip-text"],
)
def test_gradients_flow_through_forward(make, modality, tmp_path):
    make(tmp_path)
    backbone = opened(tmp_path, modality)
    backbone.module.train()
    samples = PICTURES if modality == "image" else ["the ship", "a star and the moon"]
    last = backbone.forward(backbone.collate(samples)).layers["last"]
    last.square().sum().backward()
    touched = [p for p in backbone.module.parameters() if p.grad is not None and p.grad.any()]
    assert len(touched) > 5
