"""What do the two mechanisms do? `python -m benchmarks.ablation`: the paper's Table 2 on the miniature.

Held-out storyboards are filmed four times: with text windows taken away, with full attention, with sparse attention
without summary tokens, and with sparse attention; then `holocine_evaluate.py` measures the films. The rows with a
mechanism taken away run on the shipped weights, which know that mechanism, or on weights trained without it
(`--ablated`, made by `python -m tools.train_nano ablated`). What is there already is kept, so rows can be made side by
side (`--rows`), and a last call prints the table of all.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random

from tqdm import tqdm

from benchmarks.nano_control import write_storyboards
from holocine_ext.asked import asked
from holocine_ext.cli import build_parser
from holocine_ext.evaluate import result
from holocine_ext.evaluate.cli import main as evaluate
from holocine_ext.evaluate.detect import DETECTORS
from holocine_ext.evaluate.nano_world.world import Scene, random_cuts, random_scene
from holocine_ext.plan import plan_video
from holocine_ext.run import Session, job_of
from holocine_ext.shots.attention import SparseInterShotAttention, WindowCrossAttention
from holocine_ext.shots.layout import Range, ShotLayout
from tools.nano.ablated import ShotsApart
from wan2.cli.asked import given_values
from wan2.models.conditioning import AttentionProcessor, Attentions

SEED = 40_000_000
LONGEST, MOST_SHOTS, SHORTEST_SHOT = 97, 6, 9
CEILING_BY = "sparse"
"""The row whose scenes are drawn, too; all rows have the same."""
Windows = tuple[tuple[Range, ...], ...]


@dataclass(frozen=True)
class Row:
    """A line of the table: whose weights, and which attentions."""

    variant: str
    self_attn: Callable[[ShotLayout, AttentionProcessor], AttentionProcessor]
    windows: bool = True

    def attentions(
        self, layout: ShotLayout, windows: Windows | None, dense: AttentionProcessor
    ) -> tuple[Attentions, Attentions]:
        """The attentions of the passes with the prompt and with the negative prompt, from the kernel under them."""
        cross = WindowCrossAttention(layout, windows, dense) if windows and self.windows else dense
        self_attn = self.self_attn(layout, dense)
        return Attentions(self_attn, cross), Attentions(self_attn, dense)


ROWS = {
    "without_window": Row("full", lambda _, dense: dense, windows=False),
    "full": Row("full", lambda _, dense: dense),
    "without_summary": Row("sparse", ShotsApart),
    "sparse": Row("sparse", SparseInterShotAttention),
}


def held_out(count: int) -> list[Scene]:
    """Scenes of two to six shots in turn, up to 97 frames, from seeds that training never uses."""
    scenes = []
    for number in range(count):
        rng = Random(SEED + number)
        shots = 2 + number % (MOST_SHOTS - 1)
        num_frames = rng.randrange(33 + 16 * max(0, shots - 3), LONGEST + 1, 4)
        scenes.append(random_scene(rng, num_frames, random_cuts(rng, num_frames, shots, SHORTEST_SHOT)))
    return scenes


def film(name: str, row: Row, boards: Sequence[Path], folder: Path, options: Sequence[str]) -> None:
    """Make the videos of one row that are not there yet."""
    for board in tqdm(boards, desc=name):
        video = folder / f"{board.stem}.mp4"
        if video.exists() and video.with_suffix(".json").exists():
            continue
        command = ["--model", "nano", "--variant", row.variant, "--storyboard", str(board), "--save_path", str(video)]
        plan = plan_video(asked(given_values(build_parser().parse_args([*command, *options]))))
        layout = plan.asked.layout
        assert layout is not None
        job = replace(job_of(plan), attentions=partial(row.attentions, layout, plan.key_ranges))
        with Session(plan.model, plan.compute) as session:
            for _ in session.run(job):
                pass


def measure(name: str, folder: Path, detector: str, ceiling: bool) -> list[result.Row]:
    """The lines of the table that a row's videos make: its own, and with `ceiling` that of the drawings."""
    report = folder / f"evaluation_{detector}" / "report.json"
    options = ["--detector", detector, "--save_path", str(report.parent), *([] if ceiling else ["--no_ceiling"])]
    if not report.exists() and evaluate([str(folder), *options]):
        sys.exit(f"{name}: not measured")
    rows = []
    for line in json.loads(report.read_text())["summary"]:
        columns = {
            column: e and result.Estimate(e["mean"], e["low"], e["high"], e["videos"])
            for column, e in line["columns"].items()
        }
        rows.append(result.Row(name if line["row"] == str(folder) else line["row"], line["videos"], columns))
    return rows


def markdown(rows: Sequence[result.Row]) -> str:
    """The rows as a Markdown table; each cell the mean and its 95 % interval."""
    lines = [["row", "videos", *rows[0].columns]]
    lines.append(["---"] * len(lines[0]))
    for row in rows:
        cells = (f"{e.mean:.3f} [{e.low:.3f}, {e.high:.3f}]" if e else "-" for e in row.columns.values())
        lines.append([row.name, str(row.videos), *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Film and measure what is missing, then print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--ablated", type=Path, help="folder of <row>_high.safetensors and <row>_low.safetensors")
    parser.add_argument("--detector", choices=DETECTORS, default=DETECTORS[0], help="what finds the cuts")
    parser.add_argument("--out", type=Path, default=Path("out/ablation"))
    args = parser.parse_args()
    scenes = held_out(args.scenes)
    listing = write_storyboards(scenes, args.out / "storyboards")
    boards = [Path(line) for line in listing.read_text().splitlines()]
    lines: list[result.Row] = []
    for name in args.rows:
        options = []
        if args.ablated is not None and name.startswith("without"):
            for noise in ("high", "low"):
                options += [f"--dit_{noise}_noise", str(args.ablated / f"{name}_{noise}.safetensors")]
        film(name, ROWS[name], boards, args.out / name, options)
        lines += measure(name, args.out / name, args.detector, ceiling=name == CEILING_BY)
    weights = "weights trained without it" if args.ablated else "the shipped weights"
    sys.stdout.write(
        f"{len(scenes)} held-out scenes a row, {sum(len(scene.shots) for scene in scenes)} shots, "
        f"up to {LONGEST} frames; cuts found by {args.detector}; a mechanism taken away: {weights}\n\n"
        f"{markdown(lines)}\n"
    )


if __name__ == "__main__":
    main()
