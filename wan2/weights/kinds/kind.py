"""What a file was found to be, and the words for it. Knows no file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

Table = Mapping[str, tuple[str, tuple[int, ...]]]
"""The tensors of a file: name -> (dtype as its format spells it, shape)."""

TRANSFORMER, TEXT_ENCODER, VAE, LORA = "transformer", "text encoder", "VAE", "LoRA"
LATENTS, STATE = "file of saved latents", "saved state of a run"
# What changes a model, by the form of the change.
ADAPTERS = frozenset({LORA, "LoHa", "LoKr", "DoRA", "OFT", "BOFT", "VeRA", "control LoRA", "set of differences"})
ADAPTERS |= {"adapter", "LoCon with a factor in the middle"}
WAN, WAN_T2V, UMT5, WAN_VAE = "Wan", "Wan T2V", "UMT5", "Wan2.1"
# Before what is spoken as beginning with a vowel: "an LTX", "an I2V", "an image encoder".
AN = re.compile(r"[AEFHILMNORSX](?![a-z])|[AEIOaeio][a-z]")


@dataclass(frozen=True)
class Kind:
    """What a file is, as far as its tensors tell.

    Attributes:
        what: transformer, text encoder, VAE, LoRA, or another word.
        model: of which model.
        size: the sizes that tell its versions apart, in words.
        layout: whose names its tensors have; empty for those that the model was published with.
        dtype: the type of most of its bytes.
        quantisation: how its weights are quantised; empty where they are plain numbers.
        note: what else is known, such as why this program does not run it.
    """

    what: str
    model: str = ""
    size: str = ""
    layout: str = ""
    dtype: str = ""
    quantisation: str = ""
    note: str = ""

    @property
    def name(self) -> str:
        """Model and kind: "Wan2.1 VAE"."""
        return f"{self.model} {self.what}".strip()

    @property
    def is_adapter(self) -> bool:
        """Whether it changes a model and is none itself."""
        return self.what in ADAPTERS

    def is_a(self, what: str, model: str) -> bool:
        """Whether it is a kind of model: a "Wan T2V-14B" is a "Wan T2V"."""
        return self.what == what and self.model.startswith(model)

    def __str__(self) -> str:
        """Words that finish "it is ..."."""
        details = ", ".join(filter(None, (self.size, self.layout, self.quantisation)))
        said = f"{article(self.name)} {self.name}" + (f" ({details})" if details else "")
        return f"{said}: {self.note}" if self.note else said


def article(words: str) -> str:
    """The article that a name takes."""
    return "an" if AN.match(words) else "a"


def blocks(count: int) -> str:
    """So many blocks, in words."""
    return f"{count} block{'' if count == 1 else 's'}"
