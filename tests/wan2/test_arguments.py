"""Single values of the command line, as argparse hands them over."""

from __future__ import annotations

from pathlib import Path

import pytest

from wan2.cli.arguments import build_parser
from wan2.errors import InputError
from wan2.request.presets import WAN22_T2V

PATHS = ("vae", "t5", "tokenizer", "dit_high_noise", "dit_low_noise", "save_path", "from_file", "latent_path", "resume")


def parsed(*words: str) -> dict[str, object]:
    return vars(build_parser("wan2", WAN22_T2V).parse_args(words))


@pytest.mark.parametrize("flag", [*PATHS, "lora_weight", "lora_weight_high_noise"])
def test_a_tilde_is_the_home_folder(flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for text, path in (
        ("~", tmp_path),
        ("~/a b.mp4", tmp_path / "a b.mp4"),
        ("./~/a", Path("~/a")),
        ("a~", Path("a~")),
    ):
        value = parsed(f"--{flag}", text)[flag]
        assert value == ([path] if flag.startswith("lora") else path)


@pytest.mark.parametrize("name", ["~nobody-of-this-name/a.mp4", "~\udce9/a", "~a\nb/c"])
def test_an_unknown_user_is_one_line(name: str):
    with pytest.raises(InputError, match=r"^--save_path: '~.*the name of an unknown user; \./~ is a file$") as caught:
        parsed("--save_path", name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "fps"),
    [
        ("23.976", 24000 / 1001),
        ("23.98", 24000 / 1001),
        ("29.97", 30000 / 1001),
        ("59.94", 60000 / 1001),
        ("119.88", 120000 / 1001),
        ("30000/1001", 30000 / 1001),
        (" 24000 / 1001", 24000 / 1001),
        ("25/2", 12.5),
        ("24", 24.0),
        ("23.9", 23.9),
        ("29.9", 29.9),
        ("1e1", 10.0),
    ],
)
def test_frames_per_second_are_what_they_stand_for(text: str, fps: float):
    assert parsed("--fps", text)["fps"] == fps


@pytest.mark.parametrize(
    "text", ["1/0", "30000/", "/1001", "1/2/3", "a/b", "-1/2", "1.5/2", "9" * 400 + "/1", "thirty"]
)
def test_what_is_no_rate_is_refused(text: str):
    with pytest.raises(InputError, match="^--fps: '"):
        parsed(f"--fps={text}")
