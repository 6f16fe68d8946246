"""Holds a job against the files it needs before anything loads, and says what it would do. Never imports PyTorch."""

from __future__ import annotations

import re
from pathlib import Path

from holocine_ext.job import Job, Making
from holocine_ext.layout import Range
from holocine_ext.plan import Plan, make_plan
from holocine_ext.spans import allowed_key_ranges, check_text_fits
from wan2.errors import InputError
from wan2.loading.checkpoint import inspect_transformer
from wan2.models.config import TransformerConfig
from wan2.options import Options
from wan2.preflight import EXPERTS, check_run
from wan2.text import TEXT_LENGTH, TokenizedPrompt, clean_prompt, load_tokenizer

_VARIANT_IN_NAME = re.compile(r"(full|sparse)_")
MASK_CHANNELS = 1


def check_job(job: Job) -> tuple[tuple[Range, ...], ...] | None:
    """Refuse a job that cannot succeed; for every shot the text positions it may see (None: no windows).

    Raises:
        InputError: the first thing found wrong; the message names its flag.
    """
    if job.making is None:
        check_run(job.options)
        return None
    tokenized = _tokenize(job.making, job.options)
    for name in EXPERTS:
        path = getattr(job.options.files, name)
        if path.exists():
            _inspect(name, path, job.making)
    check_run(job.options, extra_channels=MASK_CHANNELS if job.making.shot_mask_type else 0)
    return _key_ranges(job.making, tokenized)
