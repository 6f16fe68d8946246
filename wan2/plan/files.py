"""The files that a request names, and everything about them that is looked at: each is opened once. No PyTorch."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from wan2.errors import InputError
from wan2.models.config import TransformerConfig
from wan2.request.model import Expert, Model
from wan2.request.request import Request
from wan2.text.tokenizer import TOKENIZER_FILE, TokenizedPrompt, Tokenizer, load_tokenizer
from wan2.weights.checkpoint import inspect_transformer
from wan2.weights.fingerprint import fingerprint
from wan2.weights.fp8_cache import KeptFp8, cache_path, look_for_cache
from wan2.weights.header import CheckpointHeader, checkpoint_files, read_header
from wan2.weights.lora import inspect_lora, with_branches, with_loras
from wan2.weights.peft import adapter_files
from wan2.weights.scales import check_scales
from wan2.weights.sources import Lora, LoraFile, TransformerFile
from wan2.weights.watch import Stamp, Watch, stamp_of


def model_files(request: Request) -> dict[str, Path]:
    """The model files that a run reads, by the names of their settings."""
    model = request.model
    found: dict[str, Path] = {}
    if request.latent_path is None:
        found |= {"tokenizer": model.tokenizer, "t5": model.t5}
        found |= {expert.flag: expert.path for expert in model.experts}
    if request.output.decodes or request.output.preview:
        found["vae"] = model.vae
    return found


def lora_files(request: Request) -> dict[str, tuple[Path, ...]]:
    """The LoRA files of a run by the names of their settings, where there are any."""
    experts = request.model.experts
    found = {expert.name("lora_weight"): tuple(lora.path for lora in expert.loras) for expert in experts}
    return {name: paths for name, paths in found.items() if paths}


def named_files(request: Request) -> dict[str, tuple[Path, ...]]:
    """Every file with weights or rules that a run names, by the names of their settings."""
    return {name: (path,) for name, path in model_files(request).items()} | lora_files(request)


def input_files(request: Request) -> list[Path]:
    """Every file with weights or rules that a run reads, the shards of a checkpoint one by one."""
    return [part for name, paths in named_files(request).items() for path in paths for part in _parts(name, path)]


def inputs_of(request: Request) -> dict[str, list[Path]]:
    """Setting -> the files that the run reads by it. What cannot be read stands for itself: it is refused elsewhere."""
    named = named_files(request)
    found = {name: [part for path in paths for part in _parts(name, path)] for name, paths in named.items()}
    if request.output.soundtrack:
        found["soundtrack"] = [request.output.soundtrack]
    if request.latent_path:
        found["latent_path"] = [request.latent_path]
    elif request.compute.fp8_cache:
        merged = {expert: () if request.model.branches else expert.merged for expert in request.model.experts}
        found["fp8_cache"] = [cache_path(expert.path, loras) for expert, loras in merged.items()]
    return found


def _parts(name: str, path: Path) -> list[Path]:
    if (path / TOKENIZER_FILE).is_file():
        return [path / TOKENIZER_FILE]
    try:
        found = _files_at(name, path)
        return list(dict.fromkeys([path, *found] if path.is_file() else found))
    except (InputError, OSError):
        return [path]


def _files_at(name: str, path: Path) -> list[Path]:
    return adapter_files(path) if name.startswith("lora_weight") else checkpoint_files(path)


@contextmanager
def naming(name: str, path: Path | None = None) -> Iterator[None]:
    """Errors that name no setting get this one, and its file, or the part of it that the error names."""
    try:
        yield
    except InputError as error:
        if error.field:
            raise
        if path is None:
            raise InputError(str(error), field=name) from error
        text, start = str(error), f"{path}: "
        if text.startswith(start) or ": " not in text:
            raise InputError(text.removeprefix(start), field=name, value=path) from error
        part, _, rule = text.partition(": ")
        raise InputError(rule, field=name, value=part) from error


@dataclass
class Files:
    """Files opened for planning. Every plan of one command may share them: a file that changes meanwhile is noticed
    when it is used (`watch`).
    """

    watch: Watch = field(default_factory=Watch)
    _headers: dict[Path, CheckpointHeader] = field(default_factory=dict)
    _bases: dict[Path, TransformerFile] = field(default_factory=dict)
    _transformers: dict[tuple[Expert, bool, bool], TransformerFile] = field(default_factory=dict)
    _loras: dict[tuple[Lora, TransformerConfig, bool], LoraFile] = field(default_factory=dict)
    _kept: dict[tuple[Path, Stamp | None], KeptFp8] = field(default_factory=dict)
    _tokenizers: dict[Path, Tokenizer] = field(default_factory=dict)
    _texts: dict[tuple[Path, str], TokenizedPrompt] = field(default_factory=dict)
    _prints: dict[tuple[Path, ...], dict[str, Any]] = field(default_factory=dict)
    _parts: dict[Path, list[Path]] = field(default_factory=dict)

    def renew(self) -> Path | None:
        """Forget everything if a file has changed since it was looked at: the first that has, None if none has."""
        changed = self.watch.changed()
        if changed is not None:
            vars(self).update(vars(Files()))
        return changed

    def header(self, path: Path) -> CheckpointHeader:
        """What the header of a checkpoint says. Raises `InputError` when it cannot be read."""
        if path not in self._headers:
            self._headers[path] = read_header(path)
        return self._headers[path]

    def base(self, expert: Expert) -> TransformerFile:
        """The checkpoint of an expert, sound, scales included, without LoRAs. Raises `InputError` if it is not."""
        if expert.path not in self._bases:
            found = inspect_transformer(expert.path, header=self.header(expert.path))
            check_scales(found.header, found.sources)
            self._bases[expert.path] = found
        return self._bases[expert.path]

    def lora(self, lora: Lora, config: TransformerConfig, partial: bool) -> LoraFile:
        """What an adapter adds to a transformer of this size. Raises `InputError` where it does not fit.

        partial: what no run from text has is left out.
        """
        key = lora, config, partial
        if key not in self._loras:
            self._loras[key] = inspect_lora(lora, config, self.header(lora.path), partial)
        return self._loras[key]

    def values_beside(self, model: Model, config: TransformerConfig) -> int:
        """How many values stand beside the weights of an expert, of the one with more of them."""
        if not model.branches:
            return 0
        return max(
            sum(self.lora(lora, config, model.lora_partial).num_values for lora in expert.loras)
            for expert in model.experts
        )

    def kept_fp8(self, file: TransformerFile) -> KeptFp8:
        """The fp8 weights that are kept of a checkpoint; looked for again when the file there is another.

        Raises `InputError` when it is one that this program did not write.
        """
        path = cache_path(file.path, file.loras)
        key = path, stamp_of(path)
        if key not in self._kept:
            self._kept[key] = look_for_cache(file)
        return self._kept[key]

    def transformer(self, model: Model, expert: Expert) -> TransformerFile:
        """The checkpoint of an expert with its LoRAs. Raises `InputError` where they do not fit."""
        key = replace(expert, guidance_scale=1.0), model.branches, model.lora_partial
        if key not in self._transformers:
            inspect = functools.partial(self.lora, partial=model.lora_partial)
            base = self.base(expert)
            made = with_branches(base, expert.loras, inspect) if model.branches else None
            self._transformers[key] = made or with_loras(base, expert.merged, inspect)
        return self._transformers[key]

    def tokenizer(self, folder: Path) -> Tokenizer:
        """The tokenizer of a folder. Raises `InputError` when there is none."""
        if folder not in self._tokenizers:
            self._tokenizers[folder] = load_tokenizer(folder)
        return self._tokenizers[folder]

    def tokenize(self, folder: Path, text: str) -> TokenizedPrompt:
        """A text as tokens. Raises `InputError` when it cannot be, without a setting if the text is to blame."""
        key = folder, text
        if key not in self._texts:
            self._texts[key] = self.tokenizer(folder).tokenize(text)
        return self._texts[key]

    def fingerprint(self, parts: Iterable[Path]) -> dict[str, Any]:
        """Names, size and hash of the files of one model."""
        key = tuple(parts)
        if key not in self._prints:
            self._prints[key] = fingerprint(key)
        return self._prints[key]

    def fingerprints(self, request: Request, without: Collection[str] = ()) -> dict[str, Any]:
        """The fingerprint of every model file of a run, and one of all LoRAs of an expert, in their order."""
        found = {}
        for name, paths in named_files(request).items():
            if name not in without:
                parts = [part for path in paths for part in self.parts(name, path)]
                found[name] = self.fingerprint(parts)
        return found

    def parts(self, name: str, path: Path) -> list[Path]:
        """The files that a setting's path stands for. Raises `InputError` when there are none."""
        if name == "tokenizer":
            return [path / TOKENIZER_FILE]
        if path not in self._parts:
            self._parts[path] = _files_at(name, path)
        return self._parts[path]


def absent(request: Request) -> Mapping[str, Path]:
    """The files that are not there, by the names of their settings."""
    gone = {name: [path for path in paths if not path.exists()] for name, paths in named_files(request).items()}
    return {name: paths[0] for name, paths in gone.items() if paths}
