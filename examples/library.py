"""Scenes from Python: make one, cancel one, keep the models between two. Run it: `python examples/library.py out`.

It uses the miniature, which is part of the package, so it needs no download and no GPU.
"""

from __future__ import annotations

import sys
from pathlib import Path

from holocine_ext import InputError, Output, Request, Sampling, Session, load_storyboard, models
from wan2.events import FileWritten, Finished, StepTaken

HERE = Path(__file__).parent


def main(folder: Path) -> None:
    """Write `first.mp4` and `second.mp4` into a folder, and leave the state of a third run that is cancelled."""
    (folder / "third.state.safetensors").unlink(missing_ok=True)  # of an earlier run of this example
    scene = load_storyboard(HERE / "nano_three_shots.toml")
    model = models["nano"]["sparse"]
    steps = Sampling(infer_steps=6, flow_shift=5.0, sample_solver="euler")

    def plan(name: str, seed: int):  # noqa: ANN202
        output = Output(folder / name, overwrite=True)
        return Request(scene, model=model, seed=seed, sampling=steps, output=output).plan()

    try:
        first = plan("first.mp4", seed=7)
    except InputError as error:  # found before anything loads: the field, its value, the rule
        sys.exit(f"{error.field}: {error.rule}")
    print(first)  # what --dry_run shows

    # Models stay loaded for as long as the session is open and they fit.
    with Session(first.model, first.compute) as session:
        for event in session.run(first):
            match event:
                case StepTaken(index=index):
                    print(f"step {index + 1} of {steps.infer_steps}")
                case FileWritten(path=path):
                    print(f"wrote {path}")

        # The same models, another seed. A wave takes several plans through the stages together.
        for event in session.wave([plan("second.mp4", seed=8)]):
            if isinstance(event, Finished):
                print(f"finished {event.files[0]}, latents {tuple(event.latents.shape)}")

        # Leaving the loop cancels. What was reached is saved on the way out: third.state.safetensors.
        events = session.run(plan("third.mp4", seed=9))
        for event in events:
            if isinstance(event, StepTaken) and event.index == 2:
                break
        events.close()
    print(f"cancelled after step 3: {folder / 'third.state.safetensors'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("out"))
