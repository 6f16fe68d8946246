"""Where the files of each variant were published. Opens no file."""

from __future__ import annotations

from holocine_ext.presets import DEFAULT_MODEL, MODELS, VARIANTS
from wan2.cli.download import base_files, shared_files
from wan2.request.presets import BASE, CHECKPOINTS
from wan2.weights.download import Remote

REPOSITORY = "hlwang06/HoloCine"
CHOICES = (*VARIANTS, BASE)


def published_files(choice: str) -> tuple[Remote, ...]:
    """The files of a variant, or of the base, at the paths where a run looks for them."""
    if choice == BASE:
        return base_files()
    model = MODELS[DEFAULT_MODEL][choice].model
    paths = [expert.path for expert in model.experts]
    experts = (Remote(REPOSITORY, path.relative_to(CHECKPOINTS).as_posix(), path) for path in paths)
    return (*experts, *shared_files(model))
