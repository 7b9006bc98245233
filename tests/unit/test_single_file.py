"""diffusers names -> single-file names, against the key list of a real SD1.5 checkpoint."""

from __future__ import annotations

import pytest

from training import single_file

PAIRS = {
    "conv_in.weight": "input_blocks.0.0.weight",
    "time_embedding.linear_2.bias": "time_embed.2.bias",
    "down_blocks.0.resnets.1.time_emb_proj.weight": "input_blocks.2.0.emb_layers.1.weight",
    "down_blocks.1.attentions.0.norm.weight": "input_blocks.4.1.norm.weight",
    "down_blocks.2.downsamplers.0.conv.bias": "input_blocks.9.0.op.bias",
    "mid_block.resnets.1.conv1.weight": "middle_block.2.in_layers.2.weight",
    "mid_block.attentions.0.proj_in.weight": "middle_block.1.proj_in.weight",
    "up_blocks.0.upsamplers.0.conv.weight": "output_blocks.2.1.conv.weight",
    "up_blocks.1.upsamplers.0.conv.weight": "output_blocks.5.2.conv.weight",
    "up_blocks.3.resnets.2.conv_shortcut.bias": "output_blocks.11.0.skip_connection.bias",
    "conv_norm_out.weight": "out.0.weight",
}


@pytest.mark.parametrize("name", PAIRS)
def test_unet(name: str) -> None:
    levels = {"up_blocks.1", "up_blocks.2", "up_blocks.3"}
    assert single_file.unet_name(name, layers=2, attention_levels=levels) == PAIRS[name]


def test_unet_refuses_others() -> None:
    with pytest.raises(KeyError, match="got transformer.x"):
        single_file.unet_name("transformer.x", 2, set())


def test_vae() -> None:
    assert single_file.vae_name("encoder.down_blocks.2.downsamplers.0.conv.weight", 4) == (
        "encoder.down.2.downsample.conv.weight"
    )
    assert single_file.vae_name("decoder.up_blocks.0.resnets.1.conv_shortcut.bias", 4) == (
        "decoder.up.3.block.1.nin_shortcut.bias"
    )
    assert single_file.vae_name("decoder.mid_block.attentions.0.to_out.0.weight", 4) == (
        "decoder.mid.attn_1.proj_out.weight"
    )
