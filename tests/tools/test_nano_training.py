"""The trainer's parts: equal to what inference runs, and resumable to the bit."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from holocine_ext.evaluate.nano_world.captions import describe
from holocine_ext.evaluate.nano_world.world import HATS, Character, Scene, Shot, draw, random_cuts, random_scene
from holocine_ext.presets import MODELS
from holocine_ext.shots.attention import WindowCrossAttention
from holocine_ext.shots.layout import ShotLayout
from holocine_ext.shots.spans import allowed_key_ranges, text_spans
from holocine_ext.story.prompt import build_prompt
from tools.nano.ablated import ShotsApart
from tools.nano.batches import (
    TEXT_LENGTH,
    Batch,
    WindowBias,
    draw_batch,
    encode_scenes,
    encode_text,
    tokenize,
    window_bias,
)  # fmt: skip
from tools.nano.code import fit_code, load_code, to_tensor
from tools.nano.export import export_expert
from tools.nano.hats import Hats, draw_hats
from tools.nano.shipped import load_expert, load_text
from tools.nano.state import Schedule, save_state, train
from tools.nano.tokenizer import fit_tokenizer, save_tokenizer
from tools.nano.train_dit import Course, new_transformer, random_sigmas
from tools.nano.train_text import new_text_encoder, readings
from tools.nano.vae_net import FrameVAE
from tools.train_nano import ALONE, FURTHER, NOISE, SHIPPED, courses, shipped, weights
from wan2.models.attention import dense_attention
from wan2.run.text_encoder import encode, load_text_encoder
from wan2.run.vae import inspect_vae, load_vae
from wan2.text.tokenizer import load_tokenizer


def test_the_exported_vae_is_the_trained_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    vae = FrameVAE(4, torch.linspace(-1, 1, 16), torch.linspace(1, 3, 16))
    for parameter in vae.parameters():
        nn.init.normal_(parameter, std=0.3) if parameter.dim() > 1 else None
    path = tmp_path / "vae.safetensors"
    save_file(dict(vae.export()), path)
    loaded = load_vae(inspect_vae(path), "cpu", torch.float32)
    latents, video = torch.randn(1, 16, 4, 3, 3), torch.rand(1, 3, 13, 24, 24) * 2 - 1
    raw = (latents * loaded.std + loaded.mean)[0].transpose(0, 1)
    with torch.inference_mode():
        decoded = torch.cat([vae.decoder(vae.conv2(raw[:1]), True), vae.decoder(vae.conv2(raw[1:]), False)])
        frames = video[0].transpose(0, 1)
        moments = torch.cat([vae.encoder(frames[:1], True), vae.encoder(frames[1:], False)])
        encoded = vae.conv1(moments)[:, :16]
    assert (loaded.decode(latents)[0].transpose(0, 1) - decoded.clamp(-1, 1)).abs().max() < 1e-5
    expected = (encoded.transpose(0, 1)[None] - loaded.mean) / loaded.std
    assert (loaded.encode(video) - expected).abs().max() < 1e-4


def test_the_linear_code_keeps_the_picture() -> None:
    code = fit_code(clips=60)
    rng = Random(5)
    video = to_tensor(draw(random_scene(rng, 33, random_cuts(rng, 33, 2))))
    latents = code.encode(video)
    assert latents.shape == (1, 16, 9, 8, 8) and 0.5 < latents.std() < 2.0
    decoded = code.decode(latents)
    assert decoded.shape == video.shape and (decoded - video).abs().mean() < 0.08


def test_the_code_that_is_used_draws_this_world() -> None:
    used, fitted = load_code(), fit_code(clips=60)
    assert (used.basis.T @ used.inverse.T - torch.eye(16)).abs().max() < 1e-5
    video = to_tensor(draw(random_scene(Random(5), 33, [13])))
    errors = [(code.decode(code.encode(video)) - video).abs().mean() for code in (used, fitted)]
    assert errors[0] < 1.2 * errors[1] and errors[1] < 0.08


def test_readings_are_of_the_right_character() -> None:
    tokenizer = fit_tokenizer(scenes=200)
    cast = (Character("red", "circle"), Character("blue", "square"))
    shots = (Shot(0, 9, "wide", "left", "day", "left", 1), Shot(9, 17, "close", "still", "day", "left", 0))
    captions = ("Wide shot of [character2] moving left by day.", "Close-up of the red ball waiting by day.")
    text = build_prompt("[character1] is a red ball. [character2] is a blue box. The scene is a city.", captions)
    prompt = tokenize(tokenizer, text)
    told = list(readings(torch.arange(prompt.num_tokens)[:, None].float(), prompt, Scene("city", "pink", cast, shots)))
    assert [facts["colour"] for _, facts in told] == ["blue", "red", "red", "blue", "blue"]
    assert [facts.get("framing") for _, facts in told] == ["wide", "close", None, None, None]
    first, second, last = (float(vector) for vector, _ in told[2:])
    assert first < second < float(told[0][0]) < float(told[1][0]) and abs(last - float(told[0][0])) < 8


def test_without_windows_a_prompt_is_seen_whole() -> None:
    tokenizer = fit_tokenizer(scenes=200)
    scene = random_scene(Random(3), 33, [9, 21])
    prompts = [tokenize(tokenizer, describe(Random(3), scene).prompt)]
    layout = ShotLayout(33, (9, 21), 4)
    assert window_bias(layout, prompts, windows=False).bias.isfinite().all()
    assert not window_bias(layout, prompts).bias.isfinite().all()


def a_batch(seed: int) -> tuple[Batch, Hats]:
    rng, code = Random(seed), load_code()
    batch = draw_batch(rng, code, fit_tokenizer(scenes=200), (33, 49), (2, 4))
    return batch, draw_hats(rng, code, batch)


def test_batches_hold_the_shots_asked_for_and_show_no_hats_without_a_caption() -> None:
    captioned = []
    for seed in range(3):
        batch, hats = a_batch(seed)
        assert len(batch.layout.shots) == 2 or (len(batch.layout.shots), batch.layout.num_frames) == (4, 49)
        told = ["[global caption]" in prompt.text for prompt in batch.prompts]
        assert batch.captioned.tolist() == told == hats.where.flatten(1).any(dim=1).tolist()
        captioned += told
    assert set(captioned) == {True, False}


def test_where_the_hat_is_does_not_depend_on_the_hat() -> None:
    code, scene = load_code(), random_scene(Random(3), 33, [9, 21])
    hatted = [replace(scene, hat=hat) for hat in HATS]
    layout, prompts = ShotLayout(33, (9, 21), 16), [tokenize(fit_tokenizer(scenes=200), "a prompt")] * len(HATS)
    batch = Batch(layout, hatted, encode_scenes(code, hatted), prompts, torch.ones(len(HATS), dtype=torch.bool))
    where = draw_hats(Random(0), code, batch).where
    assert where.shape == (len(HATS), 1, 9, 8, 8) and 0.02 < where[0].float().mean() < 0.3
    assert (where.any(dim=0) != where.all(dim=0)).float().mean() < 0.02


def test_of_two_hats_the_one_that_noisy_latents_speak_for_is_expected() -> None:
    _, hats = a_batch(1)
    noise = torch.randn(hats.first.shape, generator=torch.Generator().manual_seed(0))
    for clean in (hats.first, hats.second):
        sigmas = torch.full((len(clean),), 0.3)
        assert (hats.expected(0.7 * clean + 0.3 * noise, sigmas) - clean).abs().max() < 1e-3
    nothing = hats.expected(noise, torch.ones(len(noise)))
    assert (nothing - (hats.first + hats.second) / 2).abs().max() < 1e-3


def test_mixed_hats_are_shot_by_shot_and_lead_back_to_one() -> None:
    batch, hats = a_batch(1)
    for scene, (first, second, mixed) in enumerate(zip(hats.first, hats.second, hats.mixed, strict=True)):
        for a, b in batch.layout.latents:
            there = [torch.equal(mixed[:, a:b], one[:, a:b]) for one in (first, second)]
            assert any(there), (scene, a)
    sigmas = torch.full((len(batch.prompts),), 0.7)
    noise = torch.randn(hats.first.shape, generator=torch.Generator().manual_seed(0))
    noisy, velocity = hats.noised(sigmas, noise)
    reached = noisy - 0.7 * velocity
    apart = torch.stack([(reached - one).abs().flatten(1).amax(dim=1) for one in (hats.first, hats.second)])
    assert apart.amin(dim=0).max() < 1e-2 and (apart.argmin(dim=0)[1::2] == 0).all()
    plain, clean = hats.noised(torch.full_like(sigmas, 0.1), noise)
    assert torch.equal(clean, noise - hats.first) and (plain - 0.9 * hats.first - 0.1 * noise).abs().max() < 1e-6


@pytest.mark.parametrize("variant", FURTHER)
def test_a_stage_of_a_variant_goes_on_from_the_one_before(variant: str) -> None:
    state, steps = Path("state"), {f"{stage}_steps": number for number, stage in enumerate(ALONE, 7)}
    at = {noise: weights(state, "experts", noise) for noise in NOISE}
    for stage in FURTHER[variant]:
        for noise, (start, path, course) in zip(NOISE, courses(stage, Namespace(state=state, **steps)), strict=True):
            assert start == at[noise] and course.steps == steps[f"{stage}_steps"]
            assert (course.low, course.high) == NOISE[noise] and course.variants == (variant,)
            at[noise] = path
    assert at == {noise: weights(state, SHIPPED[variant], noise) for noise in NOISE}


def test_the_shipped_text_encoder_is_trained_on_as_inference_runs_it() -> None:
    files = MODELS["nano"]["full"].model
    tokenizer = fit_tokenizer()
    trained = new_text_encoder(tokenizer)
    load_text(files.t5, trained)
    prompt = tokenize(tokenizer, "Wide shot of a red ball moving right by day, in a meadow.")
    used = load_text_encoder(files.t5, torch.device("cpu"), torch.float32)
    with torch.inference_mode():
        states, expected = encode_text(trained.text, [prompt]), encode(used, prompt)
    assert states.abs().max() > 0.1
    assert (states[0, : prompt.num_tokens] - expected[0, : prompt.num_tokens]).abs().max() < 1e-4


def test_a_shipped_expert_is_exported_as_it_was_loaded(tmp_path: Path) -> None:
    path, video = shipped("sparse", "low"), new_transformer()
    load_expert(path, video)
    save_state(tmp_path / "a.pt", video, torch.optim.SGD(video.parameters()), 1)
    export_expert(tmp_path / "a.pt", tmp_path / "a.safetensors", "sparse")
    loaded, again = load_file(path), load_file(tmp_path / "a.safetensors")
    assert loaded.keys() == again.keys() and all(torch.equal(loaded[name], again[name]) for name in loaded)


def test_the_ablated_go_on_from_what_is_shipped() -> None:
    args = Namespace(state=Path("state"), ablated_steps=1)
    rows = [(start, path.stem, course.windows) for start, path, course in courses("ablated", args)]
    assert rows == [
        (shipped("full", "high"), "without_window_high", False),
        (shipped("full", "low"), "without_window_low", False),
        (shipped("sparse", "high"), "without_summary_high", True),
        (shipped("sparse", "low"), "without_summary_low", True),
    ]


def test_hats_are_not_mixed_without_counting() -> None:
    with pytest.raises(ValueError, match="where hats count"):
        Course(1, 1e-3, 0.5, seed=1, mixed=True)


def test_the_error_on_hats_is_that_where_they_are() -> None:
    _, hats = a_batch(1)
    error = torch.where(hats.where, 3.0, 1.0).expand_as(hats.first)
    assert hats.error(error) == 3.0
    assert replace(hats, where=torch.zeros_like(hats.where)).error(error) == 0.0


def test_shots_apart_see_only_themselves() -> None:
    layout = ShotLayout(33, (9, 21), 4)
    q, k, v = (torch.randn(1, layout.tokens, 2, 8) for _ in range(3))
    seen = ShotsApart(layout)(q, k, v)
    for a, b in layout.shots:
        assert torch.equal(seen[:, a:b], dense_attention(q[:, a:b], k[:, a:b], v[:, a:b]))


def test_the_batched_windows_are_those_of_inference() -> None:
    tokenizer = fit_tokenizer(scenes=200)
    rng = Random(1)
    scenes = [random_scene(rng, 33, [9, 21]) for _ in range(3)]
    prompts = [tokenize(tokenizer, describe(rng, scene).prompt) for scene in scenes]
    prompts.append(tokenize(tokenizer, "a prompt without tags"))
    layout = ShotLayout(33, (9, 21), 4)
    bias, longest = window_bias(layout, prompts).bias, max(prompt.num_tokens for prompt in prompts)
    for row, prompt in zip(bias, prompts, strict=True):
        n = prompt.num_tokens
        q, k, v = (torch.randn(1, length, 2, 8) for length in (layout.tokens, TEXT_LENGTH, TEXT_LENGTH))
        k[:, n:], v[:, n:] = k[:, n : n + 1].clone(), v[:, n : n + 1].clone()
        spans = text_spans(prompt)
        windows = allowed_key_ranges(spans, TEXT_LENGTH) or ([[(0, TEXT_LENGTH)]] * 3)
        expected = WindowCrossAttention(layout, tuple(map(tuple, windows)))(q, k, v)
        keys = [*range(n), *[n + 1] * (longest - n), n]
        found = WindowBias(row[None])(q, k[:, keys], v[:, keys])
        assert (found - expected).abs().max() < 1e-4


def test_the_tokenizer_reads_back_and_keeps_words_whole(tmp_path: Path) -> None:
    tokenizer = fit_tokenizer(scenes=300)
    save_tokenizer(tokenizer, tmp_path)
    prompt = "[global caption] A red ball. [per shot caption] Wide shot by day [shot cut] Close-up at night"
    tokenized = load_tokenizer(tmp_path).tokenize(prompt)
    assert tokenized.ids == tuple(tokenizer.encode(prompt).ids) and tokenized.ids[-1] == 1
    assert tokenized.num_tokens < 32 and 2 not in tokenized.ids
    assert tokenizer.token_to_id("<pad>") == 0 and tokenizer.token_to_id("<unk>") == 2


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.0, 0.875), (0.875, 1.0)])
def test_noise_levels_stay_with_their_expert(low: float, high: float) -> None:
    sigmas = random_sigmas(Random(0), 500, low, high)
    assert low <= sigmas.min() and sigmas.max() <= high and sigmas.max() - sigmas.min() > 0.9 * (high - low)


def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    def run(path: Path, stops: list[int]) -> dict[str, Tensor]:
        torch.manual_seed(3)
        model = nn.Linear(4, 4)
        for steps in stops:
            optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
            loss = lambda _, rng: {"loss": (model(torch.randn(8, 4)) - rng.random()).square().mean()}  # noqa: E731
            lines = train(path, model, optimizer, loss, Schedule(steps, 1e-2, seed=1, cooldown=1e-9))
            assert len(list(lines)) == (1 if steps == 60 else 0)
        return model.state_dict()

    whole, resumed = run(tmp_path / "a.pt", [60]), run(tmp_path / "b.pt", [25, 60])
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
