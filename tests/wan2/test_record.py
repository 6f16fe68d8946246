"""Fingerprints of model files."""

from __future__ import annotations

from pathlib import Path

from wan2.weights.fingerprint import HEAD_BYTES, fingerprint


def test_fingerprints_tell_files_apart_by_size_start_and_middle(tmp_path: Path):
    size = 4 * HEAD_BYTES
    original = bytes(size)
    changes = {
        "same": original,
        "start": b"x" + original[1:],
        "slice": original[: size // 2] + b"x" + original[size // 2 + 1 :],
        "longer": original + b"\0",
    }
    (tmp_path / "file").write_bytes(original)
    first = fingerprint([tmp_path / "file"])
    assert (first["files"], first["bytes"]) == (["file"], size)
    for name, content in changes.items():
        (tmp_path / "file").write_bytes(content)
        assert (fingerprint([tmp_path / "file"]) == first) == (name == "same")
