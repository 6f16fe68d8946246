"""Boards on disk: saved whole, never over what somebody else wrote, never outside of the folder."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from holocine_ext.story.boards import from_file
from holocine_ext.studio.film import SETTINGS, Changed, Film
from wan2.errors import InputError
from wan2.files import Busy

CHANGES = 25
EXAMPLES = Path(__file__).parents[3] / "examples"


def board(number: int = 0) -> dict[str, Any]:
    return {
        "global_caption": f"A place, {number}",
        "shots": [{"caption": "Wide"}, {"caption": "Close", "cut_frame": 5}],
    }


def test_a_board_is_what_was_saved_and_loads_as_a_storyboard(tmp_path: Path):
    film = Film(tmp_path)
    name = film.add("the scene", board())
    version = film.save(name, board(1), film.open(name).version)
    opened = film.open(name)
    assert (name, opened.document, opened.version) == ("the scene.json", board(1), version)
    assert film.boards() == {name: version}
    assert from_file(tmp_path / name).shot_cut_frames == (5,)


def test_another_version_is_never_written_over(tmp_path: Path):
    film = Film(tmp_path)
    name = film.add("scene", board())
    first = film.open(name).version
    second = film.save(name, board(1), first)
    with pytest.raises(Changed) as refused:
        film.save(name, board(2), first)
    assert refused.value.found is not None and refused.value.found.document == board(1)
    assert film.open(name).document == board(1)
    (tmp_path / name).unlink()
    with pytest.raises(Changed) as gone:
        film.save(name, board(2), second)
    assert gone.value.found is None and not (tmp_path / name).exists()


def test_two_pages_and_an_editor_lose_no_change_without_being_shown_it(tmp_path: Path):
    """Every change was either seen by whoever changed the board next, or it is there in the end."""
    name = Film(tmp_path).add("scene", board())
    seen, written = set[str](), set[str]()

    def page(who: str) -> None:
        film = Film(tmp_path)  # another process has another lock
        opened = film.open(name)
        for number in range(CHANGES):
            text = f"{who} {number}"
            while True:
                seen.add(str(opened.document["global_caption"]))
                try:
                    film.save(name, board() | {"global_caption": text}, opened.version)
                except Changed as changed:
                    assert changed.found is not None
                    opened = changed.found
                except Busy:
                    continue
                else:
                    written.add(text)
                    break
            opened = film.open(name)

    pages = [threading.Thread(target=page, args=(who,)) for who in ("one", "two", "editor")]
    for one in pages:
        one.start()
    for one in pages:
        one.join()
    last = str(Film(tmp_path).open(name).document["global_caption"])
    assert len(written) == 3 * CHANGES and written <= seen | {last}


@pytest.mark.parametrize(
    "name",
    [
        "../other.json",
        "/etc/passwd",
        "takes/x.json",
        ".hidden.json",
        "a.txt",
        SETTINGS,
        "",
        "..",
        "a\x00.json",
        "a/b.json",
    ],
)
def test_no_name_leads_out_of_the_folder(name: str, tmp_path: Path):
    film = Film(tmp_path / "film")
    film.folder.mkdir()
    (tmp_path / "other.json").write_text("{}")
    for act in (lambda: film.open(name), lambda: film.save(name, board(), "")):
        with pytest.raises(InputError):
            act()
    assert (tmp_path / "other.json").read_text() == "{}" and not list(film.folder.iterdir())


def test_links_are_not_followed(tmp_path: Path):
    film, secret = Film(tmp_path / "film"), tmp_path / "secret.json"
    film.folder.mkdir()
    secret.write_text(json.dumps(board()))
    (film.folder / "scene.json").symlink_to(secret)
    assert film.boards() == {}
    with pytest.raises(InputError, match="is a link"):
        film.open("scene.json")


@pytest.mark.parametrize("source", ["02_the_clockmaker.toml", "05_lunar_regatta.yaml", "06_paper_birds.json"])
def test_a_storyboard_of_any_format_comes_in_and_reads_the_same(source: str, tmp_path: Path):
    film = Film(tmp_path)
    name = film.take_in(source, (EXAMPLES / source).read_bytes())
    before, after = from_file(EXAMPLES / source), from_file(tmp_path / name)
    assert name == Path(source).with_suffix(".json").name
    assert (after.prompt, after.shot_cut_frames, after.lengths) == (
        before.prompt,
        before.shot_cut_frames,
        before.lengths,
    )


def test_a_raw_prompt_with_tags_becomes_shots(tmp_path: Path):
    name = Film(tmp_path).take_in("raw.toml", (EXAMPLES / "04_kitchen_raw.toml").read_bytes())
    assert from_file(tmp_path / name).prompt == from_file(EXAMPLES / "04_kitchen_raw.toml").prompt


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.toml", b"= 3", "a.toml: Invalid"),
        ("a.json", b"[1]", "must hold fields"),
        ("a.exe", b"{}", "must end in"),
        ("a.json", b'{"prompt": "a gull"}', "has no tags"),
    ],
)
def test_what_is_no_storyboard_is_refused_by_its_own_name(name: str, content: bytes, words: str, tmp_path: Path):
    with pytest.raises(InputError, match=words) as refused:
        Film(tmp_path).take_in(name, content)
    assert "/tmp" not in str(refused.value) and not list(tmp_path.iterdir())


def test_names_of_new_boards_are_free_and_plain(tmp_path: Path):
    film = Film(tmp_path)
    assert [film.add("../a:b", board()) for _ in range(2)] == ["a-b.json", "a-b 2.json"]
    assert film.add("studio", board()) == "studio 2.json"
    shutil.copy(EXAMPLES / "03_salt_road.toml", tmp_path)
    assert "03_salt_road.toml" in film.boards()


def test_settings_that_cannot_be_read_are_none(tmp_path: Path):
    film = Film(tmp_path)
    film.keep_settings({"model": "nano"})
    assert film.settings() == {"model": "nano"} and film.boards() == {}
    (tmp_path / SETTINGS).write_text("{")
    assert film.settings() == {}


def test_a_board_of_another_program_is_taken_in_as_ours(tmp_path: Path):
    content = (
        b'{"style": "A pier.", "scenes": [{"prompt": "A gull", "duration": 2}, {"prompt": "The lamp", "duration": 3}]}'
    )
    name = Film(tmp_path).take_in("theirs.json", content)
    board = from_file(tmp_path / name)
    assert (board.global_caption, board.shot_captions) == ("A pier.", ("A gull", "The lamp"))
    assert [length and length.seconds for length in board.lengths or ()] == [2, 3]
