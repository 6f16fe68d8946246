"""The VAE against the original's figures, and what streaming promises."""

from __future__ import annotations

import gc
import json
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import load_file, save_file
from torch import Tensor

from wan2.errors import InputError
from wan2.models.vae import Tiles, WanVAE, channels_last, to_uint8
from wan2.run.vae import inspect_vae, load_vae
from wan2.weights.vae_names import config_from_shapes, to_diffusers

DATA = Path(__file__).parents[2] / "data"
TOLERANCE = 1e-5


def real_names() -> dict[str, list[int]]:
    return json.loads((DATA / "checkpoint_keys.json").read_text())["Wan2.1_VAE.pth"]


def test_every_published_name_lands_on_one_parameter_of_its_shape() -> None:
    published = real_names()
    names = to_diffusers(published)
    shapes = {names[name]: tuple(shape) for name, shape in published.items()}
    config = config_from_shapes(shapes)
    assert config is not None
    with torch.device("meta"):
        expected = AutoencoderKLWan(**config).state_dict()
    assert len(published) == len(shapes) == 194
    assert shapes == {name: tuple(tensor.shape) for name, tensor in expected.items()}


def test_the_published_shapes_tell_the_published_configuration() -> None:
    names = to_diffusers(real_names())
    config = config_from_shapes({names[name]: tuple(shape) for name, shape in real_names().items()})
    assert config == {
        "base_dim": 96,
        "decoder_base_dim": 96,
        "z_dim": 16,
        "dim_mult": [1, 2, 4, 4],
        "num_res_blocks": 2,
        "temperal_downsample": [False, True, True],
        "in_channels": 3,
        "out_channels": 3,
    }


def test_latent_mean_and_deviation(vae: WanVAE) -> None:
    cases = json.loads((DATA / "vae_cases.json").read_text())
    torch.testing.assert_close(vae.mean.flatten(), torch.tensor(cases["mean"]), atol=1e-6, rtol=0)
    torch.testing.assert_close(vae.std.flatten(), torch.tensor(cases["std"]), atol=1e-6, rtol=0)


def test_decode(vae: WanVAE, figures: dict[str, Tensor]) -> None:
    torch.testing.assert_close(vae.decode(figures["latents"]), figures["decoded"], atol=TOLERANCE, rtol=0)


def test_encode(vae: WanVAE, figures: dict[str, Tensor]) -> None:
    torch.testing.assert_close(vae.encode(figures["video"]), figures["encoded"], atol=TOLERANCE, rtol=0)


def test_tiled_decode(vae: WanVAE, figures: dict[str, Tensor]) -> None:
    decoded = vae.decode(figures["latents"], Tiles(size=(8, 8), stride=(4, 4)))
    torch.testing.assert_close(decoded, figures["decoded_tiled_8x8_stride_4x4"], atol=TOLERANCE, rtol=0)


def test_one_tile_is_the_whole_picture(vae: WanVAE, figures: dict[str, Tensor]) -> None:
    latents = figures["latents"][:, :, :2]
    assert torch.equal(vae.decode(latents, Tiles(size=(16, 14), stride=(8, 14))), vae.decode(latents))


@pytest.mark.parametrize("stride", [(0, 4), (4, 9)])
def test_a_stride_that_leaves_holes_is_refused(stride: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="tile stride"):
        Tiles(size=(8, 8), stride=stride)


@pytest.mark.parametrize("extent", range(1, 40))
def test_tiles_cover_their_axis(extent: int) -> None:
    spans = Tiles(size=(8, 8), stride=(3, 3)).along(0, extent)
    assert {i for span in spans for i in range(span.start, span.stop)} == set(range(extent))
    assert all(later.stop > earlier.stop for earlier, later in zip(spans, spans[1:], strict=False))


def test_chunks_are_one_frame_then_four_and_make_the_whole(vae: WanVAE, figures: dict[str, Tensor]) -> None:
    chunks = list(vae.decode_chunks(figures["latents"]))
    assert [chunk.shape[1] for chunk in chunks] == [1, 4, 4, 4, 4]
    torch.testing.assert_close(torch.cat(chunks, dim=1), figures["decoded"][0], atol=TOLERANCE, rtol=0)


def test_a_later_latent_frame_changes_no_earlier_chunk(vae: WanVAE, figures: dict[str, Tensor]) -> None:
    latents = figures["latents"][..., :4, :4]
    assert torch.equal(vae.decode(latents[:, :, :2]), vae.decode(latents)[:, :, :5])


def test_caches_do_not_grow_with_the_number_of_frames(vae: WanVAE, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    forward = vae.model.decoder.forward

    def spy(features: Tensor, feat_cache: list[Any], feat_idx: list[int]) -> Tensor:
        pixels = forward(features, feat_cache=feat_cache, feat_idx=feat_idx)
        held.append(sum(x.untyped_storage().nbytes() for x in feat_cache if isinstance(x, Tensor)))
        return pixels

    monkeypatch.setattr(vae.model.decoder, "forward", spy)
    for _ in vae.decode_chunks(torch.zeros(1, 16, 9, 2, 2)):
        pass
    assert len(held) == 9
    assert len(set(held[2:])) == 1


def test_earlier_chunks_are_gone(vae: WanVAE) -> None:
    alive: list[weakref.ref[Tensor]] = []
    for chunk in vae.decode_chunks(torch.zeros(1, 16, 6, 2, 2)):
        alive.append(weakref.ref(chunk))
        del chunk
        gc.collect()
        assert not any(earlier() is not None for earlier in alive[:-1])


def test_upsampling_in_its_own_dtype_gives_the_bits_of_diffusers(figures: dict[str, Tensor]) -> None:
    ours = load_vae(inspect_vae(DATA / "vae.safetensors"), "cpu", torch.bfloat16)
    theirs = AutoencoderKLWan(base_dim=8).to(torch.bfloat16)
    theirs.load_state_dict(ours.model.state_dict())
    channels_last(theirs)
    latents = figures["latents"][:, :, :2]
    with torch.inference_mode():
        expected = theirs.decode((latents * ours.std + ours.mean).to(torch.bfloat16)).sample
    assert torch.equal(ours.decode(latents), expected)


@pytest.mark.parametrize("frames", [2, 4, 6])
def test_frames_that_would_be_dropped_are_refused(vae: WanVAE, frames: int) -> None:
    with pytest.raises(InputError, match="4t\\+1"):
        vae.encode(torch.zeros(1, 3, frames, 16, 16))


def test_uint8_truncates() -> None:
    pixels = torch.tensor([-2.0, -1.0, 0.0, 0.999, 1.0, 2.0]).view(1, 1, 1, 6).expand(3, 1, 1, 6)
    pictures = to_uint8(pixels)
    assert pictures.shape == (1, 1, 6, 3)
    assert pictures[0, 0, :, 0].tolist() == [0, 0, 127, 254, 255, 255]


def test_pth_and_diffusers_names_load_the_same(tmp_path: Path, vae: WanVAE, figures: dict[str, Tensor]) -> None:
    tensors = load_file(DATA / "vae.safetensors")
    names = to_diffusers(tensors)
    torch.save(tensors, tmp_path / "vae.pth")
    save_file({names[name]: tensor for name, tensor in tensors.items()}, tmp_path / "vae.safetensors")
    latents = figures["latents"][:, :, :1]
    for file in ("vae.pth", "vae.safetensors"):
        assert torch.equal(
            load_vae(inspect_vae(tmp_path / file), "cpu", torch.float32).decode(latents), vae.decode(latents)
        )


@pytest.mark.parametrize(
    ("lost", "added", "said"),
    [
        ("decoder.head.2.bias", None, "1 tensors missing (decoder.conv_out.bias)"),
        (None, "decoder.extra.weight", "1 tensors unknown (decoder.extra.weight)"),
        ("conv2.weight", None, "tensor post_quant_conv.weight is missing; it is not exactly a Wan2.1 VAE"),
    ],
)
def test_a_file_with_other_tensors_is_refused(tmp_path: Path, lost: str | None, added: str | None, said: str) -> None:
    tensors = load_file(DATA / "vae.safetensors")
    if lost:
        del tensors[lost]
    if added:
        tensors[added] = torch.zeros(1)
    path = tmp_path / "vae.safetensors"
    save_file(tensors, path)
    with pytest.raises(InputError) as caught:
        load_vae(inspect_vae(path), "cpu", torch.float32)
    assert str(caught.value).startswith(f"vae {path}: ")
    assert said in str(caught.value)
