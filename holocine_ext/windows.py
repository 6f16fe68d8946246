"""A long film made window by window: each is a run of its own that holds shots of those before it.

The latents of a window lie beside the film until that is whole; they never go through pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holocine_ext.request import SceneRequest, Shown
from holocine_ext.shots.layout import ShotLayout
from holocine_ext.shots.windows import Window, plan_windows
from holocine_ext.story.direction import any_of
from holocine_ext.story.lengths import ShotLength
from holocine_ext.takes.cast import cast_behind
from holocine_ext.takes.kept import HeldShot, keep, own_noise
from holocine_ext.takes.take import read_take
from wan2.plan.outputs import Inputs, OutputPaths, named_outputs
from wan2.plan.pieces import Draw, Origin, part_of
from wan2.plan.resume import settle
from wan2.plan.saved_latents import saved_record
from wan2.plan.taken import check_outputs
from wan2.request.flat import plain_values
from wan2.request.output import LATENT_SUFFIX, USUAL_CODEC, Output
from wan2.shapes import TIME_STRIDE

if TYPE_CHECKING:
    from torch import Tensor

WINDOWS = "windows"


@dataclass(frozen=True)
class LongFilm:
    """A film of several windows.

    Attributes:
        film: the whole of it, as it was asked for.
        windows: which shots are made together.
        resume: the value of `resume` that was given.
    """

    film: SceneRequest
    windows: tuple[Window, ...]
    resume: Path | None = None

    def requests(self) -> Iterator[SceneRequest]:
        """Every window, and at the end the film that is decoded from them. Each can be asked for when those before are
        made.

        Raises:
            InputError: a window that cannot be made.
        """
        for number in range(len(self.windows)):
            yield self.window(number)
        yield self._whole()

    def path(self, number: int) -> Path:
        """The latents of a window."""
        return self.names.beside(f"_window{number + 1}{LATENT_SUFFIX}")

    @property
    def names(self) -> OutputPaths:
        """The names of the film."""
        asked = self.film.base.output.save_path
        return named_outputs(asked) or OutputPaths(asked, WINDOWS)

    @property
    def begun(self) -> bool:
        """Whether the first window, or a part of it, is there."""
        names = named_outputs(self.path(0))
        return names is not None and (names.latents.exists() or names.state.exists())

    def seeded(self) -> LongFilm:
        """The same with the seed of the windows that are there."""
        seed = self.window(0, seed_is_free=True).base.seed
        return replace(self, film=replace(self.film, base=replace(self.film.base, seed=seed)))

    def latents(self) -> Tensor:
        """The latents [1, 16, F, h, w] of the film, put together from its windows, all of which are there."""
        import torch

        from wan2.run.latents import load_latents

        layout, parts = self.film.layout, []
        for number, window in enumerate(self.windows):
            held = sum(layout.latents[shot][1] - layout.latents[shot][0] for shot in window.held) if layout else 0
            parts.append(load_latents(self.path(number))[:, :, held:])
        return torch.cat(parts, dim=2)

    def clear(self) -> None:
        """Remove the windows of a film that is whole, and its latents where they are not to be kept."""
        if self.film.base.output.no_latents:
            self.names.latents.unlink(missing_ok=True)
        for number in range(len(self.windows)):
            for suffix in (LATENT_SUFFIX, ".json"):
                self.path(number).with_suffix(suffix).unlink(missing_ok=True)

    def check_free(self, inputs: Inputs, goes_on: bool) -> None:
        """Refuse names of the film or of any window that are taken, before the first is made. goes_on: by `resume`.

        Raises:
            InputError: the first path that will not do.
        """
        film, base = self.film, replace(self.film.base, resume=None)
        anew = base.output.overwrite or goes_on
        check_outputs(base, inputs, film.also, replace=anew)
        for number in range(len(self.windows)):
            output = self._output(number)
            names = named_outputs(output.save_path)
            state = names.state if names and goes_on else None
            check_outputs(replace(base, output=output, resume=state), inputs, replace=anew)

    def _output(self, number: int) -> Output:
        """What a window writes: its latents and their record."""
        output = replace(self.film.base.output, save_path=self.path(number), output_type="latent", no_metadata=False)
        return replace(output, no_latents=False, preview=0, soundtrack=None, codec=USUAL_CODEC)

    def window(self, number: int, seed_is_free: bool = False) -> SceneRequest:
        """One of them. seed_is_free: nobody gave a seed, so it is that of the window that is there.

        Raises:
            InputError: a window before it is not there, or this one cannot be made.
        """
        film, window = self.film, self.windows[number]
        if film.layout is None or film.making is None:
            raise ValueError("there are no shots")
        lengths = [film.layout.latents[shot][1] - film.layout.latents[shot][0] for shot in window.shots]
        layout = _layout(lengths, film.layout.tokens_per_frame)
        scene, board = film.making.scene, film.making.scene.storyboard
        captions = [board.shot_captions[shot] for shot in window.shots]
        told = any_of([replace(board.directions[shot], seed=None) for shot in window.shots] if board.directions else [])
        board = replace(board, directions=told, shot_cut_frames=None, num_frames=None)
        board = board.with_shots(captions, [ShotLength(latents=count) for count in lengths])
        scene = replace(scene, storyboard=board, num_frames=layout.num_frames, cuts=layout.cuts)
        behind = sum(film.kept.behind)
        base = replace(film.base, prompt=board.prompt, num_frames=layout.num_frames + TIME_STRIDE * behind)
        base = settle(replace(base, output=self._output(number), resume=self.resume), seed_is_free)
        own = self._noise(window, behind)
        cast = cast_behind(film.kept.origin.pieces, film.kept.cast, film.layout.latent_frames)
        kept = keep(self._held(window), layout, base.shape, own, cast)
        making = replace(film.making, scene=scene)
        return SceneRequest(base, making, layout, film.title, tuple(captions), kept, Shown(contact_sheet=False))

    def _held(self, window: Window) -> list[HeldShot]:
        """The shots that a window holds, from those that made them."""
        found = []
        for place, shot in enumerate(window.held):
            made = next(number for number, one in enumerate(self.windows) if shot in one.made)
            found.append(HeldShot(place, read_take(self.path(made)), self.windows[made].shots.index(shot)))
        return found

    def _draws(self) -> tuple[Draw, ...]:
        """The noise of the film."""
        film = self.film
        if film.layout is None or film.making is None:
            raise ValueError("there are no shots")
        seeds = film.making.scene.storyboard.seeds
        return own_noise(film.layout, film.base.seed, seeds, sum(film.kept.behind))

    def _noise(self, window: Window, behind: int) -> tuple[Draw, ...]:
        """The noise of a window: that of its shots in the film."""
        layout = self.film.layout
        spans = [layout.latents[shot] for shot in window.shots] if layout else []
        if layout and behind:
            spans.append((layout.latent_frames, layout.latent_frames + behind))
        return tuple(draw for start, stop in spans for draw in part_of(self._draws(), start, stop - start))

    def _whole(self) -> SceneRequest:
        """The film, decoded from latents that are put together here."""
        from wan2.run.footage import Footage
        from wan2.run.latents import save_latents

        film, names = self.film, self.names
        if film.layout is None:
            raise ValueError("there are no shots")
        draws = self._draws()
        footage = Footage(Origin((), draws)) if len(draws) > 1 else None
        record = None if film.base.output.no_metadata else self._record()
        anew = film.base.output.overwrite or self.resume is not None
        check_outputs(replace(film.base, resume=None), {}, film.also, replace=anew)  # as at first: hours have passed
        save_latents(names.latents, self.latents(), film.base.fps, record, footage=footage)
        output = replace(film.base.output, output_type="video" if film.base.output.writes_video else "images")
        output = replace(output, no_latents=False, overwrite=anew)
        base = replace(film.base, latent_path=names.latents, resume=None, output=output)
        base = replace(base, num_frames=film.layout.num_frames)
        return SceneRequest(base, None, film.layout, film.title, film.captions, shown=film.shown)

    def _record(self) -> dict[str, Any]:
        """What the windows tell, as the record of one film."""
        film, told = self.film, [saved_record(self.path(number)) for number in range(len(self.windows))]
        layout = film.layout
        if layout is None:
            raise ValueError("there are no shots")
        spent = [one["seconds"] for one in told]
        shots = [{"made": [n + 1 for n in w.made], "held": [n + 1 for n in w.held]} for w in self.windows]
        return told[0] | film.as_record() | {
            "options": plain_values(film.base, whole_paths=False),
            "num_frames": layout.num_frames,
            "latent_frames": layout.latent_frames,
            "seconds": {name: round(sum(one.get(name, 0.0) for one in spent), 3) for name in spent[0]},
            "passes": sum(one["passes"] for one in told),
            WINDOWS: shots,
        }  # fmt: skip


def in_windows(asked: SceneRequest) -> tuple[Window, ...]:
    """The windows of a video that is made in several passes.

    None where its weights take it in one, or where some of its shots are held or begun from others.
    """
    if asked.making is None or asked.layout is None or asked.layout.num_shots == 1:
        return ()
    if asked.kept.notes or asked.kept.begun is not None:
        return ()
    trained, layout = asked.making.preset.trained, asked.layout
    if layout.num_frames <= trained.frames and layout.num_shots <= trained.shots:
        return ()
    return plan_windows(layout, trained.frames, trained.shots, sum(asked.kept.behind))


def window_lines(windows: Sequence[Window]) -> tuple[str, ...]:
    """What a plan says of windows, a line each."""
    return tuple(f"window {number}: {window}" for number, window in enumerate(windows, 1))


def _layout(lengths: Sequence[int], tokens_per_frame: int) -> ShotLayout:
    """The shots of so many latent frames each."""
    *cuts, end = (1 + TIME_STRIDE * (stop - 1) for stop in accumulate(lengths))
    return ShotLayout(end, tuple(cuts), tokens_per_frame)
