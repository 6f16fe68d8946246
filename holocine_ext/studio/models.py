"""Where the weights of the released model lie: looked for once, by what the files are, and kept beside the boards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from holocine_ext.presets import VARIANTS
from holocine_ext.studio.film import PLACES
from holocine_ext.variants import rank_for
from wan2.cli.models_dir import SETTINGS
from wan2.files import whole_file
from wan2.weights.folder import find_models


@dataclass(frozen=True)
class Places:
    """The model files of a film that are not where the preset has them."""

    folder: Path

    def look_in(self, models: Path) -> dict[str, Path]:
        """Find the model files in a folder of many, and keep where they are; what was found, by variant and setting.

        Raises:
            InputError: no such folder, or several files in it that are as good for one setting.
        """
        whole = models.absolute()
        found = {variant: find_models(whole, SETTINGS, rank_for({"variant": variant})) for variant in VARIANTS}
        kept = {variant: {name: str(path) for name, path in files.items()} for variant, files in found.items()}
        with whole_file(self.folder / PLACES) as part:
            part.write_text(json.dumps(kept, indent=1, ensure_ascii=False), encoding="utf-8")
        return {f"{variant}, {name}": path for variant, files in found.items() for name, path in files.items()}

    def values(self, variant: str) -> Mapping[str, Path]:
        """The files of a variant, by the names of their settings."""
        with suppress(OSError, ValueError):
            found = json.loads((self.folder / PLACES).read_bytes())
            files = found.get(variant) if isinstance(found, dict) else None
            if isinstance(files, dict):
                return {name: Path(path) for name, path in files.items() if name in SETTINGS and isinstance(path, str)}
        return {}
