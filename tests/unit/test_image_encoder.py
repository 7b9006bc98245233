"""The image encoder: what its features are, where they enter, what they leave as it was."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import nn

from animatelcm_core.attach import AttachError, attached, feature_sites, with_image_features
from animatelcm_core.config import MotionConfig
from animatelcm_core.formats.layout import encoder_shapes
from animatelcm_core.image_encoder import ImageEncoder, scaled, zero_conv_in
from animatelcm_core.motion_module import MotionModel

CHANNELS = (32, 64)


def small_unet() -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        block_out_channels=CHANNELS,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=2,
        cross_attention_dim=32,
        attention_head_dim=4,
    ).eval()


def small_encoder() -> ImageEncoder:
    torch.manual_seed(1)
    return ImageEncoder(CHANNELS).eval()


@pytest.mark.parametrize("channels", [(320, 640, 1280, 1280), CHANNELS])
def test_the_layout_is_the_released_one(channels: tuple[int, ...]) -> None:
    with torch.device("meta"):
        encoder = ImageEncoder(channels)
    assert {k: tuple(v.shape) for k, v in encoder.state_dict().items()} == encoder_shapes(channels)


@torch.inference_mode()
def test_motion_scale_zero_makes_all_frames_alike() -> None:
    latent = torch.randn(1, 4, 8, 8)
    for feature in small_encoder()(latent, range(16), 0.0):
        assert torch.allclose(feature, feature[:1].expand_as(feature), atol=1e-6)
    still = small_encoder()(latent, range(16), 0.0)
    moving = small_encoder()(latent, range(16), 0.8)
    assert all(not torch.allclose(a, b) for a, b in zip(still, moving, strict=True))


@torch.inference_mode()
def test_a_window_has_the_features_of_its_frames() -> None:
    """Positions count from the start of the clip, not of the window."""
    latent = torch.randn(1, 4, 8, 8)
    whole = small_encoder()(latent, range(24), 0.8)
    part = small_encoder()(latent, [8, 9, 23], 0.8)
    for a, b in zip(whole, part, strict=True):
        assert torch.allclose(a[[8, 9, 23]], b, atol=1e-6)


@torch.inference_mode()
def test_one_image_a_frame() -> None:
    latents = torch.randn(3, 4, 8, 8)
    together = small_encoder()(latents, [0, 1, 2], 0.8)
    for i in range(3):
        alone = small_encoder()(latents[i : i + 1], [i], 0.8)
        assert all(torch.allclose(a[i], b[0], atol=1e-5) for a, b in zip(together, alone, strict=True))


@torch.inference_mode()
@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 13)])
def test_features_have_the_unets_sizes(height: int, width: int) -> None:
    unet, sizes = small_unet(), []
    for site in feature_sites(unet):
        unet.get_submodule(site).register_forward_hook(
            lambda _m, _a, out: sizes.append((out[0] if isinstance(out, tuple) else out).shape)
        )
    x = torch.randn(2, 4, height, width)
    # The way down is enough: the way up of odd sizes needs sizes of its own.
    sample = unet.conv_in(x)
    emb = unet.time_embedding(unet.time_proj(torch.tensor([5, 5])))
    for block in unet.down_blocks:
        kwargs = {"encoder_hidden_states": torch.randn(2, 7, 32)} if hasattr(block, "attentions") else {}
        sample, _ = block(sample, emb, **kwargs)
    features = small_encoder()(torch.randn(1, 4, height, width), range(2), 0.8)
    assert [f.shape for f in features] == sizes


@torch.inference_mode()
def test_features_enter_before_the_temporal_module_and_leave_nothing_behind() -> None:
    unet = small_unet()
    model = MotionModel(MotionConfig(channels=CHANNELS, heads=4)).eval()
    x, t, context = torch.randn(8, 4, 8, 8), torch.tensor(300), torch.randn(8, 7, 32)
    plain = unet(x, t, context).sample
    features = small_encoder()(torch.randn(1, 4, 8, 8), range(4), 0.8)
    seen: dict[str, torch.Tensor] = {}

    def spy(name: str, module: nn.Module):
        def run(z: torch.Tensor, frames: int, strength: float) -> torch.Tensor:
            seen[name] = z
            return module(z, frames, strength)

        return run

    modules = {name: spy(name, module) for name, module in model.blocks().items()}
    first = "down_blocks.0.motion_modules.1"
    with attached(unet, modules, 4):
        bare = unet(x, t, context).sample
        without = seen[first]
        with with_image_features(unet, features):
            inside = unet(x, t, context).sample
    with with_image_features(unet, features), attached(unet, modules, 4):
        other_order = unet(x, t, context).sample
    # Two evaluations of four frames: each gets the features of its frames.
    assert torch.allclose(seen[first], without + features[0].repeat(2, 1, 1, 1), atol=1e-5)
    assert torch.equal(inside, other_order)
    assert not torch.allclose(inside, bare)
    assert torch.equal(unet(x, t, context).sample, plain)


@torch.inference_mode()
def test_scaled_features_and_scaled_unets() -> None:
    unet = small_unet()
    x, t, context = torch.randn(4, 4, 8, 8), torch.tensor(300), torch.randn(4, 7, 32)
    features = small_encoder()(torch.randn(1, 4, 8, 8), range(4), 0.8)
    plain = unet(x, t, context).sample
    with with_image_features(unet, scaled(features, [0.0, 0.0])):
        assert torch.equal(unet(x, t, context).sample, plain)
    with with_image_features(unet, small_encoder()(torch.randn(1, 4, 16, 16), range(4), 0.8)):
        assert unet(x, t, context).sample.shape == plain.shape  # as when another patch shrinks the UNet


def test_what_does_not_fit_is_refused() -> None:
    unet = small_unet()
    features = small_encoder()(torch.randn(1, 4, 8, 8), range(3), 0.8)
    with pytest.raises(AttachError, match="1 levels; expected 2"), with_image_features(unet, features[:1]):
        pass
    with (
        pytest.raises(AttachError, match="multiple of 3 frames"),
        with_image_features(unet, features),
        torch.inference_mode(),
    ):
        unet(torch.randn(4, 4, 8, 8), torch.tensor(3), torch.randn(4, 7, 32))
    assert not any(module._forward_hooks for module in unet.modules())


def test_zero_conv_in_silences_the_image_but_not_its_positions() -> None:
    encoder = zero_conv_in(small_encoder())
    with torch.inference_mode():
        a = encoder(torch.randn(1, 4, 8, 8), range(4), 0.8)
        b = encoder(torch.randn(1, 4, 8, 8), range(4), 0.8)
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert not torch.allclose(a[0][0], a[0][3])
