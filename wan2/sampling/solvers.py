"""One step down the schedule, from a velocity. Knows nothing of models or guidance.

Each solver runs on its own noise levels, `schedule.sigmas`: those it was published with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from wan2.errors import InputError
from wan2.sampling.schedule import sigmas, timesteps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

SOLVERS = ("euler", "unipc", "dpm++")
MULTISTEP = ("unipc", "dpm++")
ORDER = 2


class Solver(Protocol):
    """Moves latents from one noise level to the next. Steps are taken in order."""

    def step(self, velocity: Tensor, index: int, latents: Tensor) -> Tensor:
        """Latents at level `index` -> latents at level `index + 1`; velocity is noise minus data."""
        ...

    def state(self) -> dict[str, Tensor]:
        """What the next step needs besides the latents: empty for a solver without memory."""
        ...

    def restore(self, index: int, state: Mapping[str, Tensor]) -> None:
        """Stand before step `index` with the `state` the step before it left."""
        ...


def make_solver(name: str, steps: int, shift: float) -> Solver:
    """The solver called `name` (euler, unipc or dpm++) over `steps` levels. Raises `InputError` for another name."""
    if name not in SOLVERS:
        raise InputError(f"must be one of {', '.join(SOLVERS)}", field="sample_solver", value=name)
    levels = sigmas(steps, shift, name)
    if name == "euler":
        return Euler(levels)
    made = UniPC if name == "unipc" else DPMSolverPP
    return made(levels, timesteps(steps, shift, name))


def state_names(name: str, steps: int) -> set[str]:
    """The names of what the solver called `name` remembers after so many steps."""
    if name == "euler" or not steps:
        return set()
    return {f"prediction.{place}" for place in range(max(0, ORDER - steps), ORDER)} | (
        {"last_sample"} if name == "unipc" else set()
    )


class Euler:
    """First order: x + v * (next sigma - sigma). Keeps nothing between steps."""

    def __init__(self, levels: tuple[float, ...]) -> None:
        self.levels = (*levels, 0.0)

    def step(self, velocity: Tensor, index: int, latents: Tensor) -> Tensor:
        """One Euler step."""
        return latents + velocity * (self.levels[index + 1] - self.levels[index])

    def state(self) -> dict[str, Tensor]:
        """Nothing."""
        return {}

    def restore(self, index: int, state: Mapping[str, Tensor]) -> None:
        """Nothing to restore; raises `ValueError` for a state that is another solver's."""
        if state or not 0 <= index < len(self.levels):
            raise ValueError(f"a state of {sorted(state)} before step {index} is not Euler's")


class _Multistep:
    """A second-order multistep solver of diffusers, its table of noise levels and timesteps replaced by ours.

    The algorithm is that of Wan2.2's own scheduler of the name; the table that diffusers makes is another one. At level
    1 the logarithm of the signal's share, which these methods are built on, is minus infinity; DPM++'s formulas hold in
    that limit, and UniPC's levels begin below 1.
    """

    def __init__(self, scheduler_class: Any, levels: tuple[float, ...], times: tuple[float, ...]) -> None:  # noqa: ANN401  diffusers is untyped
        import torch

        self.scheduler = scheduler_class(
            solver_order=ORDER, prediction_type="flow_prediction", use_flow_sigmas=True, final_sigmas_type="zero"
        )
        self.scheduler.set_timesteps(len(levels))
        self.scheduler.sigmas = torch.tensor([*levels, 0.0])
        self.scheduler.timesteps = torch.tensor(times)
        self.scheduler.set_begin_index(0)

    def step(self, velocity: Tensor, index: int, latents: Tensor) -> Tensor:
        """One step; `index` must be the one after the last."""
        at = self.scheduler.step_index or 0
        if index != at:
            raise ValueError(f"step {index} asked of a solver that stands before step {at}")
        timestep = self.scheduler.timesteps[index]
        return self.scheduler.step(velocity, timestep, latents, return_dict=False)[0]

    def state(self) -> dict[str, Tensor]:
        """The data predictions of the last steps, oldest first."""
        outputs = enumerate(self.scheduler.model_outputs)
        return {f"prediction.{place}": output for place, output in outputs if output is not None}

    def restore(self, index: int, state: Mapping[str, Tensor]) -> None:
        """Stand before step `index` with the predictions of the steps before it."""
        self.scheduler.model_outputs = [state.get(f"prediction.{place}") for place in range(ORDER)]
        self.scheduler.lower_order_nums = min(index, ORDER)
        self.scheduler._step_index = index


class UniPC(_Multistep):
    """Predictor and corrector of order 2, B2(h). Zhao et al., "UniPC", 2023."""

    def __init__(self, levels: tuple[float, ...], times: tuple[float, ...]) -> None:
        from diffusers import UniPCMultistepScheduler

        super().__init__(UniPCMultistepScheduler, levels, times)

    def state(self) -> dict[str, Tensor]:
        """The predictions, and the sample the corrector starts from."""
        last = self.scheduler.last_sample
        return super().state() | ({} if last is None else {"last_sample": last})

    def restore(self, index: int, state: Mapping[str, Tensor]) -> None:
        """Stand before step `index` with the predictions of the steps before it."""
        super().restore(index, state)
        self.scheduler.last_sample = state.get("last_sample")
        self.scheduler.this_order = min(ORDER, index, len(self.scheduler.timesteps) - index + 1)


class DPMSolverPP(_Multistep):
    """DPM-Solver++(2M). Lu et al., 2022."""

    def __init__(self, levels: tuple[float, ...], times: tuple[float, ...]) -> None:
        from diffusers import DPMSolverMultistepScheduler

        super().__init__(DPMSolverMultistepScheduler, levels, times)
