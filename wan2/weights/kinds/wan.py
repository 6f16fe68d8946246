"""The transformers of the Wan family, told apart by the tensors that each adds and by the channels it takes in."""

from __future__ import annotations

from collections.abc import Mapping

from wan2.weights.kinds.families import Rows, first_of
from wan2.weights.kinds.kind import TRANSFORMER, WAN_T2V, Kind, blocks
from wan2.weights.names import DIFFUSERS_MARK, PREFIXES, native_name

Shapes = Mapping[str, tuple[int, ...]]

# What each adds to a transformer of Wan.
ADDED: Rows = (
    ("Wan VACE", (r"^vace_(blocks|patch_embedding)\.",)),
    ("Wan2.2 Animate", (r"^(motion_encoder|face_adapter|face_encoder|pose_patch_embedding)\.",)),
    ("Wan2.2 S2V", (r"^(casual_audio_encoder|audio_injector)\.",)),
    ("Wan HuMo", (r"blocks\.0\.audio_cross_attn_wrapper\.",)),
    ("Wan MultiTalk", (r"blocks\.0\.audio_cross_attn\.",)),
    ("Wan FantasyTalking", (r"blocks\.0\.cross_attn\.processor\.",)),
    ("Wan Fun Camera", (r"^control_adapter\.",)),
    ("Wan ReCamMaster", (r"blocks\.0\.cam_encoder\.",)),
    ("Wan SCAIL", (r"^patch_embedding_pose\.",)),
    ("Wan IP-Adapter", (r"blocks\.0\.cross_attn\.(ip_adapter|k_ip|to_k_ip)\.",)),
    ("Wan SkyReels V2", (r"^fps_(embedding|projection)\.",)),
    ("Wan Ovi", (r"blocks\.0\.cross_attn\.k_fusion\.",)),
    ("Wan Fun Control", (r"^ref_conv\.",)),
    ("Wan2.1 FLF2V", (r"^(img_emb\.emb_pos|condition_embedder\.image_embedder\.pos_embed)$",)),
)
# Channels in -> model, with and without an encoder for images; 48 in with 48 out is TI2V.
BY_CHANNELS = {
    (36, True): "Wan2.1 I2V",
    (36, False): "Wan2.2 I2V",
    (48, True): "Wan2.1 Fun Control",
    (52, False): "Wan2.2 Fun Control",
    (32, False): "Wan control",
    (100, False): "Wan2.2 Fun-InP of 5B",
    (148, False): "Wan2.2 Fun Control of 5B",
}
SIZES = {5120: "-14B", 3072: "-5B", 1536: "-1.3B"}
TI2V_CHANNELS = 48
PATCH = "patch_embedding.weight"


def wan_transformer(shapes: Shapes) -> Kind | None:
    """The kind of a transformer of the Wan family; None for anything else."""
    native = {native_name(name): shape for name, shape in shapes.items()}
    indices = {name.split(".")[1] for name in native if name.startswith("blocks.")}
    if PATCH not in native or not indices:
        return None
    patch = native[PATCH]
    width, channels = (*patch, 0, 0)[:2]
    size = f"{channels} input channels, {blocks(len(indices))}, {width} wide"
    return Kind(TRANSFORMER, _model(native, width, channels), size, layout_of(shapes))


def layout_of(shapes: Shapes) -> str:
    """Whose names the tensors of a transformer have."""
    if any(DIFFUSERS_MARK in name for name in shapes):
        return "names of diffusers"
    prefix = next((prefix for prefix in PREFIXES if any(name.startswith(prefix) for name in shapes)), "")
    return f"prefix {prefix}" if prefix else ""


def _model(native: Shapes, width: int, channels: int) -> str:
    if added := first_of(ADDED, native):
        return added
    images = any(name.startswith(("img_emb.", "condition_embedder.image_embedder.")) for name in native)
    if channels == TI2V_CHANNELS and not images:
        return "Wan2.2 TI2V" + SIZES.get(width, "")
    if other := BY_CHANNELS.get((channels, images)):
        return other
    if images:
        return "Wan I2V"
    # 17 channels: the latents and one that says what is where.
    return WAN_T2V + SIZES.get(width, "") if channels in (16, 17) else "Wan"
