"""Who may talk to our pages: token, Host, Origin and cookie."""

import asyncio
import os

import pytest

from vsr_pipeline.errors import OutputError, UsageError
from vsr_pipeline.runtime.http import (
    Access,
    Authority,
    Entered,
    Guard,
    Question,
    Refused,
    allowed_hosts,
    decide,
)
from vsr_pipeline.runtime.token_file import make_token, token_in

TOKEN = make_token()
ACCESS = Access(TOKEN, allowed_hosts(["Example.org", "tapes.example:8443"]))
COOKIE = f"{ACCESS.cookie_name}={TOKEN}"
HOST = "127.0.0.1:8787"


def status(method="GET", **headers):
    """0: let in."""
    decision = decide(Question(method, **({"host": HOST} | headers)), ACCESS)
    return decision.status if isinstance(decision, Refused) else 0


@pytest.mark.parametrize(
    ("host", "is_allowed"),
    [
        ("127.0.0.1:8787", True),
        ("127.0.0.1", True),
        ("localhost:22", True),
        ("LOCALHOST", True),
        ("localhost.", True),
        ("[::1]", True),
        ("[::1]:8787", True),
        ("example.org", True),
        ("example.org:444", True),
        ("tapes.example:8443", True),
        ("tapes.example", False),  # allowed with this port only
        ("tapes.example:8444", False),
        ("", False),
        ("evil.example:8787", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
        ("example.org@evil.example", False),
        ("evil.example#example.org", False),
        ("127.0.0.1:8787, evil.example", False),
        ("::1", False),
        ("[::1", False),
        ("[::1]8787", False),
        ("localhost:", False),
        ("localhost:0", False),
        ("localhost:65536", False),
        ("localhost:1e3", False),
        ("localhost/", False),
        ("0.0.0.0:8787", False),
        ("2130706433", False),
    ],
)
def test_hosts(host, is_allowed):
    assert status(host=host, cookie=COOKIE) == (0 if is_allowed else 421)


@pytest.mark.parametrize(
    ("host", "headers", "wanted"),
    [
        (HOST, {"origin": "http://127.0.0.1:8787"}, 0),
        (HOST, {"origin": "http://127.0.0.1:8787", "fetch_site": "same-origin"}, 0),
        (HOST, {"fetch_site": "same-origin"}, 0),
        ("[::1]:8787", {"origin": "http://[::1]:8787"}, 0),
        ("example.org", {"origin": "https://example.org"}, 0),
        ("example.org", {"origin": "https://EXAMPLE.org:443"}, 0),
        ("example.org:80", {"origin": "http://example.org"}, 0),
        ("example.org", {"origin": "https://example.org:8443"}, 403),
        (HOST, {}, 403),  # a browser that says nothing
        (HOST, {"origin": "null"}, 403),
        (HOST, {"origin": ""}, 403),
        (HOST, {"origin": "http://127.0.0.1"}, 403),
        (HOST, {"origin": "http://127.0.0.1:8788"}, 403),
        (HOST, {"origin": "http://localhost:8787"}, 403),
        (HOST, {"origin": "http://evil.example"}, 403),
        (HOST, {"origin": "http://127.0.0.1:8787.evil.example"}, 403),
        (HOST, {"origin": "http://127.0.0.1:8787@evil.example"}, 403),
        (HOST, {"origin": "file://127.0.0.1:8787"}, 403),
        (HOST, {"origin": "http://127.0.0.1:8787", "fetch_site": "cross-site"}, 403),
        (HOST, {"fetch_site": "same-site"}, 403),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE", "PUT", "WHATEVER"])
def test_what_changes_something_comes_from_the_page(method, host, headers, wanted):
    assert status(method, host=host, cookie=COOKIE, **headers) == wanted
    assert status("GET", host=host, cookie=COOKIE, **headers) == 0  # it changes nothing


def test_programs_need_no_origin_but_a_foreign_one_is_refused():
    bearer = f"Bearer {TOKEN}"
    assert status("POST", authorization=bearer) == 0
    assert status("POST", authorization=bearer, origin="http://evil.example") == 403
    assert status("POST", authorization="Basic dTpw", cookie=COOKIE) == 403


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ({}, 401),
        ({"cookie": COOKIE}, 0),
        ({"cookie": f"a=b; {COOKIE}; c=d"}, 0),
        ({"cookie": f"{ACCESS.cookie_name}=old; {COOKIE}"}, 0),
        ({"cookie": f"vsr_other={TOKEN}"}, 401),
        ({"cookie": f"{ACCESS.cookie_name}={TOKEN[:-1]}"}, 401),
        ({"cookie": f"{ACCESS.cookie_name}="}, 401),
        ({"authorization": f"Bearer {TOKEN}"}, 0),
        ({"authorization": f"bearer  {TOKEN}"}, 0),
        ({"authorization": f"Bearer {TOKEN}x"}, 401),
        ({"authorization": "Bearer"}, 401),
        ({"authorization": "Bearer \xe9\udce9"}, 401),
        ({"authorization": "Bearer wrong", "cookie": COOKIE}, 401),
        ({"authorization": "Basic dTpw", "cookie": COOKIE}, 0),  # of a proxy before us
        ({"query": f"token={TOKEN}"}, 0),
        ({"query": f"token={TOKEN}&token=x"}, 401),
        ({"query": "token=x"}, 401),
        ({"query": f"Token={TOKEN}"}, 401),
    ],
)
def test_tokens(headers, wanted):
    assert status(**headers) == wanted


def test_a_token_in_a_url_is_no_permission_to_change():
    assert status("POST", query=f"token={TOKEN}", fetch_site="same-origin") == 401


def test_a_browser_gets_the_cookie_and_a_url_without_the_token():
    question = Question("GET", query=f"a=1&token={TOKEN}&b=%26", host=HOST, accept="text/html,*/*")
    assert decide(question, ACCESS) == Entered("a=1&b=%26")


def test_what_is_no_host_is_refused_at_the_start():
    with pytest.raises(UsageError, match=r"'https://a.example' is no host"):
        allowed_hosts(["https://a.example"])
    assert Authority.of("[2001:DB8::1]:80") == Authority("[2001:db8::1]", 80)


def exchange(access=ACCESS, method="GET", path="/", query="", headers=(), root_path=""):
    """Status, headers and body that the guard answers with around an application that says `inside`."""
    sent = []

    async def inside(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"Cache-Control", b"max-age=9")]})
        await send({"type": "http.response.body", "body": b"inside"})

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "scheme": "https"}
    scope["headers"] = [(name.encode(), value.encode()) for name, value in headers]
    asyncio.run(Guard(inside, access, root_path=root_path)(scope, None, send))
    found = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], found, sent[1]["body"].decode()


def test_every_answer_has_the_headers():
    for headers in ([("host", HOST)], [("host", HOST), ("cookie", COOKIE)], [("host", "evil.example")], []):
        _, found, _ = exchange(headers=headers)
        assert "script-src 'self'" in found["content-security-policy"]
        assert "unsafe" not in found["content-security-policy"]
        assert found["x-content-type-options"] == "nosniff"
        assert found["referrer-policy"] == "same-origin"
        assert TOKEN not in str(found)


def test_what_the_application_says_itself_stays():
    _, found, body = exchange(headers=[("host", HOST), ("cookie", COOKIE)])
    assert (found["cache-control"], body) == ("max-age=9", "inside")


def test_the_cookie_is_for_no_script_and_no_other_site():
    headers = [("host", HOST), ("accept", "text/html")]
    status, found, _ = exchange(path="/clips/a b", query=f"token={TOKEN}&x=1", headers=headers, root_path="/vsr")
    assert (status, found["location"]) == (303, "./a%20b?x=1")
    wanted = f"{COOKIE}; Path=/vsr; Max-Age=15552000; HttpOnly; SameSite=Strict; Secure"
    assert found["set-cookie"] == wanted


def test_without_a_token_a_browser_is_asked_for_it():
    status, found, body = exchange(headers=[("host", HOST), ("accept", "text/html")])
    assert (status, found["www-authenticate"]) == (401, "Bearer")
    assert "<input name=token type=password" in body
    assert exchange(headers=[("host", HOST)])[2] == "the token is missing or wrong\n"


@pytest.mark.parametrize("name", ["host", "origin", "authorization", "sec-fetch-site"])
def test_a_header_that_comes_twice_is_refused(name):
    headers = [("host", HOST), ("cookie", COOKIE), (name, HOST), (name, HOST)]
    assert exchange(headers=headers)[0] == 400


def test_the_token_is_made_once_for_this_user_alone(tmp_path):
    path = tmp_path / ".vsr" / "token"
    first = token_in(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert token_in(path) == first
    assert (second := token_in(path, new=True)) != first
    assert token_in(path) == second
    assert [file.name for file in path.parent.iterdir()] == ["token"]


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_a_token_that_others_can_read_is_refused(tmp_path):
    path = tmp_path / "token"
    token_in(path)
    path.chmod(0o644)
    with pytest.raises(UsageError, match=r"others may read the token in .*token \(mode 644, allowed is 600\)"):
        token_in(path)
    token_in(path, new=True)


@pytest.mark.parametrize("content", [b"", b"short\n", b"\xff" * 43, b"a" * 44, b"a" * 21 + b" " + b"a" * 21])
def test_what_is_no_token_is_refused(tmp_path, content):
    path = tmp_path / "token"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(UsageError, match="holds no token"):
        token_in(path)


def test_a_link_is_no_token(tmp_path):
    token_in(tmp_path / "other")
    (tmp_path / "token").symlink_to(tmp_path / "other")
    with pytest.raises(OutputError, match="cannot read the token"):
        token_in(tmp_path / "token")
    (tmp_path / "hole").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="cannot read the token"):
        token_in(tmp_path / "hole")


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        token_in(tmp_path / "file" / "token")
