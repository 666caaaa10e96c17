"""`kill -9` in the middle of a preview: of the process that computes it, of the server, of both."""

import contextlib
import json
import os
import signal

import httpx
import psutil
import pytest

from tests.support.clips import make_video
from tests.support.serving import program, wait_until
from vsr_pipeline.serve.store import id_of

pytestmark = pytest.mark.nightly

SLOW = {"clip": id_of("a.mp4"), "model": "realbasicvsr-open-x4"}
QUICK = {"clip": id_of("a.mp4"), "model": "bicubic", "size": "x2"}
MADE = {"asked.json", "done.json", "progress.json", "before.mp4", "after.mp4"}


class Site:
    """A server and its previews, as a browser sees them."""

    def __init__(self, server):
        self.server = server
        self._places = server.folder / ".vsr" / "previews"

    def ask(self, form):
        """Begin a preview; return its page."""
        with self._client() as client:
            return client.post("/previews", data=form).headers["location"]

    def page(self, path):
        with self._client() as client:
            return client.get(path).raise_for_status().text

    def _client(self):
        token = self.server.url.rpartition("=")[2]
        headers = {"Authorization": f"Bearer {token}", "Accept": "text/html"}
        return httpx.Client(base_url=self.server.url.partition("?")[0], headers=headers, timeout=120)

    def files(self, path):
        return {file.name for file in self._places.joinpath(path.rpartition("/")[2]).iterdir()}

    def frames_done(self, path):
        with contextlib.suppress(FileNotFoundError):
            return json.loads((self._places / path.rpartition("/")[2] / "progress.json").read_text())["done"]
        return 0

    def is_at_work(self, path):
        """Wait until a preview is in the middle of its frames."""
        wait_until(lambda: self.frames_done(path) > 0, 600, every=0.05)
        assert "done.json" not in self.files(path)

    def ends(self, path):
        """Wait until a preview has an end; return its page."""
        wait_until(lambda: 'http-equiv="refresh"' not in self.page(path), 600, every=1)
        return self.page(path)

    def processes(self):
        """All processes that the server has started."""
        return psutil.Process(self.server.pid).children(recursive=True)

    def worker(self):
        """The process that computes."""
        return next(one for one in self.processes() if "in_forks=False" in " ".join(one.cmdline()))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    make_video(folder / "in" / "a.mp4", frames=30, cut=20, width=128, height=96, audio=False)
    (folder / "tmp").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder / "tmp"))
        with program(folder) as server:
            yield Site(server)


def has_result(html):
    return 'class="before"' in html or "becomes" in html


def test_the_worker_is_killed(site):
    first = site.ask(SLOW)
    site.is_at_work(first)
    site.worker().kill()
    html = site.ends(first)
    assert "the preview ended the process that computed it: try something smaller" in html
    assert 'role="alert"' in html
    again = site.ask(QUICK)
    assert has_result(site.ends(again))
    assert site.files(again) == MADE
    assert site.files(first) == {"asked.json", "done.json"}
    warm = site.ask(SLOW)  # by the process of the one before
    site.is_at_work(warm)
    site.worker().kill()
    assert has_result(site.ends(warm))  # a new process has made it, as the old one may have been damaged before
    assert site.files(warm) == MADE


@pytest.mark.parametrize("with_worker", [False, True])
def test_the_server_is_killed(site, with_worker):
    path = site.ask(SLOW)
    site.is_at_work(path)
    before, worker = site.processes(), site.worker()
    if with_worker:
        os.kill(worker.pid, signal.SIGSTOP)  # it cannot notice anything before it is killed
    site.server.kill()
    if with_worker:
        worker.kill()
    _, alive = psutil.wait_procs(before, timeout=20)
    assert alive == []
    kept = site.files(path)
    site.server.start()
    assert 'role="status"' in site.page(path)  # it is begun anew, and says so
    assert has_result(site.ends(path))
    assert site.files(path) == MADE
    assert kept <= MADE | {"part.mov"}
    assert has_result(site.ends(site.ask(QUICK)))


def test_nothing_is_left(site):
    site.server.kill(signal.SIGTERM)
    site.server.start()
    assert list((site.server.folder / "tmp").iterdir()) == []
