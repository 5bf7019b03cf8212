"""Is a running studio ours? It proves that it knows the token, and nobody has to send the token to it."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from urllib.parse import parse_qs

import httpx
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

WHO_PATH = "/who-is-there"


def answer_challenge(token: str, scope: Scope) -> Response:
    """The proof for ``?challenge=``; it tells nothing about the token."""
    given = parse_qs(scope["query_string"].decode("latin-1")).get("challenge", [""])[0]
    if not 16 <= len(given) <= 128:
        return JSONResponse({"error": {"message": "challenge: 16 to 128 characters"}}, 400)
    return JSONResponse({"studio": "teachllm", "proof": _proof(token, given)})


def is_our_studio(token: str, port: int, timeout: float = 1.0) -> bool:
    """Whether what listens on the port is a studio with the same token, so on the same learner's data."""
    challenge = secrets.token_hex(16)
    try:
        answer = httpx.get(
            f"http://127.0.0.1:{port}{WHO_PATH}",
            params={"challenge": challenge},
            timeout=timeout,
            trust_env=False,
        )
        proof = answer.json().get("proof", "")
    except (httpx.HTTPError, ValueError, AttributeError):
        return False
    return isinstance(proof, str) and hmac.compare_digest(proof.encode(), _proof(token, challenge).encode())


def _proof(token: str, challenge: str) -> str:
    return hmac.new(token.encode(), f"studio {challenge}".encode(), hashlib.sha256).hexdigest()
