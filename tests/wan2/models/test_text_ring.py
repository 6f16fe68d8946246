"""The text encoder through the ring: the bits of whole layers, and no more of them on the device than may be."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from transformers import UMT5Config, UMT5EncoderModel

from benchmarks.counting import LiveBytes
from wan2.plan.memory import encoder_bytes
from wan2.run import text_encoder
from wan2.run.text_encoder import TextEncoder, load_text_encoder
from wan2.streaming import ring as stream
from wan2.streaming.copies import HostCopyStream
from wan2.streaming.ring import THREAD_NAME
from wan2.streaming.text_layers import LayerFile
from wan2.text.tokenizer import TEXT_LENGTH, load_tokenizer
from wan2.weights.text_names import config_from_shapes, to_transformers

DATA = Path(__file__).parents[2] / "data"
DTYPES = [torch.float32, torch.bfloat16]


@pytest.fixture(scope="module")
def prompts() -> list[tuple[int, ...]]:
    tokenizer = load_tokenizer(DATA / "tokenizer")
    return [tokenizer.tokenize(prompt).ids for prompt in json.loads((DATA / "t5_cases.json").read_text())["prompts"]]


def whole_layers(encoder: TextEncoder, ids: tuple[int, ...]) -> Tensor:
    """The last hidden states with every layer's weights straight from the file."""

    def weights(prefix: str, layer: torch.nn.Module) -> dict[str, Tensor]:
        return {name: encoder.weights[prefix + name].on("cpu", encoder.dtype) for name, _ in layer.named_parameters()}

    hidden = encoder.weights["shared.weight"].rows(torch.tensor(ids)).on("cpu", encoder.dtype)[None]
    with torch.inference_mode():
        for index, layer in enumerate(encoder.model.encoder.block):
            out = functional_call(layer, weights(f"encoder.block.{index}.", layer), (hidden,))
            hidden = out if isinstance(out, Tensor) else out[0]
        norm = encoder.model.encoder.final_layer_norm
        return functional_call(norm, weights("encoder.final_layer_norm.", norm), (hidden,))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("ring_bytes", [1, 10**9])
def test_lent_layers_give_the_bits_of_whole_ones(
    prompts: list[tuple[int, ...]], dtype: torch.dtype, ring_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_encoder, "ENCODER_RING_BYTES", ring_bytes)
    encoder = load_text_encoder(DATA / "t5.safetensors", "cpu", dtype)
    for found, ids in zip(encoder.run(prompts), prompts, strict=True):
        assert torch.equal(found, whole_layers(encoder, ids))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(THREAD_NAME)]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_places_of_the_host_change_no_bit(
    prompts: list[tuple[int, ...]], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load_text_encoder(DATA / "t5.safetensors", "cpu", dtype)
    expected, ring, seen = encoder.run(prompts), text_encoder.block_ring, []

    def with_places(layouts, orders, device, places, slots, note):  # noqa: ANN001, ANN202
        seen.append((places, slots))
        return ring(layouts, orders, device, [max(layout.nbytes for layout in layouts)] * 2, slots, note)

    monkeypatch.setattr(text_encoder, "block_ring", with_places)
    monkeypatch.setattr(stream, "copy_stream", lambda *_: HostCopyStream())
    assert all(torch.equal(a, b) for a, b in zip(encoder.run(prompts), expected, strict=True))
    assert seen == [([], 2)]


def test_every_layer_is_read_once_for_all_prompts(
    prompts: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    fill = LayerFile.read
    monkeypatch.setattr(LayerFile, "read", lambda self, index, memory: (read.append(index), fill(self, index, memory)))
    encoder = load_text_encoder(DATA / "t5.safetensors", "cpu", torch.float32)
    encoder.run(prompts)
    assert read == list(range(len(encoder.model.encoder.block)))


def test_the_published_encoder_stays_under_a_gigabyte_on_the_device() -> None:
    shapes = json.loads((DATA / "checkpoint_keys.json").read_text())["models_t5_umt5-xxl-enc-bf16.pth"]
    sizes = config_from_shapes({to_transformers(name): tuple(shape) for name, shape in shapes.items()})
    assert sizes is not None
    config = UMT5Config(**sizes)
    with torch.device("meta"):
        layer = UMT5EncoderModel(config).encoder.block[0]
    for dtype, slots in ((torch.bfloat16, 2), (torch.float32, 1)):
        (layout,) = LayerFile(Path(), {}, {"encoder.block.0.": layer}, dtype).layouts
        assert slots * layout.nbytes <= text_encoder.ENCODER_RING_BYTES < (slots + 1) * layout.nbytes
        layer, states = layer.to(dtype), torch.empty(1, TEXT_LENGTH, config.d_model, dtype=dtype, device="meta")
        with LiveBytes() as live, torch.inference_mode():
            layer(states)
        peak = slots * layout.nbytes + live.peak
        assert encoder_bytes(config.d_model, dtype.itemsize) == pytest.approx(peak, rel=0.02)
