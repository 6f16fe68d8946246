"""LoRAs of every spelling: what they come to, that nothing of a file is passed over, and the same bits however read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.wan2.fp8_files import SIX, scaled, six_blocks, write
from tests.wan2.lora_files import Drawn, comfy, diffusers, draw, in_diffusers, kohya, peft, with_whole, write_lora
from tests.wan2.weights.test_fp8_weights import same, velocities
from wan2.errors import InputError, RunError
from wan2.models.config import A14B
from wan2.models.fp8 import quantise_rows
from wan2.streaming.phases import Phase, Placement, transformers
from wan2.weights.checkpoint import inspect_transformer, load_transformer
from wan2.weights.fp8 import AS_STORED, LowBit, linears
from wan2.weights.fp8_cache import cache_layout, cache_path, look_for_cache, write_cache
from wan2.weights.lora import inspect_lora
from wan2.weights.sources import Lora

CPU = torch.device("cpu")
QUANTISED = LowBit(quantise=True)
PLAIN = draw(SIX)
WHOLE = with_whole(PLAIN, SIX)
NOTES = {"lora_adapter_metadata": json.dumps({"transformer.r": 4, "transformer.lora_alpha": 2.0})}
Q = "blocks.1.self_attn.q"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write(tmp_path / "high.safetensors", six_blocks("high"))


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    return write_lora(tmp_path / "lora.safetensors", comfy(WHOLE))


def stored(checkpoint: Path) -> dict[str, Tensor]:
    return {name: tensor.float() for name, tensor in load_file(checkpoint).items()}


def added(weights: dict[str, Tensor], drawn: Drawn, multiplier: float) -> dict[str, Tensor]:
    """Weights in fp32 with a LoRA, in fp32."""
    made = dict(weights)
    for module, (up, down, alpha) in drawn.pairs.items():
        factor = multiplier * (1.0 if alpha is None else alpha / down.shape[0])
        made[f"{module}.weight"] = made[f"{module}.weight"] + factor * (up.float() @ down.float())
    for name, tensor in drawn.whole.items():
        made[name] = made[name] + multiplier * tensor.float()
    return made


SPELLINGS: dict[str, tuple[dict[str, Tensor], Drawn, dict[str, str]]] = {
    "kohya": (kohya(PLAIN), PLAIN, {}),
    "kohya, two underscores": ({n.replace("unet_", "unet__"): t for n, t in kohya(PLAIN).items()}, PLAIN, {}),
    "comfy": (comfy(WHOLE), WHOLE, {}),
    "comfy, whole prefix": (comfy(WHOLE, "model.diffusion_model."), WHOLE, {}),
    "native, no prefix": (comfy(WHOLE, ""), WHOLE, {}),
    "no alpha": (comfy(draw(SIX, alpha=None)), draw(SIX, alpha=None), {}),
    "peft": (peft(PLAIN), draw(SIX, alpha=None), {}),
    "peft, comfy's prefix": (peft(PLAIN, "diffusion_model.", ""), draw(SIX, alpha=None), {}),
    "diffusers": (diffusers(PLAIN), draw(SIX, alpha=None), {}),
    "diffusers, alpha noted": (diffusers(PLAIN), PLAIN, NOTES),
    "float16": (comfy(draw(SIX, dtype=torch.float16)), draw(SIX, dtype=torch.float16), {}),
    "only differences": (comfy(Drawn({}, WHOLE.whole)), Drawn({}, WHOLE.whole), {}),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_comes_to_the_formula(checkpoint: Path, tmp_path: Path, spelling: str) -> None:
    tensors, drawn, notes = SPELLINGS[spelling]
    path, before, multiplier = write_lora(tmp_path / "a", tensors, notes), stored(checkpoint), 0.7
    model = load_transformer(inspect_transformer(checkpoint, [Lora(path, multiplier)]), CPU, torch.float32)
    deltas, exact = drawn.deltas(multiplier), added(before, drawn, multiplier)
    assert len(deltas) == len(drawn.pairs) + len(drawn.whole)
    for name, parameter in model.named_parameters():
        delta = deltas.get(name, torch.zeros(())).reshape(parameter.shape if name in deltas else ())
        torch.testing.assert_close(parameter.double(), before[name].double() + delta, rtol=1e-6, atol=1e-6)
        assert torch.equal(parameter, exact[name])


def test_a_pair_and_a_difference_of_one_tensor_both_count(checkpoint: Path, tmp_path: Path) -> None:
    drawn = Drawn({Q: PLAIN.pairs[Q]}, {f"{Q}.weight": 0.1 * torch.ones(96, 96)})
    path = write_lora(tmp_path / "a", comfy(drawn))
    model = load_transformer(inspect_transformer(checkpoint, [Lora(path, 1.0)]), CPU, torch.float32)
    assert torch.equal(model.get_parameter(f"{Q}.weight"), added(stored(checkpoint), drawn, 1.0)[f"{Q}.weight"])


@pytest.mark.parametrize("flat", [False, True])
def test_a_pair_of_the_convolution_is_read_too(checkpoint: Path, tmp_path: Path, flat: bool) -> None:
    name, rng = "patch_embedding", torch.Generator().manual_seed(3)
    up, down = torch.randn(96, 4, generator=rng), torch.randn(4, 16, 1, 2, 2, generator=rng)
    halves = (up, down.flatten(1)) if flat else (up[..., None, None, None], down)
    path = write_lora(tmp_path / "a", comfy(Drawn({name: (*halves, None)})))
    model = load_transformer(inspect_transformer(checkpoint, [Lora(path, 1.0)]), CPU, torch.float32)
    expected = stored(checkpoint)[f"{name}.weight"] + torch.einsum("or,rcthw->octhw", up, down)
    torch.testing.assert_close(model.get_parameter(f"{name}.weight"), expected)


@pytest.mark.parametrize(
    ("notes", "scale"),
    [
        ({"lora_alpha": 8}, 8 / 4),
        ({"lora_alpha": 8, "use_rslora": True}, 8 / math.sqrt(4)),
        ({"lora_alpha": 8, "alpha_pattern": {"blocks.1.attn1.to_q": 3}}, 3 / 4),
        ({"lora_alpha": 8, "alpha_pattern": {"attn1.to_q": 3, "attn2.to_q": 5}}, 3 / 4),
        ({"lora_alpha": 8, "alpha_pattern": {"^blocks.1.attn1.to_q": 3, "^attn1.to_q": 5}}, 3 / 4),
        ({"lora_alpha": 8, "alpha_pattern": {"^attn1.to_q": 5, "n1.to_q": 6}}, 8 / 4),
        ({"r": 4}, 1.0),
    ],
)
def test_notes_of_diffusers_say_alpha(tmp_path: Path, notes: dict[str, Any], scale: float) -> None:
    metadata = {"lora_adapter_metadata": json.dumps({f"transformer.{name}": value for name, value in notes.items()})}
    path = write_lora(tmp_path / "a", diffusers(PLAIN), metadata)
    (delta,) = inspect_lora(Lora(path, 0.5), SIX).deltas[f"{Q}.weight"]
    assert delta.factor == 0.5 * scale


@pytest.mark.parametrize("spelling", ["lightx2v", "musubi"])
def test_diffusers_reads_the_same_out_of_the_file(checkpoint: Path, tmp_path: Path, spelling: str) -> None:
    """Its converters bring names and alphas to PEFT's form; products of that form are the whole difference."""
    library = pytest.importorskip("diffusers.loaders.lora_conversion_utils")
    name = f"_convert_{'musubi' if spelling == 'musubi' else 'non_diffusers'}_wan_lora_to_diffusers"
    if not hasattr(library, name):
        pytest.skip("this diffusers has no such converter")
    drawn = Drawn(draw(SIX, dtype=torch.float32).pairs, {"blocks.0.ffn.2.bias": torch.ones(96)})
    spelled = kohya(Drawn(drawn.pairs)) if spelling == "musubi" else comfy(drawn)
    path = write_lora(tmp_path / "a", spelled)
    theirs = getattr(library, name)(load_file(path))
    ours, before = (
        load_transformer(inspect_transformer(checkpoint, [Lora(path, 1.0)]), CPU, torch.float32),
        stored(checkpoint),
    )
    assert len(theirs) == 2 * len(drawn.pairs) + (spelling == "lightx2v")
    for module in drawn.pairs:
        product = theirs[f"{in_diffusers(module)}.lora_B.weight"] @ theirs[f"{in_diffusers(module)}.lora_A.weight"]
        torch.testing.assert_close(ours.get_parameter(f"{module}.weight"), before[f"{module}.weight"] + product)
    if spelling == "lightx2v":
        bias = theirs[f"{in_diffusers('blocks.0.ffn.2')}.lora_B.bias"]
        assert torch.equal(ours.get_parameter("blocks.0.ffn.2.bias"), before["blocks.0.ffn.2.bias"] + bias)


def test_peft_merges_to_the_same(checkpoint: Path, tmp_path: Path) -> None:
    """The whole of another library: diffusers' transformer, PEFT's layers, their own merge."""
    pytest.importorskip("peft")
    from diffusers import WanTransformer3DModel

    drawn = draw(SIX, dtype=torch.float32)
    path = write_lora(tmp_path / "a", comfy(drawn))
    library = pytest.importorskip("diffusers.loaders.lora_conversion_utils")
    theirs = WanTransformer3DModel(
        num_attention_heads=SIX.num_heads,
        attention_head_dim=SIX.head_dim,
        text_dim=SIX.text_dim,
        freq_dim=SIX.freq_dim,
        ffn_dim=SIX.ffn_dim,
        num_layers=SIX.num_layers,
    )
    before = stored(checkpoint)
    weights = dict(theirs.named_parameters())
    with torch.no_grad():
        for module in drawn.pairs:
            weights[f"{in_diffusers(module).removeprefix('transformer.')}.weight"].copy_(before[f"{module}.weight"])
    theirs.load_lora_adapter(library._convert_non_diffusers_wan_lora_to_diffusers(load_file(path)), adapter_name="a")
    theirs.fuse_lora(lora_scale=0.7)
    ours, fused = (
        load_transformer(inspect_transformer(checkpoint, [Lora(path, 0.7)]), CPU, torch.float32),
        theirs.state_dict(),
    )
    for module in drawn.pairs:
        found = fused[f"{in_diffusers(module).removeprefix('transformer.')}.base_layer.weight"]
        torch.testing.assert_close(ours.get_parameter(f"{module}.weight"), found)
        assert not torch.equal(found, before[f"{module}.weight"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_several_are_added_one_after_another_and_rounded_once(
    checkpoint: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    other = draw(SIX, seed=5, rank=7)
    paths = [write_lora(tmp_path / "a", comfy(WHOLE)), write_lora(tmp_path / "b", kohya(other))]
    model = load_transformer(inspect_transformer(checkpoint, [Lora(paths[0], 0.3), Lora(paths[1], -1.5)]), CPU, dtype)
    expected = added(added(stored(checkpoint), WHOLE, 0.3), other, -1.5)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, expected[name].to(dtype))


def test_many_rows_are_merged_some_at_a_time(checkpoint: Path, lora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load_transformer(inspect_transformer(checkpoint, [Lora(lora, 1.0)]), CPU, torch.float32).state_dict()
    monkeypatch.setattr("wan2.weights.merge.VALUES_AT_ONCE", 500)
    for name, tensor in (
        load_transformer(inspect_transformer(checkpoint, [Lora(lora, 1.0)]), CPU, torch.float32).state_dict().items()
    ):
        torch.testing.assert_close(tensor, whole[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["bfloat16", "fp8", "fp8 rows"])
@pytest.mark.parametrize("fp8", [AS_STORED, QUANTISED], ids=["stored", "scaled"])
@pytest.mark.parametrize(("streamed", "weights_from"), [(3, "ram"), (6, "disk")])
def test_streamed_is_resident_bit_for_bit(
    tmp_path: Path, lora: Path, kind: str, fp8: LowBit, streamed: int, weights_from: str
) -> None:
    tensors = six_blocks("high")
    path = write(tmp_path / "a", tensors if kind == "bfloat16" else scaled(tensors, rows=kind == "fp8 rows"))
    loras = (Lora(lora, 0.5),)
    resident = load_transformer(inspect_transformer(path, loras), CPU, torch.bfloat16, fp8)
    assert not same(
        velocities(resident), velocities(load_transformer(inspect_transformer(path), CPU, torch.bfloat16, fp8))
    )
    with transformers(
        [Phase("high", inspect_transformer(path, loras), 2)],
        Placement(CPU, torch.bfloat16, fp8, streamed, weights_from),
    ) as load:
        model = load("high")
        for at in (999.0, 900.0):
            assert same(velocities(model, at), velocities(resident, at))


@pytest.mark.parametrize("kind", ["bfloat16", "fp8"])
def test_fp8_comes_after_the_merge(tmp_path: Path, kind: str) -> None:
    """A file in wider types is rounded once; one in fp8 is multiplied out and gets new scales, a row each."""
    tensors = six_blocks("high")
    path = write(tmp_path / "a", tensors if kind == "bfloat16" else scaled(tensors))
    drawn = Drawn({Q: PLAIN.pairs[Q], "blocks.3.ffn.0": PLAIN.pairs["blocks.3.ffn.0"]})
    lora = Lora(write_lora(tmp_path / "b", comfy(drawn)), 1.0)
    made = load_file(path)
    scale = {name: made.get(name.replace("weight", "scale_weight"), torch.ones(())) for name in made}
    values = {name: tensor.float() * scale[name] for name, tensor in made.items() if "scale" not in name}
    model = load_transformer(inspect_transformer(path, [lora]), CPU, torch.bfloat16, QUANTISED).state_dict()
    expected = added(values, drawn, 1.0)
    held = {name.removesuffix(".stored") for name in model if name.endswith(".stored")}
    assert len(held) == (20 if kind == "bfloat16" else 60)
    for module in drawn.pairs:
        if module in held:
            rows = quantise_rows(expected[f"{module}.weight"])
            assert torch.equal(model[f"{module}.stored"].float(), rows.values.float())
            assert torch.equal(model[f"{module}.scale"], rows.scale) and rows.scale.unique().numel() > 1
        else:
            assert torch.equal(model[f"{module}.weight"], expected[f"{module}.weight"].bfloat16())
    other = "blocks.2.cross_attn.v"  # to which nothing is added: the very bytes of the file, or rounded as without
    if kind == "fp8":
        assert torch.equal(model[f"{other}.stored"].view(torch.uint8), made[f"{other}.weight"].view(torch.uint8))
    assert torch.equal(
        model[f"{other}.scale"],
        load_transformer(inspect_transformer(path), CPU, torch.bfloat16, QUANTISED).state_dict()[f"{other}.scale"],
    )


@pytest.mark.parametrize("kind", ["bfloat16", "fp8"])
def test_what_is_kept_is_what_would_be_made(tmp_path: Path, lora: Path, kind: str) -> None:
    tensors = six_blocks("high")
    path = write(tmp_path / "a.safetensors", tensors if kind == "bfloat16" else scaled(tensors))
    loras = (Lora(lora, 0.5),)
    write_cache(inspect_transformer(path, loras))
    kept = cache_path(path, loras)
    assert kept.parent == tmp_path and kept.name.startswith("a.lora-") and kept != cache_path(path)
    layout = cache_layout(inspect_transformer(path, loras))
    assert sum(dtype == "F8_E4M3" for dtype, _ in layout.values()) == (20 if kind == "bfloat16" else 60)
    for dtype in (torch.float32, torch.bfloat16):
        made = load_transformer(inspect_transformer(path, loras), CPU, dtype, QUANTISED).state_dict()
        found = load_transformer(inspect_transformer(kept), CPU, dtype, QUANTISED).state_dict()
        assert made.keys() == found.keys()
        assert all(torch.equal(made[name].float(), found[name].float()) for name in made)


def test_kept_weights_are_of_these_loras_and_no_others(checkpoint: Path, tmp_path: Path) -> None:
    paths = [write_lora(tmp_path / name, comfy(draw(SIX, seed=seed))) for seed, name in enumerate("ab")]
    one, two = (Lora(path, 1.0) for path in paths)
    write_cache(inspect_transformer(checkpoint, (one,)))
    assert look_for_cache(inspect_transformer(checkpoint, (one,))).state == "good"
    for others in ((), (two,), (Lora(paths[0], 0.5),), (one, two), (one, one)):
        assert look_for_cache(inspect_transformer(checkpoint, others)).state == "absent"
    cache_path(checkpoint, (two,)).write_bytes(cache_path(checkpoint, (one,)).read_bytes())
    assert look_for_cache(inspect_transformer(checkpoint, (two,))).state == "stale"
    write_lora(paths[0], comfy(draw(SIX, seed=9)))
    assert look_for_cache(inspect_transformer(checkpoint, (one,))).state == "stale"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("half", ["lora_down", "lora_up"])
def test_values_that_are_not_finite_are_named(checkpoint: Path, tmp_path: Path, value: float, half: str) -> None:
    tensors = comfy(PLAIN)
    name = f"diffusion_model.{Q}.{half}.weight"
    tensors[name] = tensors[name].clone().index_put_((torch.tensor(1), torch.tensor(2)), torch.tensor(value).bfloat16())
    lora = Lora(write_lora(tmp_path / "bad", tensors), 1.0)
    line = rf"bad: tensor {name} holds values that are not finite"
    with pytest.raises(InputError, match=line):
        load_transformer(inspect_transformer(checkpoint, [lora]), CPU, torch.float32)
    with (
        pytest.raises(RunError, match=rf"^reading block 1 failed: .*{line}"),
        transformers(
            [Phase("high", inspect_transformer(checkpoint, (lora,)), 1)],
            Placement(CPU, torch.float32, streamed=6),
        ) as load,
    ):
        velocities(load("high"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("fp8", [AS_STORED, QUANTISED], ids=["stored", "scaled"])
def test_on_a_gpu_the_weights_are_those_of_the_processor(checkpoint: Path, lora: Path, fp8: LowBit) -> None:
    here, there = (
        load_transformer(inspect_transformer(checkpoint, [Lora(lora, 0.5)]), device, torch.bfloat16, fp8).state_dict()
        for device in (CPU, torch.device("cuda"))
    )
    assert all(torch.equal(tensor.float(), there[name].cpu().float()) for name, tensor in here.items())


Change = Callable[[dict[str, Tensor]], dict[str, Tensor]]
UP, DOWN, ALPHA = (f"diffusion_model.{Q}.{part}" for part in ("lora_up.weight", "lora_down.weight", "alpha"))


def more(**tensors: Tensor) -> Change:
    return lambda made: made | {name.replace("__", "."): tensor for name, tensor in tensors.items()}


def only(*names: str) -> Change:
    return lambda _: dict.fromkeys(names, torch.ones(4, 96))


def changed(name: str, tensor: Tensor | None) -> Change:
    return lambda made: {n: t for n, t in (made | {name: tensor}).items() if t is not None}


REFUSED: list[tuple[str, Change]] = [
    (r"1 of 181 tensors are unknown \(extra\.weight\); it is not exactly a Wan LoRA \(6 blocks, 96 wide",
     more(extra__weight=torch.ones(1))),
    (r"180 of 180 tensors are unknown \(.*, \.\.\.\); it is a LoRA",
     lambda made: {n.replace("blocks", "layers"): t for n, t in made.items()}),
    (r"it is a Wan LoRA \(7 blocks, 96 wide",
     lambda made: made | {n.replace("blocks.5", "blocks.6"): t for n, t in made.items()}),
    ("are unknown .* it is a Wan I2V LoRA", more(blocks__0__cross_attn__k_img__lora_A__weight=torch.ones(4, 96))),
    ("are unknown .* it is a Wan I2V LoRA", more(img_emb__proj__1__lora_down__weight=torch.ones(4, 96))),
    ("a Wan LoCon with ", more(diffusion_model__blocks__0__self_attn__q__lora_mid__weight=torch.ones(4, 4))),
    ("a Wan OFT", only("lora_unet_blocks_0_self_attn_q.oft_blocks", "blocks.0.oft_diag.alpha")),
    ("adapter_config.json", lambda made: {f"base_model.model.{n}": t for n, t in made.items()}),
    ("a Wan VACE LoRA", only("diffusion_model.vace_blocks.0.self_attn.q.lora_A.weight")),
    ("a Flux.1 or HunyuanVideo LoRA", only("transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight")),
    ("a Stable Diffusion LoRA", only("lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight")),
    ("an LTX-Video or CogVideoX LoRA", only("transformer.transformer_blocks.0.attn.to_q.lora_A.weight")),
    ("tensors are unknown .* it is a Wan T2V transformer", lambda _: load_file(DIT)),
    ("must be a LoRA; it is a file without tensors", lambda _: {}),
    (f"tensor {UP} is there without what belongs to it", changed(DOWN, None)),
    (f"tensor {DOWN} is there without", lambda made: {DOWN: made[DOWN]}),
    (f"tensor {ALPHA} is there without", lambda made: {ALPHA: made[ALPHA]}),
    (f"{Q}.lora_A.weight.* are the same tensor under two names", changed(f"{Q}.lora_A.weight", torch.ones(4, 96))),
    (f"adds to 1 tensors what does not fit a transformer of 6 blocks, 96 wide .*{Q}.* to {Q}.weight ",
     changed(DOWN, torch.ones(4, 95))),
    (r"does not fit .*\[5, 96\] and .*\[96, 4\]", changed(DOWN, torch.ones(5, 96))),
    ("does not fit ", lambda made: made | {DOWN: torch.ones(0, 96), UP: torch.ones(96, 0)}),
    ("does not fit ", changed(DOWN, torch.ones(384))),
    ("does not fit ", changed(f"diffusion_model.{Q}.diff", torch.ones(96))),
    (r"does not fit .*\.norm_q\.diff \[95\] to ", changed("blocks.0.self_attn.norm_q.diff", torch.ones(95))),
    ("is I32, which is not a float", changed(DOWN, torch.ones(4, 96).int())),
    (rf"tensor {ALPHA} is nan; an alpha is one finite number", changed(ALPHA, torch.tensor(float("nan")))),
    (rf"tensor {ALPHA} is inf;", changed(ALPHA, torch.tensor(float("inf")).bfloat16())),
    (rf"tensor {ALPHA} is F32 \[2\];", changed(ALPHA, torch.ones(2))),
    (rf"tensor {ALPHA} is BOOL \[\];", changed(ALPHA, torch.tensor(True))),
]  # fmt: skip
DIT = Path(__file__).parents[2] / "data/dit_high_noise.safetensors"


@pytest.mark.parametrize(("line", "change"), REFUSED, ids=[line for line, _ in REFUSED])
def test_what_finds_no_place_or_does_not_fit_is_refused(tmp_path: Path, line: str, change: Change) -> None:
    path = write_lora(tmp_path / "a.safetensors", change(comfy(PLAIN)))
    with pytest.raises(InputError, match=f"^{path}: .*{line}") as refused:
        inspect_lora(Lora(path, 1.0), SIX)
    assert len(str(refused.value).splitlines()) == 1 and len(str(refused.value)) < 900


@pytest.mark.parametrize(
    ("notes", "line"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a table"),
        ('{"transformer.use_dora": true}', "is a DoRA"),
        ('{"transformer.lora_alpha": "8"}', "lora_alpha in its lora_adapter_metadata is '8'; must be a finite number"),
        ('{"transformer.lora_alpha": NaN}', "must be a finite number"),
        (f'{{"lora_alpha": 1{"0" * 400}}}', "lora_alpha in its lora_adapter_metadata is too large"),
        ('{"transformer.alpha_pattern": [1]}', "alpha_pattern in its lora_adapter_metadata is not a table"),
        ('{"transformer.alpha_pattern": {"(a+)+$": 1}}', r"has the name '\(a\+\)\+\$', not a module's"),
        ('{"transformer.alpha_pattern": {"a": null}}', "alpha_pattern in its lora_adapter_metadata is None"),
    ],
)
def test_notes_that_are_none_are_refused(tmp_path: Path, notes: str, line: str) -> None:
    path = write_lora(tmp_path / "a", diffusers(PLAIN), {"lora_adapter_metadata": notes})
    with pytest.raises(InputError, match=line):
        inspect_lora(Lora(path, 1.0), SIX)


def test_the_published_transformer_takes_the_loras_that_are_published(tmp_path: Path) -> None:
    """By names and shapes: LightX2V's LoRAs for four steps are of rank 64, with an alpha each."""
    shapes, modules = (
        A14B.tensor_shapes(),
        [f"blocks.{i}.{name.removesuffix('.weight')}" for i in range(40) for name in linears(A14B)],
    )
    header: dict[str, Any] = {}
    end = 0
    for module in modules:
        rows, columns = shapes[f"{module}.weight"]
        for part, shape in (("lora_down.weight", (64, columns)), ("lora_up.weight", (rows, 64)), ("alpha", ())):
            size = 2 * math.prod(shape)
            header[f"diffusion_model.{module}.{part}"] = {
                "dtype": "BF16",
                "shape": shape,
                "data_offsets": [end, end + size],
            }
            end += size
    text = json.dumps(header).encode()
    path = tmp_path / "a.safetensors"
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    deltas = inspect_lora(Lora(path, 1.0), A14B).deltas
    assert len(deltas) == 400 and len(header) == 1200
    assert {name.removesuffix(".weight") for name in deltas} == set(modules)
