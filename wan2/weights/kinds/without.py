"""Files that hold no weights although they have the name of some, by how they begin. Reads a few bytes."""

from __future__ import annotations

import json
import tarfile
import zipfile
from pathlib import Path

from wan2.errors import InputError
from wan2.parsing import Reading
from wan2.weights.kinds.kind import Kind

# Bytes that are looked at; a description in JSON may be this long.
HEAD, MAX_JSON = 1 << 10, 1 << 23
# How the names of PyTorch's own files end.
PICKLES = (".pth", ".pt", ".bin", ".ckpt")
MAGIC = (
    (b"version https://git-lfs", "Git LFS pointer", "the weights themselves were not downloaded"),
    (b"GGUF", "GGUF file", ""),
    (b"\x89HDF", "HDF5 file", "made by Keras or TensorFlow"),
    (b"\x89PNG", "picture (PNG)", ""),
    (b"\xff\xd8\xff", "picture (JPEG)", ""),
    (b"7z\xbc\xaf", "7-Zip archive", "unpack it first"),
    (b"Rar!", "RAR archive", "unpack it first"),
    (b"\x1f\x8b", "gzip archive", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "Zstandard archive", "unpack it first"),
    (b"\x80", "Python pickle", ""),
)
PAGE = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<")
UNKNOWN = "file of no known kind"
# What a description in JSON holds, and what it then is.
DESCRIPTIONS = (
    ("weight_map", "index of the shards of a checkpoint"),
    ("peft_type", "description of a PEFT adapter"),
    ("_class_name", "description of a model or pipeline of diffusers"),
    ("architectures", "description of a model of transformers"),
    ("added_tokens", "tokenizer"),
    ("last_node_id", "workflow of ComfyUI"),
    ("error", "error message of a download"),
)


def without_weights(path: Path) -> Kind:
    """What a file is that is no file of tensors, as far as its beginning tells."""
    with Reading(str(path)):
        if not path.stat().st_size:
            return Kind("empty file", note="the download did not begin")
        with path.open("rb") as file:
            start = file.read(HEAD)
    for magic, what, note in MAGIC:
        if start.startswith(magic):
            return Kind(what, note=note)
    if start.lstrip().lower().startswith(PAGE):
        return Kind("web page", note="the download went wrong")
    if start.startswith(b"PK"):
        return _archive(path)
    if start.lstrip().startswith((b"{", b"[")) and (description := _description(path)):
        return Kind(description)
    return Kind("tar archive", note="unpack it first") if tarfile.is_tarfile(path) else Kind(_text_or_not(start))


def _archive(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            pickled = any(name.endswith("/data.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return Kind("zip archive or PyTorch file that is truncated")
    if pickled:
        named = "of more than plain tensors" if path.suffix in PICKLES else f"its name must end in {', '.join(PICKLES)}"
        return Kind("PyTorch file", note=named)
    return Kind("zip archive", note="unpack it first")


def _description(path: Path) -> str:
    """What a file of JSON is; empty where it is none."""
    try:
        with Reading(str(path)):
            table = json.loads(path.read_bytes()) if path.stat().st_size <= MAX_JSON else {}
    except InputError:
        return ""
    found = (what for key, what in DESCRIPTIONS if isinstance(table, dict) and key in table)
    return next(found, "JSON file")


def _text_or_not(start: bytes) -> str:
    try:
        text = start.decode()
    except UnicodeDecodeError as error:
        text = "" if error.start < len(start) - 3 else start[: error.start].decode()
    return (
        "text file" if text and all(char.isprintable() or char.isspace() for char in text) else "file of no known kind"
    )
