"""A real browser for pages: headless Chromium behind the WebDriver protocol."""

import base64
import contextlib
import os
import re
import shutil
import subprocess

import pytest
import requests


class Browser:
    """Headless Chromium behind the WebDriver protocol."""

    def __init__(self, url, chromium, profile):
        self._http = requests.Session()
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
        wanted = {
            "goog:chromeOptions": {"binary": chromium, "args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        self._url = f"{url}/session"
        self._url += "/" + self.post("", capabilities={"alwaysMatch": wanted})["sessionId"]

    def post(self, command, **body):
        reply = self._http.post(self._url + command, json=body, timeout=60).json()["value"]
        assert not (isinstance(reply, dict) and "error" in reply), reply
        return reply

    def script(self, code, *arguments):
        return self.post("/execute/sync", script=code, args=list(arguments))

    def devtools(self, command, **parameters):
        return self.post("/goog/cdp/execute", cmd=command, params=parameters)

    def look(self, page, *, width=1280, height=900, scheme="light"):
        """Open a file as a screen of this size would show it."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.devtools("Emulation.setTouchEmulationEnabled", enabled=width < 600)
        self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.post("/url", url=page.as_uri())

    def screenshot(self, path):
        image = self.devtools("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(image["data"]))

    def drag(self, kind, start, end):
        moves = [{"type": "pointerMove", "duration": 0, "x": round(x), "y": round(y)} for x, y in (start, end)]
        press = [{"type": "pointerDown", "button": 0}, {"type": "pause", "duration": 50}]
        actions = [moves[0], *press, moves[1], {"type": "pointerUp", "button": 0}]
        pointer = {"type": "pointer", "id": kind, "parameters": {"pointerType": kind}, "actions": actions}
        self.post("/actions", actions=[pointer])

    def quit(self):
        self._http.delete(self._url, timeout=60)
        self._http.close()

    def press(self, key, times=1):
        keys = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        self.post("/actions", actions=[{"type": "key", "id": "keys", "actions": keys * times}])


@contextlib.contextmanager
def opened_browser(folder):
    """A browser whose files lie in a folder; without one the test is skipped, or fails where that is asked for."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        missing = "no chromium and chromedriver (Debian: apt-get install chromium chromium-driver)"
        if os.environ.get("VSR_REQUIRE_BROWSER") == "1":
            pytest.fail(f"VSR_REQUIRE_BROWSER=1, and there is {missing}")
        pytest.skip(missing)
    process = subprocess.Popen(
        [driver, "--port=0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"TMPDIR": str(folder)},
        start_new_session=True,
    )
    with process, contextlib.ExitStack() as stack:
        stack.callback(process.terminate)
        port = next(found[1] for line in process.stdout if (found := re.search(r"on port (\d+)\.", line)))
        opened = Browser(f"http://127.0.0.1:{port}", chromium, folder / "profile")
        stack.callback(opened.quit)
        yield opened
