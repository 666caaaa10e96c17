"""Uploads: the protocol tus 1.0 with a client of others and a raw one, limits, and what a file turns out to be."""

import base64
import contextlib
import hashlib
import io
import random
import socket
import time
from collections import namedtuple

import httpx
import pytest
from tusclient.client import TusClient

from tests.support.clips import make_video
from tests.support.serving import served, wait_until
from vsr_pipeline.serve import form_uploads
from vsr_pipeline.serve import tus as tus_module
from vsr_pipeline.serve import uploads as uploads_module
from vsr_pipeline.serve.uploads import Uploads, clean_name

TUS = {"Tus-Resumable": "1.0.0"}
PATCH = TUS | {"Content-Type": "application/offset+octet-stream"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with served(tmp_path_factory.mktemp("tapes"), max_upload_bytes=20_000_000) as (site, client):
        yield site, client


@pytest.fixture
def client(server):
    return server[1]


def begin(client, length, name="a.mp4", **more):
    metadata = f"filename {base64.b64encode(name.encode()).decode()}"
    return client.post("/api/uploads", headers=TUS | {"Upload-Length": str(length), "Upload-Metadata": metadata} | more)


def patch(client, url, offset, content, **more):
    return client.patch(url, headers=PATCH | {"Upload-Offset": str(offset)} | more, content=content)


def test_a_foreign_client_uploads_in_pieces_and_goes_on(server):
    site, client = server
    content = random.Random(1).randbytes(3_000_000)
    tus = TusClient(f"{client.base_url}/api/uploads", headers={"Authorization": client.headers["Authorization"]})
    metadata = {"filename": "holiday.mkv"}
    first = tus.uploader(file_stream=io.BytesIO(content), chunk_size=700_000, metadata=metadata)
    first.upload_chunk()
    first.upload_chunk()
    again = tus.uploader(file_stream=io.BytesIO(content), chunk_size=900_000, url=first.url)
    assert again.offset == 1_400_000
    again.upload()
    upload = site.uploads.get(first.url.rpartition("/")[2])
    assert upload.is_complete
    assert upload.name == "holiday.mkv"
    assert hashlib.sha256(site.uploads.data(upload.id).read_bytes()).digest() == hashlib.sha256(content).digest()
    client.delete(first.url, headers=TUS)


def test_the_protocol(client):
    options = client.options("/api/uploads")
    assert options.status_code == 204
    assert options.headers["tus-version"] == "1.0.0"
    assert options.headers["tus-extension"] == "creation,termination,expiration"
    assert options.headers["tus-max-size"] == "20000000"
    reply = begin(client, 10)
    assert reply.status_code == 201
    assert reply.headers["tus-resumable"] == "1.0.0"
    assert reply.headers["upload-expires"].endswith("GMT")
    url = reply.headers["location"]
    assert patch(client, url, 0, b"0123").headers["upload-offset"] == "4"
    head = client.head(url, headers=TUS)
    assert (head.status_code, head.headers["upload-offset"], head.headers["upload-length"]) == (200, "4", "10")
    assert head.headers["cache-control"] == "no-store"
    wrong = patch(client, url, 0, b"0123")
    assert (wrong.status_code, wrong.headers["upload-offset"]) == (409, "4")
    assert patch(client, url, 9, b"0").status_code == 409
    assert patch(client, url, 4, b"4567890").status_code == 413
    assert client.patch(url, headers=TUS | {"Upload-Offset": "4"}, content=b"4").status_code == 415
    assert patch(client, url, "x", b"4").status_code == 400
    for method in ("head", "patch", "delete"):
        without = client.request(method, url, headers={"Upload-Offset": "4"})
        assert (without.status_code, without.headers["tus-version"]) == (412, "1.0.0")
    done = patch(client, url, 4, b"456789")
    assert (done.status_code, done.headers["upload-offset"]) == (204, "10")
    assert client.delete(url, headers=TUS).status_code == 204
    assert client.head(url, headers=TUS).status_code == 404


def test_methods_may_be_named_in_a_header(client):
    url = begin(client, 3).headers["location"]
    named = PATCH | {"X-HTTP-Method-Override": "PATCH", "Upload-Offset": "0"}
    assert client.post(url, headers=named, content=b"abc").headers["upload-offset"] == "3"
    assert client.post(url, headers=TUS | {"X-HTTP-Method-Override": "DELETE"}).status_code == 204
    assert client.post(url, headers=TUS).status_code == 405


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Upload-Length": ""}, 400),
        ({"Upload-Length": "-1"}, 400),
        ({"Upload-Length": "0"}, 400),
        ({"Upload-Length": "1e3"}, 400),
        ({"Upload-Length": "9" * 30}, 400),
        ({"Upload-Length": "20000001"}, 413),
        ({"Upload-Metadata": "filename !!!"}, 400),
        ({"Upload-Metadata": ""}, 400),  # no name, so no video
        ({"Upload-Metadata": f"filename {base64.b64encode(b'a.exe').decode()}"}, 400),
        ({"Tus-Resumable": "0.2.2"}, 412),
    ],
)
def test_what_cannot_begin(client, headers, status):
    reply = begin(client, 10, **headers)
    assert reply.status_code == status
    assert reply.text.count("\n") == 1


@pytest.mark.parametrize("upload_id", ["0" * 32, "%2e%2e", "%2e%2e%2f", "x" * 500, "A" * 32, "0" * 31])
def test_ids_are_ours(client, upload_id):
    assert client.head(f"/api/uploads/{upload_id}", headers=TUS).status_code in (404, 405)


def test_what_arrived_before_the_connection_was_cut_stays(server):
    client = server[1]
    url = begin(client, 1_000_000).headers["location"]
    host = f"127.0.0.1:{client.base_url.port}"
    head = (
        f"PATCH {url} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {client.headers['Authorization']}\r\n"
        "Tus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\nContent-Length: 1000000\r\n"
        "Content-Type: application/offset+octet-stream\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", client.base_url.port)) as raw:
        raw.sendall(head.encode() + b"x" * 300_000)
        time.sleep(0.5)
    offset = wait_until(lambda: int(client.head(url, headers=TUS).headers["upload-offset"]))
    assert offset == 300_000
    # One that still waits for its client gives way to the next.
    with socket.create_connection(("127.0.0.1", client.base_url.port)) as raw:
        raw.sendall(head.replace("Offset: 0", "Offset: 300000").replace("1000000", "700000").encode() + b"y" * 1000)
        time.sleep(0.3)
        started = time.monotonic()
        reply = patch(client, url, 300_000, b"z")
        assert time.monotonic() - started < 10
    offset = int(client.head(url, headers=TUS).headers["upload-offset"])
    assert (reply.status_code, offset) in ((409, 301_000), (204, 300_001))
    assert client.delete(url, headers=TUS).status_code == 204


def test_a_client_that_is_silent_is_left_and_what_it_sent_stays(client, monkeypatch):
    monkeypatch.setattr(tus_module, "_SILENT_SECONDS", 0.3)
    url = begin(client, 100).headers["location"]

    def slowly():
        yield b"abc"
        time.sleep(1.5)
        yield b"def"

    with contextlib.suppress(httpx.HTTPError):  # the connection is closed under it
        patch(client, url, 0, slowly())
    assert client.head(url, headers=TUS).headers["upload-offset"] == "3"
    client.delete(url, headers=TUS)


def test_a_video_is_offered_and_what_is_none_is_not(server, tmp_path):
    site, client = server
    video = make_video(tmp_path / "clip.mp4", frames=4, cut=9).read_bytes()
    playlist = b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n"
    good, bad, listed = (
        begin(client, len(content), name).headers["location"]
        for content, name in ((video, "clip.mp4"), (b"no video", "text.mp4"), (playlist, "list.ts"))
    )
    for url, content in ((good, video), (bad, b"no video"), (listed, playlist)):
        assert patch(client, url, 0, content).status_code == 204
    ids = [url.rpartition("/")[2] for url in (good, bad, listed)]
    wait_until(lambda: all(site.uploads.get(one).is_checked for one in ids))
    facts = site.uploads.get(ids[0]).facts
    assert (facts.width, facts.height, facts.frames) == (64, 48, 4)
    for one in ids[1:]:
        reason = site.uploads.get(one).reason
        assert reason
        assert str(site.options.folder) not in reason
    page = client.get("/add").text
    assert "clip.mp4" in page
    assert "cannot be used" in page
    for one in ids:
        site.uploads.delete(one)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("holiday 1994.mp4", "holiday 1994.mp4"),
        ("../../etc/passwd.mp4", "passwd.mp4"),
        ("C:\\tapes\\a.avi", "a.avi"),
        ("..", "clip"),
        ("", "clip"),
        (".mp4", "mp4"),
        ("a\nb\x00c\u202e.mp4", "abc.mp4"),
        ("视频.mp4", "视频.mp4"),
        ("é" * 200 + ".mkv", "é" * 58 + ".mkv"),
        ("<b>a</b>.mp4", "b.mp4"),
        ("-rf.mp4", "-rf.mp4"),
    ],
)
def test_names(name, wanted):
    assert clean_name(name) == wanted


def test_a_name_in_the_inbox_is_never_replaced(tmp_path):
    uploads = Uploads(tmp_path / "uploads", max_bytes=100)
    for content in (b"one", b"two"):
        upload = uploads.begin("a.mp4", 3)
        uploads.data(upload.id).write_bytes(content)
        uploads.save_checked(upload.id, uploads_module.ClipFacts(width=1, height=1))
        uploads.publish(upload.id, tmp_path / "in")
    assert (tmp_path / "in" / "a.mp4").read_bytes() == b"one"
    assert (tmp_path / "in" / "a (2).mp4").read_bytes() == b"two"
    assert list(uploads.all()) == []


def test_what_is_begun_has_a_limit_and_an_end(tmp_path, monkeypatch):
    uploads = Uploads(tmp_path / "uploads", max_bytes=100)
    monkeypatch.setattr(uploads_module, "MOST_UPLOADS", 20)
    refused = 0
    for _ in range(30):
        try:
            uploads.begin("a.mp4", 3)
        except uploads_module.TooManyError:
            refused += 1
    assert refused == 10
    (tmp_path / "uploads" / ("0" * 32)).mkdir()  # of a server that was killed before it recorded the name
    monkeypatch.setattr(uploads_module, "KEPT_FOR", -uploads_module.KEPT_FOR)
    uploads.delete_expired()
    assert list((tmp_path / "uploads").iterdir()) == []


def test_a_full_disk_refuses_before_the_first_byte(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(uploads_module.shutil, "disk_usage", lambda _: usage(10**12, 0, 3 * 10**9))
    uploads = Uploads(tmp_path / "uploads", max_bytes=10**12)
    uploads.begin("a.mp4", 10**9)
    with pytest.raises(uploads_module.DiskFullError, match="no room"):
        uploads.begin("b.mp4", 10**9 + 1)


def form_of(*files):
    return [("file", (name, content, "video/mp4")) for name, content in files]


def test_files_of_a_plain_form(server, tmp_path):
    site, client = server
    video = make_video(tmp_path / "clip.mp4", frames=4, cut=9).read_bytes()
    noise = random.Random(3).randbytes(2_500_000) + b"\r\n--"
    before = {upload.id for upload in site.uploads.all()}
    reply = client.post("/add/files", files=form_of(("a/../../clip.mp4", video), ("noise.mkv", noise)), data={"x": "y"})
    assert reply.status_code == 303
    uploads = {upload.name: upload for upload in site.uploads.all() if upload.id not in before}
    assert sorted(uploads) == ["clip.mp4", "noise.mkv"]
    assert all(f"upload={upload.id}" in reply.headers["location"] for upload in uploads.values())
    assert site.uploads.data(uploads["noise.mkv"].id).read_bytes() == noise
    wait_until(lambda: all(site.uploads.get(upload.id).is_checked for upload in uploads.values()))
    assert site.uploads.get(uploads["clip.mp4"].id).facts.frames == 4
    assert site.uploads.get(uploads["noise.mkv"].id).reason
    for upload in uploads.values():
        site.uploads.delete(upload.id)


@pytest.mark.parametrize(
    ("files", "status", "reason"),
    [
        ([("photo.png", b"x" * 1_000_000)], 400, "photo.png is no video by its name"),
        ([("a.mp4", b"x"), ("b.txt", b"y")], 400, "b.txt is no video by its name"),
        ([("a.mp4", b"x" * 21_000_000)], 413, "at most 20 MB"),
        ([("a.mp4", b"")], 400, "the file is empty"),
        ([("", b"")], 400, "no file was chosen"),
        ([(f"{number}.mp4", b"x") for number in range(4)], 429, "more than 3 files"),
    ],
)
def test_forms_that_are_refused_leave_nothing(server, monkeypatch, files, status, reason):
    monkeypatch.setattr(form_uploads, "MOST_FILES", 3)
    site, client = server
    before = sorted(upload.id for upload in site.uploads.all())
    reply = client.post("/add/files", files=form_of(*files))
    assert (reply.status_code, reason in reply.text) == (status, True), reply.text
    assert sorted(upload.id for upload in site.uploads.all()) == before


def test_bodies_that_are_no_form(server):
    site, client = server
    before = sorted(upload.id for upload in site.uploads.all())
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    start = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
    bodies = (b"no form", start + b"broken off", start[:-2] + b"X: " + b"x" * 100_000, b"--c\r\n")
    for content in bodies:
        assert client.post("/add/files", content=content, headers=kind).status_code == 400
    assert client.post("/add/files", content=b"x", headers={"Content-Type": "text/plain"}).status_code == 400
    assert client.post("/add/files", content=iter([start]), headers=kind).status_code == 400  # of no known length
    with socket.create_connection(("127.0.0.1", client.base_url.port)) as raw:
        head = f"POST /add/files HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {client.headers['Authorization']}\r\n"
        head += f"Content-Type: {kind['Content-Type']}\r\nContent-Length: 1000000\r\n\r\n"
        raw.sendall(head.encode() + start + b"x" * 300_000)
        time.sleep(0.3)
    wait_until(lambda: sorted(upload.id for upload in site.uploads.all()) == before)
