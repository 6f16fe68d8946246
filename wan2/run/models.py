"""The models of a session: each loaded when it is first needed, and kept for the next plans while all of them fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from wan2.errors import InputError
from wan2.events import Event, Noted, Stage, StageBegan
from wan2.files import sweep
from wan2.models.kernel_table import AUTO
from wan2.models.transformer import WanTransformer
from wan2.parallel.first import SharedTransformer, Together, gather
from wan2.parallel.orders import Begin
from wan2.plan.files import Files, naming
from wan2.request.compute import Compute
from wan2.request.model import Model, Noise
from wan2.run.machine import DTYPES, resolve_machine
from wan2.streaming.phases import Phase, Placement, transformers
from wan2.text.tokenizer import TokenizedPrompt
from wan2.weights.checkpoint import load_transformer
from wan2.weights.fp8 import LowBit, fp8_weights
from wan2.weights.fp8_cache import gains_by_cache, write_cache
from wan2.weights.head import readable
from wan2.weights.sources import TransformerFile
from wan2.weights.watch import Stamp, stamp_of

if TYPE_CHECKING:
    from wan2.models.vae import WanVAE
    from wan2.parallel.crew import Crew
    from wan2.parallel.launched import Launched
    from wan2.run.vae import VaeFile

OpenOwn = Callable[[Noise], AbstractContextManager[WanTransformer]]
OpenExpert = OpenOwn | Callable[[Noise], AbstractContextManager[SharedTransformer]]
# Of a guided step: with the prompt and with the negative prompt.
PASSES = 2


class Models:
    """What a session has loaded. `keep`: whether it stays; else a model leaves before the next one comes. `together`:
    the processes that compute with this one.

    Args:
        model: the files.
        compute: how weights are held.

    Raises:
        InputError: the machine lacks what was asked for.
    """

    def __init__(self, model: Model, compute: Compute) -> None:
        self.model, self.compute, self.machine = model, compute, resolve_machine(compute)
        self.keep = False
        self.together: Together | None = None
        self._notes: dict[str, bool] = {}
        self._stamps: dict[Noise | Literal["vae"], tuple[object, dict[Path, Stamp | None]]] = {}
        self._vae_file: VaeFile | None = None
        self._vae: WanVAE | None = None
        self._colours: Tensor | None = None
        self._experts: dict[Noise, WanTransformer] = {}

    def connect(self, crew: Crew | Launched) -> None:
        """Compute together with other processes, which begin now. Raises `RunError`, `InputError`."""
        self.together = gather(crew, self.machine.device)

    def close(self) -> None:
        """Let go of every model."""
        for model in self._experts.values():
            model.to("meta")  # frees the weights whoever still holds the module
        self._experts.clear()
        self._vae = None
        self.machine.release()

    def _is_as_loaded(self, name: Noise | Literal["vae"], parts: Iterable[Path], merged: object = ()) -> bool:
        """Whether a model is that of these files as they are now; they are noted as those of what is loaded next.

        merged: how much of each LoRA is in its weights.
        """
        before, now = self._stamps.get(name), (merged, {part: stamp_of(part) for part in parts})
        self._stamps[name] = now
        return before == now

    def note(self, text: str) -> None:
        """Keep a line about this machine."""
        self._notes.setdefault(text, False)

    def new_notes(self) -> list[str]:
        """The lines that were kept since the last call, each once a session."""
        found = [text for text, shown in self._notes.items() if not shown]
        self._notes |= dict.fromkeys(found, True)
        return found

    def held_bytes(self) -> int:
        """Bytes of what is loaded."""
        modules = [*self._experts.values(), *([self._vae.model] if self._vae is not None else [])]
        tensors = (tensor for module in modules for tensor in chain(module.parameters(), module.buffers()))
        return sum(tensor.nbytes for tensor in tensors)

    def encode(self, prompts: Sequence[TokenizedPrompt], files: Files) -> list[Tensor]:
        """The encodings [tokens, dim] of prompts, in the wide dtype on the device; one pass over the encoder."""
        from wan2.run.text_encoder import encode, load_text_encoder

        path, machine = self.model.t5, self.machine
        header = files.header(path) if readable(path) else None
        with naming("t5", path):
            encoder = load_text_encoder(path, machine.device, machine.wide_dtype, self.compute.fp8_t5, header)
        contexts = encode(encoder, *prompts, note=self.note)
        return [context[: prompt.num_tokens] for context, prompt in zip(contexts, prompts, strict=True)]

    def check_vae(self, files: Files) -> None:
        """Refuse a VAE that will not do before the work, not after it. Raises `InputError`."""
        self._inspected_vae(files)

    def vae(self, files: Files, cache_on_host: bool) -> WanVAE:
        """The VAE on the device. cache_on_host: its temporal cache is kept in host memory."""
        file = self._inspected_vae(files)
        if self._vae is None or self._vae.cache_on_host != cache_on_host:
            from wan2.run.vae import load_vae

            dtype = DTYPES.get(self.model.vae_dtype, self.machine.wide_dtype)
            self._vae = load_vae(file, self.machine.device, dtype, cache_on_host)
        return self._vae

    def _inspected_vae(self, files: Files) -> VaeFile:
        path = self.model.vae
        if not self._is_as_loaded("vae", files.parts("vae", path)):
            self._vae_file = self._vae = self._colours = None
        if self._vae_file is None:
            from wan2.run.vae import inspect_vae

            with naming("vae", path):
                self._vae_file = inspect_vae(path, files.header(path) if readable(path) else None)
        return self._vae_file

    def release_vae(self) -> None:
        """The VAE is not needed for now."""
        if not self.keep:
            self._vae = None
            self.machine.release()

    def colours(self, files: Files) -> Tensor:
        """The linear map of `preview.fit_colours`, once for each VAE."""
        self._inspected_vae(files)
        if self._colours is None:
            from wan2.run.preview import fit_colours

            with torch.inference_mode():
                self._colours = fit_colours(self.vae(files, cache_on_host=False))
            self.release_vae()
        return self._colours

    def kept_fp8(
        self, experts: Mapping[Noise, TransformerFile], files: Files, plan: int
    ) -> Iterator[Event | tuple[Noise, TransformerFile]]:
        """The files to load: where `fp8_cache` asks for it, the fp8 weights kept next to an expert, LoRAs in them.

        Those that are not there are made. Raises `InputError` when another file is in the way.
        """
        for noise, file in experts.items():
            if not self.compute.fp8_cache or not gains_by_cache(file.bare):
                yield noise, file
                continue
            with naming("fp8_cache"):
                kept = files.kept_fp8(file.bare)
            if kept.state == "stale":
                with_them = " and its LoRAs" if file.bare.loras else ""
                flag = self.model.expert(noise).flag
                yield Noted(plan, f"{kept.path} is not of the `{flag}`{with_them} of today; it is made again")
            if kept.file is not None:
                sweep(kept.path)
                yield noise, file.dressed(kept.file)
            else:
                yield StageBegan(plan, Stage.QUANTISE, of=kept.path)
                yield noise, file.dressed(write_cache(file.bare))

    @contextmanager
    def experts(
        self, files: Mapping[Noise, TransformerFile], steps: Mapping[Noise, int], compute: Compute
    ) -> Iterator[OpenExpert]:
        """What opens an expert, one at a time.

        Args:
            files: the checkpoints.
            steps: how many steps each will take, in the order in which they come.
            compute: with `blocks_to_swap` decided.

        Raises:
            InputError: blocks cannot be streamed as asked.
        """
        if self.together is None:
            with self.own_experts(files, steps, compute) as opened:
                yield opened
            return
        shared = replace(compute, dtype=str(self.machine.dtype).removeprefix("torch."))
        begin = Begin(self.model, shared, dict(files), dict(steps), self.keep)
        with self.together.ordered(begin), self.own_experts(files, steps, compute) as opened:
            yield partial(self.together.opened, open_own=opened)

    @contextmanager
    def own_experts(
        self, files: Mapping[Noise, TransformerFile], steps: Mapping[Noise, int], compute: Compute
    ) -> Iterator[OpenOwn]:
        """What opens an expert in this process, without those that compute together with it."""
        self._check_fp8(files)
        streamed = compute.blocks_to_swap
        if not isinstance(streamed, int):
            raise ValueError("auto is decided before")
        if not streamed:
            yield partial(self._whole, files)
            return
        passes = PASSES if compute.passes_apart else 1
        phases = [Phase(noise, files[noise], count * passes) for noise, count in steps.items()]
        with transformers(phases, self._placement(compute, streamed)) as load:
            yield partial(self._streamed, load)

    def _placement(self, compute: Compute, streamed: int) -> Placement:
        return Placement(
            self.machine.device,
            self.machine.dtype,
            LowBit(compute.quantises, compute.fast),
            streamed,
            compute.weights_from,
            compute.passes_apart,
            self.note,
        )

    @contextmanager
    def _whole(self, files: Mapping[Noise, TransformerFile], noise: Noise) -> Iterator[WanTransformer]:
        file = files[noise]
        merged = {delta.strength for source in file.sources.values() for delta in source.deltas}
        loaded = self._is_as_loaded(noise, [*file.header.files, *(lora.path for lora in file.loras)], merged)
        if noise in self._experts and not loaded:
            self._experts.pop(noise).to("meta")
            self.machine.release()
        if noise not in self._experts:
            low_bit = LowBit(self.compute.quantises, self.compute.fast)
            model = load_transformer(file, self.machine.device, self.machine.dtype, low_bit)
            self._experts[noise] = self._ready(model)
        try:
            yield self._experts[noise]
        finally:
            if not self.keep:
                self._experts.pop(noise).to("meta")
                self.machine.release()

    @contextmanager
    def _streamed(self, load: Callable[[str], WanTransformer], noise: Noise) -> Iterator[WanTransformer]:
        model = self._ready(load(noise))
        try:
            yield model
        finally:
            model.to("meta")
            self.machine.release()

    def _ready(self, model: WanTransformer) -> WanTransformer:
        if self.compute.compile:
            from wan2.models.compiled import compiled_regions

            model.regions = compiled_regions()
        elif self.compute.fused == AUTO and self.machine.device.type == "cuda":
            from wan2.models.fused import cannot_fuse, fused_regions

            if why := cannot_fuse(self.machine.device, model.dtype):
                self.note(f"fused kernels are not used: {why}; more memory is read and written, so steps take longer")
            else:
                model.regions = fused_regions()
        return model

    def _check_fp8(self, files: Mapping[Noise, TransformerFile]) -> None:
        """Refuse a file in fp8 on a device that has no such type, now that the device is known."""
        for file in files.values():
            if self.machine.device.type == "mps" and fp8_weights(file, self.compute.quantises):
                raise InputError(f"{file.path}: is fp8, which `device` mps does not have; use `device` cpu")
