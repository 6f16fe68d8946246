"""Scenes of several shots with HoloCine, on a Wan2.2 base.

    from holocine_ext import Compute, Output, Request, Session, load_storyboard, models

See `examples/library.py`. Names are imported when they are first used, and none of them imports PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holocine_ext.face import Request
    from holocine_ext.plan import Plan
    from holocine_ext.presets import MODELS as models
    from holocine_ext.request import Shown
    from holocine_ext.run import Session
    from holocine_ext.story.boards import load_storyboard
    from holocine_ext.story.storyboard import Storyboard
    from wan2.errors import InputError, RunError
    from wan2.request.cards import Cards
    from wan2.request.compute import Compute
    from wan2.request.output import Output
    from wan2.request.sampling import Sampling

__all__ = ["Cards", "Compute", "InputError", "Output", "Plan", "Request", "RunError", "Sampling", "Session", "Shown"]
__all__ += ["Storyboard", "load_storyboard", "models"]

_PLACES = {
    "Cards": ("wan2.request.cards", "Cards"),
    "Compute": ("wan2.request.compute", "Compute"),
    "InputError": ("wan2.errors", "InputError"),
    "Output": ("wan2.request.output", "Output"),
    "Plan": ("holocine_ext.plan", "Plan"),
    "Request": ("holocine_ext.face", "Request"),
    "RunError": ("wan2.errors", "RunError"),
    "Sampling": ("wan2.request.sampling", "Sampling"),
    "Session": ("holocine_ext.run", "Session"),
    "Shown": ("holocine_ext.request", "Shown"),
    "Storyboard": ("holocine_ext.story.storyboard", "Storyboard"),
    "load_storyboard": ("holocine_ext.story.boards", "load_storyboard"),
    "models": ("holocine_ext.presets", "MODELS"),
}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PLACES[name]
    return getattr(import_module(module), attribute)
