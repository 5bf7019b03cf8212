"""The gate: whom it lets in, whom it keeps out, what it adds to every answer."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from teachllm.school.web.challenge import WHO_PATH
from teachllm.school.web.security import Gate
from teachllm.school.web.token_file import TokenError, token_in

TOKEN = "5f" * 32
PORT = 8765
HERE = f"http://127.0.0.1:{PORT}"
GATE = Gate(TOKEN, PORT)
COOKIE = {"cookie": f"{GATE.cookie_name}={GATE.cookie_value}"}
OWN_PAGE = {**COOKIE, "sec-fetch-site": "same-origin"}
OWN_WRITE = {**OWN_PAGE, "origin": HERE}
BEARER = {"authorization": f"Bearer {TOKEN}"}


async def inside(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"inside {request.method}")


@pytest.fixture
def client() -> TestClient:
    inner = Starlette(
        routes=[Route("/{path:path}", inside, methods=["GET", "POST", "PUT", "DELETE", "PATCH"])]
    )
    return TestClient(GATE.around(inner), base_url=HERE, follow_redirects=False)


def was_let_in(response) -> bool:
    return response.status_code == 200 and response.text.startswith("inside")


def test_first_link_is_exchanged_for_a_cookie(client: TestClient) -> None:
    response = client.get(GATE.link.removeprefix(HERE))
    assert response.status_code == 303
    assert response.headers["location"] == "/"
    cookie = response.headers["set-cookie"]
    assert cookie.startswith(f"teachllm-{PORT}=")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Domain" not in cookie
    assert TOKEN not in cookie
    assert was_let_in(client.get("/"))


def test_link_to_a_lesson_keeps_its_place(client: TestClient) -> None:
    response = client.get(f"/lesson/1.2?lang=en&token={TOKEN}&q=%E7%BC%93")
    assert response.headers["location"] == "/lesson/1.2?lang=en&q=%E7%BC%93"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_link_in_another_page_goes_on_by_itself(client: TestClient, site: str) -> None:
    path = f'/lesson/1.2?token={TOKEN}&q="><script>'
    response = client.get(path, headers={"sec-fetch-site": site})
    assert response.status_code == 200
    assert "set-cookie" in response.headers
    assert 'content="0;url=/lesson/1.2?q=%22%3E%3Cscript%3E"' in response.text
    assert TOKEN not in response.text


@pytest.mark.parametrize("path", ["//evil.example", "/%2Fevil.example", "///evil.example/x"])
def test_redirect_stays_here(client: TestClient, path: str) -> None:
    response = client.get(f"{HERE}{path}?token={TOKEN}")
    assert response.status_code == 303
    assert not response.headers["location"].startswith("//")


@pytest.mark.parametrize("token", ["", "x", TOKEN[:-1], TOKEN + "0", TOKEN.upper(), "é" * 64])
def test_wrong_token_gives_no_cookie(client: TestClient, token: str) -> None:
    response = client.get("/", params={"token": token})
    assert response.status_code == 403
    assert "set-cookie" not in response.headers


def test_stranger_gets_a_page_that_says_what_to_do(client: TestClient) -> None:
    response = client.get("/lesson/1.2")
    assert response.status_code == 403
    assert "make start" in response.text
    assert "终端" in response.text
    assert 'href="/lesson/1.2"' in response.text


def test_page_for_strangers_escapes_the_address(client: TestClient) -> None:
    response = client.get("/%3Cscript%3Ealert(1)%3C/script%3E%22")
    assert "<script>" not in response.text


@pytest.mark.parametrize(
    "cookie",
    [
        f"teachllm-{PORT}={'0' * 64}",
        f"teachllm-{PORT}={TOKEN}",
        f"teachllm-8921={Gate(TOKEN, 8921).cookie_value}",
        f"teachllm-{PORT}={Gate(TOKEN, 8921).cookie_value}",
        f"teachllm-{PORT}={Gate('ab' * 32, PORT).cookie_value}",
        f"teachllm={GATE.cookie_value}",
        "=; ;;",
    ],
)
def test_other_cookies_are_nothing(client: TestClient, cookie: str) -> None:
    assert client.get("/", headers={"cookie": cookie}).status_code == 403


def test_cookie_among_others_of_this_host(client: TestClient) -> None:
    cookie = f"theme=dark; teachllm-8921=zz; {GATE.cookie_name}={GATE.cookie_value}; x=1"
    assert was_let_in(client.get("/", headers={"cookie": cookie}))


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        f"evil.example:{PORT}",
        "127.0.0.1",
        "127.0.0.1:8921",
        f"127.0.0.1.evil.example:{PORT}",
        f"localhost.evil.example:{PORT}",
        f"127.0.0.1:{PORT}@evil.example",
        "",
    ],
)
def test_other_hosts_are_refused_even_with_everything_else(client: TestClient, host: str) -> None:
    for method in ("GET", "POST"):
        headers = {**OWN_WRITE, **BEARER, "host": host, "content-type": "application/json"}
        assert client.request(method, "/api/x", headers=headers).status_code == 403
    assert client.get("/", params={"token": TOKEN}, headers={"host": host}).status_code == 403


def test_two_hosts_are_refused(client: TestClient) -> None:
    headers = [*OWN_PAGE.items(), ("host", f"127.0.0.1:{PORT}"), ("host", "evil.example")]
    assert client.get("/", headers=headers).status_code == 403


def test_localhost_is_a_name_of_this_studio(client: TestClient) -> None:
    headers = {**COOKIE, "host": f"localhost:{PORT}", "origin": f"http://localhost:{PORT}"}
    assert was_let_in(client.post("/api/x", json={}, headers=headers))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize(
    "origin",
    [
        None,
        "null",
        "http://evil.example",
        "http://127.0.0.1:8921",
        f"http://localhost:{PORT}",
        f"https://127.0.0.1:{PORT}",
        f"http://127.0.0.1:{PORT}.evil.example",
        f"http://127.0.0.1:{PORT}/",
        "",
    ],
)
def test_writing_needs_exactly_our_origin(client: TestClient, method: str, origin: str | None) -> None:
    headers = dict(COOKIE) | ({} if origin is None else {"origin": origin})
    assert client.request(method, "/api/x", headers=headers, json={}).status_code == 403
    assert was_let_in(client.request(method, "/api/x", headers=OWN_WRITE, json={}))


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
def test_writing_from_another_site_is_refused_whatever_the_origin(client: TestClient, site: str) -> None:
    headers = {**OWN_WRITE, "sec-fetch-site": site}
    assert client.post("/api/x", headers=headers, json={}).status_code == 403


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None]
)
def test_a_form_is_refused(client: TestClient, kind: str | None) -> None:
    headers = dict(OWN_WRITE) | ({} if kind is None else {"content-type": kind})
    response = client.post("/api/x", headers=headers, content=b'{"lesson": "1.1"}')
    assert response.status_code == 415


def test_nothing_of_the_api_is_read_from_elsewhere(client: TestClient) -> None:
    path = "/api/lab/run/1/events"
    assert client.get(path, headers=COOKIE).status_code == 403  # no browser leaves out both headers
    for site in ("cross-site", "same-site"):
        assert client.get(path, headers={**COOKIE, "sec-fetch-site": site}).status_code == 403
    for origin in ("http://evil.example", "http://127.0.0.1:8921", "null"):
        headers = {**OWN_PAGE, "origin": origin}
        assert client.get(path, headers=headers).status_code == 403
    assert was_let_in(client.get(path, headers=OWN_PAGE))


def test_pages_may_be_opened_from_anywhere_but_not_embedded(client: TestClient) -> None:
    foreign = {**COOKIE, "sec-fetch-site": "cross-site"}
    opened = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert was_let_in(client.get("/", headers={**foreign, **opened}))
    for mode, destination in [
        ("no-cors", "script"),
        ("no-cors", "image"),
        ("navigate", "iframe"),
        ("cors", "empty"),
    ]:
        headers = {**foreign, "sec-fetch-mode": mode, "sec-fetch-dest": destination}
        assert client.get("/static/built/main.js", headers=headers).status_code == 403


def test_tools_use_the_token(client: TestClient) -> None:
    assert was_let_in(client.post("/api/x", headers=BEARER, json={}))
    assert was_let_in(client.get("/api/x", headers=BEARER))
    assert client.post("/api/x", headers={"authorization": f"Basic {TOKEN}"}, json={}).status_code == 403
    assert client.post("/api/x", headers={"authorization": "Bearer x"}, json={}).status_code == 403
    foreign = {**BEARER, "origin": "http://evil.example"}
    assert client.post("/api/x", headers=foreign, json={}).status_code == 403


def test_no_preflight_is_answered(client: TestClient) -> None:
    headers = {"origin": "http://evil.example", "access-control-request-method": "POST"}
    response = client.options("/api/x", headers=headers)
    assert response.status_code == 403
    assert not [name for name in response.headers if name.startswith("access-control")]


def test_websockets_are_closed(client: TestClient) -> None:
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/api/x", headers=OWN_PAGE):
        pass


def test_every_answer_has_the_headers(client: TestClient) -> None:
    for response in (client.get("/"), client.get("/", headers=OWN_PAGE), client.get(GATE.link)):
        policy = response.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "same-origin"
        assert response.headers["cross-origin-opener-policy"] == "same-origin"
        assert response.headers["cross-origin-resource-policy"] == "same-origin"


def test_challenge_proves_the_token_without_telling_it(client: TestClient) -> None:
    proofs = {client.get(WHO_PATH, params={"challenge": c * 16}).json()["proof"] for c in "ab"}
    assert len(proofs) == 2
    assert TOKEN not in str(proofs)
    assert GATE.cookie_value not in proofs
    assert client.get(WHO_PATH).status_code == 400
    assert (
        client.get(WHO_PATH, params={"challenge": "a" * 16}, headers={"host": "evil.example"}).status_code
        == 403
    )


def test_token_is_made_once_and_only_for_its_owner(tmp_path: Path) -> None:
    home = tmp_path / "new" / "home"
    token = token_in(home)
    assert len(token) == 64
    assert token_in(home) == token
    assert stat.S_IMODE((home / "token").stat().st_mode) == 0o600
    assert [path.name for path in home.iterdir()] == ["token"]
    assert token_in(tmp_path / "other") != token


def test_token_that_others_could_read_is_replaced(tmp_path: Path) -> None:
    known = token_in(tmp_path)
    (tmp_path / "token").chmod(0o644)
    fresh = token_in(tmp_path)
    assert fresh != known
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    assert token_in(tmp_path) == fresh


@pytest.mark.parametrize("content", [b"", b"short\n", b"\xff\xfe", b"g" * 64])
def test_damaged_token_file_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    token_in(tmp_path)
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(TokenError, match=r"token"):
        token_in(tmp_path)


def test_token_behind_a_link_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("a" * 64)
    (tmp_path / "elsewhere").chmod(0o600)
    (tmp_path / "token").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TokenError, match="link"):
        token_in(tmp_path)


def test_short_token_is_refused() -> None:
    with pytest.raises(ValueError, match="32"):
        Gate("abc", PORT)
