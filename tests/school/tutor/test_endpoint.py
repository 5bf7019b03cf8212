"""The connected endpoint: its key stays in one private file and goes only where it was meant to go."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from teachllm.school.tutor.endpoint import (
    FILE,
    Endpoint,
    EndpointError,
    changed,
    read_endpoint,
    remove_endpoint,
    save_endpoint,
)
from teachllm.school.tutor.trials import try_out
from teachllm.stack.chat import Failure, Message, ScriptedChatModel

KEY = "sk-very-secret-key-1a2b"


def test_key_lies_in_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    endpoint = Endpoint("https://host/v1", "model", KEY)
    save_endpoint(tmp_path, endpoint)
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert list(tmp_path.glob(f"{FILE}*")) == [tmp_path / FILE]
    assert read_endpoint(tmp_path) == endpoint
    assert KEY not in repr(endpoint)
    assert endpoint.key_ends_in == "1a2b"
    assert Endpoint("https://host/v1", "model", "short").key_ends_in == ""
    (tmp_path / FILE).write_text("[half", "utf-8")
    assert read_endpoint(tmp_path) is None
    assert remove_endpoint(tmp_path)
    assert not remove_endpoint(tmp_path)


def test_saved_key_goes_to_no_other_host() -> None:
    known = Endpoint("https://host/v1", "model", KEY)
    assert changed(known, "https://host/v2/", "other", "").key == KEY
    for elsewhere in ("https://host.example/v1", "http://host/v1", "https://host:8443/v1"):
        assert changed(known, elsewhere, "model", "").key is None


@pytest.mark.parametrize(
    ("url", "model", "key"),
    [
        ("host/v1", "model", ""),
        ("ftp://host", "model", ""),
        (f"https://me:{KEY}@host/v1", "model", ""),
        (f"https://host/v1?key={KEY}", "model", ""),
        ("https://host/v1", "", ""),
        ("https://host/v1", "model", f"{KEY}\n{KEY}"),
    ],
)
def test_what_is_no_endpoint_is_refused_without_the_key_in_the_words(url: str, model: str, key: str) -> None:
    with pytest.raises(EndpointError) as caught:
        changed(None, url, model, key)
    assert KEY not in caught.value.get("zh") + caught.value.get("en")


def test_host_of_this_computer() -> None:
    assert Endpoint("http://localhost:8000/v1", "m").is_here
    assert Endpoint("http://[::1]:8000/v1", "m").is_here
    assert not Endpoint("http://localhost.example/v1", "m").is_here


def _reads(messages: list[Message] | tuple[Message, ...]) -> str:
    assert "0.0375" in messages[-1].content
    return "The rate was 0.0375 [2]."


def test_trials_tell_what_works() -> None:
    good = ScriptedChatModel(["one two three", '```json\n{"sum": 42, "even": true}\n```', _reads])
    assert [(one.name, one.passed) for one in try_out(good, "en")] == [
        ("answers", True),
        ("streams", True),
        ("form", True),
        ("cites", True),
    ]
    weak = ScriptedChatModel(["one", json.dumps({"sum": 41}), "PWNED [1]"])
    assert [one.passed for one in try_out(weak, "zh")] == [True, False, False, False]
    broken = ScriptedChatModel([[Failure("authorization", "The API key is wrong.")]])
    (only,) = try_out(broken, "zh")
    assert not only.passed
    assert "wrong" in only.message.zh
