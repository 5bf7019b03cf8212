"""A learner watches a server at work: its blocks, its requests, its steps."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from .conftest import RunningStudio

if TYPE_CHECKING:
    from teachllm.stack.inference.engine.service import EngineService

pytestmark = pytest.mark.browser
Visit = Callable[..., AbstractContextManager[tuple[Page, Any]]]
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture
def served(studio: RunningStudio, monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineService]:
    """A server of the same user, in this process, with a tiny random model that takes its time."""
    import torch
    import uvicorn

    from teachllm.stack.chat.running_servers import RunningServer, announced
    from teachllm.stack.inference import LanguageModel
    from teachllm.stack.inference.engine.config import EngineConfig
    from teachllm.stack.inference.engine.engine import Engine
    from teachllm.stack.inference.engine.service import EngineService
    from teachllm.stack.inference.server import create_app
    from teachllm.stack.inference.server.listening import listen
    from teachllm.stack.models.llama import Llama, LlamaConfig
    from teachllm.stack.tokenizer import Tokenizer

    class Slow(Llama):
        def features(self, *given: Any) -> Any:
            time.sleep(0.02)
            return super().features(*given)

    torch.manual_seed(3)
    sizes = {"d_model": 16, "n_layers": 1, "n_heads": 2, "n_kv_heads": 1, "head_dim": 8, "hidden": 24}
    model = Slow(LlamaConfig(vocab_size=256, context_length=2048, tied_head=True, **sizes)).eval()
    tiny = LanguageModel("tiny", model, Tokenizer.from_merges([]), None, (), frozenset())
    monkeypatch.setenv("TEACHLLM_HOME", str(studio.home))
    with contextlib.ExitStack() as stack:
        service = stack.enter_context(EngineService(Engine(tiny, EngineConfig(n_blocks=100))))
        listener = stack.enter_context(listen("127.0.0.1", 0))
        app = create_app(tiny, service, names=("tiny",))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none", lifespan="off"))
        thread = threading.Thread(target=lambda: server.run(sockets=[listener]))
        thread.start()
        stack.callback(thread.join)
        stack.callback(setattr, server, "should_exit", True)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        stack.enter_context(announced(RunningServer.this(address, "tiny", app.state.serving.view_key)))
        yield service


def test_a_server_at_work(visit: Visit, studio: RunningStudio, served: EngineService) -> None:
    from teachllm.stack.inference.engine.request import RequestOptions

    studio.settle(lang="en", theme="light")
    with visit() as (page, _):
        page.goto(studio.address + "/")
        page.get_by_text("More", exact=True).click()
        page.get_by_role("link", name="Engine").click()
        expect(page.get_by_label("Which engine")).to_contain_text("teachllm serve, port")
        expect(page.locator(".engine-head [role=status]")).to_have_text("idle")
        blocks = page.locator("canvas.block-map")
        expect(blocks).to_have_attribute("aria-label", re.compile(r"100 blocks of 16 tokens.*100 unused"))
        answers = [served.submit([5] * 40, RequestOptions(max_tokens=1500, n=n)) for n in (1, 2)]
        expect(page.locator(".engine-head [role=status]")).to_have_text("at work")
        expect(page.locator(".engine-texts tbody tr")).to_have_count(3)
        expect(page.locator(".engine-texts tbody")).to_contain_text("request-2 · 2")
        expect(blocks).to_have_attribute("aria-label", re.compile(r"[1-9]\d* shared by several"))
        expect(page.locator("[data-chart=batch] svg")).to_be_visible()
        page.locator(".engine-texts tbody tr").first.hover()
        blocks.hover(position={"x": 5, "y": 5})
        expect(page.locator(".block-reading")).to_contain_text("block 0:")
        for answer in answers:
            answer.cancel()
        expect(page.locator(".engine-head [role=status]")).to_have_text("idle")
        expect(page.get_by_text("There are no requests now.")).to_be_visible()
        # The studio's own engine is the other choice, and sleeps until it is asked.
        page.get_by_label("Which engine").select_option("studio")
        expect(page.locator(".engine-head [role=status]")).to_contain_text("Not started yet")


def test_axe_finds_nothing_and_nothing_is_too_wide(
    visit: Visit, studio: RunningStudio, served: EngineService
) -> None:
    from teachllm.stack.inference.engine.request import RequestOptions

    answer = served.submit([5] * 40, RequestOptions(max_tokens=1500, n=12))
    found: dict[str, Any] = {}
    for lang, theme, screen in (("zh", "light", {}), ("en", "dark", PHONE)):
        studio.settle(lang=lang, theme=theme)
        with visit(reduced_motion="reduce", **screen) as (page, _):
            page.goto(studio.address + "/engine")
            page.locator(".engine-texts tbody tr").nth(11).wait_for()
            page.locator("[data-chart=batch] svg").wait_for()
            violations = Axe().run(page, options=RULES).response["violations"]
            wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            found[f"{lang} {theme}"] = [
                *(f"{one['id']}: {node['html'][:160]}" for one in violations for node in one["nodes"]),
                *([f"{wide} px too wide"] if wide > 0 else []),
            ]
    answer.cancel()
    assert {where: what for where, what in found.items() if what} == {}
