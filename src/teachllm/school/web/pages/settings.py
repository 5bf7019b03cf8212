"""Settings, and what the studio found on this computer."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from importlib.metadata import version

from fastapi import APIRouter, Request
from starlette.responses import Response

from teachllm.school.device_words import device_and_reason
from teachllm.school.language import Both
from teachllm.school.progress.place import learner_home
from teachllm.school.tutor.endpoint import read_endpoint
from teachllm.school.web.pages.frame import page, without_choices
from teachllm.school.web.studio import studio_of
from teachllm.stack.data.assets import ASSETS, AssetDamaged, AssetMissing, asset

router = APIRouter()

_LEVELS = {
    "full": Both("你的代码在完整的隔离里运行。", "Your code runs fully isolated."),
    "partial": Both(
        "你的代码在一部分隔离里运行，缺的那些层见下面。",
        "Your code runs partly isolated; the missing layers are below.",
    ),
    "limits": Both(
        "这个系统只能给你的代码限时限量：只运行你自己写的代码。",
        "This system only limits your code's time and size: run only code that you wrote.",
    ),
}


@router.get("/settings")
def settings_page(request: Request, look: str | None = None) -> Response:
    """``?look=device`` loads PyTorch to say which device it would use."""
    if (redirect := without_choices(request)) is not None:
        return redirect
    studio = studio_of(request)
    lang = studio.language(request)
    device_known = look == "device" or "torch" in sys.modules
    isolation = studio.runner.isolation() if studio.runner.is_ready() else None
    return page(
        request,
        "settings",
        title=Both("设置", "Settings").get(lang),
        model=studio.model.status(lang),
        endpoint=read_endpoint(learner_home()),
        assets=[_state(name) for name in ASSETS],
        machine=_machine(with_device=device_known),
        device_known=device_known,
        new_cards_per_day=studio.store.setting("new_cards_per_day"),
        reviews_per_day=studio.store.setting("reviews_per_day"),
        leech_lapses=studio.store.setting("leech_lapses"),
        leech_action=studio.store.setting("leech_action"),
        isolation=isolation,
        isolation_level=_LEVELS[isolation.level] if isolation else None,
    )


@dataclass(frozen=True)
class AssetState:
    name: str
    about: str
    state: str
    """``here``, ``missing`` or ``damaged``."""


def _state(name: str) -> AssetState:
    row = ASSETS[name]
    about = f"{row.title}, {row.bytes / 1e6:.0f} MB, {row.license}"
    try:
        asset(name)
    except AssetDamaged:
        return AssetState(name, about, "damaged")
    except AssetMissing:
        return AssetState(name, about, "missing")
    return AssetState(name, about, "here")


def _machine(*, with_device: bool) -> list[tuple[Both, Both]]:
    facts = [
        (
            Both("系统", "System"),
            Both.same(f"{platform.system()}, {platform.machine()}"),
        ),
        (Both.same("Python"), Both.same(platform.python_version())),
        (Both.same("PyTorch"), Both.same(version("torch"))),
        (Both.same("TeachLLM"), Both.same(version("teachllm"))),
    ]
    if with_device:
        facts.append((Both("计算设备", "Device"), device_and_reason()))
    return facts
