"""`vsr serve` under load and kills: what takes minutes."""

import contextlib
import hashlib
import io
import os
import random
import signal
import statistics
import threading
import time
from collections import Counter

import cv2
import httpx
import numpy as np
import psutil
import pytest
from tusclient.client import TusClient

from tests.support.clips import make_video
from tests.support.serving import program, wait_until
from vsr_pipeline.jobs.batch.live import progress_of
from vsr_pipeline.serve.store import id_of

pytestmark = pytest.mark.nightly


def client_of(server):
    token = server.url.rpartition("=")[2]
    return httpx.Client(
        base_url=server.url.partition("?")[0], headers={"Authorization": f"Bearer {token}"}, timeout=120
    )


def test_200_megabytes_come_through_kills(tmp_path):
    content = random.Random(2).randbytes(200_000_000)
    with program(tmp_path) as server:
        authorization = {"Authorization": f"Bearer {server.url.rpartition('=')[2]}"}
        tus = TusClient(f"{server.url.partition('?')[0]}api/uploads", headers=authorization)
        url = None
        for number in range(100):
            with contextlib.suppress(Exception):  # whatever the client says to a server that is killed under it
                stream, metadata = io.BytesIO(content), {"filename": "large.mkv"}
                uploader = tus.uploader(file_stream=stream, chunk_size=7_000_000, url=url, metadata=metadata)
                url = url or uploader.create_url()
                uploader.set_url(url)
                if number < 5:
                    threading.Timer(0.2 + 0.1 * number, server.kill).start()
                uploader.upload()
                break
            time.sleep(1)
            server.start()
        data = tmp_path / ".vsr" / "uploads" / url.rpartition("/")[2] / "data"
        assert hashlib.sha256(data.read_bytes()).digest() == hashlib.sha256(content).digest()


def made_with(folder, kill):
    """The bytes of an output that was made while `kill` did its work."""
    make_video(folder / "in" / "a.mp4", frames=120, cut=40, width=96, height=64)
    with program(folder) as server:
        settings = {"model": "espcn-x2", "preset": "ultrafast"}
        with client_of(server) as client:
            client.post("/api/queue", json={"clips": ["a.mp4"], "settings": settings}).raise_for_status()
        kill(server, folder)

        def is_done():
            with client_of(server) as client, contextlib.suppress(httpx.HTTPError):
                if not client.get("/api/queue").json()["batch_is_running"]:
                    client.post("/api/batch", json={"action": "start"})
                rows = client.get("/api/queue").json()["clips"]
                return len(rows) == 1 and rows[0]["state"] == "done"

        wait_until(is_done, 400, every=1)
    return next((folder / "out").glob("*.mp4")).read_bytes()


def test_kills_change_no_pixel(tmp_path):
    def kill_often(server, folder):
        for moment in range(10):
            time.sleep(0.5 + moment % 4)
            progress = progress_of(folder / "out")
            if moment % 3 != 0 and progress is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(progress.pid, signal.SIGKILL)
            if moment % 3 != 1:
                server.kill()
                server.start()
            with client_of(server) as client:
                client.post("/api/batch", json={"action": "start"})

    whole = made_with(tmp_path / "whole", lambda *_: None)
    assert made_with(tmp_path / "killed", kill_often) == whole


def test_fifty_tabs_and_twenty_uploads(tmp_path):
    make_video(tmp_path / "in" / "a.mp4", frames=4000, cut=200, width=96, height=64, audio=False)
    with program(tmp_path) as server, client_of(server) as client:
        client.post("/api/queue", json={"clips": ["a.mp4"], "settings": {"model": "espcn-x2"}}).raise_for_status()
        process = next(p for p in psutil.process_iter() if p.pid == server.pid)
        end = time.monotonic() + 60
        heard, sent = [0] * 50, {}

        def listen(number):
            with client_of(server) as mine, mine.stream("GET", "/events") as stream:
                for line in stream.iter_lines():
                    heard[number] += line.startswith("event:")
                    if time.monotonic() > end:
                        return

        def upload(number):
            content = random.Random(number).randbytes(1_000_000)
            with client_of(server) as mine:
                head = {"Tus-Resumable": "1.0.0"}
                begun = {"Upload-Length": "20000000", "Upload-Metadata": "filename YS5tcDQ="}
                url = mine.post("/api/uploads", headers=head | begun).headers["location"]
                head |= {"Content-Type": "application/offset+octet-stream"}
                for piece in range(20):
                    reply = mine.patch(url, headers=head | {"Upload-Offset": str(piece * 10**6)}, content=content)
                    assert reply.status_code == 204
                    time.sleep(2)
            sent[url.rpartition("/")[2]] = hashlib.sha256(content * 20).hexdigest()

        threads = [threading.Thread(target=listen, args=(number,)) for number in range(50)]
        threads += [threading.Thread(target=upload, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        time.sleep(10)
        memory, seconds = process.memory_info().rss, []
        while time.monotonic() < end:
            started = time.monotonic()
            assert client.get("/", headers={"Accept": "text/html"}).status_code == 200
            seconds.append(time.monotonic() - started)
            time.sleep(0.5)
        grown = process.memory_info().rss - memory
        for thread in threads:
            thread.join(120)
        p95 = statistics.quantiles(seconds, n=20)[-1]
        print(f"p95 of a page {p95:.3f} s, memory grew by {grown / 1e6:.1f} MB, {min(heard)} events at least")
        assert len(sent) == 20
        for upload_id, digest in sent.items():
            data = tmp_path / ".vsr" / "uploads" / upload_id / "data"
            assert hashlib.sha256(data.read_bytes()).hexdigest() == digest
        assert min(heard) > 0
        assert grown < 50e6


def test_while_a_batch_works_a_preview_is_made_on_the_cpu_and_says_so(tmp_path):
    make_video(tmp_path / "in" / "a.mp4", frames=2000, cut=200, width=96, height=64, audio=False)
    make_video(tmp_path / "in" / "b.mp4", frames=10, cut=4, width=96, height=64, audio=False)
    with program(tmp_path) as server, client_of(server) as client:
        client.post("/api/queue", json={"clips": ["a.mp4"], "settings": {"model": "espcn-x2"}}).raise_for_status()
        form = {"clip": id_of("b.mp4"), "model": "bicubic", "size": "x2"}
        head = {"Accept": "text/html"}
        page = client.post("/previews", data=form, headers=head).headers["location"]
        wait_until(lambda: 'class="before"' in client.get(page, headers=head).text, 240, every=1)
        assert "It was computed on the CPU" in client.get(page, headers=head).text


def test_a_model_that_nobody_uses_is_let_go(tmp_path):
    picture = cv2.imencode(".png", np.zeros((6, 8, 3), np.uint8))[1].tobytes()
    with program(tmp_path, "--keep-model", "1s") as server, client_of(server) as client:

        def enlarge():
            files, fields = {"image": ("a.png", picture)}, {"model": "bicubic"}
            assert client.post("/api/enhance", files=files, data=fields).status_code == 200

        enlarge()
        wait_until(lambda: not psutil.Process(server.pid).children(), 60)
        enlarge()


def test_ten_thousand_uploads_that_are_begun(tmp_path):
    with program(tmp_path) as server, client_of(server) as client:
        counts, pages = Counter(), []
        going = threading.Event()

        def begin():
            with client_of(server) as mine:
                headers = {"Tus-Resumable": "1.0.0", "Upload-Length": "1000", "Upload-Metadata": "filename YS5tcDQ="}
                for _ in range(2500):
                    counts[mine.post("/api/uploads", headers=headers).status_code] += 1

        def look():
            while not going.wait(0.5):
                started = time.monotonic()
                assert client.get("/", headers={"Accept": "text/html"}).status_code == 200
                pages.append(time.monotonic() - started)

        threads = [threading.Thread(target=begin) for _ in range(4)]
        looking = threading.Thread(target=look)
        process = psutil.Process(server.pid)
        memory = process.memory_info().rss
        for thread in (looking, *threads):
            thread.start()
        for thread in threads:
            thread.join()
        going.set()
        looking.join()
        grown = process.memory_info().rss - memory
        print(f"{dict(counts)}, slowest page {max(pages):.2f} s, memory grew by {grown / 1e6:.1f} MB")
        assert (counts[201], counts[429]) == (200, 9800)
        folder = tmp_path / ".vsr" / "uploads"
        assert len(list(folder.iterdir())) == 200
        assert max(pages) < 3
        assert grown < 50e6
        week_ago = time.time() - 8 * 86_400
        for data in folder.glob("*/data"):
            os.utime(data, (week_ago, week_ago))
        wait_until(lambda: not list(folder.iterdir()), 30)  # the server cleans up by itself
