"""Steps whose velocities are foreseen instead of computed. Knows nothing of models, prompts or guidance.

How much a velocity changes for a given change of the latents is nearly constant from step to step, so what two computed
steps show tells whether the next may be spared (Zhou et al., "Less is Enough: Training-Free Video Diffusion
Acceleration via Runtime-Adaptive Caching", 2025: EasyCache). A spared velocity lies on the line through the last two
computed, over the noise level: on the miniature that is several times nearer the truth than the last one itself. All of
it is in latents; nothing as wide as the tokens is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

PASSES = ("positive", "negative")
# What is kept, by the shape it has: that of the latents, or a single number.
SHARED = {"latents": True, "sigma": False}
OF_A_PASS = {"velocity": True, "slope": True, "rate": False}


@dataclass
class _Pass:
    """The last computed velocity of a pass; its change per noise level and per change of the latents, once known."""

    velocity: Tensor
    slope: Tensor | None = None
    rate: Tensor | None = None


@dataclass
class StepCache:
    """Remembers the computed steps of one expert, of all its passes; a threshold of 0 remembers nothing.

    threshold: a step is spared when the velocity of each pass, by its mean absolute value, is expected to have changed
    by less than this share since it was computed. The passes are spared together or not at all: guidance multiplies
    what one of them has changed and the other has not.
    """

    threshold: float
    latents: Tensor | None = None
    sigma: float = 0.0
    _passes: dict[str, _Pass] = field(default_factory=dict)

    def foresee(self, latents: Tensor, sigma: float, count: int) -> list[Tensor] | None:
        """The velocities of the first `count` of `PASSES`, each like the latents; None when they must be computed."""
        known = [self._passes[name] for name in PASSES[:count] if name in self._passes]
        if self.latents is None or len(known) < count:
            return None
        moved = (latents - self.latents).abs().mean()
        foreseen = []
        for one in known:
            if one.slope is None or one.rate is None:
                return None
            if not one.rate * moved / one.velocity.abs().mean() < self.threshold:  # nor where that is NaN
                return None
            foreseen.append(one.velocity + one.slope * (sigma - self.sigma))
        return foreseen

    def keep(self, latents: Tensor, sigma: float, velocities: Sequence[Tensor]) -> None:
        """Remember computed velocities; passes that are no longer computed are forgotten."""
        if not self.threshold:
            return
        passes = {}
        for name, velocity in zip(PASSES, velocities, strict=False):
            passes[name] = _Pass(velocity)
            if self.latents is not None and name in self._passes:
                change = velocity - self._passes[name].velocity
                passes[name].slope = change / (sigma - self.sigma)
                passes[name].rate = change.abs().mean() / (latents - self.latents).abs().mean()
        self.latents, self.sigma, self._passes = latents, sigma, passes

    def state(self) -> dict[str, Tensor]:
        """Everything the decisions and velocities of later steps depend on, fp32."""
        if self.latents is None:
            return {}
        state = {"latents": self.latents, "sigma": self.latents.new_tensor(self.sigma)}
        for name, one in self._passes.items():
            found = {part: getattr(one, part) for part in OF_A_PASS}
            state |= {f"{name}.{part}": value for part, value in found.items() if value is not None}
        return state

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Remember what `state` gave."""
        if not state:
            return
        self.latents, self.sigma = state["latents"], state["sigma"].item()
        for name in PASSES:
            if f"{name}.velocity" in state:
                known = (state.get(f"{name}.{part}") for part in ("slope", "rate"))
                self._passes[name] = _Pass(state[f"{name}.velocity"], *known)


def is_state(names: Mapping[str, bool]) -> bool:
    """Whether these can be the names of a state, each with whether it has the shape of the latents (else none)."""
    complete = dict(SHARED)
    for name in PASSES:
        parts = {f"{name}.{part}": whole for part, whole in OF_A_PASS.items()}
        found = names.keys() & parts.keys()
        if found and found not in ({f"{name}.velocity"}, parts.keys()):
            return False
        complete |= {part: parts[part] for part in found}
    return not names or ("positive.velocity" in names and names == complete)
