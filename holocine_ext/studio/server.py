"""The page's server: routes over a film, its plan, its queue and its takes. Makes nothing itself."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import anyio
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from holocine_ext.presets import MODELS
from holocine_ext.story.fields import MAX_BYTES
from holocine_ext.studio.answer import Planner
from holocine_ext.studio.asking import Asked, refused
from holocine_ext.studio.cutting import timeline
from holocine_ext.studio.draft import Writer
from holocine_ext.studio.film import TAKES, Changed, Film
from holocine_ext.studio.jobs import Queue, Wanted, free_take, queue_values
from holocine_ext.studio.takes import Takes, board_of
from holocine_ext.studio.watch import Watch
from holocine_ext.studio.workers import Workers
from wan2.errors import InputError
from wan2.plan.recorded import read_record
from wan2.request.fields import Number
from wan2.request.flat import preset_values

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

STATIC = Path(__file__).resolve().parent / "static"
MOST_BODY = 4 * MAX_BYTES
BODY_SECONDS, LOOK_SECONDS = 20.0, 0.25
MOST_SEEDS = Number(1, 64, whole=True)
SHOWN_SETTINGS = ("infer_steps", "guidance_scale", "flow_shift", "height", "width", "num_frames", "fps")
FRESH = {"cache-control": "no-store"}
CLOSE = {"connection": "close"}
"""What is not read to its end is not waited for."""


@dataclass(frozen=True)
class Studio:
    """What the routes are about."""

    film: Film
    queue: Queue
    takes: Takes
    planner: Planner
    workers: Workers
    writer: Writer | None = None

    def app(self) -> Starlette:
        """The server, without its guard."""
        routes = [
            Route("/", self.page),
            Route("/api/film", _answering(self.about)),
            Route("/api/events", self.events),
            Route("/api/settings", _answering(self.keep_settings), methods=["PUT"]),
            Route("/api/boards", _answering(self.take_in), methods=["POST"]),
            Route("/api/boards/{name}", _answering(self.open)),
            Route("/api/boards/{name}", _answering(self.save), methods=["PUT"]),
            Route("/api/draft", _answering(self.draft), methods=["POST"]),
            Route("/api/plan", _answering(self.plan), methods=["POST"]),
            Route("/api/queue", _answering(self.ask), methods=["POST"]),
            Route("/api/queue/{id}", _answering(self.change), methods=["POST"]),
            Route("/api/takes", _answering(self.all_takes)),
            Route("/api/takes/{name}", _answering(self.mark), methods=["PUT"]),
            Route("/api/takes/{name}/board", _answering(self.board_of), methods=["POST"]),
            Route("/api/takes/{name}/timeline", _answering(self.timeline)),
            Route("/takes/{name}", self.file),
            Mount("/static", StaticFiles(directory=STATIC)),
        ]
        return Starlette(routes=routes, lifespan=self._life)

    @asynccontextmanager
    async def _life(self, _: Starlette) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.workers.tend)
            yield
            tasks.cancel_scope.cancel()

    async def page(self, _: Request) -> Response:
        """The page itself."""
        return FileResponse(STATIC / "index.html", headers=FRESH)

    async def about(self, _: Request) -> dict[str, Any]:
        """The film, its boards, the models and what they are run with."""
        film = self.film
        boards = await run_sync(film.boards)
        found = {"name": film.folder.absolute().name, "boards": boards, "settings": film.settings(), "models": models()}
        return found | {"writer": self.writer.model if self.writer else ""}

    async def open(self, request: Request) -> dict[str, Any]:
        """A board."""
        return (await run_sync(self.film.open, request.path_params["name"])).as_json()

    async def save(self, request: Request) -> dict[str, Any]:
        """A board as it was changed; refused with what is there when that is another version."""
        body = await _json_body(request)
        name, version = request.path_params["name"], _text(body, "version")
        return {"version": await run_sync(self.film.save, name, _table(body, "document"), version)}

    async def take_in(self, request: Request) -> dict[str, Any]:
        """A file that was dropped on the page, as a new board."""
        name = request.query_params.get("name", "")
        return {"name": await run_sync(self.film.take_in, name, await _body(request))}

    async def keep_settings(self, request: Request) -> dict[str, Any]:
        """What the page runs boards with."""
        await run_sync(self.film.keep_settings, await _json_body(request))
        return {}

    async def draft(self, request: Request) -> dict[str, Any]:
        """A new board from a few words."""
        body = await _json_body(request)
        if self.writer is None:
            raise InputError("no language model was named; start the page with `endpoint` and `llm`", field="brief")
        board = await run_sync(self.writer.draft, _text(body, "brief"), body.get("shots", 0))
        return {"name": await run_sync(self.film.add, "draft", board)}

    async def plan(self, request: Request) -> dict[str, Any]:
        """What a board would become, and cost."""
        return await run_sync(self.planner.answer, self._asked(await _json_body(request)))

    async def ask(self, request: Request) -> dict[str, Any]:
        """Put a board into the queue, once for every seed."""
        body = await _json_body(request)
        asked, count = self._asked(body), body.get("count", 1)
        MOST_SEEDS.check("num_seeds", count)
        return {"takes": await run_sync(self._ask, asked, count)}

    def _asked(self, body: Mapping[str, Any]) -> Asked:
        name = self.film.path(_text(body, "name")).name
        return Asked(self.film.folder, name, _table(body, "document"), _table(body, "settings"))

    def _ask(self, asked: Asked, count: int) -> list[str]:
        first = asked.request(save_path=self.takes.folder).base.seed
        names = []
        for seed in range(first, first + count):
            name = free_take(Path(asked.name).stem, self.queue, self.takes.folder)
            self.queue.add(replace(asked, settings={**asked.settings, "seed": seed}), name)
            names.append(name)
        return names

    async def change(self, request: Request) -> dict[str, Any]:
        """Hold, cancel, run again, move or remove a job."""
        act, id = _text(await _json_body(request), "do"), request.path_params["id"]
        await run_sync(self._change, id, act)
        return {}

    def _change(self, id: str, act: str) -> None:
        if act in get_args(Wanted):
            self.queue.want(id, act)  # type: ignore[arg-type]
        elif act in ("up", "down"):
            self.queue.move(id, -1 if act == "up" else 1)
        elif act == "remove":
            take = self.queue.job(id).take
            self.queue.remove(id)
            self.takes.discard_state(take)
        else:
            raise InputError(f"do {act!r}: a job can be run, held, cancelled, moved up or down, or removed")

    async def all_takes(self, _: Request) -> dict[str, Any]:
        """Every take."""
        return {"takes": await run_sync(self.takes.all)}

    async def mark(self, request: Request) -> dict[str, Any]:
        """Keep a take, with a note."""
        body = await _json_body(request)
        await run_sync(self.takes.mark, request.path_params["name"], body.get("kept") is True, _text(body, "note"))
        return {}

    async def board_of(self, request: Request) -> dict[str, Any]:
        """The board that a take was made from, as a new board."""
        name = request.path_params["name"]
        record = await run_sync(read_record, self.takes.path(f"{name}.json"))
        if record is None:
            raise InputError(f"{name}: has no record")
        taken = f"{TAKES}/{name}.mp4" if "held" in request.query_params else None
        return {"name": await run_sync(self.film.add, name, board_of(record, taken))}

    async def timeline(self, request: Request) -> dict[str, Any]:
        """A take as a timeline for editing programs."""
        name = request.path_params["name"]
        take = next((take for take in await run_sync(self.takes.all) if take["name"] == name), None)
        if take is None:
            raise InputError(f"{name}: no such take")
        return timeline(take)

    async def file(self, request: Request) -> Response:
        """A file of a take; a part of it, when the browser asks for one."""
        try:
            path = self.takes.path(request.path_params["name"])
        except InputError as error:
            raise HTTPException(404) from error
        if not await run_sync(path.is_file):
            raise HTTPException(404)
        save = "attachment" if "save" in request.query_params else "inline"
        return FileResponse(
            path, filename=path.name, content_disposition_type=save, headers={"cache-control": "no-cache"}
        )

    async def events(self, request: Request) -> Response:
        """Server-sent events: everything at first, then what changed."""
        return StreamingResponse(self._events(request), media_type="text/event-stream", headers=FRESH)

    async def _events(self, request: Request) -> AsyncIterator[str]:
        watch = Watch(self.film, self.takes, lambda: queue_values(self.queue), self.workers)
        while not await request.is_disconnected():
            for name, value in await run_sync(watch.changes):
                yield f"event: {name}\ndata: {json.dumps(value)}\n\n"
            await anyio.sleep(LOOK_SECONDS)


def models() -> dict[str, Any]:
    """Model -> its variants, its recipes, and the settings that it is run with where nothing else is asked for."""
    found = {}
    for name, family in MODELS.items():
        preset = next(iter(family.values()))
        values = preset_values(preset)
        found[name] = {
            "variants": list(family),
            "recipes": list(preset.recipes),
            "defaults": {key: values[key] for key in SHOWN_SETTINGS},
        }
    return found


def _answering(act: Callable[[Request], Awaitable[Mapping[str, Any]]]) -> Callable[[Request], Awaitable[Response]]:
    """A route that answers JSON, and says what it refuses in the words of the command."""

    async def answer(request: Request) -> Response:
        try:
            return JSONResponse(await act(request), headers=FRESH)
        except Changed as changed:
            found = changed.found.as_json() if changed.found else None
            return JSONResponse({"changed": found}, status_code=409, headers=FRESH)
        except InputError as error:
            return JSONResponse({"problem": refused(error, "")}, status_code=422, headers=FRESH)

    return answer


async def _body(request: Request) -> bytes:
    """The body of a request, if it is not too long and does not take too long."""
    content = bytearray()
    with anyio.move_on_after(BODY_SECONDS) as limit:
        async for chunk in request.stream():
            content += chunk
            if len(content) > MOST_BODY:
                raise HTTPException(413, headers=CLOSE)
    if limit.cancelled_caught:
        raise HTTPException(408, headers=CLOSE)
    return bytes(content)


async def _json_body(request: Request) -> dict[str, Any]:
    try:
        found = json.loads(await _body(request))
    except (ValueError, RecursionError) as error:
        raise HTTPException(400) from error
    if not isinstance(found, dict):
        raise HTTPException(400)
    return found


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name, "")
    if not isinstance(value, str):
        raise HTTPException(400)
    return value


def _table(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = body.get(name, {})
    if not isinstance(value, dict):
        raise HTTPException(400)
    return value
