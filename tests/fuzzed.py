"""What `fuzz.py` throws damaged input at. A target takes a random generator and an empty folder, and returns whether
the input was accepted; anything that it raises is a finding.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import re
import struct
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import holocine_ext.cli
import wan2.cli.main
from holocine_ext.evaluate.asked import find_asked
from holocine_ext.evaluate.report import render
from holocine_ext.evaluate.result import summarise
from holocine_ext.pictures.sheet import ContactSheet
from holocine_ext.shots.layout import ShotLayout
from tests import bulky
from tests.holocine_ext.evaluate.test_report import VOID, Reader, result
from tests.mutate import NUMBERS, WORDS, bomb, damage_bytes, damage_value, json_bytes
from tests.tiny import QUICK, TinyModel, impatient
from tests.wan2.lora_files import comfy, diffusers, draw, kohya, with_whole, write_lora
from tests.wan2.reference import CONFIG
from wan2.errors import InputError
from wan2.plan.outputs import OutputPaths
from wan2.run.text_encoder import load_text_encoder
from wan2.run.vae import inspect_vae, load_vae
from wan2.run.video_io import VideoWriter, read_metadata, read_video
from wan2.weights.checkpoint import load_tensors
from wan2.weights.dtypes import DTYPES, byte_length
from wan2.weights.peft import KEY

ROOT = Path(__file__).parents[1]
MAIN = {"wan2": wan2.cli.main.main, "holocine": holocine_ext.cli.main}
BOARDS = [path.read_bytes() for path in sorted((ROOT / "examples").glob("*.toml"))]
YAML = [path.read_bytes() for path in sorted((ROOT / "examples").glob("*.y*ml"))]
SCENE: dict[str, Any] = {
    "global_caption": "A [keeper] tends a lighthouse.",
    "characters": {"keeper": "an old man"},
    "shots": [
        {"caption": "The [keeper] sleeps", "frames": 5},
        {"caption": "The sea", "seconds": 1.5},
        {"caption": "x"},
    ],
    "fps": 8,
    "seed": 7,
    "num_frames": 33,
    "size": [32, 32],
}
PROMPT = ["--prompt", "a gull"]
TRACE = "ran"


class Ran:
    """Leaves a file behind when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (TRACE,)


@dataclass(frozen=True)
class Targets:
    """Every target, with sound inputs to damage: a model, a state and latents of each program, and a record."""

    tiny: TinyModel
    states: dict[str, bytes]
    latents: bytes
    record: dict[str, Any]
    loras: tuple[bytes, ...]

    def flags(self, **instead: Path) -> list[str]:
        """A command line that could run, but for the VAE, which is not there; files in place of the model's."""
        flags = [*self.tiny.flags(), *QUICK, "--vae", "absent"]
        return flags + [word for name, path in instead.items() for word in (f"--{name}", str(path))]

    def storyboard(self, rng: random.Random, folder: Path) -> bool:
        """A storyboard in any of its three forms."""
        kind = rng.choice(("json", "json", "toml", "yaml"))
        if kind == "json":
            scene = (
                damage_value(rng, SCENE)
                if rng.random() < 0.7
                else SCENE | {"shots": some_shots(rng), "num_frames": 241}
            )
            data = json_bytes(rng, scene)
            data = damage_bytes(rng, data) if rng.random() < 0.2 else data
        elif kind == "yaml" and rng.random() < 0.1:
            data = bomb() + rng.choice(
                (b"\nfps: *a9", b"\nshots: *a9", b"\n? *a9\n: 1", b"\nprompt: *a9", b"\nsize: *a9")
            )
        else:
            data = damage_bytes(rng, rng.choice(BOARDS if kind == "toml" else YAML))
        words = ["--dry_run", "--storyboard", str(put(folder, f"a.{kind}", data))]
        return command("holocine", [*self.flags(), *words])

    def prompt_file(self, rng: random.Random, folder: Path) -> bool:
        """A list of prompts or of storyboards."""
        put(folder, "b.json", json.dumps(SCENE).encode())
        line = f"b.json --d {rng.randrange(9)} --f 33 --fs 2 --g 3 --n dark\n"
        path = put(folder, "list.txt", damage_bytes(rng, (line * rng.randint(1, 9)).encode()))
        if rng.random() < 0.5:
            return command("holocine", [*self.flags(), "--dry_run", "--from_file", str(path)], lines=99)
        return command("wan2", [*self.flags(), "--from_file", str(path)])

    def header(self, rng: random.Random, folder: Path) -> bool:
        """A transformer's safetensors file whose header lies, in one file or as a shard."""
        data = rng.choice((damage_safetensors, rebuilt))(rng, self.tiny.expert("high").read_bytes())
        path = put(folder, "full_high_noise.safetensors", data)
        if rng.random() < 0.2:
            index = {"weight_map": {"a": path.name, "b": path.name}}
            path = put(folder, "a.safetensors.index.json", json_bytes(rng, damage_value(rng, index)))
        accepted = command("holocine", [*self.flags(dit_high_noise=path), *PROMPT, "--dry_run"])
        return (accepted or rng.random() < 0.1) and tensors_of(path)

    def lora(self, rng: random.Random, folder: Path) -> bool:
        """A LoRA of any spelling whose header or notes lie, or whose tensors are others than they should be."""
        data = rng.choice(self.loras)
        damage = rng.choice((damage_safetensors, rebuilt, damage_metadata if KEY.encode() in data else rebuilt))
        path = put(folder, "a.safetensors", damage(rng, data))
        flag = rng.choice(("--lora_weight", "--lora_weight_high_noise"))
        return command("holocine", [*self.flags(), *PROMPT, "--dry_run", flag, str(path)])

    def other_model(self, rng: random.Random, folder: Path) -> bool:
        """The VAE or the text encoder as safetensors whose tensors are others than they should be."""
        source, read = rng.choice(((self.tiny.vae, read_vae), (self.tiny.t5, read_text_encoder)))
        damage = rng.choice((damage_safetensors, rebuilt, rebuilt))
        path = put(folder, "a.safetensors", damage(rng, source.read_bytes()))
        try:
            return read(path)
        except InputError as error:
            one_line(str(error))
            return False

    def pickle(self, rng: random.Random, folder: Path) -> bool:
        """A PyTorch file, new or old, or a pickle with code in it."""
        small = {name: torch.full((2, 2), float(i)) for i, name in enumerate(("a", "b"))}
        made = io.BytesIO()
        kind = rng.randrange(4)
        if kind == 3:
            hostile = rng.choice(({"a": Ran()}, Ran(), [Ran(), small], {Ran: 1}, {"a": [Ran()] * 3}))
            made.write(pickle.dumps(hostile, protocol=rng.choice((0, 1, 2, 4, 5))))
        else:
            torch.save(small, made, _use_new_zipfile_serialization=kind > 0)
        path = put(folder, f"a.{rng.choice(('pth', 'pt', 'bin', 'ckpt'))}", damage_bytes(rng, made.getvalue()))
        try:
            return tensors_of(path) and read_vae(path)
        except InputError:
            return False

    def state(self, rng: random.Random, folder: Path) -> bool:
        """A saved state, damaged as a file or in what it says."""
        program = rng.choice(sorted(self.states))
        path = put(folder, "a.state.safetensors", damage_metadata(rng, self.states[program]))
        return command(program, ["--resume", str(path), "--vae", "absent"])

    def latent_file(self, rng: random.Random, folder: Path) -> bool:
        """Saved latents, damaged as a file or in what they say."""
        path = put(folder, "a.safetensors", damage_metadata(rng, self.latents))
        return command(rng.choice(("wan2", "holocine")), ["--latent_path", str(path), "--vae", "absent"])

    def json_record(self, rng: random.Random, folder: Path) -> bool:
        """The record beside a finished video, read by `--resume` and by the evaluator."""
        video = put(folder, "a.mp4", b"")
        put(folder, "a.json", json_bytes(rng, damage_value(rng, self.record)))
        words = [*self.tiny.flags(), *QUICK, *PROMPT, "--resume", "--save_path", str(video)]
        accepted = command("wan2", words, lines=1)
        try:
            find_asked([video], None, "")
        except InputError as error:
            one_line(str(error))
        return accepted

    def tokenizer(self, rng: random.Random, folder: Path) -> bool:
        """A tokenizer's file."""
        sound = json.loads((self.tiny.tokenizer / "tokenizer.json").read_bytes())
        data = json_bytes(rng, damage_value(rng, sound))
        put(folder, "tokenizer.json", damage_bytes(rng, data) if rng.random() < 0.3 else data)
        return command("holocine", [*self.flags(tokenizer=folder), *PROMPT, "--dry_run"])

    def rules(self, rng: random.Random, folder: Path) -> bool:
        """A tokenizer of other rules than it had, on a short or a long text."""
        sound = json.loads((self.tiny.tokenizer / "tokenizer.json").read_bytes())
        put(folder, "tokenizer.json", json.dumps(bulky.tokenizer(rng, sound)).encode())
        text = rng.choice(("a gull", "灯台 & rain", bulky.long_text(rng, 20_000).replace("\x00", "")))
        return command("holocine", [*self.flags(tokenizer=folder), "--prompt", text, "--dry_run"])

    def bulky_storyboard(self, rng: random.Random, folder: Path) -> bool:
        """A storyboard that is long, deep or much."""
        kind, text = rng.choice(
            (("toml", bulky.toml), ("yaml", bulky.yaml), ("json", bulky.scene), ("json", bulky.scene))
        )
        path = put(folder, f"a.{kind}", text(rng).encode("utf-8", "replace"))
        return command("holocine", [*self.flags(), "--dry_run", "--storyboard", str(path)])

    def bulky_prompt(self, rng: random.Random, folder: Path) -> bool:  # noqa: ARG002
        """A long prompt on the command line."""
        flag = rng.choice(("--prompt", "--negative_prompt"))
        words = ["--prompt", "a", flag, bulky.long_text(rng)]
        return command("holocine", [*self.flags(), "--dry_run", *words]) and command(
            "wan2", [*self.flags(), *words, "--vae", "absent"]
        )

    def bulky_list(self, rng: random.Random, folder: Path) -> bool:
        """A list of megabytes, of which no line leads to anything."""
        path = put(folder, "list.txt", bulky.lines(rng))
        return command(rng.choice(("holocine", "wan2")), [*self.flags(), "--from_file", str(path)], lines=1)

    def bulky_header(self, rng: random.Random, folder: Path) -> bool:
        """A safetensors file of very many tensors, as a checkpoint, a LoRA, a state, latents."""
        path = put(folder, "a.safetensors", bulky.header(rng))
        flag = rng.choice(("--dit_high_noise", "--lora_weight", "--t5", "--vae", "--resume", "--latent_path"))
        program = rng.choice(("holocine", "wan2"))
        if flag in ("--resume", "--latent_path"):
            return command(program, [flag, str(path), "--vae", "absent"])
        return command(program, [*self.flags(), "--vae", str(self.tiny.vae), *PROMPT, flag, str(path)])

    def bulky_pickle(self, rng: random.Random, folder: Path) -> bool:
        """A PyTorch file of odd tensors, or one that is long, deep or packed."""
        path = put(folder, "a.pth", bulky.pickled(rng))
        read = rng.choice((read_vae, read_text_encoder))
        try:
            return tensors_of(path) and read(path)
        except InputError as error:
            one_line(str(error))
            return False

    def words(self, rng: random.Random, folder: Path) -> bool:  # noqa: ARG002
        """A command line of any words."""
        flags = ("--fps", "--seed", "--video_size", "--video_length", "--infer_steps", "--shot_captions", "--prompt")
        flags += ("--global_caption", "--shot_cut_frames", "--device", "--blocks_to_swap", "--save_path", "--resume")
        flags += ("--from_file", "--storyboard", "--t5", "--dit_low_noise", "--negative_prompt", "--guidance_scale")
        odd = [word for _ in range(rng.randint(1, 5)) for word in (rng.choice(flags), *some_words(rng))]
        scene = rng.choice(([], PROMPT, ["--global_caption", "A", "--shot_captions", "B", "C"]))
        return command("holocine", [*self.flags(), *scene, *odd, "--vae", "absent"])

    def caption(self, rng: random.Random, folder: Path) -> bool:
        """Captions that try to leave their place in the mp4, the JSON, the sheet and the page."""
        text = "".join(rng.choice(("a", " ", *WORDS)) for _ in range(rng.randint(1, 6)))[:9000]
        text = bulky.long_text(rng) if rng.random() < 0.1 else text
        board = {"global_caption": text, "shots": [{"caption": text}, {"caption": "The sea"}]}
        path = put(folder, "a.json", json.dumps(board).encode())
        if not command("holocine", [*self.flags(), "--dry_run", "--storyboard", str(path)]):
            return False
        paths = OutputPaths(folder, "v")
        told = {"comment": json.dumps({"captions": [text]}, ensure_ascii=False)}
        frame = np.zeros((32, 32, 3), np.uint8)
        with VideoWriter(paths.video, 8.0, (32, 32), told, 30) as writer:
            writer.write(frame)
            writer.write(frame)
        if read_metadata(paths.video) | told != read_metadata(paths.video) or len(read_video(paths.video)) != 2:
            raise AssertionError(f"the video tells {read_metadata(paths.video)}")
        sheet = ContactSheet(ShotLayout(5, (), 1), 8.0, [text], text)
        for number in range(5):
            sheet(number, frame)
        sheet.image()
        page = render(summarise([result(text=text)]), [result(text=text)], [text])
        reader, harmless = Reader(), Reader()
        reader.feed(page)
        harmless.feed(render(summarise([result()]), [result()], ["A cat."]))
        if [tag for tag in reader.tags if tag not in VOID] != [tag for tag in harmless.tags if tag not in VOID]:
            raise AssertionError("the page has other tags")
        for file in (paths.video, path):
            file.unlink()
        return True


WEIGHTS = {
    "storyboard": 24,
    "prompt_file": 8,
    "header": 14,
    "lora": 6,
    "other_model": 6,
    "pickle": 8,
    "state": 12,
    "latent_file": 8,
}
WEIGHTS |= {"json_record": 8, "tokenizer": 4, "words": 8, "caption": 4, "rules": 4}
WEIGHTS |= {f"bulky_{name}": 1 for name in ("storyboard", "prompt", "list", "header", "pickle")}
# What a library says that was refused memory: within bounds nothing asks for so much.
NO_MEMORY = "asks for more memory than there is"


def put(folder: Path, name: str, data: bytes) -> Path:
    """A file of the input."""
    (folder / name).write_bytes(data)
    return folder / name


def some_shots(rng: random.Random) -> list[dict[str, Any]]:
    """Shots that could often be made, of any words."""
    texts = ("a gull", "灯台", "rain; fog", "[keeper]", *WORDS[-6:])
    return [{"caption": " ".join(rng.choices(texts, k=rng.randint(1, 4)))} for _ in range(rng.randint(1, 60))]


def some_words(rng: random.Random) -> list[str]:
    """Values for a flag, as a shell could pass them."""
    drawn = (rng.choice((repr(rng.choice(NUMBERS)), rng.choice(WORDS))) for _ in range(rng.randint(0, 3)))
    return [word.replace("\x00", "").replace("\ud800", "\udc80")[:9000] for word in drawn]


def damage_safetensors(rng: random.Random, data: bytes) -> bytes:
    """The length, the header or the end of a safetensors file changed."""
    length = struct.unpack("<Q", data[:8])[0]
    header, body = data[8 : 8 + length], data[8 + length :]
    kind = rng.randrange(4)
    if kind == 0:
        return struct.pack("<Q", rng.choice((0, 1, 2, length + 8, 10**8, 2**40, 2**63, 2**64 - 1))) + header + body
    if kind == 1:
        return data[: rng.choice((rng.randrange(40), rng.randrange(len(data)), 8 + length, len(data) - 1))]
    table = damage_value(rng, json.loads(header)) if kind == 2 else None
    new = damage_bytes(rng, header) if table is None else json_bytes(rng, table)
    return struct.pack("<Q", len(new)) + new + body


def rebuilt(rng: random.Random, data: bytes) -> bytes:
    """A sound safetensors file of zeros whose tensors have lost their names, sizes or types, or are gone."""
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    notes = header.pop("__metadata__", {})
    for name in rng.sample(sorted(header), rng.randint(1, min(3, len(header)))):
        entry, kind = header.pop(name), rng.randrange(6)
        shape = entry["shape"]
        if kind == 0:
            name = re.sub(r"\d+", lambda _: rng.choice(("0", "1", "7", "999", "99999999999")), name)
        elif kind == 1:
            shape[rng.randrange(len(shape) or 1) :][:1] = [rng.choice((0, 1, 2, 7, 17, 36, 1000))]
            shape = [*shape[:-1], rng.choice((0, 1, 3, 64, 300))] if rng.random() < 0.5 else shape[1:]
        elif kind == 2:
            shape = shape[::-1] + [1] * rng.randrange(3)
        elif kind == 3:
            entry["dtype"] = rng.choice(sorted(DTYPES))
        elif kind == 4:
            name = rng.choice((name + ".scale_weight", "scaled_fp8", name.removesuffix("weight"), *WORDS)).strip(
                "\ud800"
            )
        else:
            continue
        header[name] = entry | {"shape": shape}
    end = 0
    for entry in header.values():
        size = byte_length(entry["dtype"], entry["shape"])
        entry["data_offsets"] = [end, end + size]
        end += size
    if rng.random() < 0.2:
        notes["num_heads"] = rng.choice(("0", "-1", "x", "1e9", "7", "99999999999999999999", "\u0664"))
    new = json.dumps({"__metadata__": notes, **header}).encode()
    return struct.pack("<Q", len(new)) + new + bytes(min(end, 1 << 24))


def damage_metadata(rng: random.Random, data: bytes) -> bytes:
    """The header changed, or one of the JSON texts in its metadata."""
    if rng.random() < 0.3:
        return damage_safetensors(rng, data)
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    texts = header["__metadata__"]
    name = rng.choice(sorted(texts))
    text = json_bytes(rng, damage_value(rng, json.loads(texts[name])))
    texts[name] = (damage_bytes(rng, text) if rng.random() < 0.2 else text).decode("utf-8", "replace")
    new = json.dumps(header).encode()
    return struct.pack("<Q", len(new)) + new + data[8 + length :]


def read_vae(path: Path) -> bool:
    """Load a file as the VAE."""
    return bool(load_vae(inspect_vae(path), "cpu", torch.float32))


def read_text_encoder(path: Path) -> bool:
    """Load a file as the text encoder."""
    return bool(load_text_encoder(path, "cpu", torch.float32))


def tensors_of(path: Path) -> bool:
    """Whether a file gives tensors: to the last byte what its header says."""
    try:
        for _, tensor in load_tensors(path):
            tensor.float().sum()
    except InputError as error:
        one_line(str(error))
        return False
    return True


def command(program: str, words: list[str], lines: int = 0) -> bool:
    """Run a command line that cannot make anything: whether it ended well. A refusal is one line (after `lines`)."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors) for errors in ("strict", "backslashreplace"))
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = MAIN[program](words)
        except SystemExit as end:  # --help
            code = int(end.code or 0)
    err.seek(0)
    told = err.read().splitlines()
    if code not in (0, 2) or (code == 2 and not 1 <= len(told) <= 1 + lines) or any(NO_MEMORY in line for line in told):
        raise AssertionError(f"{program} ended with {code}: {told[-3:]}")
    return code == 0


def one_line(text: str) -> None:
    """An error's text is a line of reasonable length."""
    if len(text.splitlines()) != 1 or len(text) > 2000 or NO_MEMORY in text:
        raise AssertionError(f"an error of {len(text)} characters: {text[:300]!r}")


def sound_inputs(tiny: TinyModel, folder: Path) -> Targets:
    """Make what is to be damaged, by runs that end early and one that does not."""
    common = [*tiny.flags(), *QUICK, "--infer_steps", "3", "--video_length", "33"]
    scene = put(folder, "scene.json", json.dumps(SCENE).encode())
    states = {}
    for program, words in (("wan2", PROMPT), ("holocine", ["--storyboard", str(scene)])):
        output = folder / f"{program}.mp4"
        stopped(MAIN[program], [*common, *words, "--save_path", str(output)])
        states[program] = output.with_suffix(".state.safetensors").read_bytes()
    whole = ["--output_type", "both", "--save_path", str(folder / "whole.mp4")]
    if MAIN["holocine"]([*common, "--storyboard", str(scene), *whole]):
        raise AssertionError("the sound run failed")
    done = [*tiny.flags(), *QUICK, *PROMPT, "--save_path", str(folder / "gull.mp4")]
    if MAIN["wan2"](done):
        raise AssertionError("the sound run failed")
    record = json.loads((folder / "gull.json").read_text()) | {"cuts": [5], "captions": ["a", "b"], "title": "t"}
    drawn, notes = with_whole(draw(CONFIG), CONFIG), {KEY: json.dumps({"transformer.lora_alpha": 8.0})}
    spelled = ((kohya(drawn), None), (comfy(drawn), None), (diffusers(drawn), notes))
    loras = [write_lora(folder / "lora.safetensors", *spelling).read_bytes() for spelling in spelled]
    return Targets(tiny, states, (folder / "whole.safetensors").read_bytes(), record, tuple(loras))


def stopped(main: Callable[[list[str]], int], words: list[str]) -> None:
    """Run until the second step."""

    usual, wan2.cli.main.Console = wan2.cli.main.Console, impatient(2)  # type: ignore[misc]
    try:
        main(words)
    finally:
        wan2.cli.main.Console = usual  # type: ignore[misc]
