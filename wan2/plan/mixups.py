"""Experts and LoRAs that look exchanged: what only names can tell is a warning, never an error. No PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from wan2.plan.files import Files
from wan2.request.model import Expert
from wan2.request.request import Request
from wan2.weights.kinds.experts import expert_by_name


def mixups(request: Request, files: Files) -> tuple[str, ...]:
    """A line for every file that is by its name for the other expert, and one if both experts are the same."""
    if request.latent_path is not None:
        return ()
    experts = request.model.experts
    said = [line for expert in experts for line in (*_exchanged(expert), *_for_images(expert))]
    if len(experts) > 1 and _same(experts, files):
        names = " and ".join(f"`{expert.flag}`" for expert in experts)
        said.append(f"{names}: are the same weights, but the steps of much noise have an expert of their own")
    return tuple(said)


def _exchanged(expert: Expert) -> Iterator[str]:
    named: list[tuple[str, Path, str]] = [(expert.flag, expert.path, "the expert of")]
    named += [(expert.name("lora_weight"), lora.path, "for the expert of") for lora in expert.merged]
    for setting, path, what in named:
        by_name = expert_by_name(path)
        if by_name and by_name != expert.noise:
            yield f"`{setting}` {path}: is by its name {what} {by_name} noise"


def _for_images(expert: Expert) -> Iterator[str]:
    """Some transformers that begin from a picture have the very tensors of those that do not."""
    name = expert.path.name.lower()
    if "i2v" in name and "t2v" not in name:
        yield f"`{expert.flag}` {expert.path}: is by its name for image to video; its tensors are as for text to video"


def _same(experts: tuple[Expert, ...], files: Files) -> bool:
    """Whether two experts have the same bytes. Files that are not there are the same as none."""
    if not all(expert.path.exists() for expert in experts):
        return False
    prints = [files.fingerprint(files.parts(expert.flag, expert.path))["fingerprint"] for expert in experts]
    return len(set(prints)) == 1
