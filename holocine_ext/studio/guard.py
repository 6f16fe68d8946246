"""Who may talk to the page's server: pages that it served itself, under names that are its own. Knows no routes.

A browser tells where a request comes from (`Origin`, `Sec-Fetch-Site`) and which name it used for the server (`Host`).
So a page of another site can neither ask nor send anything, not even under a name that it made lead here.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "holocine_studio"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self'; "
    "connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
READS = ("GET", "HEAD")


class Guard:
    """Lets requests through to an app, or answers 403; adds the headers that keep the page to itself.

    Args:
        app: what is guarded.
        hosts: the names, with port, under which the server is reached.
        token: what a browser must bring, once in the address and then as a cookie; empty asks for none.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str], token: str = "") -> None:
        self.app, self.hosts, self.token = app, frozenset(hosts), token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = _headers(scope)
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if not self._trusted(scope, headers) or not self._known(headers, given):
            await _refuse(send)
            return
        cookie = f"{COOKIE}={self.token}; HttpOnly; SameSite=Strict; Path=/" if self.token and given else ""
        await self.app(scope, receive, _adding(send, cookie))

    def _trusted(self, scope: Scope, headers: dict[str, str]) -> bool:
        """Whether the request comes from a page of this server, or from the address bar."""
        host, origin, site = (headers.get(name) for name in ("host", "origin", "sec-fetch-site"))
        if host not in self.hosts or (origin is not None and origin not in {f"http://{name}" for name in self.hosts}):
            return False
        if scope["method"] not in READS and origin is None:
            return False
        opened = scope["path"] == "/" and headers.get("sec-fetch-mode") == "navigate"
        return site in (None, "same-origin", "none") or opened

    def _known(self, headers: dict[str, str], given: str) -> bool:
        if not self.token:
            return True
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            cookie = None
        brought = given or (cookie.value if cookie else "")
        return hmac.compare_digest(brought.encode(), self.token.encode())


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _adding(send: Send, cookie: str) -> Send:
    more = HEADERS | ({"set-cookie": cookie} if cookie else {})

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            added = [(name.encode(), value.encode()) for name, value in more.items()]
            message = {**message, "headers": [*message.get("headers", []), *added]}
        await send(message)

    return sending


async def _refuse(send: Send) -> None:
    body = b"This page answers only itself: open the address that holocine_studio printed.\n"
    start = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": start})
    await send({"type": "http.response.body", "body": body})
