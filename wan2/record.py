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
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from wan2.errors import InputError
from wan2.loading.fingerprint import fingerprint
from wan2.loading.header import checkpoint_files
from wan2.lora_options import lora_files
from wan2.options import Options
from wan2.outputs import whole_file
from wan2.preflight import model_files
from wan2.sampling.schedule import timesteps
from wan2.text import TOKENIZER_FILE

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

PACKAGES = ("torch", "diffusers", "transformers", "tokenizers", "safetensors", "av")
# A record is a few pages.
MAX_BYTES = 1 << 20


@dataclass
class Recorder:
    """Keeps the time of one run and writes its record.

    scene: what an extension adds. attention: the kernel in use, once it is chosen.
    """

    options: Options
    scene: Mapping[str, Any]
    created: datetime
    seconds: dict[str, float] = field(default_factory=dict)
    passes: int = 0
    """How often a transformer was run."""
    attention: str | None = None

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of a block to its stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.perf_counter() - start, 3)

    @cached_property
    def checkpoints(self) -> dict[str, Any]:
        """The fingerprint of every model file of the run."""
        return fingerprints(self.options)

    def _timesteps(self) -> list[float]:
        options = self.options
        return list(timesteps(options.infer_steps, options.flow_shift, options.sample_solver))

    def so_far(self) -> dict[str, Any]:
        """The record as known now, as JSON values."""
        shape = self.options.shape
        return {
            "created": self.created.astimezone().isoformat(timespec="seconds"),
            "options": self.options.as_record(),
            "num_frames": shape.num_frames,
            "latent_frames": shape.latent_frames,
            **({} if self.options.latent_path else {"timesteps": self._timesteps()}),
            **self.scene,
            "checkpoints": self.checkpoints,
            "versions": versions(),
            "platform": platform.platform(),
            "attention": self.attention,
            "seconds": dict(self.seconds),
            "passes": self.passes,
        }

    def write(self, path: Path, machine: Mapping[str, Any]) -> None:
        """Write the record of the finished run as JSON, with what the machine says of itself; whole or not at all."""
        record = {**self.so_far(), **machine, "host_peak_bytes": host_peak_bytes()}
        with whole_file(path) as part:
            part.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_record(path: Path) -> dict[str, Any] | None:
    """The record of a finished run; None when there is none.

    Raises:
        InputError: the file is no record.
    """
    if not path.is_file():
        return None
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path}: is larger than {MAX_BYTES} bytes")
    try:
        record = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not JSON") from error
    tables = (
        [record, *(record.get(name) for name in ("options", "checkpoints"))] if isinstance(record, dict) else [None]
    )
    if not all(isinstance(table, dict) for table in tables):
        raise InputError(f"{path}: is not the record of a run")
    return record


def recorded_seed(path: Path, otherwise: int) -> int:
    """The seed of a finished run. Raises as `read_record`."""
    record = read_record(path)
    seed = record["options"].get("seed") if record else None
    return seed if type(seed) is int else otherwise


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
