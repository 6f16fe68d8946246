"""The boundary around parsers, and the bounds of what is parsed: tokenizers, headers, states, texts."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from tests.refused import refused
from tests.tiny import TinyModel
from wan2.errors import InputError
from wan2.parsing import Reading, read_json, without_stderr
from wan2.plan.checks import check_run
from wan2.plan.files import Files
from wan2.plan.saved import FORMAT, read_state
from wan2.plan.state_notes import NOTES
from wan2.request.flat import make_request
from wan2.request.presets import WAN22_T2V
from wan2.text.tokenizer import MAX_CHARACTERS, check_vocabulary, load_tokenizer
from wan2.weights.checkpoint import inspect_transformer
from wan2.weights.header import MAX_NAME, MAX_TENSORS, read_header
from wan2.weights.peft import Pattern

ROOT = Path(__file__).parents[2]
SOUND: dict[str, Any] = json.loads((ROOT / "tests/data/tokenizer/tokenizer.json").read_text())
STATE: dict[str, Any] = {
    "format": FORMAT,
    "step": 0,
    "options": {"seed": 1, "files": {"vae": "a"}, "lora_weight": [], "resume": None},
    "scene": {},
    "checkpoints": {"t5": {"files": ["a"], "bytes": 1, "fingerprint": "f"}},
    "versions": {"torch": "2"},
    "text": "t",
    "machine": {"device": "cpu", "dtype": "float32", "attention": None},
    "seconds": {"denoise": 1.5},
    "passes": 2,
}


@pytest.mark.parametrize(
    "error",
    [
        ValueError("two\nlines"),
        KeyError("x"),
        RecursionError(),
        MemoryError(),
        ZeroDivisionError(),
        OSError(5, "Input/output error"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"),
        RuntimeError("x" * 10_000),
        AssertionError(),
        StopIteration(),
        SystemError("\x00"),
    ],
)
def test_whatever_a_parser_raises_becomes_one_line(error: Exception):
    with pytest.raises(InputError) as refused, Reading("--here a.file"):
        raise error
    said = str(refused.value)
    assert said.startswith("--here a.file: cannot be read (") and len(said.splitlines()) == 1 and len(said) < 300
    assert refused.value.__cause__ is error


def test_own_errors_and_ends_of_the_program_pass():
    for error in (InputError("mine"), KeyboardInterrupt(), SystemExit(3)):
        with pytest.raises(type(error)) as passed, Reading("--here"):
            raise error
        assert passed.value is error


def test_a_panic_of_rust_is_an_input_error_and_prints_nothing(capfd: pytest.CaptureFixture[str]):
    rules = json.dumps({**SOUND, "normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}})
    with refused("^place: cannot be read .PanicException"), Reading("place"), without_stderr():
        tokenizers.Tokenizer.from_str(rules)
    os.write(2, b"back again")
    assert capfd.readouterr() == ("", "back again")


def test_without_stderr_when_there_is_none():
    code = "import os; os.close(2)\nfrom wan2.parsing import without_stderr\nwith without_stderr(): print('inside')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "inside\n"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("{", "is not JSON"),
        ("[" * 5000, "is not JSON"),
        ("9" * 5000, "is not JSON"),
        ("[1]", "is not a table"),
        ('{"a": ["\\ud800"]}', "holds text that is not valid Unicode"),
        ('{"\\udfff": 1}', "holds text that is not valid Unicode"),
    ],
)
def test_notes_that_are_none_are_named(text: str, rule: str):
    with refused(f"^x.safetensors: its plan {rule}$"):
        read_json(text, "x.safetensors", "plan")


def written_tokenizer(folder: Path, **changes: object) -> Path:
    (folder / "tokenizer.json").write_text(json.dumps({**SOUND, **changes}))
    return folder


def test_a_tokenizer_as_others_write_it_is_read(tmp_path: Path):
    """The parts of UMT5's own file: two rules before, two that split, tokens added, a decoder."""
    normalizer = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
    added = [{**SOUND["added_tokens"][0], "id": 200 + i, "content": f"<extra_id_{i}>"} for i in range(300)]
    folder = written_tokenizer(
        tmp_path,
        normalizer={"type": "Sequence", "normalizers": [SOUND["normalizer"], normalizer]},
        pre_tokenizer={
            "type": "Sequence",
            "pretokenizers": [{"type": "WhitespaceSplit"}, SOUND["pre_tokenizer"]],
        },
        added_tokens=SOUND["added_tokens"] + added,
    )
    found = load_tokenizer(folder)
    assert found.highest_id == 499
    assert found.tokenize("a gull").ids == load_tokenizer(ROOT / "tests/data/tokenizer").tokenize("a gull").ids


def test_a_tokenizer_of_pairs_of_bytes_is_read(tmp_path: Path):
    vocabulary = {token: number for number, (token, _) in enumerate(SOUND["model"]["vocab"])}
    model = {"type": "BPE", "vocab": vocabulary, "merges": [], "unk_token": "<unk>", "fuse_unk": False}
    prompt = load_tokenizer(written_tokenizer(tmp_path, model=model)).tokenize("a gull")
    assert prompt.ids[-1] == 1 and prompt.num_tokens > 6


def test_a_text_encoder_without_an_embedding_for_every_token_is_refused(tmp_path: Path):
    tokenizer = load_tokenizer(ROOT / "tests/data/tokenizer")
    assert tokenizer.highest_id == len(SOUND["model"]["vocab"]) - 1
    check_vocabulary(tokenizer, tokenizer.highest_id + 1, Path("x"))
    with refused(r"^--t5 x: has 116 embeddings; the tokens of --tokenizer .* go up to 116$"):
        check_vocabulary(tokenizer, tokenizer.highest_id, Path("x"))
    assert tmp_path.exists()


def test_the_embeddings_are_counted_before_the_run(tiny: TinyModel, tmp_path: Path):
    data = tiny.t5.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    order = sorted((name for name in header if name != "__metadata__"), key=lambda n: header[n]["data_offsets"])
    body, end = b"", 0
    for name in order:
        entry = header[name]
        start, stop = entry["data_offsets"]
        if name == "token_embedding.weight":
            stop = start + (stop - start) // entry["shape"][0] * 100
            entry["shape"][0] = 100
        body += data[8 + length + start : 8 + length + stop]
        entry["data_offsets"] = [end, end + stop - start]
        end += stop - start
    text = json.dumps(header).encode()
    path = tmp_path / "t5.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    files = {name: getattr(tiny, name) for name in ("vae", "tokenizer")} | {"t5": path}
    files |= {f"dit_{noise}_noise": tiny.expert(noise) for noise in ("high", "low")}
    values = {"prompt": "a gull", "height": 32, "width": 32, "num_frames": 5, "save_path": tmp_path / "a.mp4"}
    with refused(f"^--t5 {path}: has 100 embeddings; the tokens of --tokenizer .* go up to 116$"):
        check_run(make_request(WAN22_T2V, values | files), Files())


def test_texts_beyond_the_limit_are_refused_before_they_are_cleaned():
    tokenizer = load_tokenizer(ROOT / "tests/data/tokenizer")
    assert tokenizer.tokenize("a" * MAX_CHARACTERS).num_tokens > 512
    with refused(f"^has 20001 characters; must be at most {MAX_CHARACTERS}$"):
        tokenizer.tokenize("a" * (MAX_CHARACTERS + 1))


def test_an_entity_of_thousands_of_digits_is_one_line():
    with refused("^cannot be read .ValueError"):
        load_tokenizer(ROOT / "tests/data/tokenizer").tokenize(f"a &#{'7' * 4400}; b")


def written_header(path: Path, names: list[str]) -> Path:
    text = json.dumps({name: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for name in names}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    return path


def test_headers_of_too_many_tensors_blocks_or_letters(tmp_path: Path):
    path = tmp_path / "a.safetensors"
    for names, rule in (
        ([f"blocks.{i}.x" for i in range(MAX_TENSORS + 1)], f"has {MAX_TENSORS + 1} tensors; must be at most"),
        (["a" * (MAX_NAME + 1)], f"has a name of {MAX_NAME + 1} characters"),
    ):
        with refused(rule):
            read_header(written_header(path, names))
    assert len(read_header(written_header(path, [f"{i}" for i in range(MAX_TENSORS)])).entries) == MAX_TENSORS


def test_a_transformer_of_thousands_of_blocks_is_refused(tiny: TinyModel, tmp_path: Path):
    data = tiny.expert("high").read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    end = len(data) - 8 - length
    header |= {f"blocks.{i}.x": {"dtype": "F32", "shape": [0], "data_offsets": [end, end]} for i in range(600)}
    text = json.dumps(header).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    with refused("has 600 blocks; must be at most 512"):
        inspect_transformer(path)


def test_shards_count_together(tmp_path: Path):
    half = MAX_TENSORS // 2 + 1
    for part in "ab":
        written_header(tmp_path / f"{part}.safetensors", [f"{part}{i}" for i in range(half)])
    index = {"weight_map": {part: f"{part}.safetensors" for part in "ab"}}
    (tmp_path / "m.safetensors.index.json").write_text(json.dumps(index))
    with refused(f"has {2 * half} tensors"):
        read_header(tmp_path / "m.safetensors.index.json")


@pytest.mark.parametrize(
    ("module", "alpha"),
    [
        ("blocks.1.q", 2.0),
        ("blocks.11.q", 3.0),
        ("q", 9.0),
        ("blocks.1.k", 4.0),
        ("x", 7.0),
    ],
)
def test_the_first_name_of_a_pattern_that_fits_counts(module: str, alpha: float):
    pattern = {"^blocks.1.q": 2.0, ".11.q": 3.0, ".q": 9.0, ".k": 4.0, ".1.k": 5.0}
    assert Pattern(pattern, 7.0).of(module) == alpha


def state_file(path: Path, notes: object) -> Path:
    text = json.dumps({"__metadata__": {"state": json.dumps(notes)}}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    return path


def test_the_notes_of_a_sound_state_are_taken(tmp_path: Path):
    assert STATE.keys() == NOTES.keys() and all(holds(STATE[name]) for name, holds in NOTES.items())
    with refused("its step 1 is none of None"):
        read_state(state_file(tmp_path / "a.state.safetensors", STATE))


def test_stages_of_an_older_state_have_the_names_of_today(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("wan2.plan.saved._check_tensors", lambda *_: None)
    older = {"Reading the text": 1, "Preparing previews": 2, "Denoising": 3, "Decoding": 4}
    state = read_state(state_file(tmp_path / "a.state.safetensors", STATE | {"seconds": older}))
    assert state.seconds == {"encode_text": 1, "prepare_previews": 2, "denoise": 3, "decode": 4}


@pytest.mark.parametrize(
    "odd", [None, True, -1, 1.5, "x", [], [1], {"a": {"b": {"c": 1}}}, {"a": "\0"}, 2**63], ids=repr
)
@pytest.mark.parametrize("name", NOTES)
def test_a_note_of_another_kind_is_refused_by_its_name(name: str, odd: object, tmp_path: Path):
    if NOTES[name](odd):
        assert (name, type(odd)) in {("text", str), ("scene", dict)}
        return
    path = state_file(tmp_path / "a.state.safetensors", STATE | {name: odd})
    with refused(f"^--resume {path}: its field {name} does not hold what it should$"):
        read_state(path)


@pytest.mark.parametrize(
    ("name", "odd"),
    [
        ("seconds", {"denoise": "x"}),
        ("seconds", {"denoise": True}),
        ("seconds", {"denoise": float("nan")}),
        ("seconds", {"denoise": -0.5}),
        ("machine", {"device": 1}),
        ("machine", {"attention": ["sdpa"]}),
        ("machine", {"gpu": "x"}),
        ("versions", {"torch": None}),
        ("checkpoints", {"t5": "f"}),
        ("checkpoints", {"t5": {"files": "a", "bytes": 1, "fingerprint": "f"}}),
        ("checkpoints", {"t5": {"files": ["a"], "bytes": 1, "fingerprint": None}}),
        ("options", {"save_path": "a\0.mp4"}),
        ("options", {"lora_weight": [["a"]]}),
    ],
)
def test_a_leaf_of_another_kind_is_refused_by_its_field(name: str, odd: object, tmp_path: Path):
    path = state_file(tmp_path / "a.state.safetensors", STATE | {name: odd})
    with refused(f"its field {name} does not hold what it should$"):
        read_state(path)
