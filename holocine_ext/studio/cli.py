"""The command that serves the page: reads arguments, prints the address. Knows nothing of boards."""

from __future__ import annotations

import json
import secrets
import socket
import threading
import webbrowser
from argparse import SUPPRESS
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from holocine_ext.studio.draft import Writer
from holocine_ext.studio.film import Film
from holocine_ext.studio.models import Places
from wan2.cli.arguments import Parser, path, whole_number
from wan2.cli.console import Console
from wan2.cli.main import cache_folder, check_paths, parsed, run_command
from wan2.errors import InputError
from wan2.request.compute import DEVICE

if TYPE_CHECKING:
    from holocine_ext.studio.server import Studio

PROGRAM = "holocine_studio"
PORT = 7860
LOCAL = "127.0.0.1"
LOCAL_NAMES = (LOCAL, "localhost", "[::1]")
ANYWHERE = ("0.0.0.0", "::")
TOKEN_BYTES = 24
BROWSER_SECONDS = 0.7
MOST_CONNECTIONS = 100
FIRST = Path(__file__).resolve().parent / "first.json"


def main(argv: Sequence[str] | None = None) -> int:
    """Serve the page until Ctrl-C; the exit code."""
    return run_command(PROGRAM, _run, argv)


def build_parser() -> Parser:
    """The arguments of the page's command."""
    parser = Parser(prog=PROGRAM, allow_abbrev=False, description="Write, watch and change a film in a browser.")
    parser.add_argument(
        "folder", type=path, metavar="FOLDER", help="the film: its boards, takes and queue; made if new"
    )
    parser.add_argument("--port", type=whole_number, metavar="N", help=f"(default: {PORT}, or a free one)")
    what = "listen here, for other machines too; the address then has a token (default: this machine only)"
    parser.add_argument("--host", default=LOCAL, metavar="ADDRESS", help=what)
    what = "devices that make films, a worker each (default: auto, the best there is)"
    parser.add_argument("--device", nargs="+", default=["auto"], metavar="DEVICE", help=what)
    what = "where the weights of HoloCine and Wan2.2 lie; looked for by what the files are, and kept with the film"
    parser.add_argument("--models_dir", type=path, metavar="FOLDER", help=what)
    what = "a server of chat completions that writes drafts, such as one on this machine (default: none)"
    parser.add_argument("--endpoint", metavar="URL", help=what)
    parser.add_argument("--llm", metavar="NAME", help="the language model there that writes them")
    parser.add_argument("--no_browser", action="store_true", help="open no browser")
    parser.add_argument("--quiet", action="store_true", help=SUPPRESS)
    return parser


def _run(words: Sequence[str], console: Console) -> None:
    args = parsed(build_parser(), words, console)
    check_paths(vars(args))
    _check(args.device, args.folder)
    if not (find_spec("starlette") and find_spec("uvicorn")):
        raise InputError("the page needs starlette and uvicorn: pip install 'holocine-generate[studio]'")
    writer = _writer(args.endpoint, args.llm)
    listening = _listen(args.host, args.port)
    film = _film(args.folder)
    if args.models_dir is not None:
        for name, found in Places(film.folder).look_in(args.models_dir).items():
            console.chose(f"{name}: {found}")
    token = "" if args.host in LOCAL_NAMES else secrets.token_urlsafe(TOKEN_BYTES)
    port = listening.getsockname()[1]
    name = socket.gethostname() if args.host in ANYWHERE else args.host
    address = f"http://{name}:{port}/{f'?token={token}' if token else ''}"
    console.show(address)
    if not args.no_browser:
        threading.Timer(BROWSER_SECONDS, webbrowser.open, [address]).start()
    with suppress(KeyboardInterrupt):
        hosts = {f"{one}:{port}" for one in (*LOCAL_NAMES, name, args.host)}
        _serve(_studio(film, args.device, writer), listening, hosts, token)


def _check(devices: Sequence[str], folder: Path) -> None:
    """Refuse what no worker could be started for."""
    for device in devices:
        if not DEVICE.fullmatch(device):
            raise InputError("must be auto, cpu, mps, cuda or one card such as cuda:1", field="device", value=device)
        if devices.count(device) > 1:
            raise InputError("is given twice", field="device", value=device)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is no folder")


def _listen(host: str, port: int | None) -> socket.socket:
    """A socket at the port that was asked for; without one, at the usual port or any other."""
    if port is not None and not 0 <= port <= 65535:
        raise InputError("must lie between 0 and 65535", field="port", value=port)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for one in (PORT, 0) if port is None else (port,):
        found = socket.socket(family, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((host.strip("[]"), one))
        except OSError as error:
            found.close()
            problem = error
            continue
        found.listen()
        return found
    raise InputError(f"cannot listen there: {problem.strerror}", field="port", value=port if port is not None else PORT)


def _film(folder: Path) -> Film:
    """The film of a folder; a new one begins with a scene for the miniature."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        film = Film(folder)
        if not film.boards():
            film.add("scene", json.loads(FIRST.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}") from error
    return film


def _writer(endpoint: str | None, llm: str | None) -> Writer | None:
    """Who writes drafts, if the person named one."""
    if endpoint is None and llm is None:
        return None
    if endpoint is None or llm is None:
        raise InputError("`endpoint` and `llm` go together; give both", field="llm" if endpoint is None else "endpoint")
    return Writer(endpoint, llm)


def _studio(film: Film, devices: Sequence[str], writer: Writer | None) -> Studio:
    from holocine_ext.studio.answer import Planner
    from holocine_ext.studio.jobs import Queue
    from holocine_ext.studio.server import Studio
    from holocine_ext.studio.speed import Speeds
    from holocine_ext.studio.takes import Takes
    from holocine_ext.studio.workers import Workers

    queue = Queue(film.queue)
    planner = Planner(film.takes, cache_folder(), Speeds(film.queue))
    return Studio(film, queue, Takes(film.takes), planner, Workers(film, queue, devices), writer)


def _serve(studio: Studio, listening: socket.socket, hosts: set[str], token: str) -> None:
    import uvicorn

    from holocine_ext.studio.guard import Guard

    config = uvicorn.Config(
        Guard(studio.app(), hosts, token),
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=1,
    )
    uvicorn.Server(config).run(sockets=[listening])
