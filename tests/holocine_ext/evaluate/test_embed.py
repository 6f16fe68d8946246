"""Embeddings through transformers, on a tiny CLIP with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPModel, CLIPVisionModel

from holocine_ext.evaluate.embed import Embedder, measure, related
from wan2.errors import InputError

WIDTHS = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
LETTERS = ["<|startoftext|>", "<|endoftext|>", *"abcdehlmopst", *(f"{letter}</w>" for letter in "abcdehlmopst")]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    words = {"vocab_size": len(LETTERS), "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1, "projection_dim": 16}
    config = CLIPConfig(
        text_config={**WIDTHS, **words},
        vision_config={**WIDTHS, "image_size": 32, "patch_size": 16, "projection_dim": 16},
        projection_dim=16,
    )
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder)
    prepared = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 32},
        "crop_size": {"height": 32, "width": 32},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(prepared))
    (folder / "vocab.json").write_text(json.dumps({letter: i for i, letter in enumerate(LETTERS)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    names = {"bos_token": LETTERS[0], "eos_token": LETTERS[1], "unk_token": LETTERS[1], "pad_token": LETTERS[1]}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, **names})
    )
    return folder


def test_equal_shots_are_wholly_consistent(clip: Path):
    frames = np.full((12, 40, 60, 3), 90, np.uint8)
    found = measure(Embedder(str(clip), "cpu"), frames, [(0, 5), (5, 12)], ["a cat", "the cat"])
    assert [found[name] for name in ("inter_shot", "intra_first", "intra_frames")] == pytest.approx([1, 1, 1], abs=1e-5)
    assert found["caption"] is not None and -1 <= found["caption"] <= 1


def test_different_shots_are_less_so(clip: Path):
    frames = np.random.default_rng(0).integers(0, 256, (12, 40, 60, 3), dtype=np.uint8)
    frames[:5] = 10
    found = measure(Embedder(str(clip), "cpu"), frames, [(0, 5), (5, 12)], ["a cat " * 200, "the cat"])
    assert found["inter_shot"] is not None and found["inter_shot"] < 1 - 1e-4


def test_a_model_that_reads_no_text_leaves_captions_out(clip: Path, tmp_path: Path):
    CLIPVisionModel.from_pretrained(clip).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text((clip / "preprocessor_config.json").read_text())
    found = measure(Embedder(str(tmp_path), "cpu"), np.zeros((4, 32, 32, 3), np.uint8), [(0, 4)], ["a cat"])
    assert (found["caption"], found["inter_shot"]) == (None, None)


def test_the_same_character_is_followed_across_shots():
    captions = ["[character1] runs", "[character2] waits", "[Character1] and [character2] meet"]
    assert related(captions) == [(0, 2), (1, 2)]
    assert related(["a", "b", "c"]) == [(0, 1), (0, 2), (1, 2)]
    assert related(["[character1]", "a street"]) == []


def test_a_folder_without_a_model(tmp_path: Path):
    with pytest.raises(InputError, match="`embed_model` .* cannot be loaded"):
        Embedder(str(tmp_path), "cpu")
