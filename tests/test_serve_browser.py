"""`vsr serve` in a real browser: from a file that is dropped to a result that is looked at."""

import base64
import re
import shutil

import cv2
import httpx
import numpy as np
import pytest
from playwright.sync_api import expect

from tests.support.clips import make_video
from tests.support.serving import chromium, program, wait_until

pytestmark = pytest.mark.filterwarnings("ignore:unclosed")


@pytest.fixture(scope="module")
def tapes(tmp_path_factory):
    """A server on which a clip was made through the page, with the server killed in the middle of the upload."""
    folder = tmp_path_factory.mktemp("tapes")
    source = make_video(folder.parent / "holiday 1994.mp4", frames=12, cut=5, width=96, height=64)
    with program(folder / "site") as server, chromium(locale="en-GB") as context:
        yield server, context, source


def test_from_a_file_to_a_result(tapes, tmp_path):
    server, context, source = tapes
    page = context.new_page()
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(server.url)
    assert "token" not in page.url
    expect(page).to_have_title("Queue · vsr")
    upload_in_pieces(page, server, source)
    until(page, lambda: page.get_by_text("96×64").count())
    page.locator("[name=model]").select_option("fsrcnn-small-x2")
    page.get_by_text("More settings").click()
    page.locator("[name=preset]").select_option("ultrafast")
    page.get_by_role("button", name="Estimate").click()
    until(page, lambda: page.get_by_text("Together about").count())
    assert "192×128" in page.content()
    page.get_by_role("button", name="Preview").click()
    page.wait_for_url("**/previews/*")
    page.close()  # nothing depends on a tab
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.goto(server.url.replace("/?", "/add?"))
    page.get_by_role("link", name="--model fsrcnn-small-x2").click()
    until(page, lambda: page.locator(".pair").count())
    look_at_pairs(page)
    assert "12 frames. A part of 96×64 becomes 192×128" in page.content()
    page.get_by_role("button", name="Add to the queue").click()
    page.get_by_text("holiday 1994.mp4").first.wait_for()
    page.close()
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.goto(server.url)
    page.locator(".row.done").wait_for(timeout=240_000)  # the page follows by itself
    page.get_by_role("link", name="holiday 1994.mp4").click()
    look_at_result(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the result").click()
    made = next((server.folder / "out").glob("*.mp4"))
    assert download.value.path().read_bytes() == made.read_bytes()
    assert [text for text in said if "ERR_" not in text and "status of 5" not in text] == []


def until(page, condition):
    """Wait for a condition while the page goes on."""
    wait_until(condition, 240, pause=lambda seconds: page.wait_for_timeout(1000 * seconds))


def upload_in_pieces(page, server, source):
    """Upload a file in three pieces; between two of them the server is killed and started again."""
    page.get_by_role("link", name="Add", exact=True).click()
    page.locator("#drop").wait_for()
    piece = -(-source.stat().st_size // 3)
    page.evaluate(f"document.getElementById('drop').dataset.piece = {piece}")
    sent = []

    def on_request(route):
        if route.request.method == "PATCH":
            sent.append(route.request.headers["upload-offset"])
            if len(sent) == 2:
                server.kill()
                route.abort()
                server.start()
                return
        route.continue_()

    page.route("**/api/uploads/*", on_request)
    page.set_input_files("#files", source)
    until(page, lambda: len(sent) >= 4)
    until(page, lambda: page.locator("[data-upload], .tick bdi").count())
    page.unroute("**/api/uploads/*")
    assert sent[:3] == ["0", str(piece), str(piece)]


def look_at_pairs(page):
    """Drag the divider by mouse and by keyboard, and play."""
    for pair in page.locator(".pair").all():
        divider = pair.get_by_role("slider")
        pair.scroll_into_view_if_needed()
        box = pair.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
        page.mouse.up()
        assert 20 < float(divider.input_value()) < 30
        divider.press("Home")
        assert divider.input_value() == "0"
        divider.press("ArrowRight")
        assert divider.input_value() == "0.5"
        assert pair.evaluate("one => one.style.getPropertyValue('--at')") == "0.5%"
    page.get_by_role("button", name="Play").click()
    until(page, lambda: page.locator("video.after").evaluate("one => one.currentTime > 0.05"))
    # At the end of the loop, one of them is a moment ahead.
    apart = "(([a, b]) => Math.abs(a.currentTime - b.currentTime))([...document.querySelectorAll('video')])"
    until(page, lambda: page.evaluate(apart) < 0.2)


def look_at_result(page):
    look_at_pairs(page)
    status = page.evaluate(
        "fetch(document.querySelector('video.after').src, {headers: {Range: 'bytes=10-19'}})"
        ".then(async reply => [reply.status, (await reply.arrayBuffer()).byteLength])"
    )
    assert status == [206, 10]


def test_without_javascript(tapes):
    server, context, _ = tapes
    plain = context.browser.new_context(java_script_enabled=False, locale="zh-CN")
    page = plain.new_page()
    page.goto(server.url)
    assert page.title() == "队列 · vsr"
    make_video(server.folder / "in" / "second.mp4", frames=3, cut=9, width=32, height=24)
    page.reload()
    page.get_by_role("button", name="加入队列").click()
    row = page.locator(".row", has_text="second.mp4")
    row.get_by_role("button", name="取消", exact=True).click()
    assert row.locator(".state").inner_text() == "已取消"
    page.locator("[name=language]").select_option("en")
    page.get_by_role("button", name="更改").click()
    row.get_by_role("button", name="Try again").click()
    row.get_by_role("button", name="First").click()
    page.get_by_label("Work only between").fill("22:00-06:00")
    page.get_by_role("button", name="Set").click()
    assert page.get_by_label("Work only between").input_value() == "22:00-06:00"
    page.get_by_label("Work only between").fill("noon")
    page.get_by_role("button", name="Set").click()
    assert "such as 22:00-06:00" in page.get_by_role("alert").inner_text()
    page.goto(server.url)
    row.get_by_role("button", name="Remove").click()
    assert page.locator(".row", has_text="second.mp4").count() == 0
    page.get_by_role("link", name="holiday 1994.mp4").click()
    assert page.locator("video").count() == 2
    page.goto(server.url.replace("/?", "/add?"))
    page.set_input_files("#files", server.folder / "in" / "second.mp4")
    page.get_by_role("button", name="Upload").click()
    expect(page.locator(".tick bdi")).to_have_text("second.mp4", timeout=30_000)  # the page loads again by itself
    page.set_input_files("#files", __file__)
    page.get_by_role("button", name="Upload").click()
    assert "is no video by its name" in page.get_by_role("alert").inner_text()
    plain.close()


@pytest.mark.nightly
def test_models_are_compared(tapes):
    server, context, source = tapes
    if not list((server.folder / "out").glob("*.mp4")):  # the tests above were not run
        shutil.copy(source, server.folder / "in")
        body = {"clips": [source.name], "settings": {"model": "bicubic", "preset": "ultrafast"}}
        address, _, token = server.url.partition("?token=")
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=address, headers=headers, timeout=60) as client:
            client.post("/api/queue", json=body).raise_for_status()
            wait_until(lambda: client.get("/api/queue").json()["clips"][0]["state"] == "done", 240)
    page = context.new_page()
    page.goto(server.url)
    page.get_by_role("link", name="holiday 1994.mp4").click()
    page.get_by_role("link", name="Compare models").click()
    page.locator("[name=model]").first.wait_for()
    for box in page.locator("[name=model]").all():
        box.set_checked(box.input_value() in ("bicubic", "nearest"))
    page.locator("[name=result]").check()
    page.get_by_label("Hide the names").check()
    page.get_by_role("button", name="Compare").click()
    page.get_by_role("link", name="Open", exact=True).click(timeout=240_000)
    expect(page.locator("h1")).to_contain_text("3 versions")  # two models and the result
    assert "nearest" not in page.content()
    page.get_by_label("B looks best").check()
    page.close()


@pytest.mark.nightly
def test_a_picture_is_dropped(tapes):
    server, context, _ = tapes
    page = context.new_page()
    page.goto(server.url.replace("/?", "/picture?"))
    page.locator("[name=model]").select_option("bicubic")
    picture = base64.b64encode(cv2.imencode(".png", np.full((6, 8, 3), 90, np.uint8))[1].tobytes()).decode()
    dropped = page.evaluate_handle(
        """content => {
          const data = new DataTransfer();
          const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt(0));
          data.items.add(new File([bytes], "card.png", { type: "image/png" }));
          return data;
        }""",
        picture,
    )
    page.dispatch_event("#picture", "drop", {"dataTransfer": dropped})
    page.get_by_text("32×24").first.wait_for(timeout=60_000)


def test_without_the_token_a_browser_sees_nothing(tapes):
    server, context, _ = tapes
    stranger = context.browser.new_context()
    page = stranger.new_page()
    bare = server.url.partition("?")[0]
    assert page.goto(bare).status == 401
    assert "holiday" not in page.content()
    page.get_by_label("Token").fill(server.url.rpartition("=")[2])
    page.get_by_role("button", name="Open").click()
    expect(page).to_have_title("Queue · vsr")
    assert re.fullmatch(re.escape(bare), page.url)
    stranger.close()
