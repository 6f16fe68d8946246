"""How fast this machine made the films of a folder, so that the next plan knows its time. Measures nothing."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wan2.files import whole_file
from wan2.plan.rates import Rate, given_rate
from wan2.request.request import Request

RATES = "rates.json"


@dataclass(frozen=True)
class Speeds:
    """What was measured in the films of a folder: operations of the transformer in a second, by how they were made."""

    folder: Path

    def keep(self, request: Request, flops: float, seconds: float) -> None:
        """Remember how long the operations of a film took."""
        rates = self._rates() | {_kind(request): flops / seconds / 1e12}
        self.folder.mkdir(parents=True, exist_ok=True)
        with whole_file(self.folder / RATES) as part:
            part.write_text(json.dumps(rates, indent=1), encoding="utf-8")

    def rate(self, request: Request) -> Rate | None:
        """The rate of the last film that was made alike."""
        found = self._rates().get(_kind(request))
        return (
            None if found is None else Rate(given_rate(found).tflops, "measured in the last take that was made alike")
        )

    def _rates(self) -> dict[str, float]:
        with suppress(OSError, ValueError):
            found = json.loads((self.folder / RATES).read_bytes())
            if isinstance(found, dict):
                return {str(name): rate for name, rate in found.items() if isinstance(rate, float) and rate > 0}
        return {}


def _kind(request: Request) -> str:
    """What the speed depends on the most besides the operations: the model, its precision, the size of the picture."""
    compute = request.compute
    held = "fp8" if compute.quantises else compute.dtype
    return f"{request.model.experts[0].path.name}, {held}, {request.width} x {request.height}"
