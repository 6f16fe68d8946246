"""The UMT5 encoder, a layer or two on the device at a time. Knows nothing of prompts beyond their token ids.

The modules are transformers' `UMT5EncoderModel`. Its weights stay in the mapped file; the ring that streams the
transformers' blocks copies each layer to the device, in the compute dtype or with its linears in fp8 or in blocks of
GGUF, while the layer before it runs, so 11 GB of weights need less than a gigabyte there. Prompts are encoded without
padding: relative positions do not see it, and the transformer wants zeros after the last token anyway.

Source: the `T5EncoderModel` of Wan2.1 with a position bias of its own in every layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from transformers import UMT5Config, UMT5EncoderModel

from wan2.errors import InputError
from wan2.models.forms import INT8, Form, as_fp8
from wan2.models.fp8 import FP8
from wan2.models.held import hold
from wan2.plan.files import naming
from wan2.streaming.copies import ignore
from wan2.streaming.layout import LayerWeights, StoredBlock
from wan2.streaming.residency import ENCODER_RING_BYTES, RING_BLOCKS
from wan2.streaming.ring import block_ring
from wan2.streaming.text_layers import LayerFile
from wan2.text.tokenizer import TEXT_LENGTH, TokenizedPrompt
from wan2.weights.decode import BlockTensor, FileTensor
from wan2.weights.header import CheckpointHeader
from wan2.weights.mapped import map_tensors
from wan2.weights.text_names import EMBEDDING, FINAL_NORM, IGNORED, to_transformers
from wan2.weights.whole import text_encoder_config


class TextEncoder:
    """An encoder without weights of its own: a ring supplies those of each layer. See `load_text_encoder`."""

    def __init__(
        self,
        model: UMT5EncoderModel,
        weights: Mapping[str, FileTensor],
        device: torch.device | str,
        dtype: torch.dtype,
        path: Path = Path(),
    ) -> None:
        self.model, self.weights, self.path = model, weights, path
        self.device, self.dtype = torch.device(device), dtype

    @torch.inference_mode()
    def run(self, prompts: Sequence[Sequence[int]], note: Callable[[str], None] = ignore) -> list[Tensor]:
        """Last hidden states [1, tokens, dim] of every list of token ids; each layer is copied once for all of them.

        note: gets a line if copies are slower here than they could be.
        """
        table = self.weights[EMBEDDING]
        hidden = [table.rows(torch.tensor(ids)).on(self.device, self.dtype)[None] for ids in prompts]
        stack = self.model.encoder
        layers = {f"encoder.block.{index}.": block for index, block in enumerate(stack.block)}
        file = LayerFile(self.path, self.weights, layers, self.dtype)
        schedule = [StoredBlock(file, index) for index in range(len(layers))]
        largest = max(layout.nbytes for layout in file.layouts)
        slots = RING_BLOCKS if RING_BLOCKS * largest <= ENCODER_RING_BYTES else 1
        buffers = [] if self.device.type == "cpu" else [largest] * RING_BLOCKS
        with block_ring(set(file.layouts), iter(schedule), self.device, buffers, slots, note) as ring:
            for stored, layer in zip(schedule, layers.values(), strict=True):
                with ring.use(stored) as streamed:
                    weights = cast("LayerWeights", streamed)
                    hidden = [_states(functional_call(layer, weights, (states,))) for states in hidden]
        norm = {"weight": self.weights[FINAL_NORM].on(self.device, self.dtype)}
        return [functional_call(stack.final_layer_norm, norm, (states,)) for states in hidden]


def _states(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    """A layer's hidden states: alone since transformers 5.1, first of a tuple before."""
    return output if isinstance(output, Tensor) else output[0]


def encode(
    encoder: TextEncoder,
    *prompts: TokenizedPrompt,
    length: int = TEXT_LENGTH,
    note: Callable[[str], None] = ignore,
) -> Tensor:
    """Embeddings [prompts, length, dim] on the encoder's device and in its dtype, zero after the last token.

    Several prompts cost one pass over the weights, and each gets the bits it gets alone. `note` gets a line if copies
    are slower here than they could be.

    Raises:
        InputError: a prompt has more than `length` tokens, cutting it is the caller's choice; or a token for which the
            encoder has no embedding.
    """
    rows = encoder.weights[EMBEDDING].shape[0]
    for prompt in prompts:
        if prompt.num_tokens > length:
            raise InputError(f"has {prompt.num_tokens} tokens; must be at most {length}", field="prompt")
        if max(prompt.ids, default=0) >= rows:
            rule = f"has {rows} embeddings; the prompt has the token {max(prompt.ids)}"
            raise InputError(rule, field="t5", value=encoder.path)
    states = encoder.run([prompt.ids for prompt in prompts], note)
    return torch.cat([nn.functional.pad(state, (0, 0, 0, length - state.shape[1])) for state in states])


def load_text_encoder(
    path: Path,
    device: torch.device | str,
    dtype: torch.dtype,
    quantise: bool = False,
    header: CheckpointHeader | None = None,
) -> TextEncoder:
    """An encoder from `models_t5_umt5-xxl-enc-bf16.pth`, or its tensors in another format or under other names.

    Nothing is copied here: the module is built empty, and the tensors stay in the mapped file. Linears that are fp8 or
    in blocks of GGUF in the file are so on the device; with `quantise` all others are fp8. header: that of a
    safetensors or GGUF file, if it was read already.

    Raises:
        InputError: the file is no UMT5 encoder, or its tensors are not exactly the expected ones.
    """
    with naming("t5", path):
        config = text_encoder_config(path, header)
    mapped = map_tensors(path, header)
    weights = {to_transformers(name): weight for name, weight in mapped.items() if name not in IGNORED}
    with torch.device("meta"):
        model = UMT5EncoderModel(UMT5Config(**config))
    hold(model, _held_weights(model, weights, quantise))
    return TextEncoder(model.eval().requires_grad_(False), weights, device, dtype, path)


def _held_weights(model: nn.Module, weights: Mapping[str, FileTensor], quantise: bool) -> dict[str, Form]:
    """The weights of the linears that are held in fewer bits on the device: as the file has them, or in fp8."""
    linears = (f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear))
    found = {name: weights[name] for name in linears}
    packed = {name: Form(tensor.kind) for name, tensor in found.items() if isinstance(tensor, BlockTensor)}
    plain = {name: tensor for name, tensor in found.items() if not isinstance(tensor, BlockTensor)}
    int8 = {name: Form(INT8, tensor.turned) for name, tensor in plain.items() if tensor.stored.dtype == torch.int8}
    return as_fp8(name for name, tensor in plain.items() if quantise or tensor.stored.dtype == FP8) | int8 | packed
