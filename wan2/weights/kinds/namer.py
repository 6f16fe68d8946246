"""What a table of tensors is: the one place that gives names to files. Opens none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from wan2.weights.kinds import families
from wan2.weights.kinds.adapters import adapter
from wan2.weights.kinds.kind import LATENTS, STATE, TEXT_ENCODER, TRANSFORMER, UMT5, VAE, WAN_VAE, Kind, Table, blocks
from wan2.weights.kinds.quantised import main_dtype, quantisation
from wan2.weights.kinds.wan import Shapes, wan_transformer
from wan2.weights.text_names import BIAS, EMBEDDING, to_transformers
from wan2.weights.vae_names import CONV_IN, CONV_OUT, LATENT, to_diffusers

SHOWN = 100
MODEL = "model of an unknown family"
# Prefixes that whole checkpoints, trainers and pipelines put before the names of a model.
WRAPPERS: tuple[str, ...] = ("module.", "_orig_mod.", "generator.model.", "generator_ema.", "state_dict.", "pipe.dit.")
WRAPPERS += ("model.diffusion_model.", "diffusion_model.", "dit.", "first_stage_model.", "vae.", "transformer.")
WRAPPERS += ("text_encoder.", "model.")
# Of the published VAE: channels of a picture, and of the first convolution.
PIXELS, WIDTH = 3, 96
LATENTS_OF_22 = 48
# Of text encoders that do not have the published names.
LAYOUTS = (("enc.blk.", "names of llama.cpp"), ("encoder.block.", "names of transformers"))
FAMILIES = (
    (TRANSFORMER, families.TRANSFORMERS),
    ("ControlNet", families.CONTROL_NETS),
    ("UNet", families.UNETS),
    (TEXT_ENCODER, families.TEXT_ENCODERS),
    ("image encoder", families.IMAGE_ENCODERS),
    ("audio encoder", families.AUDIO_ENCODERS),
    (VAE, families.VAES),
    ("", families.OTHERS),
)


def kind_of(table: Table, notes: Iterable[str] = ()) -> Kind:
    """What a file with these tensors is. notes: what the file itself says of how they are quantised, as JSON."""
    if not table:
        return Kind("file without tensors")
    shapes = {name: shape for name, (_, shape) in table.items()}
    kind = _by_tensors(shapes)
    return replace(kind, dtype=main_dtype(table), quantisation=quantisation(table, notes))


def _by_tensors(shapes: Shapes) -> Kind:
    found = adapter(shapes) or _ours(shapes) or _known(shapes)
    if found is None:
        bare, prefix = _unwrapped(shapes)
        found = _known(bare) if prefix else None
        found = replace(found, layout=f"prefix {prefix}") if found else None
    return found or Kind(MODEL, size=f"its first tensor is {ascii(min(shapes))[:SHOWN]}")


def _known(shapes: Shapes) -> Kind | None:
    return wan_transformer(shapes) or _text_encoder(shapes) or _wan_vae(shapes) or _other(shapes)


def _ours(shapes: Shapes) -> Kind | None:
    """What this program writes."""
    if "latents" in shapes:
        return Kind(LATENTS if len(shapes) == 1 else STATE)
    return None


def _unwrapped(shapes: Shapes) -> tuple[Shapes, str]:
    """The tensors without the prefix that most of them have, and that prefix."""
    for prefix in WRAPPERS:
        inside = {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
        if 2 * len(inside) > len(shapes):
            again, more = _unwrapped(inside)
            return again, prefix + more
    return shapes, ""


def _text_encoder(shapes: Shapes) -> Kind | None:
    """A T5: UMT5 has a position bias in every layer, the others in the first alone."""
    native = {to_transformers(name): shape for name, shape in shapes.items()}
    indices = {name.split(".")[2] for name in native if name.startswith("encoder.block.")}
    biases = [name for name in native if name.endswith(BIAS)]
    if not indices or not (biases or EMBEDDING in native):
        return None
    table = native.get(EMBEDDING, ())
    size = blocks(len(indices)) + (f", {table[1]} wide, {table[0]} tokens" if len(table) == 2 else "")
    layout = next((said for start, said in LAYOUTS if any(name.startswith(start) for name in shapes)), "")
    if len(indices) > 1 and len(biases) <= 1:
        return Kind(TEXT_ENCODER, "T5 1.1" if _gated(native) else "T5", size, layout)
    return Kind(TEXT_ENCODER, UMT5, size, layout)


def _gated(native: Shapes) -> bool:
    return any(".wi_0." in name for name in native)


def _wan_vae(shapes: Shapes) -> Kind | None:
    """A VAE of Wan: 2.2 has stages of its own and 48 channels of latents; 2.1 has 16."""
    names = to_diffusers(shapes)
    native = {names[name]: shape for name, shape in shapes.items()}
    ours = any(name.startswith("decoder.up_blocks.") and name.endswith(".gamma") for name in native)
    if not ours and not any(name.startswith("decoder.middle.") for name in shapes):
        return None
    layout = "" if any(name.startswith("decoder.upsamples.") for name in shapes) else "names of diffusers"
    latents, pixels = _first(native, LATENT), _first(native, CONV_OUT)
    staged = any(".upsamples.0.upsamples." in name or ".upsampler." in name for name in shapes)
    if staged or latents == LATENTS_OF_22:
        return Kind(VAE, "Wan2.2", f"{latents} channels of latents", layout)
    size = f"{latents} channels of latents, {pixels} of pictures" if pixels not in (0, PIXELS) else ""
    narrow = _first(native, CONV_IN)
    return Kind(VAE, WAN_VAE, size or (f"{narrow} channels wide" if narrow not in (0, WIDTH) else ""), layout)


def _first(shapes: Shapes, name: str) -> int:
    return (*shapes.get(name, ()), 0)[0]


def _other(shapes: Mapping[str, tuple[int, ...]]) -> Kind | None:
    for what, rows in FAMILIES:
        if model := families.first_of(rows, shapes):
            return Kind(what or model, model if what else "")
    return None
