"""The files that a request names, and everything about them that is looked at: each is opened once. No PyTorch."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wan2.errors import InputError
from wan2.request.model import Expert
from wan2.request.request import Request
from wan2.text.tokenizer import TOKENIZER_FILE, TokenizedPrompt, Tokenizer, load_tokenizer
from wan2.weights.checkpoint import PICKLES, inspect_transformer
from wan2.weights.fingerprint import fingerprint
from wan2.weights.fp8_cache import cache_path
from wan2.weights.header import CheckpointHeader, checkpoint_files, read_header
from wan2.weights.lora import with_loras
from wan2.weights.sources import Lora, TransformerFile
from wan2.weights.watch import Watch


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
    return [part for paths in named_files(request).values() for path in paths for part in _parts(path)]


def inputs_of(request: Request) -> dict[str, list[Path]]:
    """Setting -> the files that the run reads by it. What cannot be read stands for itself: it is refused elsewhere."""
    found = {name: [part for path in paths for part in _parts(path)] for name, paths in named_files(request).items()}
    if request.latent_path:
        found["latent_path"] = [request.latent_path]
    elif request.compute.fp8_cache:
        found["fp8_cache"] = [cache_path(expert.path, expert.merged) for expert in request.model.experts]
    return found


def _parts(path: Path) -> list[Path]:
    if (path / TOKENIZER_FILE).is_file():
        return [path / TOKENIZER_FILE]
    try:
        return list(dict.fromkeys([path, *checkpoint_files(path)] if path.is_file() else checkpoint_files(path)))
    except (InputError, OSError):
        return [path]


@contextmanager
def naming(name: str, path: Path | None = None) -> Iterator[None]:
    """Errors about a file get the setting that named it."""
    try:
        yield
    except InputError as error:
        if error.field == name:
            raise
        rule = error.quoted.removeprefix(f"--{name} ")
        if path is not None and rule.startswith(f"{path}: "):
            raise InputError(rule.removeprefix(f"{path}: "), field=name, value=path) from error
        raise InputError(rule, field=name) from error


@dataclass
class Files:
    """Files opened for planning. Every plan of one command may share them: a file that changes meanwhile is noticed
    when it is used (`watch`).
    """

    watch: Watch = field(default_factory=Watch)
    _headers: dict[Path, CheckpointHeader] = field(default_factory=dict)
    _bases: dict[Path, TransformerFile] = field(default_factory=dict)
    _transformers: dict[tuple[Path, tuple[Lora, ...]], TransformerFile] = field(default_factory=dict)
    _tokenizers: dict[Path, Tokenizer] = field(default_factory=dict)
    _texts: dict[tuple[Path, str], TokenizedPrompt] = field(default_factory=dict)
    _prints: dict[tuple[Path, ...], dict[str, Any]] = field(default_factory=dict)
    _parts: dict[Path, list[Path]] = field(default_factory=dict)

    def header(self, path: Path) -> CheckpointHeader:
        """What the header of a checkpoint says. Raises `InputError` when it cannot be read."""
        if path not in self._headers:
            self._headers[path] = read_header(path)
        return self._headers[path]

    def base(self, expert: Expert) -> TransformerFile:
        """The checkpoint of an expert found sound, without its LoRAs. Raises `InputError` otherwise."""
        if expert.path not in self._bases:
            self._bases[expert.path] = inspect_transformer(expert.path, header=self.header(expert.path))
        return self._bases[expert.path]

    def transformer(self, expert: Expert) -> TransformerFile:
        """The checkpoint of an expert with the LoRAs that change it. Raises `InputError` where they do not fit."""
        key = expert.path, expert.merged
        if key not in self._transformers:
            self._transformers[key] = with_loras(self.base(expert), expert.merged)
        return self._transformers[key]

    def tokenizer(self, folder: Path) -> Tokenizer:
        """The tokenizer of a folder. Raises `InputError` when there is none."""
        if folder not in self._tokenizers:
            self._tokenizers[folder] = load_tokenizer(folder)
        return self._tokenizers[folder]

    def tokenize(self, folder: Path, text: str, name: str) -> TokenizedPrompt:
        """A text as tokens; `name` begins the message when it cannot be. Raises `InputError` then."""
        key = folder, text
        if key not in self._texts:
            self._texts[key] = self.tokenizer(folder).tokenize(text, name)
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
                parts = [part for path in paths for part in self._shards(name, path)]
                found[name] = self.fingerprint(parts)
        return found

    def _shards(self, name: str, path: Path) -> list[Path]:
        if name == "tokenizer":
            return [path / TOKENIZER_FILE]
        if path not in self._parts:
            self._parts[path] = checkpoint_files(path)
        return self._parts[path]


def readable(path: Path) -> bool:
    """Whether a checkpoint has a header that can be read without PyTorch."""
    return path.suffix not in PICKLES


def absent(request: Request) -> Mapping[str, Path]:
    """The files that are not there, by the names of their settings."""
    gone = {name: [path for path in paths if not path.exists()] for name, paths in named_files(request).items()}
    return {name: paths[0] for name, paths in gone.items() if paths}
