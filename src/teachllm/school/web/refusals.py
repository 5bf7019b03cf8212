"""What the studio answers when it cannot do what it was asked: a sentence for the learner, no traceback."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from teachllm.school.cards import AlreadyAnswered, UnknownCard, UnknownRating, UnsuitableCard
from teachllm.school.cards.exchange import UnreadablePackage, UnreadableTable
from teachllm.school.course import UnknownLesson
from teachllm.school.figures import ControlError
from teachllm.school.interview import InterviewOver, TooFewQuestions, UnknownInterview
from teachllm.school.language import Both, Lang
from teachllm.school.problem import CourseFileError
from teachllm.school.progress import SettingError, StoreError, UnknownThread
from teachllm.school.runner import RunnerError
from teachllm.school.transfer import ArchiveError
from teachllm.school.web.runs_folder import UnknownRun
from teachllm.school.web.studio import Studio, browser_language

log = logging.getLogger("teachllm.studio")

_STATUS = {
    400: Both("工作室没看懂这个请求。", "The studio did not understand this request."),
    404: Both("这里没有你要的东西。", "There is nothing at this address."),
    405: Both("这个地址不接受这种请求。", "This address does not take this kind of request."),
    413: Both("内容太大了，工作室不收。", "That is more than the studio takes at once."),
}
_COURSE_ERROR: tuple[tuple[str, Lang], ...] = (
    ("课程文件有问题：", "zh"),
    ("Something is wrong in the course's files:", "en"),
)
_FAILED = Both(
    "工作室出错了，终端里有详细原因。你保存的东西没有受影响。",
    "The studio failed; the terminal says why. What you saved is not affected.",
)


class Refusal(Exception):
    """Raised by a request's function: an HTTP status, and why in both languages."""

    def __init__(self, status: int, why: Both) -> None:
        super().__init__(why.en)
        self.status = status
        self.why = why


def install(app: FastAPI) -> None:
    app.add_exception_handler(Refusal, _on_refusal)
    app.add_exception_handler(UnknownLesson, _on_unknown_lesson)
    app.add_exception_handler(UnknownRun, _on_unknown_run)
    app.add_exception_handler(ControlError, _on_control_error)
    app.add_exception_handler(CourseFileError, _on_course_error)
    app.add_exception_handler(StoreError, _on_store_error)
    app.add_exception_handler(RunnerError, _on_runner_error)
    app.add_exception_handler(RequestValidationError, _on_wrong_body)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_failure)


def answer(request: Request, status: int, why: Both) -> Response:
    lang = _language(request)
    if request.url.path.startswith(("/api/", "/static/")):
        return JSONResponse({"error": {"message": why.get(lang)}}, status)
    from teachllm.school.web.pages import error_page

    return error_page(request, status, why.get(lang))


def _language(request: Request) -> Lang:
    studio: Studio | None = getattr(request.app.state, "studio", None)
    try:
        return studio.language(request) if studio else browser_language(request)
    except Exception:  # the store itself may be what failed
        return browser_language(request)


def _on_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return answer(request, error.status, error.why)


def _on_unknown_lesson(request: Request, error: Exception) -> Response:
    return answer(request, 404, Both(f"没有这一课：{error}", f"There is no such lesson: {error}"))


def _on_unknown_run(request: Request, error: Exception) -> Response:
    assert isinstance(error, UnknownRun)
    return answer(request, 404, error.why)


def _on_control_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ControlError)
    return answer(request, 422, Both(error.get("zh"), error.get("en")))


def _on_course_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, CourseFileError)
    log.error("course files cannot be used:\n%s", error)
    zh, en = (f"{title}\n{error.get(lang)}" for title, lang in _COURSE_ERROR)
    return answer(request, 500, Both(zh, en))


_STORE_STATUS: dict[type[StoreError], int] = {
    ArchiveError: 422,
    SettingError: 422,
    UnknownRating: 422,
    UnsuitableCard: 422,
    UnreadablePackage: 422,
    UnreadableTable: 422,
    TooFewQuestions: 422,
    UnknownInterview: 404,
    InterviewOver: 409,
    UnknownCard: 404,
    UnknownThread: 404,
    AlreadyAnswered: 409,
}


def _on_store_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, StoreError)
    status = _STORE_STATUS.get(type(error), 503)
    if status == 503:
        log.error("the store failed: %s", error)
    return answer(request, status, error.why)


def _on_runner_error(request: Request, error: Exception) -> Response:
    log.error("the runner failed: %s", error)
    return answer(
        request,
        503,
        Both(
            "运行代码的进程出了问题。再试一次；还不行就运行 teachllm doctor。",
            "The processes that run code have failed. Try again; if it persists, run teachllm doctor.",
        ),
    )


def _on_wrong_body(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    parts = [f"{'.'.join(str(step) for step in one['loc'])}: {one['msg']}" for one in error.errors()]
    text = "; ".join(parts)
    return answer(
        request, 422, Both(f"请求的内容不对：{text}", f"The request's content is not right: {text}")
    )


def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = answer(request, error.status_code, _STATUS.get(error.status_code, _STATUS[400]))
    response.headers.update(error.headers or {})
    return response


def _on_failure(request: Request, error: Exception) -> Response:
    # The server that runs the application prints the traceback.
    return answer(request, 500, _FAILED)
