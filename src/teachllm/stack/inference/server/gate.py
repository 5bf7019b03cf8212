"""Who may talk to the server: holders of its key; without one, programs of this machine and no web page.

A page in somebody's browser can send requests to this machine too. Without a key these are stopped by their
``Origin``, and by their ``Host`` where a foreign name was made to point here (DNS rebinding).
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from teachllm.stack.inference.server.errors import ApiError

OPEN_PATHS = frozenset({"/health"})  # says nothing but that it is there
VIEW_PATH = "/v1/engine/snapshot"


class Gate:
    """ASGI middleware. `view_key` opens nothing but the engine's snapshot (see `running_servers`)."""

    def __init__(self, app: ASGIApp, api_key: str | None, view_key: str) -> None:
        self._app = app
        self._api_key = api_key
        self._view_key = view_key
        self._names = frozenset({"localhost", socket.gethostname().lower()})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self.refusal(scope) if scope["type"] == "http" else None
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await (refusal.response() if refusal else self._app)(scope, receive, send)

    def refusal(self, scope: Scope) -> ApiError | None:
        """Why the request must not come in; None lets it through."""
        headers = Headers(scope=scope)
        path = scope["path"]
        if path == VIEW_PATH and not _is_loopback(scope):
            return ApiError(403, "the engine can be watched from this machine only")
        given = _bearer(headers)
        if path == VIEW_PATH and given is not None and _same(given, self._view_key):
            return None
        if self._api_key is None:
            return self._browser_refusal(headers)
        if path in OPEN_PATHS:
            return None
        if given is None or not _same(given, self._api_key):
            return ApiError(
                401,
                "the API key is missing or wrong; send it as: Authorization: Bearer KEY",
                code="invalid_api_key",
                headers={"www-authenticate": "Bearer"},
            )
        return None

    def _browser_refusal(self, headers: Headers) -> ApiError | None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return ApiError(
                403,
                f"the Host {', '.join(hosts)[:80]!r} is not a name of this machine; call it by its address, "
                "or start the server with an API key",
            )
        origin = headers.get("origin")
        if origin is not None and origin.lower() != f"http://{hosts[0].lower()}":
            return ApiError(403, f"web pages of {origin[:80]} may not use this server")
        return None

    def _is_ours(self, host: str) -> bool:
        """An address, or a name that no stranger can point here."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name in self._names or _is_address(name)


def _bearer(headers: Headers) -> str | None:
    scheme, _, given = headers.get("authorization", "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else None


def _same(given: str, secret: str) -> bool:
    """In a time that does not tell how much of it is right."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), secret.encode())


def _is_loopback(scope: Scope) -> bool:
    client = scope.get("client")
    return client is not None and _is_address(client[0]) and ipaddress.ip_address(client[0]).is_loopback


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
