"""The page of something that went wrong: what happened, and the way back."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from teachllm.school.language import Both, Lang
from teachllm.school.web.pages.frame import bare_page, page
from teachllm.school.web.studio import browser_language, studio_of

_TITLES = {
    403: Both("这一页不能打开", "This page cannot be opened"),
    404: Both("这里没有东西", "There is nothing here"),
    500: Both("工作室出错了", "The studio failed"),
    503: Both("现在做不到", "Not just now"),
}
_OTHER = Both("这个请求没能完成", "The request could not be completed")


def error_page(request: Request, status: int, message: str) -> Response:
    """``message`` is already in the reader's language; each of its lines is a paragraph."""
    lines = [line for line in message.splitlines() if line.strip()]
    try:
        lang: Lang = studio_of(request).language(request)
        title = _TITLES.get(status, _OTHER).get(lang)
        return page(request, "error", title=title, status=status, lines=lines)
    except Exception:  # the store or the course may be what has failed
        lang = browser_language(request)
        title = _TITLES.get(status, _OTHER).get(lang)
        return bare_page(request, "error", lang, title=title, status=status, lines=lines)
