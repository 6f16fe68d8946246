"""Check the code against a folder of reference figures: `python -m tests.conformance DIR`, or `DIR --gpus 2`.

The folder is laid out like `tests/data`, figures of HoloCine, or like `tests/data/wan22`, figures of Wan2.2 (see the
README there): a file has its own kind of cases, whichever folder it lies in. Every case is run; each prints its error.
With `--gpus N` whole runs are shared by N processes.
Exit code 0 when all are within tolerance, 1 when one is not, 2 when the folder holds no case at all.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from holocine_ext.shots.attention import SparseInterShotAttention, WindowCrossAttention
from holocine_ext.shots.flops import shot_groups
from holocine_ext.shots.layout import ShotLayout, auto_cuts, repair_cuts
from holocine_ext.shots.spans import TextSpans, allowed_key_ranges, text_spans
from holocine_ext.story.prompt import build_prompt
from wan2.models.conditioning import Conditioning
from wan2.models.transformer import Passes, TransformerConfig, WanTransformer
from wan2.models.vae import Tiles, WanVAE
from wan2.parallel.crew import Crew
from wan2.parallel.first import SharedTransformer, gather
from wan2.parallel.orders import Begin
from wan2.plan.split import Groups, plan_split
from wan2.request.compute import Compute
from wan2.request.flat import make_request
from wan2.request.presets import WAN22_T2V
from wan2.request.request import NEGATIVE_PROMPT
from wan2.run.text_encoder import encode, load_text_encoder
from wan2.run.vae import inspect_vae, load_vae
from wan2.sampling.denoise import DenoisePlan, denoise, initial_noise
from wan2.shapes import VideoShape, snap_frames
from wan2.text.tokenizer import TEXT_LENGTH, load_tokenizer
from wan2.weights.checkpoint import inspect_transformer, load_transformer

EXACT, SCHEDULE, TRANSFORMER, RUN, TEXT, VAE = 0.0, 1e-6, 5e-5, 1e-3, 2e-5, 1e-5
# Of the figures of Wan2.2: noise levels; latents, of their norm.
LEVELS, RELATIVE = 1e-7, 1e-5
BASE = WAN22_T2V.model
CPU = torch.device("cpu")
NOISES = ("high", "low")
Opener = Callable[[str], AbstractContextManager[Passes]]


@dataclass(frozen=True)
class Check:
    """One case: its largest error (for exact cases the number of differences) and what it may be."""

    name: str
    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Within tolerance; a NaN is not."""
        return self.error <= self.tolerance


def exact(name: str, found: object, expected: object) -> Check:
    """A case in which only equality will do."""
    return Check(name, 0.0 if json.loads(json.dumps(found)) == expected else 1.0, EXACT)


def close(name: str, found: Tensor, expected: Tensor, tolerance: float) -> Check:
    """A case of tensors, which must also agree in shape."""
    same = found.shape == expected.shape
    return Check(name, (found.float() - expected.float()).abs().max().item() if same else float("inf"), tolerance)


def relative(name: str, found: Tensor, expected: Tensor, tolerance: float) -> Check:
    """A case of tensors whose difference is taken as a share of the expected one, by their norms."""
    same = found.shape == expected.shape
    return Check(name, ((found - expected).norm() / expected.norm()).item() if same else float("inf"), tolerance)


def read(folder: Path, name: str) -> Any:  # noqa: ANN401  JSON
    """The JSON file `name` of the folder."""
    return json.loads((folder / name).read_text(encoding="utf-8"))


def frames(folder: Path) -> Iterator[Check]:
    """Frame snapping, prompt and cuts of a scene, shot of every latent frame."""
    cases = read(folder, "frames.json")
    for n, snapped in cases["enforce_4t_plus_1"]:
        yield exact(f"snap {n}", snap_frames(n), snapped)
    for i, case in enumerate(cases["prepare_multishot_inputs"]):
        total = snap_frames(case["total_frames"])
        asked = case["custom_shot_cut_frames"]
        cuts = auto_cuts(total, len(case["shot_captions"])) if asked is None else asked
        found = {
            "prompt": build_prompt(case["global_caption"], case["shot_captions"]),
            "shot_cut_frames": repair_cuts(total, cuts),
            "num_frames": total,
        }
        yield exact(f"scene {i}", found, case["result"])
    for i, case in enumerate(cases["shot_indices"]):
        layout = ShotLayout(case["num_frames"], repair_cuts(case["num_frames"], case["shot_cut_frames"]), 1)
        yield exact(f"layout {i}", layout.shot_ids, case["shot_indices"])


def schedule(folder: Path) -> Iterator[Check]:
    """Noise levels and timesteps; for Euler, which names no solver, the step at which the experts change, too."""
    for case in read(folder, "schedule.json"):
        if "solver" in case:
            yield from wan22_schedule(case)
            continue
        steps, shift = case["num_inference_steps"], case["shift"]
        plan = DenoisePlan(steps, shift, "euler", 0.875, 1.0, 1.0)
        name = f"schedule {steps} steps, shift {shift:g}"
        yield close(f"{name}: sigmas", torch.tensor(plan.sigmas), torch.tensor(case["sigmas"]), SCHEDULE)
        times = torch.tensor(plan.timesteps) / 1000, torch.tensor(case["timesteps"]) / 1000
        yield close(f"{name}: timesteps / 1000", *times, SCHEDULE)
        yield exact(f"{name}: first low-noise step", plan.first_low_noise_step, case["first_low_noise_step"])


def wan22_schedule(case: dict[str, Any]) -> Iterator[Check]:
    """Noise levels of a solver of Wan2.2, the final 0 among them, and its timesteps."""
    steps, shift, solver = case["steps"], float(case["shift"]), case["solver"]
    plan = DenoisePlan(steps, shift, solver, BASE.dual_dit_boundary, 1.0, 1.0, BASE.round_timestep)
    name = f"schedule {solver} {steps} steps, shift {shift:g}"
    yield close(f"{name}: sigmas", torch.tensor([*plan.sigmas, 0.0]), torch.tensor(case["sigmas"]), LEVELS)
    yield exact(f"{name}: timesteps", plan.timesteps, case["timesteps"])


def windows(folder: Path) -> Iterator[Check]:
    """Tokens, spans and windows of every prompt."""
    tokenizer = load_tokenizer(folder / "tokenizer")
    for i, case in enumerate(read(folder, "text_windows.json")):
        tokenized = tokenizer.tokenize(case["prompt"]).truncated(TEXT_LENGTH)
        spans = text_spans(tokenized)
        found = {
            "num_tokens": tokenized.num_tokens,
            "global": spans.global_span,
            "shots": spans.shots,
            "allowed_key_ranges": allowed_key_ranges(spans, TEXT_LENGTH),
        }
        yield exact(f"windows {i}", found, {name: case[name] for name in found})


def transformer_config(folder: Path) -> TransformerConfig:
    """Sizes of the folder's two experts."""
    config = read(folder, "dit_cases.json")["config"]
    return TransformerConfig(**config | {"patch_size": tuple(config["patch_size"])})


def load_expert(folder: Path, name: str) -> WanTransformer:
    """One of the folder's experts, `high` or `low`."""
    model = WanTransformer(transformer_config(folder))
    model.load_state_dict(load_file(folder / f"dit_{name}_noise.safetensors"), strict=True)
    return model


def layout_of(case: dict[str, Any]) -> ShotLayout:
    """The layout of a transformer case; a token is 16x16 pixels."""
    cuts = repair_cuts(case["num_frames"], case["shot_cut_frames"])
    return ShotLayout(case["num_frames"], cuts, case["height"] * case["width"] // 256)


def conditionings(case: dict[str, Any], variant: str, context: Tensor, negative: Tensor) -> list[Conditioning]:
    """Positive and negative pass of a case in one variant, full or sparse."""
    layout = layout_of(case)
    spans = TextSpans(tuple(case["global"]), tuple(tuple(shot) for shot in case["shots"]))
    ranges = allowed_key_ranges(spans, TEXT_LENGTH)
    assert ranges is not None
    plain = Conditioning(negative)
    self_attn = SparseInterShotAttention(layout) if variant == "sparse" else plain.self_attn
    windowed = Conditioning(context, self_attn, WindowCrossAttention(layout, ranges))
    return [windowed, Conditioning(negative, self_attn)]


def transformer(folder: Path) -> Iterator[Check]:
    """One pass of the high-noise expert per case: full and sparse, windowed and not."""
    tensors, model = load_file(folder / "dit_cases.safetensors"), load_expert(folder, "high")
    for case in read(folder, "dit_cases.json")["cases"]:
        number, timestep = case["case"], torch.tensor(case["timestep"])
        yield exact(f"transformer {number}: layout", layout_of(case).shot_ids, case["shot_indices"])
        context, latents = tensors[f"{number}.context"], tensors[f"{number}.latents"]
        for variant in ("full", "sparse"):
            passes = conditionings(case, variant, context, context)
            for conditioning, name in zip(passes, ("positive", "negative"), strict=True):
                with torch.inference_mode():
                    found = model(latents, timestep, conditioning)
                expected = tensors[f"{number}.{variant}.{name}"]
                yield close(f"transformer {number}: {variant} {name}", found, expected, TRANSFORMER)


@contextmanager
def opening(folder: Path, config: TransformerConfig | None, gpus: int) -> Iterator[Callable[..., Opener]]:
    """What opens the experts of a folder, given the shape of a clip, the guidance scales, and groups of its tokens."""
    files = {name: inspect_transformer(folder / f"dit_{name}_noise.safetensors") for name in NOISES}
    if config is not None:
        files = {name: replace(file, config=config) for name, file in files.items()}
    experts = {name: load_transformer(file, CPU, torch.float32) for name, file in files.items()}
    if gpus == 1:
        yield lambda *_: lambda name: nullcontext(experts[name])
        return
    together = gather(Crew(gpus), CPU)

    def shared(shape: VideoShape, scales: tuple[float, float], groups: Groups | None = None) -> Opener:
        high, low = scales
        clip = {"height": shape.height, "width": shape.width, "num_frames": shape.num_frames}
        guidance = {"guidance_scale_high_noise": high, "guidance_scale": low}
        request = make_request(WAN22_T2V, {"prompt": "any", "gpus": gpus, **clip, **guidance})
        split = plan_split(request, experts["high"].config, groups)

        @contextmanager
        def opened(name: str) -> Iterator[SharedTransformer]:
            with together.opened(name, lambda own: nullcontext(experts[own])) as model:
                yield model.sharing(split)

        return opened

    begin = Begin(BASE, Compute(device="cpu", dtype="float32", blocks_to_swap=0), files, dict.fromkeys(NOISES, 1), True)
    with together.ordered(begin):
        yield shared
    together.close()


def runs(folder: Path, gpus: int = 1) -> Iterator[Check]:
    """Whole runs through both experts."""
    with opening(folder, transformer_config(folder), gpus) as opener:
        yield from _runs(folder, opener)


def _runs(folder: Path, opener: Callable[..., Opener]) -> Iterator[Check]:
    tensors, cases = load_file(folder / "denoise.safetensors"), read(folder, "dit_cases.json")["cases"]
    by_number = {case["case"]: case for case in cases}
    for run in read(folder, "denoise.json"):
        expected, scale = tensors[run["key"]], run["cfg_scale"]
        variant = "sparse" if run["key"].startswith("sparse") else "full"
        plan = DenoisePlan(run["steps"], run["shift"], "euler", run["boundary"], scale, scale)
        passes = conditionings(by_number[run["case"]], variant, tensors["context"], tensors["negative_context"])
        layout = layout_of(by_number[run["case"]])
        shape = VideoShape(layout.num_frames, 8 * expected.shape[3], 8 * expected.shape[4])
        opened = opener(shape, (scale, scale), shot_groups(layout) if variant == "sparse" else None)
        *_, last = denoise(opened, initial_noise(tuple(expected.shape), run["seed"]), plan, *passes)
        yield close(f"run {run['key']}", last.latents, expected, RUN)


def wan22_runs(folder: Path, gpus: int = 1) -> Iterator[Check]:
    """Whole runs of Wan2.2 through both experts, read as the command line reads them, each with its own solver."""
    with opening(folder, None, gpus) as opener:
        yield from _wan22_runs(folder, opener)


def _wan22_runs(folder: Path, opener: Callable[..., Opener]) -> Iterator[Check]:
    tensors = load_file(folder / "runs.safetensors")
    for number, run in enumerate(read(folder, "runs.json")):
        (width, height), (low, high) = run["size"], run["guide"]
        plan = DenoisePlan(
            run["steps"],
            run["shift"],
            run["solver"],
            BASE.dual_dit_boundary,
            high,
            low,
            BASE.round_timestep,
        )
        passes = [Conditioning(padded(tensors[f"{number}.{which}"])) for which in ("positive", "negative")]
        shape = VideoShape(run["frames"], height, width)
        noise = initial_noise((1, *shape.latent), run["seed"])
        *_, last = denoise(opener(shape, (high, low)), noise, plan, *passes)
        name = f"run {number}: {run['solver']} {run['steps']} steps, {width}x{height}"
        yield relative(name, last.latents[0], tensors[f"{number}.latents"], RELATIVE)


def padded(embedding: Tensor) -> Tensor:
    """A text [tokens, text_dim] as the transformer takes it: [1, 512, text_dim], zero after the last token."""
    return functional.pad(embedding, (0, 0, 0, TEXT_LENGTH - len(embedding)))[None]


def text(folder: Path) -> Iterator[Check]:
    """Embeddings of the text encoder, and the default negative prompt."""
    tokenizer, tensors = load_tokenizer(folder / "tokenizer"), load_file(folder / "t5_cases.safetensors")
    encoder = load_text_encoder(folder / "t5.safetensors", "cpu", torch.float32)
    for i, prompt in enumerate(read(folder, "t5_cases.json")["prompts"]):
        found = encode(encoder, tokenizer.tokenize(prompt).truncated(TEXT_LENGTH))
        yield close(f"text {i}", found, tensors[f"{i}.embedding"], TEXT)


def negative_prompt(folder: Path) -> Iterator[Check]:
    """The published negative prompt, to the letter."""
    expected = (folder / "negative_prompt.txt").read_text(encoding="utf-8").strip()
    yield exact("negative prompt", NEGATIVE_PROMPT, expected)


def vae(folder: Path) -> Iterator[Check]:
    """Decoding whole, streamed and in tiles; encoding."""
    tensors = load_file(folder / "vae_cases.safetensors")
    model = load_vae(inspect_vae(folder / "vae.safetensors"), "cpu", torch.float32)
    for name, expected in tensors.items():
        prefix, _, what = name.rpartition(".")
        start = f"{prefix}." if prefix else ""
        if what in ("latents", "video"):
            continue
        found = model.encode(tensors[f"{start}video"]) if what == "encoded" else _decode(model, tensors, start, what)
        yield close(f"vae {name}", found, expected, VAE)
        if what == "decoded":
            chunks = torch.cat(list(model.decode_chunks(tensors[f"{start}latents"])), dim=1)[None]
            yield close(f"vae {name}, streamed", chunks, expected, VAE)


def _decode(model: WanVAE, tensors: dict[str, Tensor], start: str, what: str) -> Tensor:
    tiled = re.fullmatch(r"decoded_tiled_(\d+)x(\d+)_stride_(\d+)x(\d+)", what)
    if not tiled and what != "decoded":
        raise ValueError(f"vae_cases.safetensors: no rule for a tensor called {what}")
    sizes = [int(size) for size in tiled.groups()] if tiled else []
    tiles = Tiles((sizes[0], sizes[1]), (sizes[2], sizes[3])) if sizes else None
    return model.decode(tensors[f"{start}latents"], tiles)


SECTIONS: dict[str, Callable[[Path], Iterator[Check]]] = {
    "frames.json": frames,
    "schedule.json": schedule,
    "text_windows.json": windows,
    "dit_cases.json": transformer,
    "denoise.json": runs,
    "runs.json": wan22_runs,
    "t5_cases.json": text,
    "negative_prompt.txt": negative_prompt,
    "vae_cases.safetensors": vae,
}


def check_folder(folder: Path, gpus: int = 1) -> Iterator[Check]:
    """Every case of the folder; a file that is not there has none."""
    for name, section in SECTIONS.items():
        if (folder / name).is_file():
            yield from partial(section, gpus=gpus)(folder) if section in (runs, wan22_runs) else section(folder)


def main(folder: Path, gpus: int = 1) -> int:
    """Print a line a case; the exit code."""
    checks = []
    for check in check_folder(folder, gpus):
        checks.append(check)
        verdict = "ok" if check.passed else "FAILED"
        sys.stdout.write(f"{verdict:6} {check.name:48} error {check.error:.2e}  may be {check.tolerance:.0e}\n")
    failed = sum(not check.passed for check in checks)
    sys.stdout.write(f"{len(checks) - failed} of {len(checks)} within tolerance\n")
    return 2 if not checks else int(failed > 0)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 4) or sys.argv[2:3] not in ([], ["--gpus"]):
        sys.exit("usage: python -m tests.conformance DIR [--gpus N]")
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[3]) if sys.argv[3:] else 1))
