"""What the morning needs: the report as JSON, as a page, and in a real browser."""

import base64
import json
import os
import re
import time
from dataclasses import replace
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.enhancing import H264, make, picture, ran
from vsr_pipeline import cli
from vsr_pipeline.errors import InputError
from vsr_pipeline.jobs.report.files import outcome_from_json, report_json, write_report
from vsr_pipeline.jobs.report.outcome import BatchOutcome, ClipOutcome, ShotOutcome, Still
from vsr_pipeline.jobs.report.page import duration, report_page
from vsr_pipeline.jobs.report.stills import moments_of, save_stills
from vsr_pipeline.jobs.report.totals import headline, totals_of
from vsr_pipeline.media.read.reader import VideoReader
from vsr_pipeline.plan import Schedule

DATA = Path(__file__).parent.parent / "data"
HERE = Path("/videos/out")
NASTY = "<b>&\"'\n\u202e\udcff\ud800</script><img src=x onerror=alert(1)>$title ${x}.mp4"


@pytest.fixture(scope="module")
def stills(tmp_path_factory):
    """Folder with the stills of a real frame, written as a job writes them."""
    folder = tmp_path_factory.mktemp("stills")
    with VideoReader(DATA / "demo.mp4") as before, VideoReader(DATA / "original/demo.mp4") as after:
        save_stills(folder, next(iter(before)).pixels, next(iter(after)).pixels)
    return folder


def clip(name="holiday.mp4", status="done", **fields):
    made = {
        "model": "realbasicvsr, fp16",
        "frame_count": 1500,
        "input_size": (160, 90),
        "output_size": (640, 360),
        "duration_seconds": 60.0,
        "started_at": "2026-11-21T01:00:00.123456+01:00",
        "elapsed_seconds": 300.0,
        "computed_frames": 1200,
        "reused_frames": 300,
        "fps": 5.0,
        "peak_memory_bytes": 3 * 1024**3,
        "peak_gpu_memory_bytes": 1024**3,
        "output_bytes": 40 * 1024**2,
        "output_sha256": "ab" * 32,
        "shots": (ShotOutcome(0, 1000, "cleaned once"), ShotOutcome(1000, 1500, "cleaned three times")),
    }
    known = made if status in ("done", "unchanged") else {}
    return ClipOutcome(
        input=Path("/videos/in") / name, output=Path("/videos/out") / name, status=status, **(known | fields)
    )


def batch(*clips, **fields):
    known = {
        "program": "vsr 0.2.0",
        "title": "/videos/in",
        "started_at": "2026-11-21T01:00:00+01:00",
        "elapsed_seconds": 27_000.0,
        "exit_code": 0,
        "config_toml": 'model = "realbasicvsr"\nmax_seq_len = 30\n',
        "machine": "attic",
        "log_file": Path("/videos/out/.vsr/batch.log"),
    }
    return BatchOutcome(clips=clips, **(known | fields))


def night(stills):
    """Eight clips of every kind."""
    pictures = {"before_still": stills / "before.jpg", "after_still": stills / "after.jpg"}
    shots = tuple(ShotOutcome(25 * n, 25 * n + 25, ("", "cleaned once")[n % 2]) for n in range(600))
    return batch(
        clip(**pictures, warnings=("the GPU's memory ran out: windows of 15 instead of 30 frames",)),
        clip(
            "a film with many cuts.mkv",
            **pictures,
            stills=(Still(30.0, stills / "before.jpg", stills / "after.jpg", stills / "after.jpg"),),
            shots=shots,
            warnings=tuple(f"warning {n}" for n in range(9)),
        ),
        clip("christmas.avi", "failed", reason="/videos/in/christmas.avi cannot be decoded: frame 812", exit_code=3),
        clip("disk.avi", "failed", reason="no space left while writing the segment", exit_code=5),
        clip("old.mp4", "given up", reason="no video stream (failed in 3 runs)", exit_code=3),
        clip("later.mp4", "stopped", reason="--until 06:00 came; 300 frames are done"),
        clip("no_stills_" + 5 * "and_a_very_long_name_" + ".mp4"),
        clip("earlier.mp4", "unchanged", **pictures, computed_frames=0, reused_frames=1500),
        exit_code=7,
    )


def test_json_round_trip(tmp_path, stills):
    outcome = replace(night(stills), title=NASTY, clips=(*night(stills).clips, clip(NASTY, "failed", reason=NASTY)))
    files = write_report(outcome, tmp_path / "new" / "folder")
    assert outcome_from_json(files.json.read_text(encoding="ascii")) == outcome
    assert sorted(path.name for path in files.json.parent.iterdir()) == ["report.html", "report.json"]


def test_json_is_as_documented(stills):
    report = json.loads(report_json(night(stills)))
    documented = (DATA.parent / "docs/report.md").read_text()
    keys = {*report, *report["totals"], *report["clips"][0], *report["clips"][0]["shots"][0]}
    keys |= report["clips"][1]["stills"][0].keys()
    assert not [key for key in keys if f"`{key}`" not in documented]
    assert report["schema_version"] == 1
    assert f'"schema_version": {report["schema_version"]}' in documented
    assert report["headline"] == "4 of 8 clips done (1 of them earlier), 2 failed, 1 given up, 1 not finished."
    assert report["clips"][0]["shots"][1] == {"start": 1000, "stop": 1500, "decision": "cleaned three times"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no report.json"),
        ("[]", "schema_version is None, not 1"),
        ('{"schema_version": 2}', "schema_version is 2, not 1"),
        ('{"schema_version": 1, "program": "vsr"}', "altered: title"),
    ],
)
def test_other_json_is_refused(text, message):
    with pytest.raises(InputError, match=re.escape(message)):
        outcome_from_json(text)


@pytest.mark.parametrize(
    ("statuses", "sentence"),
    [
        ([], "There were no clips."),
        (["done"], "The clip is done."),
        (["failed"], "The clip failed."),
        (["stopped"], "The clip is not finished; the same command continues it."),
        (6 * ["done"] + 2 * ["failed"], "6 of 8 clips done, 2 failed."),
        (2000 * ["unchanged"], "2,000 of 2,000 clips done (2,000 of them earlier)."),
    ],
)
def test_headline(statuses, sentence):
    assert headline(batch(*(clip(status=status) for status in statuses))) == sentence


def test_totals_count_the_work_of_this_run_alone():
    totals = totals_of(
        batch(clip(), clip(status="unchanged", computed_frames=0), clip(status="failed", elapsed_seconds=90.0))
    )
    assert (totals.frames, totals.video_seconds) == (3000, 120.0)
    assert (totals.computed_frames, totals.fps) == (1200, 4.0)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0.0 s"), (8.44, "8.4 s"), (59.96, "1 min 00 s"), (3599.6, "1 h 00 min"), (25_380, "7 h 03 min")],
)
def test_duration(seconds, words):
    assert duration(seconds) == words


class _Page(HTMLParser):
    """The tags, images and visible text of a page; fails where tags are not closed in their order."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.images, self.words, self._open = [], [], [], []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attributes))
        if tag not in ("meta", "img", "input"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_page_is_self_contained_and_embeds_the_stills(stills):
    html = report_page(night(stills), HERE)
    page = _Page(html)
    assert not re.search(r"https?:|url\(|@import|<link|<script src", html)
    sources = [image["src"] for image in page.images]
    assert len(sources) == 6
    assert base64.b64decode(sources[0].split(",")[1]) == (stills / "after.jpg").read_bytes()
    assert base64.b64decode(sources[1].split(",")[1]) == (stills / "before.jpg").read_bytes()


def test_failures_come_first_with_reason_and_exit_code(stills):
    words = "".join(_Page(report_page(night(stills), HERE)).words)
    places = [
        words.index(part)
        for part in (
            "4 of 8 clips done",
            "cannot be decoded: frame 812",
            "3: the input",
            "--until 06:00",
            "windows of 15 instead of 30",
        )
    ]
    assert places == sorted(places)


def test_a_table_says_it_all_at_a_glance_and_leads_to_card_and_result(stills):
    html = report_page(night(stills), HERE)
    assert html.index("Overview") < html.index("<article")
    assert '<a href="#clip-1"><bdi>holiday.mp4</bdi></a>' in html
    assert 'id="clip-1"' in html
    assert '<a href="holiday.mp4">open</a>' in html
    assert '<a href="a%20film%20with%20many%20cuts.mkv">open</a>' in html
    assert '<a href="christmas.avi">' not in html
    assert '<a href=".vsr/batch.log">' in html
    assert '<a href=".">' in html
    assert '<a href="../in/holiday.mp4">' in html
    # Of one clip, each figure is said once.
    alone = report_page(batch(clip()), HERE / ".vsr" / "holiday.mp4")
    assert "Overview" not in alone
    assert alone.count("5.00 fps") == 1
    assert '<a href="../../holiday.mp4">' in alone


def test_names_are_text_and_nothing_else(stills):
    plain = replace(clip("a", "done", reason="r", exit_code=1, model="m", warnings=("w",)), output=Path("o"))
    plain = replace(plain, before_still=stills / "before.jpg", after_still=stills / "after.jpg")
    nasty = replace(plain, input=Path(NASTY), output=Path(NASTY), reason=NASTY, model=NASTY, warnings=(NASTY,))
    fields = dict.fromkeys(("program", "title", "started_at", "machine", "config_toml"), NASTY)
    html = report_page(batch(nasty, **fields, log_file=Path(NASTY)), HERE)
    html.encode("utf-8")
    page = _Page(html)
    assert page.tags == _Page(report_page(batch(plain), HERE)).tags
    assert r"<b>&" in "".join(page.words)
    assert r"\n\u202e\udcff\ud800</script><img src=x onerror=alert(1)>$title ${x}.mp4" in "".join(page.words)


def test_missing_stills_are_no_failure(tmp_path):
    gone = clip(before_still=tmp_path / "before.jpg", after_still=tmp_path / "after.jpg")
    assert "could not be read" in report_page(batch(gone), HERE)
    assert "<img" not in report_page(batch(replace(gone, before_still=None)), HERE)


def test_shots_of_a_film_do_not_flood_the_page():
    shots = tuple(ShotOutcome(n, n + 1, ("cleaned once", "cleaned twice")[n % 2]) for n in range(3000))
    html = report_page(batch(clip(shots=shots)), HERE)
    assert "3,000 shots, 1,500 cleaned once, 1,500 cleaned twice" in html
    assert "2999–2999: cleaned twice" in html
    assert len(_Page(html).tags) == len(_Page(report_page(batch(clip()), HERE)).tags)


def test_four_hundred_clips_stay_within_the_room_for_stills(tmp_path):
    """Those made now get their pictures before those made earlier; the others say where theirs lie."""
    for name in ("before.jpg", "after.jpg"):
        (tmp_path / name).write_bytes(os.urandom(100_000))
    pictures = {"before_still": tmp_path / "before.jpg", "after_still": tmp_path / "after.jpg"}
    earlier = (clip(f"{n}.mp4", "unchanged", **pictures) for n in range(390))
    now = (clip(f"new{n}.mp4", **pictures) for n in range(10))
    html = report_page(batch(*earlier, *now), HERE)
    page = _Page(html)
    assert page.tags.count("article") == 400
    assert 200 < len(page.images) < 300
    assert len(html) < 34 * 1024**2
    assert sum("new" in image["alt"] for image in page.images) == 20
    assert html.count("No room for more pictures") == 400 - len(page.images) // 2


def test_the_middle_of_every_clip_comes_before_the_other_moments(tmp_path):
    for name in ("before.jpg", "after.jpg"):
        (tmp_path / name).write_bytes(os.urandom(1000))
    three = tuple(Still(second, tmp_path / "before.jpg", *[tmp_path / "after.jpg"] * 2) for second in (5.0, 1.0, 9.0))
    clips = batch(*(clip(f"{n}.mp4", stills=three) for n in range(4)))
    words = "".join(_Page(report_page(clips, HERE, stills_bytes=11_999)).words)
    assert re.findall(r"at (\d)\.0 s", words) == ["5", "1", "5", "5", "5"]
    assert "No room" not in words


@pytest.mark.parametrize(
    ("count", "moments"),
    [(1, {0: ""}), (2, {1: "", 0: "_10"}), (3, {1: "", 0: "_10", 2: "_90"}), (250, {125: "", 25: "_10", 225: "_90"})],
)
def test_which_moments_are_kept(count, moments):
    schedule = Schedule(Fraction(1, 25), tuple(range(count)), 1, tuple(range(count)))
    found = moments_of(schedule)
    assert {moment.frame: moment.ending for moment in found} == moments
    assert [moment.seconds for moment in found] == [moment.frame / 25 for moment in found]


DIVIDER = """
const pair = document.querySelector(".pair"), box = pair.getBoundingClientRect();
const before = pair.querySelector("img.before"), after = pair.querySelector("img.after");
const same = ["left", "top", "width", "height"].every(
  side => Math.abs(before.getBoundingClientRect()[side] - after.getBoundingClientRect()[side]) < 0.5);
const [, right] = getComputedStyle(before).clipPath.match(/^inset\\(0px ([\\d.]+)% 0px 0px\\)$/);
return {left: box.left, top: box.top, width: box.width, height: box.height, same,
        at: 100 - right, decoded: before.naturalWidth > 0 && after.naturalWidth > 0};
"""


@pytest.fixture
def page(tmp_path, stills):
    return write_report(night(stills), tmp_path).html


@pytest.mark.parametrize(("kind", "width"), [("mouse", 1280), ("touch", 390)])
def test_divider_is_dragged(browser, page, tmp_path, kind, width):
    browser.look(page, width=width)
    browser.script("document.querySelector('.pair').scrollIntoView({block: 'center'})")
    before = browser.script(DIVIDER)
    assert before["decoded"]
    assert before["same"], "the small still must fill the box of the large one"
    assert before["at"] == 50
    middle = before["top"] + before["height"] / 2
    for wanted in (80, 20):
        now = browser.script(DIVIDER)["at"]
        start, end = (before["left"] + before["width"] * at / 100 for at in (now, wanted))
        browser.drag(kind, (start, middle), (end, middle))
        assert browser.script(DIVIDER)["at"] == pytest.approx(wanted, abs=1)
    browser.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000
    assert browser.post("/se/log", type="browser") == []


def test_divider_has_keys(browser, page):
    browser.look(page)
    browser.script("document.querySelector('.pair input').focus()")
    right = "\ue014"
    keys = [{"type": kind, "value": right} for kind in ("keyDown", "keyUp")]
    browser.post("/actions", actions=[{"type": "key", "id": "keys", "actions": keys * 4}])
    assert browser.script(DIVIDER)["at"] == 52


ZOOM = """
const dialog = document.querySelector("dialog"), screen = dialog.querySelector(".screen");
const [after, before] = dialog.querySelectorAll("img");
return {open: dialog.open, which: dialog.querySelector(".which").textContent,
        shown: getComputedStyle(before).visibility == "visible" ? "before" : "after",
        size: [after.offsetWidth, after.offsetHeight, before.offsetWidth, before.offsetHeight],
        natural: [after.naturalWidth, after.naturalHeight],
        middle: [(screen.scrollLeft + innerWidth / 2) / after.offsetWidth,
                 (screen.scrollTop + innerHeight / 2) / after.offsetHeight],
        note: dialog.querySelector(".aside").textContent};
"""


@pytest.mark.parametrize("is_beside", [True, False])
def test_a_still_is_zoomed_pixel_for_pixel(browser, tmp_path, is_beside):
    """Without network; where the page was sent alone, the small still is shown, and that is said."""
    frame = np.tile(np.arange(1500, dtype=np.uint16)[:, None] % 256, (1125, 1, 3)).astype(np.uint8)
    save_stills(tmp_path / "job", frame[::4, ::4], frame, ending="_10", pixel_aspect_ratio=Fraction(4, 3))
    still = Still(2.0, *(tmp_path / "job" / f"{name}.jpg" for name in ("before_10", "after_10", "after_10_full")))
    page = write_report(batch(clip(stills=(still,))), tmp_path).html
    if not is_beside:
        still.full.unlink()
    browser.look(page, width=1000, height=700)
    box = browser.script("return document.querySelector('.pair').getBoundingClientRect().toJSON()")
    browser.script(
        "document.querySelector('.pair input').dispatchEvent(new MouseEvent('dblclick', "
        "{bubbles: true, clientX: arguments[0], clientY: arguments[1]}))",
        box["left"] + box["width"] * 0.6,
        box["top"] + box["height"] / 2,
    )
    deadline = time.monotonic() + 20
    wanted = [2000, 1125] if is_beside else [960, 540]
    while (zoom := browser.script(ZOOM))["natural"] != wanted or zoom["size"] != wanted * 2:
        assert time.monotonic() < deadline, zoom
        time.sleep(0.05)
    assert (zoom["open"], zoom["which"], zoom["shown"]) == (True, "after", "after")
    assert ("not beside this page" in zoom["note"]) != is_beside
    if is_beside:
        assert zoom["middle"] == pytest.approx([0.6, 0.5], abs=0.05)
    for which in ("before", "after"):
        browser.script("document.querySelector('.screen').focus()")
        browser.press(" ")
        zoom = browser.script(ZOOM)
        assert (zoom["which"], zoom["shown"]) == (which, which)
    browser.press("\ue00c")
    assert not browser.script(ZOOM)["open"]


@pytest.mark.parametrize("width", [320, 390, 900, 1280])
def test_nothing_is_wider_than_the_screen(browser, page, width):
    browser.look(page, width=width)
    assert browser.script("return document.documentElement.scrollWidth") <= width


def test_without_javascript_both_stills_are_side_by_side(browser, page):
    browser.devtools("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.look(page)
        places = browser.script("""
            return [...document.querySelectorAll(".pair")[0].querySelectorAll("img.before, img.after, input")]
                .map(part => part.getBoundingClientRect()).map(box => [box.left, box.top, box.width])""")
    finally:
        browser.devtools("Emulation.setScriptExecutionDisabled", value=False)
    (after_left, after_top, after_width), (before_left, before_top, before_width), (*_, input_width) = places
    assert before_left + before_width <= after_left
    assert (before_top, before_width) == (after_top, after_width)
    assert input_width == 0


def test_four_hundred_clips_open(browser, tmp_path, stills):
    pictures = {"before_still": stills / "before.jpg", "after_still": stills / "after.jpg"}
    page = write_report(batch(*(clip(f"{n}.mp4", **pictures) for n in range(400))), tmp_path).html
    began = time.monotonic()
    browser.look(page)
    assert browser.script(DIVIDER)["decoded"]
    assert browser.script("return document.querySelectorAll('article').length") == 400
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(("ratio", "shape"), [("16/11", 1.939), ("2/3", 0.889), ("1/1", 1.333)])
def test_stills_have_the_shape_that_players_show(tmp_path, ratio, shape):
    source = make(tmp_path / "wide.mkv", *picture(frames=2), "-vf", f"setsar={ratio}", *H264)
    clip = ran(source, tmp_path).clip
    for name in ("before_still", "after_still"):
        height, width = cv2.imread(clip[name]).shape[:2]
        assert width / height == pytest.approx(shape, rel=0.03)
    html = (tmp_path / ".vsr" / "out.mp4" / "report.html").read_text()
    assert float(re.search(r"--shape:([\d.]+)", html)[1]) == pytest.approx(shape, rel=0.01)


def test_the_report_of_an_output_is_found(tmp_path, stills, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = write_report(batch(clip()), tmp_path / "out" / ".vsr" / "a.mp4").html.relative_to(tmp_path)
    assert cli.run(["report", "out/a.mp4"]) == 0
    assert capsys.readouterr().out == f"{own}\n"
    assert cli.run(["report", "out"]) == 3
    assert "no report of out: name the output of a run, or the folder of a batch" in capsys.readouterr().err
    whole = write_report(night(stills), tmp_path / "out").html.relative_to(tmp_path)
    for output in ("out", "out/b.mp4"):
        assert cli.run(["report", output]) == 0
        assert capsys.readouterr().out == f"{whole}\n"
