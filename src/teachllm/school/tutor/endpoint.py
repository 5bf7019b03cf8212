"""The endpoint that a learner connected: address, model and key, in a file that only its owner can read.

The file lies beside the database and not in it, so that no export and no backup of the progress has a key.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from teachllm.school.language import Both, Lang
from teachllm.stack.chat import OpenAIChatModel

FILE = "endpoint.json"
SHOWN_OF_KEY = 4
LONGEST_KEY = 4096


class EndpointError(ValueError):
    """What was given is no endpoint; the message says what to change and never has the key in it."""

    def __init__(self, why: Both) -> None:
        super().__init__(why.en)
        self.why = why

    def get(self, lang: Lang) -> str:
        return self.why.get(lang)


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible endpoint. Raises :class:`EndpointError` for values that cannot be one."""

    url: str
    model: str
    key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        try:
            address = httpx.URL(self.url)
        except httpx.InvalidURL:
            raise EndpointError(_ADDRESS) from None
        if address.scheme not in ("http", "https") or not address.host:
            raise EndpointError(_ADDRESS)
        if address.userinfo or address.query or address.fragment:
            raise EndpointError(_PLAIN)  # they would stand in messages and logs
        if not self.model or len(self.model) > 200 or not self.model.isprintable():
            raise EndpointError(_MODEL)
        if self.key is not None and not _could_be_key(self.key):
            raise EndpointError(_KEY)

    @property
    def host(self) -> str:
        return httpx.URL(self.url).host

    @property
    def is_here(self) -> bool:
        """Whether it is on this computer, so that no request leaves it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def key_ends_in(self) -> str | None:
        """Enough to know one's own key by; nothing of a key so short that this would tell much of it."""
        if self.key is None:
            return None
        return self.key[-SHOWN_OF_KEY:] if len(self.key) >= 4 * SHOWN_OF_KEY else ""

    def chat_model(self) -> OpenAIChatModel:
        return OpenAIChatModel(self.url, self.model, api_key=self.key)


def read_endpoint(home: Path) -> Endpoint | None:
    """What is connected; ``None`` for nothing, and for a file that is no endpoint any more."""
    try:
        kept = json.loads((home / FILE).read_text("utf-8"))
        return Endpoint(kept["url"], kept["model"], kept.get("key"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def changed(known: Endpoint | None, url: str, model: str, key: str) -> Endpoint:
    """What a form means. An empty key keeps the one that is saved, but only for the place that it was given
    for: a key goes nowhere else. Raises :class:`EndpointError`.
    """
    wanted = Endpoint(url.strip().rstrip("/"), model.strip(), key.strip() or None)
    if wanted.key is None and known is not None and _place(known) == _place(wanted):
        return Endpoint(wanted.url, wanted.model, known.key)
    return wanted


def save_endpoint(home: Path, endpoint: Endpoint) -> None:
    """As a whole or not at all, readable by its owner only from the first byte on."""
    draft = home / f"{FILE}.{os.getpid()}.{secrets.token_hex(4)}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"url": endpoint.url, "model": endpoint.model, "key": endpoint.key}, file)
        os.replace(draft, home / FILE)
    finally:
        draft.unlink(missing_ok=True)


def remove_endpoint(home: Path) -> bool:
    """Whether there was one."""
    with contextlib.suppress(FileNotFoundError):
        (home / FILE).unlink()
        return True
    return False


def _place(endpoint: Endpoint) -> tuple[str, str, int | None]:
    address = httpx.URL(endpoint.url)
    return address.scheme, address.host, address.port


def _could_be_key(key: str) -> bool:
    return key.isascii() and key.isprintable() and bool(key.strip()) and len(key) <= LONGEST_KEY


_ADDRESS = Both(
    "地址要写成 http://localhost:8000/v1 或 https://主机/v1 这样。",
    "The address must look like http://localhost:8000/v1 or https://host/v1.",
)
_PLAIN = Both(
    "地址里不要写用户名、密码、问号或井号；密钥填在密钥那一栏。",
    "Leave user name, password, ? and # out of the address; the key has its own field.",
)
_MODEL = Both("写上模型的名字，例如 qwen3-32b。", "Give the model's name, such as qwen3-32b.")
_KEY = Both(
    "密钥里有不该有的字符。是不是没复制完整，或者带上了换行？",
    "The key has characters that no key has. Was it copied whole, on one line?",
)
