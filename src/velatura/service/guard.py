"""The door of a server: who may come in (host, token, origin), how much they may send, how often; and what is logged.

Pure ASGI, so that it also stands before the page. A request's path is counted by its route and never logged.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import re
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from velatura.service.metrics import Metrics
from velatura.service.settings import ServiceSettings

log = logging.getLogger("velatura.service")
SAFE = ("GET", "HEAD", "OPTIONS")
COOKIE = "velatura_token"
# Without a token: whether the server works, and the page's own files, which ask for the token where it is missing.
OPEN_PATHS = re.compile(r"/healthz|/|/page/(?!data(?:/|$)).*")
RATED = "/api/"
MOST_CLIENTS = 10_000  # whose rates are remembered
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "SAMEORIGIN",
}


class Refusal(NamedTuple):
    """Why a request is refused."""

    status: int
    reason: str
    headers: dict[str, str] | None = None


class _TooLargeError(Exception):
    """A body that goes on beyond the limit."""


class Rates:
    """How many requests each client has left: ``per_minute`` at once, and again as time goes by."""

    def __init__(self, per_minute: int) -> None:
        self._full, self._left = float(per_minute), dict[str, tuple[float, float]]()

    def wait(self, client: str, now: float) -> float:
        """Count a request; 0 where it may come, else the seconds until one may."""
        if len(self._left) > MOST_CLIENTS:
            self._left.clear()
        left, since = self._left.get(client, (self._full, now))
        left = min(self._full, left + (now - since) * self._full / 60)
        if left < 1:
            self._left[client] = (left, now)
            return (1 - left) * 60 / self._full
        self._left[client] = (left - 1, now)
        return 0.0


class Guard:
    """Middleware that refuses what must not come in, before anything of it is read."""

    def __init__(self, app: ASGIApp, settings: ServiceSettings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics
        self._rates = Rates(settings.rate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on, a request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refused_host(headers) or self._refused_origin(scope, headers)
        if refusal is None and self._settings.token:
            redirect = self._with_cookie(scope)
            if redirect is not None:
                await redirect(scope, receive, send)
                return
            refusal = None if _is_open(scope) else self._refused_token(headers)
        refusal = refusal or self._refused_amount(scope, headers)
        if scope["type"] == "websocket":
            await self._websocket(refusal, scope, receive, send)
        elif refusal is not None:
            self._metrics.request("refused", refusal.status)
            await _answer(refusal)(scope, receive, send)
        else:
            await self._hand_on(scope, receive, send)

    async def _websocket(self, refusal: Refusal | None, scope: Scope, receive: Receive, send: Send) -> None:
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    async def _hand_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the app answer, with the guard's headers; a body that grows too large is answered here."""
        began, status, is_too_large, read = time.monotonic(), 0, False, 0

        async def counted() -> Message:
            nonlocal read, is_too_large
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._settings.upload_bytes:
                is_too_large = True
                raise _TooLargeError
            return message

        async def guarded(message: Message) -> None:
            nonlocal status
            if is_too_large and not status:
                return
            if message["type"] == "http.response.start":
                status = message["status"]
                own = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    own.setdefault(name, value)
            await send(message)

        with suppress(_TooLargeError):
            await self._app(scope, counted, guarded)
        if is_too_large and not status:
            status = 413
            await _answer(self._too_large())(scope, receive, send)
        route = getattr(scope.get("route"), "path", "page")
        self._metrics.request(route, status)
        log.info("%s %s %d %.0f ms", scope["method"], route, status, 1000 * (time.monotonic() - began))

    def _refused_host(self, headers: Headers) -> Refusal | None:
        """Refuse a name that is not ours: a stranger's, whose DNS was pointed at this machine."""
        if _is_own_host(headers.get("host", ""), self._settings.names):
            return None
        return Refusal(421, "This server does not answer to that host name: start it with --allow-host NAME")

    def _refused_origin(self, scope: Scope, headers: Headers) -> Refusal | None:
        """Refuse what another site's page sends with this browser."""
        if scope["type"] == "http" and scope["method"] in SAFE:
            return None
        origin = headers.get("origin")
        is_own = origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower()
        if is_own and headers.get("sec-fetch-site", "none") in ("same-origin", "none"):
            return None
        return Refusal(403, "This request comes from another site's page")

    def _refused_token(self, headers: Headers) -> Refusal | None:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if self._is(self._settings.token, given.strip()) if scheme.lower() == "bearer" else self._has_cookie(headers):
            return None
        return Refusal(
            401, "The token is missing or wrong: send it as Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"}
        )

    def _with_cookie(self, scope: Scope) -> Response | None:
        """Where a browser comes with ?token=…: the same address without it, and a cookie instead."""
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            return None
        pairs = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in pairs if name == "token"]
        if not given or not self._is(self._settings.token, given[0]):
            return None
        rest = urlencode([pair for pair in pairs if pair[0] != "token"])
        path = "/" + scope["path"].lstrip("/\\")  # "//host" would be another site
        answer = RedirectResponse(f"{path}?{rest}" if rest else path, 303)
        answer.set_cookie(COOKIE, session_of(self._settings.token), httponly=True, samesite="strict", path="/")
        return answer

    def _has_cookie(self, headers: Headers) -> bool:
        return self._is(session_of(self._settings.token), _cookie(headers.get("cookie", "")))

    @staticmethod
    def _is(wanted: str, given: str) -> bool:
        return secrets.compare_digest(given.encode("utf-8", "replace"), wanted.encode())

    def _refused_amount(self, scope: Scope, headers: Headers) -> Refusal | None:
        """Refuse a body that says it is too large, and a client that changes too much in a minute."""
        if scope["type"] == "websocket" or scope["method"] in SAFE:
            return None
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self._settings.upload_bytes:
            return self._too_large()
        client = scope.get("client") or ("", 0)
        wait = self._rates.wait(client[0], time.monotonic()) if scope["path"].startswith(RATED) else 0.0
        if not wait:
            return None
        return Refusal(429, "Too many requests came: wait a moment", {"Retry-After": str(int(wait) + 1)})

    def _too_large(self) -> Refusal:
        return Refusal(
            413, f"The request is larger than {self._settings.upload} MiB, the limit", {"Connection": "close"}
        )


def _answer(refusal: Refusal) -> Response:
    return JSONResponse({"error": f"{refusal.reason}."}, refusal.status, {**HEADERS, **(refusal.headers or {})})


def session_of(token: str) -> str:
    """What a browser's cookie holds for a token: it opens this server too, and does not say the token."""
    return hmac.new(token.encode(), b"velatura browser session", "sha256").hexdigest()


def _is_open(scope: Scope) -> bool:
    """Whether a request needs no token: it reads what is the same on every server."""
    is_reading = scope["type"] == "http" and scope["method"] in SAFE
    return is_reading and OPEN_PATHS.fullmatch(scope["path"]) is not None


def _is_own_host(host: str, names: Sequence[str]) -> bool:
    """Whether a Host header is an address, loopback's name or one of ``names``. Only names can be rebound."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name in {each.lower() for each in names}:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _cookie(header: str) -> str:
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""
