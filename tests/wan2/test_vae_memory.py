"""The VAE's options of memory: tiles and a cache on the host, from the command line to the frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from benchmarks.counting import LiveBytes
from tests.tiny import DATA, QUICK, TinyModel
from wan2.cli.main import main
from wan2.models.vae import HostCache, Tiles, WanVAE
from wan2.run.vae import inspect_vae, load_vae
from wan2.run.video_io import read_video


def test_tiles_in_chunks_are_tiles_at_once(vae: WanVAE, figures: dict[str, Tensor]) -> None:
    tiles = Tiles((8, 8), (4, 4))
    chunks = list(vae.decode_chunks(figures["latents"], tiles))
    assert [chunk.shape[1] for chunk in chunks] == [1, 4, 4, 4, 4]
    assert torch.equal(torch.cat(chunks, dim=1)[None], vae.decode(figures["latents"], tiles))
    torch.testing.assert_close(
        torch.cat(chunks, dim=1)[None], figures["decoded_tiled_8x8_stride_4x4"], atol=1e-5, rtol=0
    )


def test_a_cache_on_the_host_changes_no_bit(
    vae: WanVAE, figures: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Any] = []
    put = HostCache.__setitem__

    def noted(self: HostCache, index: Any, value: Any) -> None:  # noqa: ANN401
        put(self, index, value.clone() if isinstance(value, Tensor) else value)
        kept.append(self[index])
        if isinstance(value, Tensor):
            value.fill_(float("nan"))  # the device's memory is another's by now

    monkeypatch.setattr(HostCache, "__setitem__", noted)
    hosted = load_vae(inspect_vae(DATA / "vae.safetensors"), "cpu", torch.float32, cache_on_host=True)
    latents = figures["latents"][..., :6, :6]
    assert torch.equal(hosted.decode(latents), vae.decode(latents))
    assert kept and {value.device.type for value in kept if isinstance(value, Tensor)} == {"cpu"}


def test_a_streamed_encoder_is_the_whole_one(vae: WanVAE, figures: dict[str, Tensor]) -> None:
    video = figures["video"]
    edges = [(0, 1), *((start, start + 4) for start in range(1, video.shape[2], 4))]
    encoded = list(vae.encode_chunks(video[:, :, start:stop] for start, stop in edges))
    assert torch.equal(torch.cat(encoded, dim=2), vae.encode(video))
    torch.testing.assert_close(torch.cat(encoded, dim=2), figures["encoded"], atol=1e-5, rtol=0)


def test_what_is_alive_while_encoding_does_not_grow() -> None:
    with torch.device("meta"):
        model = AutoencoderKLWan(base_dim=8).eval().requires_grad_(False)
    vae, peaks = WanVAE(model), []
    with LiveBytes() as live:
        for _ in vae.encode_chunks(torch.empty(1, 3, n, 32, 32, device="meta") for n in (1, 4, 4, 4, 4)):
            peaks.append(live.peak)
            live.peak = 0
    assert len(set(peaks[2:])) == 1


def test_tiles_reach_the_frames(tiny: TinyModel, tmp_path: Path) -> None:
    films = {}
    for name, words in {"whole": [], "one": ["32", "0"], "four": ["16", "16"]}.items():
        path, flags = tmp_path / f"{name}.mp4", ["--vae_tiling", *words] if words else []
        assert main([*tiny.flags(), *QUICK, "--prompt", "a gull", "--save_path", str(path), *flags]) == 0
        films[name] = read_video(path)
    assert (films["whole"] == films["one"]).all()
    assert (films["whole"] != films["four"]).any()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--vae_tiling", "100", "64"], "--vae_tiling 100: the height must be a multiple of 16, for example 96"),
        (["--vae_tiling", "64", "-16"], "--vae_tiling -16: must lie between 0 and 8192"),
        (["--vae_tiling", "64"], "--vae_tiling: expected 2 arguments"),
        (["--vae_tiling", "64", "64", "--output_type", "latent"], "--vae_tiling: with --output_type latent nothing"),
        (["--vae_cache_cpu"], "--vae_cache_cpu: on --device cpu the cache is in host memory without it"),
    ],
)
def test_refusals(
    tiny: TinyModel, tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*tiny.flags(), *QUICK, "--prompt", "a gull", "--save_path", str(tmp_path), *words]) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())
