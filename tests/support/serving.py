"""A `vsr serve` for tests: in a thread of this process, or as a program that can be killed."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import httpx
import pytest

from vsr_pipeline.runtime.http import Access, allowed_hosts
from vsr_pipeline.runtime.token_file import token_in
from vsr_pipeline.serve.app import guarded
from vsr_pipeline.serve.options import ServeOptions
from vsr_pipeline.serve.server import Server, listening_socket
from vsr_pipeline.serve.site import opened_site


@contextlib.contextmanager
def served(folder, **options):
    """A server in a thread; yields its site and a client with the token."""
    options = ServeOptions(folder=folder, port=0, **options)
    with listening_socket("127.0.0.1", 0) as opened, opened_site(options) as site:
        token = token_in(options.token_file)
        started = threading.Event()
        server = Server(guarded(site, Access(token, allowed_hosts())), started.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]})
        thread.start()
        try:
            assert started.wait(60)
            url = f"http://127.0.0.1:{opened.getsockname()[1]}"
            headers = {"Authorization": f"Bearer {token}"}
            with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
                yield site, client
        finally:
            server.should_exit = True
            thread.join(30)
            site.batch.stop()
            assert not thread.is_alive()


class Program:
    """`vsr serve` as a program, on the same port however often it is started."""

    def __init__(self, folder, port=0, *options):
        self.folder = folder
        self._options = options
        self._port = port
        self._process = None
        self.start()

    def start(self):
        words = ["serve", "--folder", str(self.folder), "--port", str(self._port), "--print-url", *self._options]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "vsr_pipeline", *words], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self.url = self._process.stdout.readline().strip()
        if self._port == 0:
            self._port = int(re.search(r":(\d+)/", self.url)[1])

    @property
    def pid(self):
        return self._process.pid

    def kill(self, number=signal.SIGKILL):
        os.kill(self._process.pid, number)
        code = self._process.wait(60)
        self._process.stdout.close()
        return code


@contextlib.contextmanager
def program(folder, *options, port=0):
    """A server as a program; its batch ends with it."""
    server = Program(folder, port, *options)
    try:
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            server.kill()
        end_batch(folder)


def end_batch(folder):
    """Kill the batch of a folder, if there is one."""
    from vsr_pipeline.jobs.batch.live import progress_of

    progress = progress_of(folder / "out")
    if progress is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(progress.pid, signal.SIGKILL)


def wait_until(condition, seconds=120, every=0.1, pause=time.sleep):
    """Wait until a condition holds, and return what it returned."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := condition():
            return result
        pause(every)
    raise AssertionError(f"not within {seconds} s: {condition}")


@contextlib.contextmanager
def chromium(*arguments, **context):
    """A context of Debian's chromium; without it the test is skipped, or fails where that is asked for."""
    path = shutil.which("chromium")
    if path is None:
        missing = "no chromium (Debian: apt-get install chromium)"
        if os.environ.get("VSR_REQUIRE_BROWSER") == "1":
            pytest.fail(f"VSR_REQUIRE_BROWSER=1, and there is {missing}")
        pytest.skip(missing)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", *arguments])
        try:
            yield browser.new_context(**context)
        finally:
            browser.close()
