"""What a run leaves behind about itself: settings, versions, fingerprints, timings, memory. Sees no tensors."""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from wan2.events import Stage
from wan2.files import Whole
from wan2.plan.plan import Plan
from wan2.plan.provenance import versions
from wan2.plan.saved import SavedState
from wan2.plan.saved_latents import saved_record
from wan2.request.flat import SETTINGS, plain_values
from wan2.sampling.schedule import timesteps

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

# What is decoded says these itself.
OF_LATENTS = frozenset({"height", "width", "num_frames", "crf", "vae_dtype"})
DECODING = OF_LATENTS | {name for name, about in SETTINGS.items() if about.decoding}


@dataclass
class Recorder:
    """Keeps the time of one run and writes its record.

    attention: the kernel in use, once it is chosen. passes: how often a transformer was run.
    """

    plan: Plan
    created: datetime
    seconds: dict[str, float] = field(default_factory=dict)
    passes: int = 0
    attention: str | None = None
    _running: tuple[str, float] | None = None

    @contextmanager
    def timed(self, stage: Stage) -> Iterator[None]:
        """Add the time of a block to its stage."""
        self._running = stage.value, time.perf_counter()
        try:
            yield
        finally:
            self.seconds, self._running = self.spent(), None

    def carry_on(self, saved: SavedState) -> None:
        """Begin with what a saved run had spent."""
        self.seconds.update(saved.seconds)
        self.passes = saved.passes
        self.attention = saved.machine.get("attention")

    def spend(self, stage: Stage, seconds: float) -> None:
        """Add seconds to a stage."""
        self.seconds[stage.value] = round(self.seconds.get(stage.value, 0.0) + seconds, 3)

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
        latents = self.plan.request.latent_path
        if latents is None:
            return self._made() | dict(machine or {})
        decoded = self._decoded() | dict(machine or {})
        made = saved_record(latents)
        return {**made, "decoded": decoded} if made else {**decoded, **self._shape(), **self.plan.extension.scene}

    def _made(self) -> dict[str, Any]:
        return {
            "created": self._created(),
            "options": plain_values(self.plan.request, whole_paths=False),
            **self._shape(),
            "timesteps": self._timesteps(),
            **self.plan.extension.scene,
            **self._world(),
            "attention": self.attention,
            "seconds": self.spent(),
            "passes": self.passes,
        }

    def _decoded(self) -> dict[str, Any]:
        """Only what decoding reads: no seed, no prompt, no transformer."""
        options = plain_values(self.plan.request, whole_paths=False)
        read = {name: value for name, value in options.items() if name in DECODING}
        files = {"files": {"vae": options["files"]["vae"]}}
        return {"created": self._created(), "options": read | files, **self._world(), "seconds": self.spent()}

    def _timesteps(self) -> list[float]:
        sampling = self.plan.request.sampling
        return list(timesteps(sampling.infer_steps, sampling.flow_shift, sampling.sample_solver))

    def _created(self) -> str:
        return self.created.astimezone().isoformat(timespec="seconds")

    def _shape(self) -> dict[str, int]:
        shape = self.plan.shape
        return {"num_frames": shape.num_frames, "latent_frames": shape.latent_frames}

    def _world(self) -> dict[str, Any]:
        return {"checkpoints": self.plan.checkpoints, "versions": versions(), "platform": platform.platform()}

    def write(self, path: Path, machine: Mapping[str, Any], whole: Whole) -> None:
        """Write the record of the finished run as JSON, with what the machine says of itself; whole or not at all."""
        record = self.so_far({**machine, "host_peak_bytes": host_peak_bytes()})
        with whole(path) as part:
            part.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def host_peak_bytes() -> int | None:
    """Highest resident memory of this process so far, in bytes; None where the system does not say."""
    if resource is None:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
