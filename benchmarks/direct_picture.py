"""The picture of docs/directing.md, of films that `benchmarks.direct` made: `python -m benchmarks.direct_picture`.

A row is a film, a picture a shot: its last frame but one. The row of the cast ends with the drawing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.direct import Row, decoded, latents_of, spans
from benchmarks.direct_cases import MODES, take
from holocine_ext.evaluate.nano_world.world import SIZE

ROWS = ("takes", "reshoot", "edit 0.8", "longer", "cast")
MOST, WIDTH = 5, 480


def pictures(mode: str, number: int, out: Path) -> list[Image.Image]:
    """The shots of one film with full attention."""
    case, row = MODES[mode](take(number), number), Row("full", mode, 0.5)
    latents = latents_of(out / row.folder / f"{number:03d}.safetensors")
    shown = [Image.fromarray(decoded(latents[:, :, a:b])[-2]) for a, b in spans(case, latents)]
    return shown + ([case.picture()] if case.drawn is not None else [])


def main() -> None:
    """Put the films together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--film", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("out/direct"))
    parser.add_argument("--picture", type=Path, default=Path("docs/directing.png"))
    args = parser.parse_args()
    sheet = Image.fromarray(np.full((SIZE * len(ROWS), SIZE * MOST, 3), 255, np.uint8))
    for row, mode in enumerate(ROWS):
        for place, picture in enumerate(pictures(mode, args.film, args.out)):
            sheet.paste(picture, (SIZE * place, SIZE * row))
    sheet.resize((WIDTH, WIDTH)).quantize(256).save(args.picture, optimize=True)


if __name__ == "__main__":
    main()
