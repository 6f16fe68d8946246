"""Which tensors of an adapter are for parts that a run from text does not have. Knows names only."""

from __future__ import annotations

import re

IMAGE = r"[kv]_img|img_emb|add_[kv]_proj|norm_added_k|image_embedder"
TEXT_ENCODER = r"(^|\.)text_encoder(_\d)?\.|^lora_te\d?_"


def is_left_out(name: str) -> bool:
    """Whether a tensor of an adapter is for a part that a run from text does not have, or does not change: what looks
    at images, and the text encoder.
    """
    return re.search(f"{IMAGE}|{TEXT_ENCODER}", name) is not None
