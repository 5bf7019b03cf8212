"""Who may talk to the studio: its own page and whoever holds the token; no other page, port, host or user.

A studio runs code for whoever can reach it, so every request passes :class:`Gate` first. What it stops:

* another name for this machine (DNS rebinding): the ``Host`` must be ours;
* a stranger: the first link carries the token, and a redirect makes a cookie of it; tools send the token;
* another user of this machine who has come by either (see :mod:`teachllm.school.web.peer`);
* another page in the learner's browser: the cookie alone is not enough, since ``SameSite`` does not separate
  ports. Whatever changes something needs our exact ``Origin``, all else must come from our own page.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from html import escape
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from teachllm.school.language import Both
from teachllm.school.web.challenge import WHO_PATH, answer_challenge
from teachllm.school.web.peer import is_another_user

SAFE_METHODS = frozenset({"GET", "HEAD"})
COOKIE_DAYS = 400

# KaTeX, CodeMirror and the charts set styles through the CSSOM, which this policy allows; it forbids style
# attributes and inline scripts in HTML. The page's JSON is in `type="application/json"` scripts: data only.
CONTENT_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), clipboard-read=()",
}

_NO_TOKEN = Both(
    "请用终端里 `make start` 打印的链接打开工作室：它带着只有你有的钥匙。",
    "Open the studio with the link that `make start` printed in the terminal: only you have its key.",
)
_COME_IN = Both("正在打开工作室…", "Opening the studio…")
_JUST_OPENED = Both("刚刚打开过那个链接？继续", "Have you just opened that link? Continue")
_FOREIGN = Both(
    "这个请求不是从工作室自己的页面来的，已经拒绝。",
    "This request did not come from the studio's own page, so it was refused.",
)
_OTHER_USER = Both("工作室只为启动它的用户服务。", "The studio serves only the user who started it.")
_HOST = Both(
    "工作室只回应 127.0.0.1 和 localhost 上它自己的端口。",
    "The studio answers only to 127.0.0.1 and localhost on its own port.",
)
_NOT_JSON = Both("请求的内容要是 application/json。", "The body of a request must be application/json.")


class Gate:
    """``token`` is the secret of this learner's studio, ``port`` the one that it is served on."""

    def __init__(self, token: str, port: int) -> None:
        if len(token) < 32:
            raise ValueError(
                "the token must have at least 32 characters; teachllm.school.web.token_file makes one"
            )
        self.port = port
        self._token = token
        self.cookie_name = f"teachllm-{port}"
        # Not the token itself: browsers send cookies of 127.0.0.1 to every port of it.
        self.cookie_value = hmac.new(token.encode(), f"cookie {port}".encode(), hashlib.sha256).hexdigest()
        self._connections: dict[int, tuple[tuple[str, int], bool]] = {}
        self.hosts = frozenset(f"{name}:{port}" for name in ("127.0.0.1", "localhost"))

    @property
    def link(self) -> str:
        """The address that lets its holder in."""
        return f"http://127.0.0.1:{self.port}/?token={self._token}"

    def around(self, app: ASGIApp) -> ASGIApp:
        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan":
                await app(scope, receive, send)
            elif scope["type"] == "http":
                answer = self.refusal(scope)
                await (answer or app)(scope, receive, with_headers(send))
            else:
                await send({"type": "websocket.close", "code": 1008})

        return guarded

    def refusal(self, scope: Scope) -> Response | None:
        """The answer to a request that must not reach the application; ``None`` lets it through."""
        headers = Headers(scope=scope)
        if len(headers.getlist("host")) != 1 or headers["host"].lower() not in self.hosts:
            return _refuse(scope, _HOST)
        method, path = scope["method"], scope["path"]
        if path == WHO_PATH and method == "GET":
            return answer_challenge(self._token, scope)
        client = scope.get("client")
        if client is not None and self._is_another_user(client):
            return _refuse(scope, _OTHER_USER)
        if method == "GET" and (entry := self._exchange(scope)):
            return entry
        bearer = self._holds_token(headers)
        if not bearer and not self._holds_cookie(headers):
            return _refuse(scope, _NO_TOKEN, page=_no_token_page(scope))
        if not self._from_own_page(scope, headers, bearer):
            return _refuse(scope, _FOREIGN)
        if method not in SAFE_METHODS and not _is_json(headers):
            return _refuse(scope, _NOT_JSON, status=415)
        return None

    def _is_another_user(self, client: tuple[str, int]) -> bool:
        """Asked once a connection: the server gives all its requests the same ``client`` object."""
        known = self._connections.get(id(client))
        if known is None:
            if len(self._connections) >= 256:
                self._connections.clear()
            # Keeping the object keeps its id from being given to another.
            known = self._connections[id(client)] = (client, is_another_user(client[1], self.port))
        return known[1]

    def _exchange(self, scope: Scope) -> Response | None:
        """``?token=`` becomes a cookie, and leaves the address (and with it the browser's history)."""
        pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in pairs if name == "token"]
        if not given:
            return None
        if not _same(given[-1], self._token):
            return _refuse(scope, _NO_TOKEN, page=_no_token_page(scope))
        rest = urlencode([(name, value) for name, value in pairs if name != "token"])
        # A path that begins with two slashes would be another host.
        address = "/" + scope["path"].lstrip("/") + (f"?{rest}" if rest else "")
        response: Response
        if Headers(scope=scope).get("sec-fetch-site") in ("cross-site", "same-site"):
            # A link in another page (a web terminal): the browser sends no strict cookie along such a
            # redirect, but does when this page goes on by itself.
            response = HTMLResponse(_page([_COME_IN], refresh=address))
        else:
            response = RedirectResponse(address, status_code=303)
        response.set_cookie(
            self.cookie_name,
            self.cookie_value,
            max_age=COOKIE_DAYS * 24 * 3600,
            path="/",
            httponly=True,
            samesite="strict",
        )
        response.headers["cache-control"] = "no-store"
        return response

    def _holds_token(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and _same(given.strip(), self._token)

    def _holds_cookie(self, headers: Headers) -> bool:
        for line in headers.getlist("cookie"):
            try:
                morsel = SimpleCookie(line).get(self.cookie_name)
            except CookieError:
                continue
            if morsel is not None and _same(morsel.value, self.cookie_value):
                return True
        return False

    def _from_own_page(self, scope: Scope, headers: Headers, bearer: bool) -> bool:
        """``Origin`` and ``Sec-Fetch-Site`` are those of our page; a tool with the token has neither."""
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin is not None and origin != f"http://{headers['host'].lower()}":
            return False
        if bearer:
            return site in (None, "none", "same-origin")
        if scope["method"] not in SAFE_METHODS:
            return origin is not None and site in (None, "same-origin")
        if scope["path"].startswith("/api/"):
            return origin is not None or site in ("same-origin", "none")
        # A page may be opened from anywhere, as a page in a window; nothing of it may be embedded elsewhere.
        opened = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        return opened or site in (None, "same-origin", "none")


def _is_json(headers: Headers) -> bool:
    return headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json" or (
        "content-type" not in headers
        and headers.get("content-length", "0") == "0"
        and "transfer-encoding" not in headers
    )


def _same(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), secret.encode())


def with_headers(send: Send) -> Send:
    """Adds the protecting headers to every answer."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending


def _refuse(scope: Scope, why: Both, *, status: int = 403, page: str | None = None) -> Response:
    if scope["path"].startswith("/api/"):
        return JSONResponse({"error": {"message": f"{why.zh} {why.en}"}}, status)
    response = HTMLResponse(page or _page([why]), status)
    response.headers["cache-control"] = "no-store"
    return response


def _no_token_page(scope: Scope) -> str:
    # A link that was followed from another site arrives without the strict cookie; a click here sends it.
    path = "/" + scope["path"].lstrip("/")
    return _page([_NO_TOKEN], f'<p><a href="{escape(path)}">{_JUST_OPENED.zh} · {_JUST_OPENED.en}</a></p>')


def _page(texts: Iterable[Both], more: str = "", refresh: str | None = None) -> str:
    body = "".join(f'<p lang="zh">{escape(text.zh)}</p><p lang="en">{escape(text.en)}</p>' for text in texts)
    if refresh is not None:
        more = f'<p><a href="{escape(refresh)}">{_COME_IN.zh}</a></p>' + more
        head = f'<meta http-equiv="refresh" content="0;url={escape(refresh)}">'
    else:
        head = ""
    return (
        '<!doctype html><html lang="zh"><head><meta charset="utf-8"><title>TeachLLM</title>'
        '<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">'
        f"{head}</head><body><h1>TeachLLM</h1>{body}{more}</body></html>"
    )
