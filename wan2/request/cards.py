"""How many cards work on one video, and how they share it. Of neither does a latent depend."""

from __future__ import annotations

from dataclasses import dataclass

from wan2.errors import InputError
from wan2.models.kernel_table import AUTO
from wan2.request.fields import Number, Setting, Words, check_settings, setting

MOST = 64


@dataclass(frozen=True)
class Cards:
    """How many cards work on one video, and how they share it.

    Raises:
        InputError: a value breaks its rule.
    """

    gpus: int = setting(
        Setting("cards that work on each video together", Number(1, MOST, whole=True), common=True),
        1,
    )
    parallel: str = setting(
        Setting("how cards share a video: cfg, a pass each; ulysses, heads each; cfg+ulysses; auto", Words()), AUTO
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.gpus == 1 and self.parallel != AUTO:
            raise InputError("is for several cards; give `gpus`, too", field="parallel", value=self.parallel)
