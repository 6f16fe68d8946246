"""Everything that is refused: one line that names the flag, the value and the rule, exit code 2, nothing written."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import holocine_ext.cli
import wan2.cli.main
from tests.tiny import QUICK, TinyModel
from tests.wan2.lora_files import draw, kohya, write_lora
from tests.wan2.reference import CONFIG
from wan2.cli.synonyms import SYNONYMS

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "diffusers", "transformers", "numpy")
MAIN = {"wan2": wan2.cli.main.main, "holocine": holocine_ext.cli.main}
NAME = {"wan2": "wan2_generate_video", "holocine": "holocine_generate_video"}

SHOTS = ("--global_caption", "A lighthouse.", "--shot_captions", "The tower", "The sea", "The lamp")
PROMPT = ("--prompt", "a gull")
TAGGED = "[global caption] A lighthouse. [per shot caption] The tower [shot cut] The sea"


@dataclass(frozen=True)
class Refusal:
    """Words for a command line that can already run, and what the one line on stderr must hold."""

    program: str
    words: tuple[str, ...]
    line: str


def base(line: str, *words: str) -> Refusal:
    return Refusal("wan2", (*PROMPT, *words), line)


def scene(line: str, *words: str) -> Refusal:
    return Refusal("holocine", words, line)


def shots(line: str, *words: str) -> Refusal:
    return Refusal("holocine", (*SHOTS, *words), line)


# In the words, {x} stands for a file that `broken_files` makes.
REFUSALS = [
    # What the machine cannot do.
    base("--attn_mode flash2: needs --device cuda, not cpu", "--attn_mode", "flash2"),
    shots("--attn_mode sage: needs --device cuda, not cpu", "--attn_mode", "sage"),
    base("--attn_mode cudnn: needs --device cuda, not mps", "--attn_mode", "cudnn", "--device", "mps"),
    base("--attn_mode flex: needs --device cpu or cuda, not mps", "--attn_mode", "flex", "--device", "mps"),
    shots("--compile: compiles for --device cuda or cpu, not mps", "--compile", "--device", "mps"),
    # No scene, or two.
    Refusal("wan2", (), "nothing to make: give exactly one of --prompt, --from_file and --latent_path"),
    base("--prompt and --from_file: give exactly one", "--from_file", "{prompts}"),
    Refusal("wan2", ("--prompt", ""), "--prompt '': must not be empty"),
    scene("no scene: give --storyboard, or --global_caption with --shot_captions, or --prompt"),
    shots("--prompt and --global_caption: two ways of giving a scene", *PROMPT),
    shots("--storyboard and --global_caption: two ways of giving a scene", "--storyboard", "{board}"),
    shots("--from_file and --global_caption: two ways of giving a scene", "--from_file", "{prompts}"),
    scene("--global_caption: needs --shot_captions", "--global_caption", "A lighthouse."),
    scene("--shot_captions: needs --global_caption", "--shot_captions", "The tower"),
    # Captions and tags.
    scene("--shot_captions, shot 2: is empty", "--global_caption", "A", "--shot_captions", "The tower", " "),
    scene("holds the tag [shot cut]", "--global_caption", "A", "--shot_captions", "The [shot cut] tower"),
    scene("--prompt: [per shot caption] occurs 0 times", "--prompt", "[global caption] A lighthouse."),
    scene("--prompt [shotcut]: a misspelt tag", "--prompt", TAGGED.replace("shot cut", "shotcut")),
    scene("a prompt begins [global caption]", "--prompt", "[per shot caption] A tower [global caption] A light"),
    scene("nothing after [shot cut]", "--prompt", TAGGED + " [shot cut]"),
    scene("text before [global caption]", "--prompt", "Here: " + TAGGED),
    # Cuts.
    shots("--shot_cut_frames 5: 1 cut for 3 shots", "--shot_cut_frames", "5"),
    shots("--shot_cut_frames 5 9 13: 3 cuts for 3 shots", "--shot_cut_frames", "5", "9", "13"),
    shots("--shot_cut_frames 8 5: out of order", "--shot_cut_frames", "8", "5"),
    shots("--shot_cut_frames 5 6: both snap to frame 5", "--shot_cut_frames", "5", "6"),
    shots("--shot_cut_frames 40: outside the video", "--shot_cut_frames", "5", "40"),
    shots("--shot_cut_frames -3: outside the video", "--shot_cut_frames", "-3", "9"),
    shots("--video_length 5: 5 frames are 2 latent frames, too few for 3 shots", "--video_length", "5"),
    shots("--shot_cut_frames: 'x' is not a whole number", "--shot_cut_frames", "x", "9"),
    scene("--shot_cut_frames 5: 1 cut for 1 shot", "--prompt", "a gull", "--shot_cut_frames", "5"),
    scene("--shot_cut_frames: a storyboard says where", "--storyboard", "{board}", "--shot_cut_frames", "5"),
    # Storyboards and files of prompts.
    scene("--storyboard absent.toml: no such file", "--storyboard", "absent.toml"),
    scene("colour: unknown field", "--storyboard", "{odd_board}"),
    scene("absent.json: no such file", "--from_file", "{prompts}"),
    Refusal("wan2", ("--from_file", "absent.txt"), "--from_file absent.txt: no such file"),
    # A prompt that is too long.
    base("--negative_prompt: has", "--negative_prompt", "rain " * 600),
    Refusal("wan2", ("--prompt", "rain " * 600), "--prompt: has"),
    scene(
        "shot 2 (", "--global_caption", "A lighthouse.", "--shot_captions", "The tower", "rain " * 600, "The lamp"
    ),
    # Several cards.
    base("--gpus 0: must lie between 1 and 64", "--gpus", "0"),
    base("--parallel cfg: is for several cards; give --gpus, too", "--parallel", "cfg"),
    base("--parallel odd: must be one of auto, cfg, ulysses, cfg+ulysses", "--gpus", "2", "--parallel", "odd"),
    shots("--parallel shots: needs sparse self-attention; with --variant full", "--gpus", "2", "--parallel", "shots"),
    base("--parallel cfg: gives each of two passes to a card", "--gpus", "3", "--parallel", "cfg"),
    base("--parallel cfg: with --guidance_scale 1 there", "--gpus", "2", "--parallel", "cfg", "--guidance_scale", "1"),
    base("--parallel ulysses: the transformer has 4 heads for 5 cards", "--gpus", "5", "--parallel", "ulysses"),
    base("--device cuda:1: is one card", "--gpus", "2", "--device", "cuda:1"),
    base("--shard: '3/2' is none of 1/N to N/N", "--shard", "3/2"),
    base("--shard: is for the lines of --from_file", "--shard", "1/2"),
    Refusal("wan2", ("--from_file", "{prompts}", "--shard", "9/9"), "--shard 9/9: the list has"),
    base("--cluster auto: makes all lines of --from_file, without --shard", "--cluster", "auto"),
    # Numbers and choices.
    base("--infer_steps 0: must lie between 1 and 1000", "--infer_steps", "0"),
    base("--infer_steps: 'nan' is not a whole number", "--infer_steps", "nan"),
    base("--flow_shift nan: must be a finite number", "--flow_shift", "nan"),
    base("--guidance_scale inf: must be a finite number", "--guidance_scale", "inf"),
    base("--guidance_scale -1.0: must lie between 0 and 100", "--guidance_scale", "-1"),
    base("--dual_dit_boundary 1.5: must lie between 0 and 1", "--dual_dit_boundary", "1.5"),
    base("--fps 0.0: must lie between", "--fps", "0"),
    shots("--fps nan: must lie between", "--fps", "nan"),
    shots("--video_length 0: must lie between 1 and 10000", "--video_length", "0"),
    base("--seed -1: must lie between 0 and", "--seed", "-1"),
    base("--preview -2: must lie between", "--preview", "-2"),
    base("--video_size 40: the height must be a multiple of 16", "--video_size", "40", "32"),
    shots("--video_size 50: the width must be a multiple of 16", "--video_size", "32", "50"),
    base("--video_size: expected 2 arguments", "--video_size", "32"),
    base("--sample_solver: invalid choice: 'heun'", "--sample_solver", "heun"),
    shots("--variant: invalid choice: 'half'", "--variant", "half"),
    shots("--model: invalid choice: 'mega'", "--model", "mega"),
    shots("--shot_mask_type: invalid choice: 'x'", "--shot_mask_type", "x"),
    base("unrecognized arguments: --blocks", "--blocks", "3"),
    base("unrecognized arguments: --height 480; did you mean --video_size?", "--height", "480"),
    shots("unrecognized arguments: --num_frames 81; did you mean --video_length?", "--num_frames", "81"),
    base("unrecognized arguments: --save-path a.mp4; did you mean --save_path?", "--save-path", "a.mp4"),
    shots("unrecognized arguments: --Num-Frames 81; did you mean --video_length?", "--Num-Frames", "81"),
    base("unrecognized arguments: --shots", "--shots", "3"),
    base("unrecognized arguments: --shot_captions", "--shot_captions", "x"),
    base("--device tpu: must be auto, cpu, mps, cuda", "--device", "tpu"),
    base("--prompt: is not valid UTF-8", "--prompt", "\udcff"),
    # Model files.
    *(
        base(f"--{name} absent.pth: no such {'folder' if name == 'tokenizer' else 'file'}", f"--{name}", "absent.pth")
        for name in ("dit_high_noise", "dit_low_noise", "t5", "vae", "tokenizer")
    ),
    base("--vae {t5}: must be a Wan2.1 VAE; it is a UMT5 text encoder (", "--vae", "{t5}"),
    base("--t5 {vae}: must be a UMT5 text encoder; it is a Wan2.1 VAE (", "--t5", "{vae}"),
    base("--dit_high_noise {vae}: must be a Wan T2V transformer; it is a Wan2.1 VAE (",
         "--dit_high_noise", "{vae}"),  # fmt: skip
    base("--tokenizer {empty}: must be a folder that holds tokenizer.json", "--tokenizer", "{empty}"),
    base("--dit_low_noise {truncated}: is truncated", "--dit_low_noise", "{truncated}"),
    base("--dit_low_noise {text}: is not a safetensors file", "--dit_low_noise", "{text}"),
    base("--vae {text}: is not a safetensors file", "--vae", "{text}"),
    base("--dit_high_noise {missing}: 1 tensors missing (head.head.bias)", "--dit_high_noise", "{missing}"),
    base("--dit_high_noise {unknown}: 1 tensors unknown (extra.weight)", "--dit_high_noise", "{unknown}"),
    base("it is a Wan LoRA (1 block", "--dit_high_noise", "{lora}"),
    base("it is a Wan2.2 I2V transformer (36 input channels", "--dit_high_noise", "{i2v}"),
    shots("must be a Wan T2V transformer; it is a Wan2.2 I2V", "--dit_high_noise", "{i2v}"),
    base("--dit_high_noise {masked}: takes 17 latent channels, this run gives it 16", "--dit_high_noise", "{masked}"),
    shots("--dit_high_noise {masked}: takes a mask channel", "--dit_high_noise", "{masked}"),
    shots("--shot_mask_type id: needs a checkpoint of 17 input channels", "--shot_mask_type", "id"),
    shots("holds full weights, which cannot run as --variant sparse; give --variant full", "--variant", "sparse"),
    shots("holds sparse weights, which cannot run as --variant full", "--dit_low_noise", "{sparse}"),
    shots("holds sparse weights, which cannot run as --variant full", "--dit_low_noise", "{sparse_by_name}"),
    shots("--model nano", "--model", "nano", "--dit_high_noise", "absent --model nano"),
    # Fp8.
    base("--fp8_cache: keeps what --fp8_scaled or --fp8_fast makes; give one of them", "--fp8_cache"),
    base("--fp8_scaled: needs a cuda device or a processor", "--fp8_scaled", "--device", "mps"),
    base("--fp8_t5: needs a cuda device or a processor", "--fp8_t5", "--device", "mps"),
    base("--fp8_fast: multiplies fp8 into bfloat16, not into --dtype float16", "--fp8_fast", "--dtype", "float16"),
    base("--dtype float32", "--fp8_fast", "--dtype", "float32", "--device", "cuda"),
    base("has 3 blocks; the first and the last 2 are left as they are, so none remains", "--fp8_scaled"),
    shots("--fp8_fast: --dit_high_noise", "--fp8_fast"),
    shots("has 3 blocks; the first and the last 2", "--fp8_scaled", "--dry_run"),
    # LoRAs.
    base("--lora_multiplier 0.5: needs --lora_weight", "--lora_multiplier", "0.5"),
    shots("--lora_multiplier_high_noise 1: needs --lora_weight_high_noise",
          "--lora_weight", "{lora}", "--lora_multiplier_high_noise", "1"),
    base("--lora_multiplier 1 0.5: 2 for 1 of --lora_weight; give one for each, or one for all",
         "--lora_weight", "{pair}", "--lora_multiplier", "1", "0.5"),
    base("--lora_multiplier_high_noise 1 0.5: 2 for 3 of --lora_weight_high_noise; give one for each",
         "--lora_weight_high_noise", "{pair}", "{pair}", "{pair}", "--lora_multiplier_high_noise", "1", "0.5"),
    base("--lora_mode branch: needs --lora_weight or --lora_weight_high_noise", "--lora_mode", "branch"),
    base("--lora_partial: needs --lora_weight or --lora_weight_high_noise", "--lora_partial"),
    base("--lora_weight {both}: holds an adapter for each expert; give it by --lora_weight_high_noise, too",
         "--lora_weight", "{both}"),
    base("--lora_multiplier nan: must be a finite number", "--lora_weight", "{pair}", "--lora_multiplier", "nan"),
    shots("--lora_multiplier inf: must be a finite", "--lora_weight", "{pair}", "--lora_multiplier", "inf"),
    base("--lora_multiplier 101.0: must lie between -100.0 and 100.0", "--lora_weight", "{pair}",
         "--lora_multiplier", "101"),
    base("--lora_multiplier: 'much' is not a number", "--lora_weight", "{pair}", "--lora_multiplier", "much"),
    base("--lora_weight: expected at least one argument", "--lora_weight"),
    base("--lora_weight absent.safetensors: no such file", "--lora_weight", "{pair}", "absent.safetensors"),
    shots("--lora_weight_high_noise absent: no such file", "--lora_weight_high_noise", "absent"),
    base("--lora_weight {text}: is not a safetensors file", "--lora_weight", "{text}"),
    base("--lora_weight {truncated}: is truncated", "--lora_weight", "{truncated}"),
    base("--lora_weight {empty}: is a folder with 0 checkpoints", "--lora_weight", "{empty}"),
    base("--lora_weight {lora}: tensor blocks.0.self_attn.q.lora_A.weight is there without", "--lora_weight", "{lora}"),
    base("--lora_weight_high_noise {vae}: ", "--lora_weight_high_noise", "{vae}"),
    shots("it is a Wan2.1 VAE", "--lora_weight_high_noise", "{vae}"),
    shots("1 of 4 tensors are unknown (lora_unet_blocks_0_self_attn_q.hada", "--lora_weight", "{loha}", "--dry_run"),
    base("it is not exactly a Wan LoHa (1 block, names of kohya)", "--lora_weight", "{loha}"),
    base("1 of 3 tensors are unknown (blocks.0.cross_attn.k_img.diff); it is a Wan I2V LoRA (1",
         "--lora_weight", "{i2v_lora}"),
    base("--lora_weight {wide}: adds to 1 tensors what does not fit a transformer of 3 blocks, 96 wide (blocks.0.self_"
         "attn.q.lora_A.weight [4, 128] and blocks.0.self_attn.q.lora_B.weight [128, 4] to blocks.0.self_attn.q.weight"
         " [96, 96]); it is a Wan LoRA (1 block, 128 wide)", "--lora_weight", "{wide}"),
    shots("does not fit a transformer of 3 blocks", "--lora_weight_high_noise", "{wide}", "--dry_run"),
    base("--lora_weight {pair}: tensor blocks.0.self_attn.q.alpha is nan", "--lora_weight", "{pair}"),
    # Where the result goes, and saved latents.
    base("--save_path a.avi: must be a folder or end in .mp4", "--save_path", "a.avi"),
    base("--save_path {text}/a.mp4: {text} is a file, not a folder", "--save_path", "{text}/a.mp4"),
    base("--save_path a.mp4: must be a folder or end in", "--output_type", "latent", "--save_path", "a.mp4"),
    Refusal("wan2", ("--latent_path", "absent"), "--latent_path: only decodes, so it cannot go with --"),
    shots("--export_shots: no frames are decoded", "--export_shots", "--output_type", "latent", "--save_path", "out"),
    shots("--contact_sheet: no frames are decoded", "--contact_sheet", "--output_type", "latent", "--save_path", "out"),
]  # fmt: skip

# Saved latents go without the flags of a run.
DECODES = [
    Refusal("wan2", ("--latent_path", "absent"), "--latent_path absent: no such file"),
    Refusal("holocine", ("--latent_path", "absent"), "--latent_path absent: no such file"),
    Refusal("wan2", ("--latent_path", "{text}"), "is not a safetensors file"),
    Refusal("wan2", ("--latent_path", "{vae}"), "holds no latents saved by this program; it is a Wan2.1 VAE"),
    Refusal("holocine", ("--latent_path", "{vae}"), "holds no latents saved by this program"),
    Refusal("wan2", ("--latent_path", "{vae}", "--prompt", "x"), "--prompt and --latent_path: give exactly one"),
    Refusal("wan2", ("--latent_path", "{vae}", "--seed", "1"), "cannot go with --seed"),
    Refusal("wan2", ("--latent_path", "{vae}", "--fp8_t5"), "cannot go with --fp8_t5"),
    Refusal("wan2", ("--latent_path", "{vae}", "--lora_weight", "{pair}"), "cannot go with --lora_weight"),
    Refusal("holocine", ("--latent_path", "{vae}", "--lora_multiplier", "1"), "cannot go with --lora_multiplier"),
    Refusal("wan2", ("--latent_path", "{vae}", "--video_size", "32", "32"), "cannot go with --video_size"),
    Refusal("holocine", ("--latent_path", "{vae}", "--dry_run"), "cannot go with --dry_run"),
    Refusal("holocine", ("--latent_path", "{vae}", "--from_file", "x"), "cannot go with --from_file"),
    Refusal("holocine", ("--latent_path", "{vae}", "--storyboard", "x"), "cannot go with --storyboard"),
    Refusal("wan2", ("--latent_path", "{latents}", "--output_type", "latent"), "--latent_path only decodes"),
    Refusal("wan2", ("--latent_path", "{latents}"), "--vae checkpoints/Wan2.2-T2V-A14B/Wan2.1_VAE.pth: no such file"),
    Refusal("holocine", ("--latent_path", "{latents}", "--export_shots"), "saved without their shots"),
]

# Found only once PyTorch is there, still before anything is written.
LATE = [
    base("--device cuda:9: this machine has", "--device", "cuda:9"),
    base("--vae {code}: is not a PyTorch file of plain tensors; nothing in it was run", "--vae", "{code}"),
    base("--t5 {code}: is not a PyTorch file of plain tensors; nothing in it was run", "--t5", "{code}"),
]


@pytest.fixture(scope="module")
def files(tiny: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files that each have one thing wrong."""
    return {"t5": tiny.t5, "vae": tiny.vae, **broken_files(tiny, Path(tmp_path_factory.mktemp("broken")))}


class _RunsWhenUnpickled:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return Path, ("anything",)


def broken_files(tiny: TinyModel, folder: Path) -> dict[str, Path]:
    """By the names the refusals call them."""
    heads = {"num_heads": "4"}
    expert = load_file(tiny.expert("high"))
    patch = expert["patch_embedding.weight"]
    lora = {"blocks.0.self_attn.q.lora_A.weight": torch.zeros(4, 96)}
    q = "blocks.0.self_attn.q"
    pair = {f"{q}.lora_A.weight": torch.zeros(4, 96), f"{q}.lora_B.weight": torch.zeros(96, 4)}
    wide = {f"{q}.lora_A.weight": torch.zeros(4, 128), f"{q}.lora_B.weight": torch.zeros(128, 4)}
    parts = ("alpha", "hada_w1_a", "hada_w1_b", "hada_t1")
    variants = {
        "missing": {name: tensor for name, tensor in expert.items() if name != "head.head.bias"},
        "unknown": {**expert, "extra.weight": torch.zeros(1)},
        "i2v": {**expert, "patch_embedding.weight": torch.zeros(96, 36, 1, 2, 2)},
        "masked": {**expert, "patch_embedding.weight": torch.cat([patch, patch[:, :1]], dim=1)},
        "sparse_by_name": expert,
        "lora": lora,
        "pair": pair | {f"{q}.alpha": torch.tensor(float("nan"))},
        "wide": wide,
        "both": {f"transformer{n}.{name}": tensor.clone() for name, tensor in pair.items() for n in ("", "_2")},
        "loha": {f"lora_unet_blocks_0_self_attn_q.{part}": torch.ones(4, 96) for part in parts},
        "i2v_lora": pair | {"blocks.0.cross_attn.k_img.diff": torch.zeros(96, 96)},
        "latents": {"latents": torch.zeros(1, 16, 2, 4, 4)},
    }
    paths = {name: folder / f"{name}.safetensors" for name in variants}
    paths["sparse_by_name"] = folder / "sparse_high_noise.safetensors"
    for name, tensors in variants.items():
        save_file(tensors, paths[name], {**heads, "plan": '{"fps": 16.0}'} if name == "latents" else heads)
    paths |= {"sparse": tiny.expert("low", "sparse"), "empty": folder / "empty"}
    paths["empty"].mkdir()
    content = {
        "truncated.safetensors": tiny.expert("low").read_bytes()[:-1000],
        "text.safetensors": b"these are not the tensors you are looking for",
        "prompts.txt": b"absent.json\n",
        "board.json": json.dumps({"global_caption": "A", "shots": [{"caption": "The tower"}]}).encode(),
        "odd_board.json": json.dumps({"colour": "red"}).encode(),
        "code.pth": pickle.dumps({"weight": _RunsWhenUnpickled()}),
    }
    for name, data in content.items():
        paths[name.partition(".")[0]] = folder / name
        (folder / name).write_bytes(data)
    return paths


def words_of(refusal: Refusal, tiny: TinyModel, files: dict[str, Path]) -> list[str]:
    """The whole command line of a refusal: one that could run, and then what is wrong with it."""
    ready = [] if refusal in DECODES else [*tiny.flags(), *QUICK]
    given = [word.format(**files) if "{" in word else word for word in refusal.words]
    return [*ready, *given]


@pytest.mark.parametrize(
    "refusal", [*REFUSALS, *DECODES, *LATE], ids=lambda refusal: f"{refusal.program}: {refusal.line}"
)
def test_refused_in_one_line_with_nothing_written(
    refusal: Refusal,
    tiny: TinyModel,
    files: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    assert MAIN[refusal.program](words_of(refusal, tiny, files)) == 2
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert [line for line in lines if line.startswith(NAME[refusal.program])] == lines[-1:]
    assert refusal.line.format(**files) in lines[-1]
    assert not out
    assert not list(tmp_path.iterdir())
    if refusal not in LATE:
        assert len(lines) == 1


def test_no_refusal_plan_or_help_loads_a_heavy_library(tiny: TinyModel, files: dict[str, Path], tmp_path: Path):
    refused = [(refusal.program, words_of(refusal, tiny, files)) for refusal in (*REFUSALS, *DECODES)]
    sound = write_lora(tmp_path.with_suffix(".lora"), kohya(draw(CONFIG)))
    plan = ("holocine", [*tiny.flags(), *QUICK, *SHOTS, "--dry_run", "--lora_weight", str(sound)])
    calls = [plan, ("wan2", ["--help"]), ("holocine", ["--help"]), *refused]
    code = f"""
import json, sys
import holocine_ext.cli, wan2.cli.main
main = {{"wan2": wan2.cli.main.main, "holocine": holocine_ext.cli.main}}
codes = []
for program, words in json.loads(sys.stdin.read()):
    try:
        codes.append(main[program](words))
    except SystemExit as end:
        codes.append(end.code)
print(json.dumps([codes, sorted(sys.modules.keys() & {set(HEAVY)!r})]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(calls),
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8:surrogateescape"},
        capture_output=True,
        text=True,
        check=True,
    )
    codes, loaded = json.loads(done.stdout.splitlines()[-1])
    assert codes == [0, 0, 0, *[2] * len(refused)]
    assert loaded == []
    assert not list(tmp_path.iterdir())


def test_an_unexpected_error_keeps_its_traceback(capsys: pytest.CaptureFixture[str]):
    def fail(_: wan2.cli.main.Console) -> None:
        raise RuntimeError("a bug")

    assert wan2.cli.main.guarded("program", fail) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "Traceback (most recent call last):"
    assert 'raise RuntimeError("a bug")' in "".join(said)
    assert said[-1] == "program: RuntimeError: a bug"


def test_what_other_tools_call_flags_names_flags_and_is_none():
    known = {f"--{name}" for name in holocine_ext.cli.build_parser().names()}
    assert set(SYNONYMS.values()) <= known and not known & SYNONYMS.keys()
