"""The page of `vsr live`: who may see it, the stream, pause and snapshots, and what a browser shows."""

import http.client
import threading
import time
from fractions import Fraction
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from tests.support.live import bar_code, number_in
from vsr_pipeline.errors import OutputError
from vsr_pipeline.live.frames import Shown
from vsr_pipeline.live.meter import Meter
from vsr_pipeline.live.page import PageSink
from vsr_pipeline.live.sinks import SinkThread

VIEWS = ("original", "bicubic", "fsrcnn-x2")


def shown(number):
    views = tuple(bar_code(number + view, shape=(128, 256)) for view in range(3))
    return Shown(number, time.monotonic(), Fraction(number, 30), views)


class Page:
    """A page that is given numbered frames, 50 a second; its views have the next numbers."""

    def __init__(self):
        self.meter = Meter()
        self.sink = PageSink(0, "camera 0", VIEWS, self.meter)
        self._thread = SinkThread(self.sink, self.meter, waits=False)
        self._thread.start()
        self._stop = threading.Event()
        self._feeder = threading.Thread(target=self._feed, daemon=True)
        self._feeder.start()
        parts = urlsplit(self.sink.url)
        self.host, self.token = parts.netloc, parts.query.partition("=")[2]
        self.open = []
        self.headers = {"Authorization": f"Bearer {self.token}"}

    def _feed(self):
        number = 0
        while not self._stop.wait(0.02):
            self._thread.put(shown(number))
            number += 1

    def close(self):
        self._stop.set()
        self._feeder.join()
        self._thread.finish()
        assert self._thread.join(5)
        assert self._thread.failure is None

    def ask(self, path, method="GET", headers=None):
        connection = http.client.HTTPConnection(self.host, timeout=10)
        connection.request(method, path, headers=self.headers if headers is None else headers)
        response = connection.getresponse()
        self.open += [response, connection]
        return response

    def hang_up(self):
        while self.open:
            self.open.pop(0).close()


@pytest.fixture(scope="module")
def whole_page():
    page = Page()
    yield page
    page.close()


@pytest.fixture
def page(whole_page):
    yield whole_page
    whole_page.hang_up()


PATHS = ["/", "/live.js", "/live.css", "/state.json", "/stream.mjpg", "/snapshot.png", "/x"]


@pytest.mark.parametrize("path", PATHS)
def test_nothing_without_the_token_or_by_another_name(page, path):
    assert page.ask(path, headers={}).status == 401
    assert page.ask(path, headers={"Authorization": "Bearer " + "x" * 43}).status == 401
    assert page.ask(path, headers=page.headers | {"Host": "evil.example"}).status == 421


def test_pausing_needs_our_own_page(page):
    foreign = page.headers | {"Origin": "http://evil.example"}
    assert page.ask("/pause", "POST", foreign).status == 403
    assert b'"paused": false' in page.ask("/state.json").read()
    for method, path in [("PUT", "/"), ("DELETE", "/pause"), ("GET", "/pause")]:
        assert page.ask(path, method).status in (404, 405)
    assert page.ask("/stream.mjpg?view=../../etc").status == 404


def parts_of(response):
    """Every picture of a stream: its number as said, and as it is seen."""
    assert response.headers["content-type"].startswith("multipart/x-mixed-replace")
    while line := response.readline():
        if line.startswith(b"Content-Length:"):
            length = int(line.partition(b":")[2])
            number = int(response.readline().partition(b":")[2])
            response.readline()
            picture = cv2.imdecode(np.frombuffer(response.read(length), np.uint8), cv2.IMREAD_GRAYSCALE)
            yield number, picture


def test_the_stream_has_the_views_side_by_side_and_each_alone(page):
    for view, offset, width in [("all", 0, 768), ("bicubic", 1, 256)]:
        seen = []
        for number, picture in parts_of(page.ask(f"/stream.mjpg?view={view}&token={page.token}", headers={})):
            assert picture.shape == (128, width)
            assert number_in(picture[:, :256]) == number + offset
            seen.append(number)
            if len(seen) == 8:
                break
        assert seen == sorted(set(seen))


def test_a_viewer_that_does_not_read_delays_nobody(page):
    stalled = page.ask("/stream.mjpg")
    quick = parts_of(page.ask("/stream.mjpg?view=bicubic"))
    first, start = next(quick)[0], time.monotonic()
    numbers = [next(quick)[0] for _ in range(20)]
    assert numbers[-1] - first < 50 * (time.monotonic() - start) + 10
    assert stalled.status == 200


def test_pause_holds_the_picture_and_a_snapshot_has_every_pixel(page):
    assert page.ask("/pause", "POST").status == 303
    try:
        pictures = []
        for _ in range(2):
            reply = page.ask("/snapshot.png?view=original")
            name = reply.headers["content-disposition"]
            pictures.append(cv2.imdecode(np.frombuffer(reply.read(), np.uint8), cv2.IMREAD_COLOR))
            time.sleep(0.1)
        number = number_in(pictures[0][..., 0])
        assert name == f"attachment; filename=snapshot_{number:06d}.png"
        assert np.array_equal(pictures[0], bar_code(number, shape=(128, 256)))
        assert np.array_equal(*pictures)
    finally:
        page.ask("/resume", "POST")
    assert page.meter.total(1).dropped["paused"] > 0


def test_a_port_that_is_taken_is_refused(page):
    with pytest.raises(OutputError, match="already in use; give another port"):
        PageSink(int(page.host.partition(":")[2]), "x", VIEWS, Meter())


def test_a_browser_shows_three_views(page, browser, tmp_path):
    browser.post("/url", url=page.sink.url)
    assert browser.script("return location.search") == ""
    end = time.monotonic() + 20
    while not browser.script("return document.getElementById('picture').naturalWidth"):
        assert time.monotonic() < end
        time.sleep(0.1)
    captions = browser.script("return [...document.querySelectorAll('figcaption span')].map(e => e.textContent)")
    assert captions == list(VIEWS)
    browser.screenshot(tmp_path / "page.png")
    screen = cv2.imread(str(tmp_path / "page.png"), cv2.IMREAD_GRAYSCALE)
    box = browser.script("return Object.values(document.getElementById('picture').getBoundingClientRect().toJSON())")
    x, y, width, height = (round(value) for value in box[:4])
    views = [screen[y : y + height, x + width * k // 3 : x + width * (k + 1) // 3] for k in range(3)]
    first = number_in(views[0])
    assert [number_in(view) for view in views] == [first, first + 1, first + 2]
    errors = [entry for entry in browser.post("/se/log", type="browser") if entry["level"] == "SEVERE"]
    assert errors == []
