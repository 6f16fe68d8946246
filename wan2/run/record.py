"""What a run leaves behind about itself: options, versions, fingerprints, timings, memory. Knows nothing of tensors."""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from wan2.files import Whole
from wan2.plan.checks import model_files
from wan2.request.loras import lora_files
from wan2.request.request import DECODE_FLAGS, DECODE_SIZES, Options
from wan2.run.latents import saved_record
from wan2.sampling.schedule import timesteps
from wan2.text.tokenizer import TOKENIZER_FILE
from wan2.weights.fingerprint import fingerprint
from wan2.weights.header import checkpoint_files

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

PACKAGES = ("torch", "diffusers", "transformers", "tokenizers", "safetensors", "av")


@dataclass
class Recorder:
    """Keeps the time of one run and writes its record.

    scene: what an extension adds. checkpoints: fingerprints of the model files as they were when the run began.
    attention: the kernel in use, once it is chosen.
    """

    options: Options
    scene: Mapping[str, Any]
    created: datetime
    checkpoints: Mapping[str, Any]
    seconds: dict[str, float] = field(default_factory=dict)
    passes: int = 0
    """How often a transformer was run."""
    attention: str | None = None
    _running: tuple[str, float] | None = None

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of a block to its stage."""
        self._running = stage, time.perf_counter()
        try:
            yield
        finally:
            self.seconds, self._running = self.spent(), None

    def spent(self) -> dict[str, float]:
        """The seconds of every stage, that of the running one so far among them."""
        if self._running is None:
            return dict(self.seconds)
        stage, start = self._running
        return {**self.seconds, stage: round(self.seconds.get(stage, 0.0) + time.perf_counter() - start, 3)}

    def so_far(self, machine: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The record as known now, as JSON values; `machine`: what the machine says of itself in the end.

        A run that only decodes carries on the record of its latents, and says under `decoded` what it did itself.
        """
        if self.options.latent_path is None:
            return self._made() | dict(machine or {})
        decoded = self._decoded() | dict(machine or {})
        made = saved_record(self.options.latent_path)
        return {**made, "decoded": decoded} if made else {**decoded, **self._shape(), **self.scene}

    def _made(self) -> dict[str, Any]:
        return {
            "created": self._created(),
            "options": self.options.as_record(),
            **self._shape(),
            "timesteps": self._timesteps(),
            **self.scene,
            **self._world(),
            "attention": self.attention,
            "seconds": self.spent(),
            "passes": self.passes,
        }

    def _decoded(self) -> dict[str, Any]:
        """Only what decoding reads: no seed, no prompt, no transformer."""
        options = self.options.as_record()
        read = {name: value for name, value in options.items() if name in DECODE_FLAGS | DECODE_SIZES}
        files = {"files": {"vae": options["files"]["vae"]}}
        return {"created": self._created(), "options": read | files, **self._world(), "seconds": self.spent()}

    def _timesteps(self) -> list[float]:
        options = self.options
        return list(timesteps(options.infer_steps, options.flow_shift, options.sample_solver))

    def _created(self) -> str:
        return self.created.astimezone().isoformat(timespec="seconds")

    def _shape(self) -> dict[str, int]:
        shape = self.options.shape
        return {"num_frames": shape.num_frames, "latent_frames": shape.latent_frames}

    def _world(self) -> dict[str, Any]:
        return {"checkpoints": self.checkpoints, "versions": versions(), "platform": platform.platform()}

    def write(self, path: Path, machine: Mapping[str, Any], whole: Whole) -> None:
        """Write the record of the finished run as JSON, with what the machine says of itself; whole or not at all."""
        record = self.so_far({**machine, "host_peak_bytes": host_peak_bytes()})
        with whole(path) as part:
            part.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def fingerprints(options: Options, without: Collection[str] = ()) -> dict[str, Any]:
    """The fingerprint of every model file of a run, and one of all LoRAs of an expert, in their order."""
    files = {name: _parts(name, path) for name, path in model_files(options).items() if name not in without}
    for name, paths in lora_files(options).items():
        if name not in without:
            files[name] = [part for path in paths for part in checkpoint_files(path)]
    return {name: fingerprint(parts) for name, parts in files.items()}


def _parts(name: str, path: Path) -> list[Path]:
    return [path / TOKENIZER_FILE] if name == "tokenizer" else checkpoint_files(path)


def versions() -> dict[str, str]:
    """Versions of Python and of every library that decides the numbers."""
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}


def host_peak_bytes() -> int | None:
    """Highest resident memory of this process so far, in bytes; None where the system does not say."""
    if resource is None:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
