"""What the page is told of a board while it is written: lengths, tokens, cost, or what would be refused. No PyTorch."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from holocine_ext.forecast import Forecast
from holocine_ext.plan import look_ahead
from holocine_ext.report import render
from holocine_ext.request import SceneRequest
from holocine_ext.shots.spans import estimated_tokens, text_spans
from holocine_ext.studio.asking import Asked, refused
from holocine_ext.studio.speed import Speeds
from wan2.errors import InputError
from wan2.plan.files import Files
from wan2.plan.rates import MACHINE, kept_rate
from wan2.text.tokenizer import TEXT_LENGTH, clean_prompt


class Planner:
    """Answers with plans; headers and tokenizers are read once. Several threads may ask.

    Args:
        takes: the folder that films would be written to.
        cache: the folder in which the rate of this machine is kept.
        speeds: what earlier films of this folder took.
    """

    def __init__(self, takes: Path, cache: Path, speeds: Speeds) -> None:
        self.takes, self.cache, self.speeds = takes, cache, speeds
        self._files = Files()
        self._alone = threading.Lock()

    def answer(self, asked: Asked) -> dict[str, Any]:
        """The plan of a board as JSON values; `problem` is there when it would be refused."""
        try:
            with self._alone:
                return self._answer(asked)
        except InputError as error:
            return {"problem": refused(error, asked.source)}

    def _answer(self, asked: Asked) -> dict[str, Any]:
        self._files.renew()
        request = asked.request(save_path=self.takes)
        rate = self.speeds.rate(request.base) or kept_rate(self.cache / MACHINE)
        forecast = look_ahead(request, self._files, rate=rate)
        return plan_values(forecast) | {"text": self._text(request, forecast)}

    def _text(self, request: SceneRequest, forecast: Forecast) -> dict[str, Any]:
        """How many tokens each caption takes: counted, or estimated where no tokenizer is there."""
        if forecast.text.estimated:
            counts = [estimated_tokens(clean_prompt(caption)) for caption in request.captions]
            shared = forecast.text.tokens - sum(counts)
        else:
            spans = text_spans(self._files.tokenize(request.base.model.tokenizer, request.base.prompt))
            counts = [stop - first for first, stop in spans.shots]
            shared = spans.global_span[1] - spans.global_span[0] if spans.global_span else 0
        return {
            "tokens": forecast.text.tokens,
            "most": TEXT_LENGTH,
            "shared": shared,
            "shots": counts,
            "estimated": forecast.text.estimated,
        }


def plan_values(plan: Forecast) -> dict[str, Any]:
    """A forecast as JSON values; ranges are half-open, memory in bytes, time in seconds."""
    request, layout, memory = plan.request, plan.layout, plan.memory
    seconds = None if plan.rate is None else plan.total_flops / plan.rate.tflops / 1e12
    return {
        "num_frames": layout.num_frames,
        "fps": request.fps,
        "width": request.width,
        "height": request.height,
        "shots": [list(shot.frames) for shot in plan.shots],
        "asked": [shot.asked for shot in plan.shots],
        "tokens": layout.tokens,
        "steps": request.sampling.infer_steps,
        "flops": plan.total_flops,
        "seconds": seconds,
        "rate": plan.rate.source if plan.rate else "",
        "memory": {
            "peak": memory.peak,
            "text_encoder": memory.text_encoder,
            "transformer": memory.transformer_weights + memory.transformer_work,
            "vae": memory.vae,
            "host": memory.host,
        },
        "warnings": list(plan.warnings),
        "words": render(plan),
    }
