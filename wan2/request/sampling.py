"""How the latents of a run are denoised: steps, schedule, solver, and what may be spared."""

from __future__ import annotations

from dataclasses import dataclass

from wan2.request.fields import Number, OneOf, Setting, check_settings, setting
from wan2.sampling.solvers import SOLVERS


@dataclass(frozen=True)
class Sampling:
    """How the latents are denoised."""

    infer_steps: int = setting(Setting("denoising steps", Number(1, 1000, whole=True), decides=True, common=True))
    flow_shift: float = setting(Setting("shift of the noise schedule", Number(0.01, 100), decides=True))
    sample_solver: str = setting(Setting("how a step is taken", OneOf(SOLVERS), decides=True))
    cfg_skip: float = setting(
        Setting("share of the steps (0 to 1), at the end, that run no negative pass", Number(0, 1), decides=True), 0.0
    )
    step_cache: float = setting(
        Setting(
            "skip a step whose velocity would change by less than this share (0 to 1); 0 is off",
            Number(0, 1),
            decides=True,
        ),
        0.0,
    )

    hold_noise: float = setting(
        Setting(
            "how much of a step's noise latents are shown with that are held, 0 (none) to 1 (all)",
            Number(0, 1),
            decides=True,
        ),
        0.5,
    )

    def __post_init__(self) -> None:
        check_settings(self)
