"""`vsr serve` behind nginx and Caddy, which run with what docs/serve-proxy.md says."""

import contextlib
import hashlib
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.support.clips import make_video
from tests.support.serving import chromium, program, wait_until
from vsr_pipeline.serve.store import id_of

pytestmark = [pytest.mark.nightly, pytest.mark.filterwarnings("ignore:unclosed")]
GUIDE = (Path(__file__).parent.parent / "docs" / "serve-proxy.md").read_text()
NAME = "tapes.example.org"
LARGE_BYTES = 40_000_000
"""Three pieces of the page's uploads, and more than a proxy's own limits."""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as opened:
        return opened.getsockname()[1]


def example(first, port):
    """An example of the guide that begins with these words, with the server's port."""
    found = re.search(rf"```(?:nginx)?\n({re.escape(first)}.*?)```", GUIDE, re.DOTALL)
    return found[1].replace("127.0.0.1:8787", f"127.0.0.1:{port}")


def nginx_words(folder, server_port, port):
    """nginx with HTTPS; all but the example is as Debian ships it."""
    (folder / "nginx.conf").write_text(f"""
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.txt;
events {{ worker_connections 768; }}
http {{
    access_log off;
    server {{
        listen 127.0.0.1:{port} ssl http2;
        server_name {NAME};
        ssl_certificate {folder}/certificate.pem;
        ssl_certificate_key {folder}/key.pem;
        {example("location /vsr/", server_port)}
    }}
}}
""")
    return ["nginx", "-c", str(folder / "nginx.conf")]


def caddy_words(folder, server_port, port):
    """Caddy with a certificate of ours, as there is no public name here; all else is the example."""
    site = example(f"{NAME} {{", server_port)
    site = site.replace(f"{NAME} {{", f"{NAME}:{port} {{\n    tls {folder}/certificate.pem {folder}/key.pem", 1)
    (folder / "Caddyfile").write_text(f"{{\n    admin off\n    auto_https disable_redirects\n}}\n{site}")
    return ["caddy", "run", "--config", str(folder / "Caddyfile")]


@contextlib.contextmanager
def proxied(folder, which, server_port, port):
    """A proxy as a program."""
    if shutil.which(which) is None or shutil.which("openssl") is None:
        pytest.skip(f"no {which} (Debian: apt-get install {which} openssl)")
    certificate = ["-keyout", folder / "key.pem", "-out", folder / "certificate.pem", "-days", "2", "-nodes"]
    names = ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"]
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", *certificate, *names]
    subprocess.run(words, check=True, capture_output=True)
    words = {"nginx": nginx_words, "caddy": caddy_words}[which](folder, server_port, port)
    environment = os.environ | {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "said.txt").open("wb") as said:
        process = subprocess.Popen(words, stdout=said, stderr=said, env=environment, start_new_session=True)
    try:
        wait_until(lambda: answers(port) or process.poll() is not None, 20)
        assert process.poll() is None, (folder / "said.txt").read_text()
        yield
    finally:
        process.terminate()
        process.wait(20)


def answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@pytest.fixture(scope="module", params=["nginx", "caddy"])
def behind(request, tmp_path_factory):
    """A folder, its server behind a proxy, and a client of the proxy that has the token."""
    folder = tmp_path_factory.mktemp(request.param)
    make_large(folder / "large.mp4")
    server_port, port = free_port(), free_port()
    options = ("--allow-host", NAME, "--root-path", "/vsr")
    with program(folder, *options, port=server_port) as server, proxied(folder, request.param, server_port, port):
        token = (folder / ".vsr" / "token").read_text().strip()
        assert server.url == f"https://{NAME}/vsr/?token={token}"
        with client_of(folder, port, Authorization=f"Bearer {token}") as client:
            yield folder, port, token, client


def make_large(path):
    """A clip of a second with a box that players leave out, so that it is large."""
    make_video(path, frames=12, cut=5, width=96, height=64)
    with path.open("ab") as file:
        file.write((LARGE_BYTES).to_bytes(4, "big") + b"free")
        file.write(os.urandom(LARGE_BYTES - 8))


def client_of(folder, port, **headers):
    """A client that finds the name on this machine, as the proxy's certificate says it."""
    return httpx.Client(
        base_url=f"https://127.0.0.1:{port}/vsr",
        headers={"Host": f"{NAME}:{port}", **headers},
        verify=ssl.create_default_context(cafile=folder / "certificate.pem"),
        event_hooks={"request": [lambda asked: asked.extensions.update(sni_hostname=NAME)]},
        timeout=60,
    )


def make_small(path):
    return make_video(path, frames=6, cut=3, width=48, height=32)


def digest(content):
    return hashlib.sha256(content).hexdigest()


def test_a_browser_uploads_and_gets_the_result(behind):
    folder, port, token, _ = behind
    address = f"https://{NAME}:{port}/vsr/"
    resolved = f"--host-resolver-rules=MAP {NAME} 127.0.0.1"
    with chromium(resolved, ignore_https_errors=True, locale="en-GB") as context:
        page = context.new_page()
        said, asked = [], []
        page.on("console", lambda message: said.append(message.text))
        page.on("request", lambda request: asked.append(request))
        page.goto(f"{address}?token={token}")
        assert page.url == address
        wanted = {"path": "/vsr", "secure": True, "httpOnly": True, "sameSite": "Strict"}
        assert wanted.items() <= context.cookies()[0].items()
        page.get_by_role("link", name="Add", exact=True).click()
        page.set_input_files("#files", make_small(folder / "holiday.mp4"))
        page.locator(".tick bdi", has_text="holiday.mp4").wait_for(timeout=60_000)
        page.set_input_files("#files", folder / "large.mp4")
        page.locator(".tick bdi", has_text="large.mp4").wait_for(timeout=120_000)
        pieces = [one.headers["upload-offset"] for one in asked if one.method == "PATCH"]
        assert pieces[1:] == ["0", "16777216", "33554432"]
        kept = [data for data in (folder / ".vsr" / "uploads").glob("*/data") if data.stat().st_size > LARGE_BYTES]
        assert digest(kept[0].read_bytes()) == digest((folder / "large.mp4").read_bytes())
        page.locator("[data-upload], .tick", has_text="large.mp4").get_by_role("checkbox").uncheck()
        page.locator("[name=model]").select_option("espcn-x2")
        page.get_by_role("button", name="Add to the queue").click()
        page.locator(".row.done", has_text="holiday.mp4").wait_for(timeout=240_000)  # by the stream of events alone
        page.get_by_role("link", name="holiday.mp4").click()
        with page.expect_download() as download:
            page.get_by_role("link", name="Download the result").click()
        made = next((folder / "out").glob("holiday*.mp4"))
        assert download.value.path().read_bytes() == made.read_bytes()
        assert said == []


def test_events_come_at_once(behind):
    folder, _, _, client = behind
    make_small(folder / "in" / "walk.mp4")
    made_at, heard_at = [], []

    def change():
        time.sleep(3)
        made_at.append(time.monotonic())
        client.post("/api/queue", json={"clips": ["walk.mp4"], "start": False}).raise_for_status()

    changing = threading.Thread(target=change)
    changing.start()
    with client.stream("GET", "/events") as stream:
        for line in stream.iter_lines():
            if line.startswith("event: queue"):
                heard_at.append(time.monotonic())
                break
    changing.join()
    assert heard_at[0] - made_at[0] < 4


def test_a_download_in_ranges(behind):
    folder, _, _, client = behind
    shutil.copy(folder / "large.mp4", folder / "in")
    content = (folder / "large.mp4").read_bytes()
    path = f"/clips/{id_of('large.mp4')}/source"
    assert digest(client.get(path).content) == digest(content)
    part = client.get(path, headers={"Range": "bytes=30000000-30000009"})
    assert (part.status_code, part.content) == (206, content[30_000_000:30_000_010])
    assert part.headers["content-range"] == f"bytes 30000000-30000009/{len(content)}"
    assert client.get(path, headers={"Range": f"bytes={len(content)}-"}).status_code == 416


def test_pieces_of_an_unknown_length_and_cut_off(behind):
    """A body in chunks passes; what came before the client went away is kept."""
    client = behind[-1]
    head = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}
    begun = client.post(
        "/api/uploads", headers=head | {"Upload-Length": "30000000", "Upload-Metadata": "filename YS5tcDQ="}
    )
    place = begun.headers["location"]
    assert (begun.status_code, place.startswith("/vsr/api/uploads/")) == (201, True)
    place = place.removeprefix("/vsr")
    chunks = (bytes(1_000_000) for _ in range(8))
    reply = client.patch(place, headers=head | {"Upload-Offset": "0"}, content=chunks)
    assert (reply.status_code, reply.headers.get("upload-offset")) == (204, "8000000"), reply.text

    def breaks_off():
        yield bytes(5_000_000)
        time.sleep(1)
        raise ConnectionError

    with contextlib.suppress(ConnectionError):
        client.patch(place, headers=head | {"Upload-Offset": "8000000"}, content=breaks_off())

    def offset():
        return int(client.head(place, headers=head).headers["upload-offset"])

    assert wait_until(lambda: offset() if offset() > 8_000_000 else 0, 20) <= 13_000_000
    assert client.patch(place, headers=head | {"Upload-Offset": "5"}, content=b"x").status_code == 409
    assert client.delete(place, headers=head).status_code == 204


def test_who_gets_in(behind):
    folder, port, token, client = behind
    own = f"https://{NAME}:{port}"
    assert client.post("/api/batch", json={"action": "stop"}, headers={"Origin": own}).status_code == 200
    for origin in ("https://evil.example", f"http://{NAME}:{port + 1}", "null"):
        assert client.post("/api/batch", json={"action": "stop"}, headers={"Origin": origin}).status_code == 403
    for site in ("cross-site", "same-site"):
        assert client.post("/api/batch", json={"action": "stop"}, headers={"Sec-Fetch-Site": site}).status_code == 403
    foreign = client.get("/", headers={"Host": "evil.example"})
    assert foreign.status_code == 421 or foreign.content == b""  # Caddy does not pass it on
    with client_of(folder, port) as stranger:
        assert stranger.get("/").status_code == 401
        assert stranger.get("/api/queue").status_code == 401
        entered = stranger.get("/", params={"token": token}, headers={"Accept": "text/html"})
        assert (entered.status_code, entered.headers["location"]) == (303, "./")
        assert "; Secure" in entered.headers["set-cookie"]
    bare = client.get(f"https://127.0.0.1:{port}/vsr", headers={"Accept": "text/html"})
    assert (bare.status_code // 100, bare.headers["location"].removeprefix(own)) == (3, "/vsr/")
