"""Trains the text encoder of nano: the mean of every caption's vectors must contain the facts of its shot.

A caption that says `[character2]` must carry what the global caption says of that character. The readout is thrown
away afterwards; what stays is an encoder whose vectors hold the facts, as a pretrained one's would.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import UMT5Config, UMT5EncoderModel

from holocine_ext.evaluate.nano_world.captions import FACTS, describe, facts_of
from holocine_ext.evaluate.nano_world.world import Scene, random_cuts, random_scene
from holocine_ext.shots.spans import text_spans
from tools.nano.batches import encode_text, tokenize
from tools.nano.state import Schedule, train
from tools.nano.tokenizer import fit_tokenizer
from wan2.text.tokenizer import TokenizedPrompt

DIM = 64
"""Width of the text encoder; the real one has 4096."""


class TextEncoder(nn.Module):
    """The encoder and its readout: one linear for every fact."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        config = UMT5Config(
            vocab_size=vocabulary, d_model=DIM, d_kv=16, d_ff=128, num_layers=3, num_heads=4,
            dropout_rate=0.0, feed_forward_proj="gated-gelu", is_encoder_decoder=False,
        )  # fmt: skip
        self.text = UMT5EncoderModel(config)
        self.readout = nn.ModuleDict({fact: nn.Linear(DIM, len(values)) for fact, values in FACTS.items()})


def new_text_encoder(tokenizer: Tokenizer) -> TextEncoder:
    """The untrained networks."""
    torch.manual_seed(0)
    return TextEncoder(tokenizer.get_vocab_size())


def readings(hidden: Tensor, prompt: TokenizedPrompt, scene: Scene) -> Iterator[tuple[Tensor, dict[str, str]]]:
    """Vectors [DIM] of a prompt's embeddings [tokens, DIM], and the facts that must be read off each.

    The mean over a shot's caption contains its facts; a character's tag, at any place, contains colour and shape.
    """
    for (a, b), shot in zip(text_spans(prompt).shots or [(0, prompt.num_tokens)], scene.shots, strict=True):
        yield hidden[a:b].mean(dim=0), facts_of(scene, shot)
    for tag in re.finditer(r"\[character(\d)\]", prompt.text):
        character = scene.characters[int(tag[1]) - 1]
        inside = [i for i, (a, b) in enumerate(prompt.offsets) if tag.start() <= a < b <= tag.end()]
        yield hidden[inside].mean(dim=0), {"colour": character.colour, "shape": character.shape}


def readout_loss(readout: nn.Module, fact: str, named: Sequence[tuple[Tensor, dict[str, str]]]) -> Tensor:
    """Cross-entropy in nats of one fact, over the vectors that must contain it."""
    vectors, values = zip(*[(vector, facts[fact]) for vector, facts in named if fact in facts], strict=True)
    return F.cross_entropy(readout(torch.stack(vectors)), torch.tensor([FACTS[fact].index(v) for v in values]))


def train_text(path: Path, steps: int, seed: int = 4, peak: float = 3e-3, prompts: int = 32) -> Iterator[str]:
    """Train from the state at `path` to `steps`; yields progress lines with each fact's cross-entropy in nats."""
    tokenizer = fit_tokenizer()
    model = new_text_encoder(tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.01)

    def loss_of(_: int, rng: Random) -> dict[str, Tensor]:
        shots = [rng.randint(1, 6) for _ in range(prompts)]
        scenes = [random_scene(rng, 97, random_cuts(rng, 97, count)) for count in shots]
        tokenized = [tokenize(tokenizer, describe(rng, scene).prompt) for scene in scenes]
        named: list[tuple[Tensor, dict[str, str]]] = []
        for hidden, prompt, scene in zip(encode_text(model.text, tokenized), tokenized, scenes, strict=True):
            named += readings(hidden, prompt, scene)
        return {fact: readout_loss(model.readout[fact], fact, named) for fact in FACTS}

    yield from train(path, model, optimizer, loss_of, Schedule(steps, peak, seed, cooldown=0.25))
