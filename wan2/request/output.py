"""What a run writes, and where. What stands there already is seen later."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wan2.errors import InputError
from wan2.request.fields import Number, OneOf, Setting, check_settings, setting

# What a video is encoded by -> how its file ends.
CODECS = {"h264": ".mp4", "h265": ".mp4", "prores": ".mov", "ffv1": ".mkv"}
USUAL_CODEC = "h264"
VIDEO_SUFFIX = CODECS[USUAL_CODEC]
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
    codec: str = setting(
        Setting(
            "how the video is encoded: h264 or h265 (.mp4), prores (.mov), or ffv1, which loses nothing (.mkv)",
            OneOf(tuple(CODECS)),
            decoding=True,
        ),
        USUAL_CODEC,
    )
    soundtrack: Path | None = setting(
        Setting("a file with sound to put into the video, cut to its length", decoding=True), None
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

    stem: str = ""
    """What the names of files in a folder begin with; no setting."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "save_path", Path(self.save_path))
        check_settings(self)
        suffix = self.save_path.suffix
        allowed = LATENT_SUFFIX if self.output_type == "latent" else CODECS[self.codec]
        if suffix and suffix != allowed and not self.save_path.is_dir():
            raise InputError(f"must be a folder or end in {allowed}", field="save_path", value=self.save_path)
        if self.no_latents and self.asks_for_latents:
            raise InputError(f"`output_type` {self.output_type} asks for them", field="no_latents")
        for name in ("codec", "soundtrack"):
            if getattr(self, name) not in (None, USUAL_CODEC) and not self.writes_video:
                rule = f"is for a video, which `output_type` {self.output_type} does not write"
                raise InputError(rule, field=name, value=getattr(self, name))

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
