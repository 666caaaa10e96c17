"""Addresses as input: refused, unless they are allowed; then downloaded first, and continued after a break."""

import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.support.clips import make_video, times
from vsr_pipeline import cli
from vsr_pipeline.checkpoints.download import fetch, is_url
from vsr_pipeline.errors import InputError, UsageError


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        asked, same = self.headers.get("Range"), self.headers.get("If-Range") in (None, server.tag)
        server.asked.append(asked)
        if not self.path.startswith("/films/"):
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and same else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        if server.tag:
            self.send_header("ETag", server.tag)
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        stop = server.stop_after or len(server.content)
        with suppress(ConnectionError):
            self.wfile.write(server.content[start:stop])
        self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        server.tag = '"one"'
        server.stop_after = None
        server.content = bytes(range(256)) * 2000
        server.url = f"http://127.0.0.1:{server.server_port}/films/caf%C3%A9%20%25d.mp4?x=1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("text", ["http://a/b.mp4", "https://a/b.mp4", "rtsp://a/b", "file:///etc/passwd"])
@pytest.mark.parametrize("command", ["run {} --output out.mp4", "split {}", "enhance {}"])
def test_addresses_are_refused(tmp_path, monkeypatch, capsys, text, command):
    monkeypatch.chdir(tmp_path)
    assert cli.run([*command.format(text).split()]) == 2
    assert "--allow-url" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_only_http_is_downloaded(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.run(["run", "file:///etc/passwd", "--output", "out.mp4", "--allow-url"]) == 2
    assert "http://" in capsys.readouterr().err
    assert not is_url("C:/films/a.mp4")
    assert not is_url("films/http/a.mp4")


def test_a_video_of_the_web(tmp_path, monkeypatch, server):
    monkeypatch.chdir(tmp_path)
    server.content = make_video(tmp_path / "walk.mp4", frames=4).read_bytes()
    for _ in range(2):
        command = ["run", server.url, "--output", "out.mp4", "--allow-url", "--model", "bicubic-x4"]
        assert cli.run(command) == 0
    assert times(tmp_path / "out.mp4") == times(tmp_path / "walk.mp4")
    assert server.asked == [None]
    assert [p.name for p in (tmp_path / ".vsr" / "out.mp4").rglob("*.mp4")] == ["café %d.mp4"]


def broken_off(server, folder):
    server.stop_after = 300_000
    with pytest.raises(InputError, match=r"stopped after .*run the same command again"):
        fetch(server.url, folder)
    server.stop_after = None


@pytest.mark.parametrize("change", ["same", "changed", "unnamed"])
def test_a_break_is_continued_if_the_file_is_the_same(tmp_path, server, change):
    if change == "unnamed":
        server.tag = ""
    broken_off(server, tmp_path)
    if change == "changed":
        server.tag, server.content = '"two"', server.content[::-1]
    assert fetch(server.url, tmp_path).read_bytes() == server.content
    assert (server.asked[1] is None) == (change == "unnamed")


def test_failures_are_one_line(tmp_path, server):
    with pytest.raises(InputError, match="answers 404"):
        fetch(server.url.replace("films", "none"), tmp_path)
    with pytest.raises(UsageError, match="https://"):
        fetch("ftp://example.invalid/a.mp4", tmp_path)
    server.shutdown()
    server.server_close()
    with pytest.raises(InputError, match="cannot reach"):
        fetch(server.url, tmp_path)
