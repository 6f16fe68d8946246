"""Adapters other than plain LoRAs, and other spellings: against the libraries that define them, and by the formulas."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.wan2.fp8_files import SIX, six_blocks, write
from tests.wan2.lora_files import Drawn, comfy, draw, in_diffusers, peft, write_lora
from wan2.errors import InputError
from wan2.models.transformer import WanTransformer
from wan2.weights.checkpoint import inspect_transformer, load_transformer
from wan2.weights.lora import inspect_lora
from wan2.weights.peft import adapter_files
from wan2.weights.sources import Lora

CPU = torch.device("cpu")
PLAIN = draw(SIX, dtype=torch.float32)
SOME = r"blocks\.\d+\.(self_attn\.q|cross_attn\.k|ffn\.0)"
Q = "blocks.1.self_attn.q"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write(tmp_path / "high.safetensors", six_blocks("high"), torch.float32)


def loaded(checkpoint: Path, *loras: Lora) -> WanTransformer:
    return load_transformer(inspect_transformer(checkpoint, loras), CPU, torch.float32)


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in model.state_dict().items()}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], plain: dict[str, Tensor]) -> None:
    """The same weights, of which some are not those without an adapter."""
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-5, atol=1e-6)
    changed = [name for name in found if (found[name] - plain[name]).norm() > 1e-2 * plain[name].norm()]
    assert len(changed) >= 18


def filled(module: nn.Module, names: tuple[str, ...]) -> None:
    """Random values, large enough to be seen, in every parameter of an adapter."""
    rng = torch.Generator().manual_seed(4)
    for name, parameter in module.named_parameters():
        if any(sign in name for sign in names):
            drawn = torch.randn(parameter.shape, generator=rng)
            lengths = "magnitude" in name or "dora" in name
            parameter.data.copy_(parameter.data * (1 + 0.3 * drawn) if lengths else 0.3 * drawn)


PEFT: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("LoraConfig", {"r": 4, "lora_alpha": 3}),
    "patterns": (
        "LoraConfig",
        {
            "r": 4,
            "lora_alpha": 3,
            "rank_pattern": {"ffn.0": 6},
            "alpha_pattern": {"^blocks.1.ffn.0": 5, "cross_attn.k": 2, "k": 9},
        },
    ),
    "by root": ("LoraConfig", {"r": 4, "lora_alpha": 3, "use_rslora": True}),
    "bias": ("LoraConfig", {"r": 4, "lora_alpha": 3, "lora_bias": True}),
    "dora": ("LoraConfig", {"r": 4, "lora_alpha": 3, "use_dora": True}),
    "loha": ("LoHaConfig", {"r": 3, "alpha": 6, "alpha_pattern": {"ffn.0": 2}}),
    "lokr": ("LoKrConfig", {"r": 4, "alpha": 3}),
    "lokr whole": ("LoKrConfig", {"r": 400, "alpha": 300, "rank_pattern": {"ffn.0": 500}, "decompose_both": True}),
}


@pytest.mark.parametrize("kind", PEFT)
def test_a_folder_of_peft_is_what_peft_merges(checkpoint: Path, tmp_path: Path, kind: str) -> None:
    library = pytest.importorskip("peft")
    name, options = PEFT[kind]
    begin = {} if name == "LoraConfig" else {"init_weights": False}
    plain = loaded(checkpoint)
    config = getattr(library, name)(target_modules=SOME, **options, **begin)
    model = library.get_peft_model(copy.deepcopy(plain), config)
    filled(model, ("lora_", "hada_", "lokr_"))
    model.save_pretrained(tmp_path / "adapter")
    ours = weights(loaded(checkpoint, Lora(tmp_path / "adapter", 1.0)))
    assert_same(ours, weights(model.merge_and_unload()), weights(plain))
    by_file = Lora(tmp_path / "adapter/adapter_model.safetensors", 1.0)
    assert all(torch.equal(tensor, ours[name]) for name, tensor in weights(loaded(checkpoint, by_file)).items())
    assert [path.name for path in adapter_files(tmp_path / "adapter")] == [by_file.path.name, "adapter_config.json"]


LYCORIS: dict[str, dict[str, Any]] = {
    "locon": {"algo": "locon"},
    "loha": {"algo": "loha"},
    "lokr": {"algo": "lokr", "factor": 4},
    "lokr of one rank": {"algo": "lokr", "factor": 4, "decompose_both": True, "linear_dim": 1},
    "lokr whole": {"algo": "lokr", "full_matrix": True},
    "by root": {"algo": "locon", "rs_lora": True},
    "dora": {"algo": "locon", "dora_wd": True},
    "dora of columns": {"algo": "locon", "dora_wd": True, "wd_on_output": False},
    "doha": {"algo": "loha", "dora_wd": True, "wd_on_output": False},
    "dokr": {"algo": "lokr", "factor": 4, "dora_wd": True},
}


@pytest.mark.parametrize("kind", LYCORIS)
def test_a_file_of_lycoris_is_what_lycoris_computes(checkpoint: Path, tmp_path: Path, kind: str) -> None:
    """Its layers are asked for the rows of the identity: its own merge applies alpha twice to a LoHa and a LoKr."""
    library = pytest.importorskip("lycoris")
    theirs = loaded(checkpoint)
    before = weights(copy.deepcopy(theirs))
    library.LycorisNetwork.apply_preset({"target_module": [], "target_name": [SOME], "enable_conv": False})
    network = library.create_lycoris(theirs, 1.0, **({"linear_dim": 4, "linear_alpha": 2.0} | LYCORIS[kind]))
    network.apply_to()
    filled(network, ("lora_", "hada_", "lokr_", "dora_"))
    path = write_lora(tmp_path / "a.safetensors", {n: t.detach() for n, t in network.state_dict().items()})
    expected = dict(before)
    for name in (f"{module}.weight" for module, _ in theirs.named_modules() if re.fullmatch(SOME, module)):
        layer = theirs.get_submodule(name.removesuffix(".weight"))
        with torch.inference_mode():
            expected[name] = (layer(torch.eye(before[name].shape[1])) - layer.bias).T
    assert_same(weights(loaded(checkpoint, Lora(path, 1.0))), expected, before)


def dora(module: str, of_columns: bool, rng: torch.Generator) -> dict[str, Tensor]:
    up, down, _ = PLAIN.pairs[module]
    magnitude = 1 + torch.rand(1 if of_columns else 96, 96 if of_columns else 1, generator=rng)
    names = (
        f"diffusion_model.{module}.{part}" for part in ("lora_up.weight", "lora_down.weight", "alpha", "dora_scale")
    )
    return dict(zip(names, (up, down, torch.tensor(3.0), magnitude), strict=True))


@pytest.mark.parametrize("of_columns", [False, True])
@pytest.mark.parametrize("at_once", [1 << 19, 300])
def test_a_magnitude_counts_by_the_multiplier(
    checkpoint: Path, tmp_path: Path, of_columns: bool, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a DoRA adds is that of the transformer alone: beside another LoRA, and for rows read some at a time."""
    monkeypatch.setattr("wan2.weights.merge.VALUES_AT_ONCE", at_once)
    tensors = dora(Q, of_columns, torch.Generator().manual_seed(2))
    first, second = write_lora(tmp_path / "a", comfy(PLAIN)), write_lora(tmp_path / "b", tensors)
    up, down, alpha, magnitude = (tensor.double() for tensor in tensors.values())
    before = weights(loaded(checkpoint))[f"{Q}.weight"].double()
    moved = before + alpha / 4 * up @ down
    lengths = moved.norm(dim=0 if of_columns else 1, keepdim=True)
    added = 0.4 * PLAIN.deltas()[f"{Q}.weight"] - 0.6 * (magnitude / lengths * moved - before)
    found = loaded(checkpoint, Lora(first, 0.4), Lora(second, -0.6)).get_parameter(f"{Q}.weight")
    torch.testing.assert_close(found.double(), before + added, rtol=1e-5, atol=1e-6)


def test_a_product_of_kronecker_is_of_a_convolution_too(checkpoint: Path, tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(1)
    left, right = torch.randn(8, 4, generator=rng), torch.randn(12, 4, 1, 2, 2, generator=rng)
    parts = {"lokr_w1": left, "lokr_w2": right, "alpha": torch.tensor(7.0)}
    path = write_lora(tmp_path / "a", {f"lycoris_patch_embedding.{name}": tensor for name, tensor in parts.items()})
    before, name = weights(loaded(checkpoint)), "patch_embedding.weight"
    expected = before[name] + torch.kron(left[..., None, None, None], right)
    torch.testing.assert_close(loaded(checkpoint, Lora(path, 1.0)).get_parameter(name), expected)


def renamed(change: Callable[[str], str], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {change(name): tensor for name, tensor in tensors.items()}


def flat(name: str) -> str:
    module, _, rest = name.removeprefix("transformer.").partition(".lora_")
    return f"lora_unet_{module.replace('.', '_')}.lora_{rest}"


DIFFUSERS = peft(Drawn({in_diffusers(module): pair for module, pair in PLAIN.pairs.items()}), infix="")
SPELLINGS: dict[str, dict[str, Tensor]] = {
    **{prefix: comfy(PLAIN, prefix) for prefix in ("pipe.dit.", "model.", "dit.", "transformer_1.", "transformer_2.")},
    "diffusers, flat": renamed(flat, DIFFUSERS),
    "lycoris, diffusers": renamed(lambda name: flat(name).replace("lora_unet_", "lycoris_"), DIFFUSERS),
    "lycoris": renamed(
        lambda name: "lycoris_" + "_".join(name.split(".")[1:5]) + "." + ".".join(name.split(".")[5:]),
        {n: t for n, t in comfy(PLAIN).items() if "_attn" in n},
    ),
    "pipe.dit., PEFT": peft(PLAIN, "pipe.dit."),
    "model., then comfy's": comfy(PLAIN, "model.diffusion_model."),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_prefix_comes_to_the_same(tmp_path: Path, spelling: str) -> None:
    tensors = SPELLINGS[spelling]
    path = write_lora(tmp_path / "a", tensors)
    deltas = inspect_lora(Lora(path, 1.0), SIX).deltas
    wanted = [module for module in PLAIN.pairs if spelling != "lycoris" or "_attn" in module]
    assert set(deltas) == {f"{module}.weight" for module in wanted}
    with_alpha = any(name.endswith("alpha") for name in tensors)
    stored = load_file(path)
    for module in wanted:
        (delta,) = deltas[f"{module}.weight"]
        assert delta.factor == (0.5 if with_alpha else 1.0)
        assert torch.equal(stored[delta.parts["up"].name], PLAIN.pairs[module][0])
        assert torch.equal(stored[delta.parts["down"].name], PLAIN.pairs[module][1])


@pytest.mark.parametrize(
    ("first", "second"), [("transformer.", "transformer_2."), ("transformer_1.", "transformer_2."), ("dit.", "dit2.")]
)
def test_of_a_file_for_both_transformers_each_gets_its_own(tmp_path: Path, first: str, second: str) -> None:
    other = draw(SIX, seed=3)
    path = write_lora(tmp_path / "a", comfy(PLAIN, first) | comfy(other, second))
    for noise, drawn in (("high", PLAIN), ("low", other)):
        found = inspect_lora(Lora(path, 1.0, noise), SIX)  # type: ignore[arg-type]
        up = found.deltas[f"{Q}.weight"][0].parts["up"].name
        assert found.both and torch.equal(load_file(path)[up], drawn.pairs[Q][0])
    with pytest.raises(InputError, match="holds an adapter for each of two transformers; say which is meant"):
        inspect_lora(Lora(path, 1.0), SIX)


def test_what_no_run_from_text_has_is_left_out_if_asked_for(tmp_path: Path) -> None:
    strange = {
        "diffusion_model.blocks.0.cross_attn.k_img.lora_up.weight": torch.ones(96, 4),
        "diffusion_model.img_emb.proj.1.diff": torch.ones(96),
        "lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": torch.ones(4, 96),
        "text_encoder.encoder.block.0.layer.0.SelfAttention.q.lora_A.weight": torch.ones(4, 96),
    }
    path = write_lora(tmp_path / "a", comfy(PLAIN) | strange)
    with pytest.raises(InputError, match="4 of 184 tensors are unknown"):
        inspect_lora(Lora(path, 1.0), SIX)
    found = inspect_lora(Lora(path, 1.0), SIX, partial=True)
    assert set(found.left_out) == set(strange) and len(found.deltas) == 60
    more = {"diffusion_model.blocks.0.other.lora_up.weight": torch.ones(96, 4)}
    with pytest.raises(InputError, match=r"1 of 185 tensors are unknown \(diffusion_model.blocks.0.other"):
        inspect_lora(Lora(write_lora(tmp_path / "a", comfy(PLAIN) | strange | more), 1.0), SIX, partial=True)
    with pytest.raises(InputError, match=r"must be a LoRA; it is a Wan I2V LoRA"):
        inspect_lora(Lora(write_lora(tmp_path / "a", strange), 1.0), SIX, partial=True)


PARTS = {f"{Q}.lokr_w1": torch.ones(8, 8), f"{Q}.lokr_w2_a": torch.ones(12, 2), f"{Q}.lokr_w2_b": torch.ones(2, 12)}
HADA = {f"{Q}.hada_w{n}_{side}": torch.ones(96, 4) if side == "a" else torch.ones(4, 96) for n in "12" for side in "ab"}
PAIR = {f"{Q}.lora_A.weight": torch.ones(4, 96), f"{Q}.lora_B.weight": torch.ones(96, 4)}
REFUSED: list[tuple[str, dict[str, Tensor]]] = [
    (r"tensor .*lokr_w2_b is there without", {n: t for n, t in PARTS.items() if "w2_a" not in n}),
    (r"tensor .*lokr_w2_b is there without", PARTS | {f"{Q}.lokr_w2": torch.ones(12, 12)}),
    (r"tensor .*hada_w2_b is there without", {n: t for n, t in HADA.items() if "w1_a" not in n}),
    (r"tensor .*lora_B.bias is there without", {f"{Q}.lora_B.bias": torch.ones(96)}),
    (r"tensor .*dora_scale is there without", {f"{Q}.dora_scale": torch.ones(96)}),
    (r"does not fit .*lokr_w1 \[7, 8\] and ", PARTS | {f"{Q}.lokr_w1": torch.ones(7, 8)}),
    (r"does not fit .*lokr_w2_a \[12, 3\]", PARTS | {f"{Q}.lokr_w2_a": torch.ones(12, 3)}),
    (r"does not fit .*hada_w2_b \[3, 96\]", HADA | {f"{Q}.hada_w2_b": torch.ones(3, 96)}),
    (r"does not fit .*it is a Wan LoHa", HADA | {f"{Q}.hada_w1_a": torch.ones(95, 4)}),
    (r"does not fit .*dora_scale \[95\].*it is a Wan DoRA", PAIR | {f"{Q}.dora_scale": torch.ones(95)}),
    (r"does not fit .*dora_scale \[96, 2\]", PAIR | {f"{Q}.dora_scale": torch.ones(96, 2)}),
    (r"does not fit .*lora_B.bias \[95\]", PAIR | {f"{Q}.lora_B.bias": torch.ones(95)}),
    (r"are unknown .*not exactly a Wan LoHa", HADA | {f"{Q}.hada_t1": torch.ones(4, 4, 1, 1)}),
    (r"are unknown .*not exactly a Wan LoKr", PARTS | {f"{Q}.lokr_t2": torch.ones(2, 2, 1, 1)}),
    (r"are unknown .*not exactly a Wan OFT", {f"{Q}.oft_R.weight": torch.ones(4, 4)}),
]  # fmt: skip


@pytest.mark.parametrize(("line", "tensors"), REFUSED, ids=[line for line, _ in REFUSED])
def test_what_is_not_whole_or_does_not_fit_is_refused(tmp_path: Path, line: str, tensors: dict[str, Tensor]) -> None:
    with pytest.raises(InputError, match=line):
        inspect_lora(Lora(write_lora(tmp_path / "a", tensors), 1.0), SIX)


NOTES = {"peft_type": "LORA", "r": 4, "lora_alpha": 8}


@pytest.mark.parametrize(
    ("notes", "line"),
    [
        (None, "is an adapter of PEFT's own, whose alpha stands in adapter_config.json, which is not beside it"),
        ("{", r"adapter_config\.json is not JSON"),
        ('"a"', r"adapter_config\.json is not a table"),
        (" " * (1 << 20) + "{}", r"adapter_config\.json: is larger than 1048576 bytes"),
        (NOTES | {"peft_type": "OFT"}, r"adapter_config\.json says that it is of the kind 'OFT', which is not read"),
        (NOTES | {"use_dora": True}, "says that it is a DoRA, of which the file holds no lora_magnitude_vector"),
        (
            NOTES | {"init_lora_weights": "pissa"},
            "says that training began with 'pissa', which changes ",
        ),
        (NOTES | {"lora_alpha": "8"}, r"adapter_config\.json: lora_alpha is '8'; must be a finite number"),
        (NOTES | {"rank_pattern": [1]}, r"adapter_config\.json: rank_pattern is not a table"),
    ],
)
def test_notes_of_peft_that_will_not_do_are_refused(tmp_path: Path, notes: object, line: str) -> None:
    path = write_lora(tmp_path / "a.safetensors", peft(PLAIN, "base_model.model.", ""))
    if notes is not None:
        (tmp_path / "adapter_config.json").write_text(notes if isinstance(notes, str) else json.dumps(notes))
    with pytest.raises(InputError, match=line):
        inspect_lora(Lora(path, 1.0), SIX)


def test_notes_beside_a_file_that_is_not_of_peft_are_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps(NOTES))
    save_file(peft(PLAIN, "", ""), tmp_path / "a.safetensors")
    by_file, by_folder = (
        inspect_lora(Lora(path, 1.0), SIX).deltas[f"{Q}.weight"][0].factor
        for path in (tmp_path / "a.safetensors", tmp_path)
    )
    assert (by_file, by_folder) == (1.0, 2.0)
