"""Refusals and failures in OpenAI's shape: ``{"error": {"message", "type", "param", "code"}}``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

ErrorType = Literal["invalid_request_error", "rate_limit_error", "timeout_error", "server_error"]


@dataclass
class ApiError(Exception):
    """What a client is told. `param` is the field of its request that is wrong; `code` is for programs."""

    status: int
    message: str
    type: ErrorType = "invalid_request_error"
    param: str | None = None
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": error}

    def response(self) -> Response:
        return JSONResponse(self.body(), self.status, dict(self.headers))


def bad_request(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """400: the request itself is wrong."""
    return ApiError(400, message, param=param, code=code)


def server_failed(message: str) -> ApiError:
    """500: asking again may help."""
    return ApiError(500, message, "server_error")


def unavailable(message: str, retry_after: int) -> ApiError:
    """503: not now. `retry_after` is in seconds."""
    return ApiError(503, message, "server_error", headers={"retry-after": str(retry_after)})


def install(app: FastAPI) -> None:
    """Every way in which a request can fail ends in the one shape."""

    def on_api_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        return error.response()

    def on_wrong_body(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return _explain(error).response()

    def on_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        where = f"{request.method} {request.url.path}: " if error.status_code in (404, 405) else ""
        return ApiError(error.status_code, where + error.detail, headers=error.headers or {}).response()

    def on_failure(_: Request, error: Exception) -> Response:  # uvicorn prints the traceback
        return server_failed("the server failed at this request; its terminal says why").response()

    app.add_exception_handler(ApiError, on_api_error)
    app.add_exception_handler(RequestValidationError, on_wrong_body)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(Exception, on_failure)


def _explain(error: RequestValidationError) -> ApiError:
    """All that is wrong with the body in one message; `param` is the first of them."""
    problems = error.errors()
    if problems and problems[0]["type"] == "json_invalid":
        return bad_request(f"the body is not JSON: {problems[0].get('ctx', {}).get('error', 'broken')}")
    if problems and problems[0]["loc"] == ("body",) and problems[0]["type"] != "missing":
        return bad_request("the body must be a JSON object, sent with Content-Type: application/json")
    texts, first = [], None
    for problem in problems:
        # The steps are "body", fields, and names of the alternatives of a union, which mean nothing outside.
        steps = [step for step in problem["loc"] if step != "body" and not _is_alternative(step)]
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".")
        text = f"{path or 'the body'}: {problem['msg'].removeprefix('Value error, ')}"
        texts += [] if text in texts else [text]
        first = first or path or None
    return bad_request("; ".join(texts), first)


def _is_alternative(step: int | str) -> bool:
    return isinstance(step, str) and (step in ("str", "int", "float", "bool") or "[" in step)
