"""`vsr serve`: who gets in, what pages show, what the queue is told, and pictures."""

import base64
import contextlib
import json
import os
import re
import socket
import time
from functools import partial
from pathlib import Path
from string import Formatter

import cv2
import httpx
import numpy as np
import pytest

from tests.support.clips import make_video
from tests.support.serving import served, wait_until
from vsr_pipeline import cli
from vsr_pipeline.cli.serve import _address
from vsr_pipeline.errors import ResourceError, UsageError
from vsr_pipeline.runtime.helper import Helper
from vsr_pipeline.serve import live as live_module
from vsr_pipeline.serve import server as server_module
from vsr_pipeline.serve.answers import status_of
from vsr_pipeline.serve.app import application
from vsr_pipeline.serve.batch_process import BatchState, Work, should_start
from vsr_pipeline.serve.errors import FullError
from vsr_pipeline.serve.options import ServeOptions
from vsr_pipeline.serve.pictures import Pictures, checked_kind
from vsr_pipeline.serve.server import MOST_CONNECTIONS
from vsr_pipeline.serve.settings_form import chosen_from, form_from
from vsr_pipeline.serve.store import id_of, inside
from vsr_pipeline.serve.texts import language_for, languages

FORM = {"Accept": "text/html"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        make_video(folder / "in" / name, frames=2, cut=9, width=32, height=24, audio=False)
    with served(folder) as (site, client):
        yield site, client


@pytest.fixture
def site(server):
    return server[0]


@pytest.fixture
def client(server):
    return server[1]


def routes(app):
    """Every method and path that is answered, with a value for each parameter."""
    found = [(method, route.path) for route in app.routes for method in getattr(route, "methods", None) or ()]
    found += [(method.upper(), path) for path, calls in app.openapi()["paths"].items() for method in calls]
    return sorted({(method, re.sub(r"\{[^}]*\}", "x", path)) for method, path in found})


def test_no_route_is_open(site, client):
    found = routes(application(site))
    assert len(found) > 30
    token = client.headers["Authorization"]
    for method, path in found:
        assert client.request(method, path, headers={"Authorization": ""}).status_code in (401, 403)
        foreign_host = client.request(method, path, headers={"Host": "evil.example"})
        assert (foreign_host.status_code, token in foreign_host.text) == (421, False)
        if method not in ("GET", "HEAD", "OPTIONS"):
            foreign = client.request(method, path, headers={"Origin": "http://evil.example"})
            assert foreign.status_code == 403
            by_cookie = {"Authorization": "", "Cookie": f"vsr_x={token}"}
            assert client.request(method, path, headers=by_cookie).status_code in (401, 403)


def test_every_page_answers(client):
    for path in ("/", "/add", "/machine", "/picture", "/api"):
        for language in ("en", "zh-CN"):
            reply = client.get(path, headers={"Accept-Language": language})
            assert reply.status_code == 200
            assert f'<html lang="{language}">' in reply.text
            assert " style=" not in reply.text  # the policy forbids it
            assert "<script>" not in reply.text
    assert client.get("/nowhere", headers=FORM).status_code == 404
    assert client.get("/nowhere").json() == {"error": "there is no such page"}


def test_languages_have_the_same_texts_with_the_same_values():
    def fields(text):
        return {field for _, field, _, _ in Formatter().parse(text) if field}

    english = languages()["en"]
    for catalogue in languages().values():
        assert list(catalogue) == list(english)
        assert {key: fields(text) for key, text in catalogue.items()} == {k: fields(t) for k, t in english.items()}
    templates = Path(server_module.__file__).parent / "templates"
    used = {key for path in templates.iterdir() for key in re.findall(r'\bt\("([^"]+)"[,)]', path.read_text())}
    assert used <= set(english)


@pytest.mark.parametrize(
    ("chosen", "accepted", "wanted"),
    [
        (None, "", "en"),
        (None, "zh", "zh-CN"),
        (None, "zh-TW,en;q=0.5", "zh-CN"),
        (None, "fr, zh;q=0.5", "zh-CN"),
        (None, "en-GB,zh;q=0.9", "en"),
        ("zh-CN", "en", "zh-CN"),
        ("xx", "fr", "en"),
    ],
)
def test_the_language_of_the_reader(chosen, accepted, wanted):
    assert language_for(chosen, accepted) == wanted


def test_the_queue_through_the_api(site, client):
    names = [one["clip"] for one in client.get("/api/queue").json()["new"]]
    assert names == ["a.mp4", "b.mp4", "c.mp4"]
    body = {"clips": names, "settings": {"model": "bicubic", "scale": 2}, "start": False}
    added = client.post("/api/queue", json=body)
    assert added.status_code == 201
    ids = {row["clip"]: row["id"] for row in added.json()["clips"]}

    def order():
        return [row["clip"] for row in client.get("/api/queue").json()["clips"] if row["state"] == "queued"]

    assert client.patch(f"/api/queue/{ids['c.mp4']}", json={"action": "first"}).json()["state"] == "queued"
    assert order() == ["c.mp4", "a.mp4", "b.mp4"]
    for action, wanted in (("down", "acb"), ("down", "abc"), ("down", "abc"), ("up", "acb"), ("last", "abc")):
        client.patch(f"/api/queue/{ids['c.mp4']}", json={"action": action})
        assert "".join(name[0] for name in order()) == wanted
    changed = client.patch(f"/api/queue/{ids['a.mp4']}", json={"settings": {"model": "bicubic", "height": 72}})
    assert changed.json()["settings"] == {"model": "bicubic", "height": 72}
    assert client.patch(f"/api/queue/{ids['a.mp4']}", json={"action": "cancel"}).json()["state"] == "cancelled"
    assert client.patch(f"/api/queue/{ids['a.mp4']}", json={"action": "retry"}).json()["state"] == "queued"
    assert client.delete(f"/api/queue/{ids['a.mp4']}").status_code == 204
    assert client.delete(f"/api/queue/{ids['a.mp4']}").status_code == 400
    assert (site.options.inbox / "a.mp4").is_file()


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ({"clips": ["../../etc/passwd"]}, 400, "there is no clip"),
        ({"clips": []}, 400, "nothing to add"),
        ({"clips": ["a.mp4"], "settings": {"modle": "x"}}, 400, "'modle' is no setting"),
        ({"clips": ["a.mp4"], "settings": {"model": "x"}}, 422, "unknown model 'x'"),
        ({"clips": ["a.mp4"], "settings": {"quality": 1000}}, 400, "--quality"),
        ({"clips": ["a.mp4"], "settings": {"checkpoint": "/etc/passwd"}}, 400, "'checkpoint' is no setting"),
        ({"clips": ["a.mp4"], "settings": {"kernel": "/etc/passwd"}}, 400, "'kernel' is no setting"),
        ({"clips": ["a.mp4"], "settings": {"encoder_options": {"stats": "/tmp/x"}}}, 400, "is no setting"),
        ({"clips": "a.mp4"}, 422, "clips"),
        ({"uploads": ["0" * 32]}, 404, "no such upload"),
        ({"other": 1}, 422, "other"),
    ],
)
def test_what_the_queue_does_not_take(client, body, status, reason):
    reply = client.post("/api/queue", json={"start": False} | body)
    assert reply.status_code == status
    assert reason in reply.json()["error"]


def test_events_go_on_where_they_were(site, client):
    def events(after=None, count=3):
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        found = []
        with client.stream("GET", "/events?after=0", headers=headers) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            for line in stream.iter_lines():
                found += [int(line[4:])] if line.startswith("id: ") else []
                if len(found) == count:
                    return found
        raise AssertionError(found)

    first = events()
    assert first == [1, 2, 3]
    assert events(after=2, count=2) == [3, 4]
    assert client.get("/events", headers={"Last-Event-ID": "x"}).status_code == 400


def test_a_batch_that_still_ends_is_not_said_to_have_ended():
    """The page would offer to stop it for ever: nothing comes after that."""
    ending = BatchState(is_running=True, is_wanted=False, progress=None)
    assert json.loads(live_module.progress_json(ending)) == {"running": True, "clips": []}


def test_streams_have_a_limit(client, monkeypatch):
    monkeypatch.setattr(live_module, "STREAMS", 0)
    reply = client.get("/events")
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "30")


def test_files_are_found_by_ids_and_nowhere_else(site, client, tmp_path):
    assert client.get(f"/clips/{id_of('b.mp4')}/source").status_code == 200
    for clip_id in ("..", "%2e%2e", id_of("../token"), "b.mp4", "0" * 24):
        assert client.get(f"/clips/{clip_id}/source").status_code in (400, 404)
    for which in ("result", "before", "token", "..%2f..%2ftoken"):
        assert client.get(f"/clips/{id_of('b.mp4')}/{which}").status_code == 404
    secret = make_video(tmp_path / "secret.mp4", frames=2, cut=9, width=32, height=24)
    link = site.options.inbox / "link.mp4"
    link.symlink_to(secret)
    assert client.get(f"/clips/{id_of('link.mp4')}/source").status_code == 404
    link.unlink()


def test_a_download_in_ranges(client, site):
    url = f"/clips/{id_of('b.mp4')}/source"
    content = (site.options.inbox / "b.mp4").read_bytes()
    part = client.get(url, headers={"Range": "bytes=5-14"})
    assert (part.status_code, part.content) == (206, content[5:15])
    assert client.get(url, headers={"Range": f"bytes={len(content)}-"}).status_code == 416
    whole = client.get(f"{url}?download=1")
    assert whole.headers["content-disposition"] == "attachment; filename*=utf-8''b.mp4"
    assert whole.headers["content-security-policy"].startswith("sandbox")
    assert whole.content == content


def test_messages_show_no_paths_outside_the_folder(site):
    inbox = site.options.inbox
    assert site.store.shown(f"{inbox / 'a.mp4'} is bad: see /home/anna/x.txt") == "in/a.mp4 is bad: see …/x.txt"
    assert site.store.shown("1/2 of https://a.example/b/c and a/b") == "1/2 of https://a.example/b/c and a/b"


def test_links_that_lead_out_are_no_files(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out.txt").write_text("secret")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "out.txt")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in" / "loop")
    for name in ("link", "loop", "../out.txt", "", "nothing", "a\0b"):
        with pytest.raises(Exception, match="no such file"):
            inside(tmp_path / "in", tmp_path / "in" / name)


def test_a_folder_that_leads_out_is_refused(tmp_path, capsys):
    (tmp_path / "site").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "site" / "out").symlink_to(tmp_path / "elsewhere")
    assert cli.run(["serve", "--folder", str(tmp_path / "site"), "--port", "0"]) == 2
    assert "leads out of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--listen", "0.0.0.0"], "give --allow-host NAME"),
        (["--listen", "0.0.0.0", "--allow-host", "https://a"], "is no host"),
        (["--root-path", "vsr/"], "give a path such as /vsr"),
        (["--keep-model", "10"], "such as 10min"),
    ],
)
def test_what_serve_cannot_mean(tmp_path, capsys, options, reason):
    assert cli.run(["serve", "--folder", str(tmp_path), *options]) == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "address"),
    [
        ({}, "http://127.0.0.1:80/"),
        ({"listen": "::1"}, "http://[::1]:80/"),
        ({"listen": "0.0.0.0", "allow_hosts": ("a.example",)}, "http://a.example:80/"),
        ({"listen": "0.0.0.0", "allow_hosts": ("a.example:81",)}, "http://a.example:81/"),
        ({"allow_hosts": ("a.example",), "root_path": "/vsr"}, "https://a.example/vsr/"),
    ],
)
def test_the_address_to_open(tmp_path, options, address):
    assert _address(ServeOptions(folder=tmp_path, **options), 80) == address


def test_an_occupied_port_is_said_in_a_line(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert cli.run(["serve", "--folder", str(tmp_path), "--port", str(other.getsockname()[1])]) == 6
    assert "give another --port" in capsys.readouterr().err


STOPPED = {"is_running": False, "is_wanted": True, "progress": None}
WAITS = {"waits": True, "is_time": True, "is_new": True}


@pytest.mark.parametrize(
    ("state", "work", "seconds", "wanted"),
    [
        ({}, {}, 0, True),
        ({}, {"is_new": False}, 0, True),
        ({}, {"waits": False}, 0, False),
        ({}, {"is_time": False}, 0, False),
        ({"is_wanted": False}, {}, 0, False),
        ({"is_running": True}, {}, 0, False),
        ({"exit_code": 0}, {}, 5, False),
        ({"exit_code": 0}, {}, 10, True),
        ({"exit_code": 0}, {"is_new": False}, 1000, False),
        ({"exit_code": 75}, {}, 29, False),
        ({"exit_code": 75}, {"is_new": False}, 30, True),
        ({"exit_code": 7}, {}, 299, False),
        ({"exit_code": 7}, {}, 300, True),
        ({"exit_code": -9}, {}, 119, False),
        ({"exit_code": -9}, {"is_new": False}, 120, True),
        ({"exit_code": 5}, {}, 120, True),
    ],
)
def test_when_the_batch_is_started_again(state, work, seconds, wanted):
    assert should_start(BatchState(**STOPPED | state), Work(**WAITS | work), seconds_since_end=seconds) is wanted


@pytest.mark.parametrize(
    ("form", "chosen"),
    [
        ({}, {}),
        ({"model": "auto", "size": "", "quality": "72", "strength": "", "codec": ""}, {}),
        ({"model": "bicubic", "size": "h1080"}, {"model": "bicubic", "height": 1080}),
        ({"size": "x1.5", "quality": "60", "cleaning": "0.5"}, {"scale": 1.5, "quality": 60, "cleaning": 0.5}),
        ({"start": " 1:30 ", "end": "2:00", "preset": "fast"}, {"start": "1:30", "end": "2:00", "preset": "fast"}),
    ],
)
def test_settings_of_a_form(form, chosen):
    assert chosen_from(form) == chosen
    assert chosen_from(form_from(chosen)) == chosen


def test_a_number_that_is_none_is_refused():
    with pytest.raises(UsageError, match="a number is wanted"):
        chosen_from({"quality": "much"})


def png(pixels):
    return cv2.imencode(".png", pixels)[1].tobytes()


def enhance(client, content, accept="image/png", **fields):
    files = {"image": ("picture", content)}
    return client.post("/api/enhance", files=files, data=fields, headers={"Accept": accept})


def test_pictures_are_enlarged(client):
    deep = np.arange(12 * 16 * 4, dtype=np.uint16).reshape(12, 16, 4) * 80
    reply = enhance(client, png(deep), model="bicubic", scale="2")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "image/png")
    made = cv2.imdecode(np.frombuffer(reply.content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert (made.shape, made.dtype) == ((24, 32, 4), np.uint16)  # alpha and 16 bits are kept
    reply = enhance(client, png(deep[..., :3]), accept="application/json", model="bicubic", scale="3")
    found = reply.json()
    assert (found["width"], found["height"], found["type"]) == (48, 36, "image/png")
    assert base64.b64decode(found["image"]).startswith(b"\x89PNG")
    assert enhance(client, png(deep[..., :3]), accept="image/jpeg", model="bicubic").content[:2] == b"\xff\xd8"
    page = client.post(
        "/picture", files={"image": ("a.png", png(deep))}, data={"model": "bicubic", "scale": "2"}, headers=FORM
    )
    assert page.status_code == 303
    assert "32×24" in client.get(page.headers["location"]).text
    noise = png(np.random.RandomState(1).randint(0, 256, (400, 400, 3), np.uint8))  # larger than a form may be
    files = {"image": ("a.png", noise)}
    assert client.post("/picture", files=files, data={"model": "nearest"}, headers=FORM).status_code == 303


def bomb():
    """A PNG whose header says 60,000 x 60,000."""
    head = bytearray(png(np.zeros((4, 4), np.uint8)))
    head[16:24] = (60_000).to_bytes(4, "big") * 2
    import zlib

    head[29:33] = zlib.crc32(bytes(head[12:29])).to_bytes(4, "big")
    return bytes(head)


GREY = png(np.zeros((6, 8), np.uint8))


@pytest.mark.parametrize(
    ("content", "fields", "status", "reason"),
    [
        (b"", {}, 422, "this is no picture"),
        (b"no picture", {}, 422, "this is no picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", {}, 422, "this is no picture"),
        (b"%!PS-Adobe", {}, 422, "this is no picture"),
        (b"\x89PNG\r\n\x1a\n", {}, 422, "header is damaged"),
        (GREY[:40], {}, 422, ""),
        (bomb(), {}, 413, "60000x60000 pixels"),
        (GREY, {"model": "nothing"}, 422, "unknown model 'nothing'"),
        (GREY, {"model": "../../etc/passwd"}, 422, "unknown model"),
        (GREY, {"scale": "0"}, 422, "scale"),
        (GREY, {"scale": "many"}, 422, "scale"),
        (GREY, {"scale": "100"}, 422, "scale"),
        (GREY, {"faces": "gfpgan"}, 422, "vsr models pull gfpgan-v1.4"),
    ],
)
def test_bad_pictures(client, content, fields, status, reason):
    reply = enhance(client, content, **({"model": "bicubic"} | fields))
    assert reply.status_code == status
    assert reason in reply.json()["error"]
    assert "\n" not in reply.json()["error"]


def test_a_helper_that_dies_takes_nothing_along(site, client):
    assert enhance(client, GREY, model="bicubic").status_code == 200
    os.kill(site.helper._child._process.pid, 9)
    assert enhance(client, GREY, model="bicubic").status_code == 200


def test_a_helper_that_takes_too_long_is_ended():
    helper = Helper()
    started = time.monotonic()
    with pytest.raises(ResourceError, match="the picture took longer than 0 s"):
        helper.call(partial(time.sleep, 60), what="the picture", seconds=0.4)
    assert helper.call(partial(sum, (1, 2)), what="the sum", seconds=60) == 3
    helper.end_if_unused(0)
    assert time.monotonic() - started < 50


def test_when_too_many_wait_the_next_is_told_to_come_back(tmp_path):
    pictures = Pictures(tmp_path, None, None, lambda: False)
    while pictures._places.acquire(blocking=False):
        pass
    with pytest.raises(FullError) as refused:
        pictures.enlarge(GREY, {})
    assert status_of(refused.value) == 503


def test_too_many_pixels_are_seen_before_they_are_decoded():
    with pytest.raises(Exception, match="at most 32 million"):
        checked_kind(bomb())


def test_a_form_has_a_size(client):
    reply = client.post("/batch", content=b"x" * 300_000, headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert reply.status_code == 413

    def pieces():
        for _ in range(40):
            yield b"x" * 10_000

    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert client.post("/batch", content=pieces(), headers=form).status_code == 413


def raw(client, content, seconds=5.0):
    """What is answered to bytes on a connection, until that is closed."""
    with socket.create_connection(("127.0.0.1", client.base_url.port), timeout=seconds) as opened:
        opened.sendall(content)
        answer = b""
        while piece := opened.recv(4096):
            answer += piece
        return answer


def test_giant_headers(client):
    assert raw(client, b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000).startswith(b"HTTP/1.1 400")
    assert raw(client, b"GET /" + b"x" * 100_000).startswith(b"HTTP/1.1 400")


def test_a_client_that_is_slow_with_its_headers_is_left(client, monkeypatch):
    monkeypatch.setattr(server_module, "HEADER_SECONDS", 0.3)
    started = time.monotonic()
    assert raw(client, b"GET / HTTP/1.1\r\nHost:") == b""
    assert raw(client, b"") == b""
    assert time.monotonic() - started < 5


def test_the_program_says_where_it_is_and_hides_the_token(tmp_path, capfd):
    from tests.support.serving import Program

    server = Program(tmp_path)
    token = (tmp_path / ".vsr" / "token").read_text().strip()
    assert server.url.endswith(f"/?token={token}")
    for place in ("/", "/nothing", "/api/queue", "/events"):
        httpx.head(server.url.replace("/?", f"{place}?"))
    assert server.kill(15) == 143
    assert token not in capfd.readouterr().err


def test_connections_have_a_limit(client):
    address = (client.base_url.host, client.base_url.port)
    with contextlib.ExitStack() as opened:
        for _ in range(MOST_CONNECTIONS + 1):
            opened.enter_context(socket.create_connection(address, 10))
        with pytest.raises(httpx.HTTPStatusError, match="503"):
            httpx.get(client.base_url, headers=client.headers).raise_for_status()
    wait_until(lambda: client.get("/").status_code == 200, 30)


def test_clips_are_made_and_shown(tmp_path):
    make_video(tmp_path / "in" / "a.mp4", frames=6, cut=3, width=48, height=32)
    with served(tmp_path) as (site, client):
        body = {"clips": ["a.mp4"], "settings": {"model": "bicubic", "scale": 2, "preset": "ultrafast"}}
        client.post("/api/queue", json=body)
        wait_until(lambda: client.get("/api/queue").json()["clips"][0]["state"] == "done", 240)
        row = client.get("/api/queue").json()["clips"][0]
        assert client.get(row["result"]).content == (site.options.results / row["output"]).read_bytes()
        page = client.get(f"/clips/{row['id']}").text
        assert "48×32 → 96×64" in page
        for which in ("before", "after"):
            assert client.get(f"/clips/{row['id']}/{which}").content[:2] == b"\xff\xd8"
        wait_until(lambda: client.get("/report").status_code == 200, 60)  # it follows the last clip
        report = client.get("/report")
        assert report.headers["content-security-policy"].startswith("sandbox allow-scripts;")
        assert "a.mp4" in client.get("/log").text
        again = client.post(f"/clips/{row['id']}/again", data={"model": "bicubic", "size": "x3"}, headers=FORM)
        assert again.status_code == 303
        row = client.get("/api/queue").json()["clips"][0]
        assert (row["state"], row["settings"]) == ("queued", {"model": "bicubic", "scale": 3.0})
        assert json.loads(client.get("/api/openapi.json").text)["info"]["title"] == "vsr serve"
