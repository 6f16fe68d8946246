"""What a run writes, and where. What stands there already is seen later."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wan2.errors import InputError
from wan2.request.fields import Number, OneOf, Setting, check_settings, setting

VIDEO_SUFFIX = ".mp4"
LATENT_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Output:
    """What a run writes, and where."""

    save_path: Path = setting(Setting("a folder, or the file itself", decoding=True, common=True), Path("outputs"))
    output_type: str = setting(
        Setting(
            "what to write; both is video and latent",
            OneOf(("video", "images", "latent", "both")),
            decoding=True,
            common=True,
        ),
        "video",
    )
    no_latents: bool = setting(
        Setting("keep no latents beside the video; they are what a later run can begin from"), False
    )
    crf: int = setting(Setting("", Number(0, 51, whole=True)), 16)
    no_metadata: bool = setting(Setting("write no JSON record, and none into the video", decoding=True), False)
    preview: int = setting(
        Setting("write a picture of the latents every N steps, 0 for none", Number(0, 1000, whole=True), common=True), 0
    )
    save_every: int = setting(
        Setting("save the state of the run every N steps, 0 for once a minute", Number(0, 1000, whole=True)), 0
    )
    overwrite: bool = setting(
        Setting(
            "begin anew, and replace what an earlier run of this program finished under the same name",
            decoding=True,
            common=True,
        ),
        False,
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "save_path", Path(self.save_path))
        check_settings(self)
        suffix = self.save_path.suffix
        allowed = LATENT_SUFFIX if self.output_type == "latent" else VIDEO_SUFFIX
        if suffix and suffix != allowed and not self.save_path.is_dir():
            raise InputError(f"must be a folder or end in {allowed}", field="save_path", value=self.save_path)
        if self.no_latents and self.asks_for_latents:
            raise InputError(f"`output_type` {self.output_type} asks for them", field="no_latents")

    @property
    def asks_for_latents(self) -> bool:
        """Whether latents are what is to be written, not only kept beside it."""
        return self.output_type in ("latent", "both")

    @property
    def writes_video(self) -> bool:
        """Whether an mp4 is written."""
        return self.output_type in ("video", "both")

    @property
    def decodes(self) -> bool:
        """Whether the VAE is needed."""
        return self.output_type != "latent"
