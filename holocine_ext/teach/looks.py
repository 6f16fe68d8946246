"""Films of held-out boards with the LoRAs so far, scored as finished videos are: cuts and agreement, and one sheet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from holocine_ext.evaluate.asked import NANO, Asked
from holocine_ext.evaluate.detect import DETECTORS, Detector, open_detector
from holocine_ext.evaluate.measure import Means, measure_video
from holocine_ext.evaluate.result import VideoResult
from holocine_ext.plan import plan_video
from holocine_ext.request import SceneRequest, scene_request
from holocine_ext.run import Session
from holocine_ext.teach.data import Example
from holocine_ext.teach.settings import Job

FOLDER = "_films"
SUFFIX = {"high": "_high_noise", "low": ""}


class Films:
    """Makes and scores films. note: is told of the scores."""

    def __init__(self, job: Job, note: Callable[[str], None]) -> None:
        self.job, self.note = job, note
        self._detector: Detector | None = None

    def make(self, noise: str, step: int, boards: list[Example], loras: Mapping[str, Path]) -> dict[str, float]:
        """Films of boards after a step of an expert; means of their scores.

        loras: the file of an expert, where there is one.

        Raises:
            InputError, RunError: as when a film is made by itself.
        """
        watching = self.job.watching
        folder = watching.save_path.with_name(watching.save_path.name + FOLDER) / f"{noise}_{step:06d}"
        asked = [self._asked(board, folder, loras) for board in boards]
        with Session(asked[0].base.model, asked[0].base.compute) as session:
            for one in asked:
                for _ in session.run(plan_video(one)):
                    pass
        results = [self._scored(one) for one in asked]
        _join_sheets([one.base.output.save_path for one in asked], folder.with_suffix(".png"))
        scores = {"SCA": fmean(result.score.sca for result in results)}
        agreement = [found for result in results if (found := result.measures.get("caption")) is not None]
        if agreement:
            scores["captions agree"] = fmean(agreement)
        told = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
        self.note(f"{noise}-noise expert, step {step}: {len(boards)} films, {told}")
        return scores

    def _asked(self, example: Example, folder: Path, loras: Mapping[str, Path]) -> SceneRequest:
        compute, model = self.job.request.compute, self.job.request.model
        shape = example.shape
        values = {
            **{f"lora_weight{SUFFIX[noise]}": (path,) for noise, path in loras.items()},
            **{expert.flag: expert.path for expert in model.experts},
            **{name: getattr(model, name) for name in ("vae", "t5", "tokenizer")},
            **{name: getattr(compute, name) for name in ("device", "dtype", "fp8_scaled", "vram_budget")},
            **{"num_frames": shape.num_frames, "height": shape.height, "width": shape.width},
            **{"seed": self.job.teaching.seed, "save_path": folder / f"{example.name}.mp4", "overwrite": True},
        }
        return scene_request(example.board, self.job.preset, values)

    def _scored(self, asked: SceneRequest) -> VideoResult:
        if self._detector is None:
            self._detector = open_detector(DETECTORS[0], "cpu")
        cuts = asked.layout.cuts if asked.layout else ()
        model = NANO if self.job.preset.name == NANO else ""
        video = asked.base.output.save_path
        return measure_video(
            Asked("", video, asked.title, asked.captions, cuts, None, model), Means({DETECTORS[0]: self._detector})
        )


def _join_sheets(videos: Sequence[Path], path: Path) -> None:
    """The contact sheets of films, one under the other, as one picture."""
    from PIL import Image

    from wan2.files import whole_file
    from wan2.plan.marks import save_png

    sheets = [Image.open(video.with_name(f"{video.stem}_sheet.png")) for video in videos]
    joined = Image.new("RGB", (max(sheet.width for sheet in sheets), sum(sheet.height for sheet in sheets)), "white")
    top = 0
    for sheet in sheets:
        joined.paste(sheet, (0, top))
        top += sheet.height
        sheet.close()
    with whole_file(path) as part:
        save_png(joined, part)
