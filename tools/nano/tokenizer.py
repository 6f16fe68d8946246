"""A small Unigram tokenizer with T5's conventions (`<pad>` 0, `</s>` 1, `<unk>` 2), fitted to the captions."""

from __future__ import annotations

import json
import math
import string
from collections import Counter
from pathlib import Path
from random import Random

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from holocine_ext.evaluate.nano_world.captions import describe
from holocine_ext.evaluate.nano_world.world import random_cuts, random_scene

SPECIAL = ("<pad>", "</s>", "<unk>")
WORD = Regex(r"\u2581?[A-Za-z]+|\u2581?[^A-Za-z]")


def fit_tokenizer(seed: int = 0, scenes: int = 4000) -> Tokenizer:
    """Pieces are the words of `scenes` captions with the logarithm of their share, and every printable character."""
    rng = Random(seed)
    split = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(prepend_scheme="always"), pre_tokenizers.Split(WORD, behavior="isolated")]
    )
    counts: Counter[str] = Counter()
    for _ in range(scenes):
        scene = random_scene(rng, 97, random_cuts(rng, 97, rng.randint(1, 6)))
        counts.update(piece for piece, _ in split.pre_tokenize_str(describe(rng, scene).prompt))
    for piece in list(counts):
        counts[piece.upper() if len(piece) == 1 else piece.replace("\u2581", "")] += 1
    total = counts.total()
    characters = [c for c in "\u2581" + string.printable.strip() if c not in counts]
    pieces = [(piece, math.log(count / total)) for piece, count in counts.most_common() if piece]
    vocabulary = [(name, 0.0) for name in SPECIAL] + pieces + [(c, math.log(0.1 / total)) for c in characters]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=SPECIAL.index("<unk>"), byte_fallback=False))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the folder that transformers reads."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **names, "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
