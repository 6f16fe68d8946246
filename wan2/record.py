"""What a run leaves behind about itself: options, versions, fingerprints, timings, memory. Knows nothing of tensors."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from wan2.options import Options
from wan2.outputs import whole_file

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

PACKAGES = ("torch", "diffusers", "transformers", "tokenizers", "safetensors", "av")
SLICES = 16
SLICE_BYTES = 1 << 16
HEAD_BYTES = 1 << 20
RECORD_KEY = "comment"  # the metadata key that players show and that every container keeps


@dataclass
class Timings:
    """Seconds spent in every stage of a run, in order."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block under `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 3)


def fingerprint(path: Path) -> dict[str, Any]:
    """Name, size and a hash of a file's size, first MiB and 16 even slices: cheap, and enough to tell weights apart."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(HEAD_BYTES))
        for i in range(SLICES):
            file.seek(size * i // SLICES)
            digest.update(file.read(SLICE_BYTES))
    return {"file": path.name, "bytes": size, "fingerprint": digest.hexdigest()[:32]}


def fingerprints(options: Options, names: tuple[str, ...]) -> dict[str, Any]:
    """The fingerprint of the model files under `names` (fields of `ModelFiles`); a folder stands for its tokenizer."""
    paths = {f.name: getattr(options.files, f.name) for f in fields(options.files)}
    return {name: fingerprint(_hashed_file(paths[name])) for name in names}


def _hashed_file(path: Path) -> Path:
    return path / "tokenizer.json" if path.is_dir() else path


def versions() -> dict[str, str]:
    """Versions of Python and of every library that decides the numbers."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        found[name] = metadata.version(name)
    return found


def host_peak_bytes() -> int | None:
    """Highest resident memory of this process so far, in bytes; None where the system does not say."""
    if resource is None:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def describe_run(options: Options, checkpoints: Mapping[str, Any], scene: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a record that is known before a run ends. `scene` is what an extension adds."""
    shape = options.shape
    return {
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        "options": options.as_record(),
        "num_frames": shape.num_frames,
        "latent_frames": shape.latent_frames,
        **scene,
        "checkpoints": dict(checkpoints),
        "versions": versions(),
        "platform": platform.platform(),
    }


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record as readable JSON, whole or not at all."""
    with whole_file(path) as part:
        part.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
