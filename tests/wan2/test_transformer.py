from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.wan2.reference import CASES, CONFIG, DATA, TENSORS, windows
from wan2.errors import InputError
from wan2.models import chunks as runs
from wan2.models.conditioning import AttentionProcessor, Conditioning, dense_attention
from wan2.models.transformer import TransformerConfig, WanTransformer

TOLERANCE = 5e-5


@pytest.fixture(scope="module")
def model() -> WanTransformer:
    model = WanTransformer(CONFIG)
    model.load_state_dict(load_file(DATA / "dit_high_noise.safetensors"), strict=True)
    return model


def run(model: WanTransformer, case: dict, cross_attn: AttentionProcessor) -> Tensor:
    number = case["case"]
    conditioning = Conditioning(TENSORS[f"{number}.context"], cross_attn=cross_attn)
    return model(TENSORS[f"{number}.latents"], torch.tensor(case["timestep"]), conditioning)


@pytest.mark.parametrize("case", CASES["cases"], ids=lambda case: f"case{case['case']}")
@pytest.mark.parametrize("recording", [True, False], ids=["autograd", "inference"])
def test_agrees_with_the_reference(model: WanTransformer, case: dict, recording: bool) -> None:
    with torch.inference_mode(not recording):
        negative, positive = run(model, case, dense_attention), run(model, case, windows(case))
    assert (negative - TENSORS[f"{case['case']}.full.negative"]).abs().max() < TOLERANCE
    assert (positive - TENSORS[f"{case['case']}.full.positive"]).abs().max() < TOLERANCE


def test_runs_of_tokens_change_nothing(model: WanTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "TOKENS_AT_ONCE", 100)
    case = CASES["cases"][0]
    latents, before = TENSORS["0.latents"], TENSORS["0.latents"].clone()
    with torch.inference_mode():
        assert (run(model, case, dense_attention) - TENSORS["0.full.negative"]).abs().max() < TOLERANCE
    assert torch.equal(latents, before)


def test_a_batch_is_its_samples_side_by_side(model: WanTransformer) -> None:
    latents, context = torch.randn(2, 16, 3, 4, 6), torch.randn(2, 512, 64)
    times = torch.tensor([900.0, 100.0])
    with torch.inference_mode():
        both = model(latents, times, Conditioning(context))
        each = [model(latents[i : i + 1], times[i], Conditioning(context[i : i + 1])) for i in range(2)]
    torch.testing.assert_close(both, torch.cat(each), atol=1e-5, rtol=1e-5)


def test_every_parameter_learns(model: WanTransformer) -> None:
    conditioning = Conditioning(torch.randn(2, 512, 64))
    model(torch.randn(2, 16, 3, 4, 6), torch.tensor([900.0, 1.0]), conditioning).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    model.zero_grad(set_to_none=True)


def test_the_timestep_is_embedded_in_float64_whatever_the_compute_dtype() -> None:
    """937 and 936 are one number in bfloat16."""
    model = WanTransformer(CONFIG).bfloat16()
    latents, conditioning = torch.randn(1, 16, 1, 4, 4), Conditioning(torch.randn(1, 512, 64))
    with torch.inference_mode():
        at_937, at_936 = (model(latents, torch.tensor(t), conditioning) for t in (937.0, 936.0))
        (found, _), (expected, _) = model.embed_time(torch.tensor(937.0)), model.float().embed_time(torch.tensor(937.0))
    assert not torch.equal(at_937, at_936)
    assert at_937.dtype == torch.float32
    assert torch.equal(found, expected)


def test_bfloat16_stays_near_fp32(model: WanTransformer) -> None:
    half = WanTransformer(CONFIG)
    half.load_state_dict(model.state_dict())
    latents, conditioning = TENSORS["1.latents"], Conditioning(TENSORS["1.context"])
    with torch.inference_mode():
        exact = model(latents, torch.tensor(872.0), conditioning)
        error = half.bfloat16()(latents, torch.tensor(872.0), conditioning) - exact
    assert error.std() < 0.05 * exact.std()


def test_extra_channels_join_the_latents() -> None:
    model = WanTransformer(replace(CONFIG, in_dim=17))
    latents, extra, context = torch.randn(2, 16, 3, 4, 4), torch.randn(1, 1, 3, 4, 4), torch.randn(2, 512, 64)
    with torch.inference_mode():
        joined = model(latents, torch.tensor(500.0), Conditioning(context, extra_channels=extra))
        whole = torch.cat([latents, extra.expand(2, -1, -1, -1, -1)], dim=1)
        assert torch.equal(joined, model(whole, torch.tensor(500.0), Conditioning(context)))


def test_the_published_transformer_is_this_one_tensor_for_tensor() -> None:
    published = json.loads((DATA / "checkpoint_keys.json").read_text())["dit_t2v_A14B"]
    config = TransformerConfig.from_header({name: tuple(shape) for name, shape in published.items()}, {})
    with torch.device("meta"):
        built = {name: list(tensor.shape) for name, tensor in WanTransformer(config).state_dict().items()}
    assert len(published) == 1095
    assert list(built.items()) == list(published.items())
    assert {name: list(shape) for name, shape in config.tensor_shapes().items()} == published
    assert (config.num_heads, config.num_layers, config.ffn_dim) == (40, 40, 13824)


@pytest.mark.parametrize("heads", ["0", "7", "x", "97", "9" * 5000, ""])
def test_a_false_number_of_heads_is_refused(heads: str) -> None:
    with pytest.raises(InputError):
        TransformerConfig.from_header(CONFIG.tensor_shapes(), {"num_heads": heads})


class Ops(TorchDispatchMode):
    """Names of the operators a forward calls."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204, ARG002
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **kwargs or {})


def test_a_forward_never_waits_for_the_device(model: WanTransformer) -> None:
    with torch.inference_mode(), Ops() as ops:
        run(model, CASES["cases"][1], dense_attention)
    assert not {"_local_scalar_dense", "nonzero", "item", "equal"} & set(ops.names)
    assert not any("complex" in name for name in ops.names)


def test_passes_run_together_are_the_passes_run_alone(model: WanTransformer) -> None:
    case = CASES["cases"][1]
    latents, timestep = TENSORS["1.latents"], torch.tensor(case["timestep"])
    passes = [Conditioning(TENSORS["1.context"], cross_attn=windows(case)), Conditioning(TENSORS["0.context"])]
    with torch.inference_mode():
        alone = [model(latents, timestep, conditioning) for conditioning in passes]
        for results in (model.passes(latents, timestep, passes), model.run_together(latents, timestep, passes)):
            assert all(torch.equal(a, b) for a, b in zip(results, alone, strict=True))
    assert not torch.equal(*alone)
