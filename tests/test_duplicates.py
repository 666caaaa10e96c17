"""Frames that are equal to the one before them are not computed again, and the output does not show it."""

import io
import json
from contextlib import redirect_stdout
from fractions import Fraction
from itertools import accumulate

import av
import numpy as np
import pytest
import torch
from av.video.frame import VideoFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.clips import analyse, decoded, make_video, times
from tests.support.networks import fill
from vsr_pipeline import cli
from vsr_pipeline.clip.footage import analyse_clip, footage_of, look_at
from vsr_pipeline.clip.repeats import is_same_picture
from vsr_pipeline.config import Config, InputConfig
from vsr_pipeline.jobs.ledger import Ledger
from vsr_pipeline.media.images import list_frames, read_image, write_png
from vsr_pipeline.models.realbasicvsr import RealBasicVSRNet
from vsr_pipeline.plan import part_of, plan_segments, schedule_of
from vsr_pipeline.timeline import Timeline

DECODED_FORMATS = (
    "yuv420p yuv420p10le yuv422p yuv444p16le nv12 p010le rgb24 bgr0 rgb48le gbrp gray gray10le ya8 pal8 monow yuyv422 "
    "yuva420p rgb565le"
)
BICUBIC = ("--model", "bicubic-x4")
LOSSLESS = ("--codec", "ffv1", "--segment-frames", "3", "--lookahead", "2")
TELECINE = (0, 0, 1, 1, 1, 2, 2, 3, 3, 3, 4, 4)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A checkpoint of a small network that is really recurrent."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.pth"
    torch.save({"state_dict": fill(RealBasicVSRNet(8, 1, 1), 0.5).state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def once(tiny):
    """What that network makes of five pictures, each shown once."""
    source, output = (tiny.with_name(name) for name in ("once.mkv", "once_x4.mkv"))
    assert run(write(source, pictures(5)), output, *network(tiny))["computed_frames"] == 5
    return output


def pictures(count, size=(48, 64)):
    """RGB pictures that move and have all values."""
    rng = np.random.RandomState(5)
    scene = rng.randint(0, 256, (size[0] // 8, size[1] // 8, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    return [np.ascontiguousarray(np.roll(scene, 3 * i, axis=1)) for i in range(count)]


def write(path, shown, steps=None):
    """A lossless video (FFV1, RGB) of pictures, `steps` milliseconds apart, 40 by default."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("ffv1", rate=25)
        video.height, video.width = shown[0].shape[:2]
        video.pix_fmt = "bgr0"
        video.codec_context.time_base = video.time_base = Fraction(1, 1000)
        tick = 0
        for pixels, step in zip(shown, steps or [40] * len(shown), strict=True):
            frame = VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="bgr0")
            frame.pts, frame.time_base, frame.duration = tick, Fraction(1, 1000), step
            container.mux(video.encode(frame))
            tick += step
        container.mux(video.encode(None))
    return path


def vsr(*arguments):
    """Run a command; return its JSON result."""
    out = io.StringIO()
    with redirect_stdout(out):
        assert cli.run([*map(str, arguments), "--json"]) == 0
    return json.loads(out.getvalue())[0]


def network(checkpoint):
    """Options that name the network."""
    return "--checkpoint", checkpoint, "--precision", "fp32"


def run(source, output, *options):
    """Enhance without loss, by `bicubic-x4` or a checkpoint, in segments short enough that there are several."""
    model = () if "--checkpoint" in options else BICUBIC
    return vsr("run", source, "--output", output, *model, *LOSSLESS, *options)


def assert_repeats(output, expected, pattern):
    """The frames of `output` are those of `expected`, in the order of `pattern`."""
    whole, parts = [p for _, p in decoded(output)], [p for _, p in decoded(expected)]
    assert len(whole) == len(pattern)
    for place, index in enumerate(pattern):
        assert np.array_equal(whole[place], parts[index]), f"frame {place} does not show {index}"


@pytest.mark.parametrize(
    ("pattern", "steps"),
    [
        ((0, 0, 1, 1, 2, 2, 3, 3, 4, 4), None),
        (TELECINE, None),
        ((0, 1, 1, 2, 3, 3, 3, 4, 4), (33, 33, 34, 200, 17, 16, 500, 40, 60)),
    ],
)
def test_the_output_is_that_of_the_distinct_frames_shown_again(workspace, tiny, once, pattern, steps):
    shown = pictures(5)
    write(workspace / "often.mkv", [shown[i] for i in pattern], steps)
    outcome = run("often.mkv", "often_x4.mkv", *network(tiny))
    assert_repeats(workspace / "often_x4.mkv", once, pattern)
    assert times(workspace / "often_x4.mkv") == times(workspace / "often.mkv")
    assert outcome["frame_count"] == len(pattern)
    assert (outcome["computed_frames"], outcome["reused_frames"]) == (len(shown), 0)
    repeats = len(pattern) - len(shown)
    assert any(f"not computed again: {repeats} of {len(pattern)}" in note for note in outcome["notes"])


def test_frames_that_differ_by_one_step_are_computed(workspace):
    one = pictures(1)[0]
    other = one.copy()
    other[47, 63, 2] ^= 1
    write(workspace / "near.mkv", [one, one, other, one])
    assert run("near.mkv", "out.mkv")["computed_frames"] == 3
    assert analyse(workspace / "near.mkv").timeline.repeats == (1,)


def test_the_option_off_computes_all(workspace, capsys):
    write(workspace / "often.mkv", [p for p in pictures(3) for _ in range(2)])
    outcome = run("often.mkv", "out.mkv", "--no-skip-duplicates")
    assert outcome["computed_frames"] == outcome["frame_count"] == 6
    assert not any("not computed again" in note for note in outcome["notes"])
    assert cli.run(["run", "often.mkv", "--output", "out.mkv", *BICUBIC, *LOSSLESS]) == 2
    assert "input.skip_duplicates: False -> True" in capsys.readouterr().err


def test_official_windows_compute_all(workspace, tiny):
    write(workspace / "often.mkv", [p for p in pictures(2) for _ in range(2)])
    official = (*network(tiny), "--windows", "official", "--max-seq-len", "3")
    outcome = run("often.mkv", "out.mkv", *official)
    assert outcome["computed_frames"] == outcome["frame_count"] == 4
    assert vsr("enhance", "often.mkv", "--output", "hr/", *official)["computed_frames"] == 4


def test_a_still_picture_costs_one_frame(workspace):
    write(workspace / "still.mkv", pictures(1) * 100)
    outcome = run("still.mkv", "out.mkv")
    assert (outcome["computed_frames"], outcome["frame_count"]) == (1, 100)
    shown = [pixels for _, pixels in decoded(workspace / "out.mkv")]
    assert len(shown) == 100
    assert all(np.array_equal(pixels, shown[0]) for pixels in shown)
    needed = vsr("run", "still.mkv", "--output", "other.mkv", *BICUBIC, "--dry-run")
    assert (needed["frame_count"], needed["segments"]) == (100, 1)
    assert needed["seconds"] > 0


def test_a_stopped_run_goes_on(workspace, monkeypatch):
    shown = pictures(8)
    write(workspace / "often.mkv", [shown[i // 2] for i in range(16)])
    run("often.mkv", "whole.mkv")
    save, saved = Ledger.save_segment, []

    def stop_after_two(ledger, row):
        if len(saved) == 2:
            raise KeyboardInterrupt
        saved.append(row)
        save(ledger, row)

    monkeypatch.setattr(Ledger, "save_segment", stop_after_two)
    assert cli.run(["run", "often.mkv", "--output", "stopped.mkv", *BICUBIC, *LOSSLESS]) == 130
    monkeypatch.setattr(Ledger, "save_segment", save)
    outcome = run("often.mkv", "stopped.mkv")
    assert outcome["computed_frames"] + outcome["reused_frames"] == 8
    assert outcome["reused_frames"] == sum(row.stop - row.start for row in saved)
    assert_repeats(workspace / "stopped.mkv", workspace / "whole.mkv", range(16))


def test_a_part_that_begins_and_ends_inside_runs_of_repeats(workspace):
    shown = pictures(4)
    write(workspace / "often.mkv", [shown[i // 3] for i in range(12)])
    write(workspace / "once.mkv", shown[:3])
    part = ("--start", "0.07", "--max-frames", "6")  # frames 2 to 7
    outcome = run("often.mkv", "part.mkv", *part)
    run("once.mkv", "once_x4.mkv")
    assert outcome["computed_frames"] == 3
    assert_repeats(workspace / "part.mkv", workspace / "once_x4.mkv", (0, 1, 1, 1, 2, 2))


def test_a_constant_rate(workspace):
    shown = pictures(5)
    write(workspace / "often.mkv", [shown[i // 2] for i in range(10)])
    write(workspace / "once.mkv", shown)
    run("once.mkv", "once_x4.mkv")
    outcome = run("often.mkv", "fast.mkv", "--fps", "50")
    assert outcome["computed_frames"] == 5
    assert_repeats(workspace / "fast.mkv", workspace / "once_x4.mkv", [i // 4 for i in range(20)])
    assert times(workspace / "fast.mkv") == [Fraction(i, 50) for i in range(20)]


def test_shots_are_counted_in_the_frames_of_the_output(workspace, tiny):
    clip = make_video(workspace / "walk.mp4", frames=10, cut=6, audio=False)
    shown = [pixels for _, pixels in decoded(clip)]
    write(workspace / "often.mkv", [pixels for pixels in shown for _ in range(2)])
    outcome = run("often.mkv", "out.mkv", *network(tiny))
    assert [(shot["start"], shot["stop"]) for shot in outcome["shots"]] == [(0, 12), (12, 20)]
    assert all(shot["decision"].startswith("cleaned") for shot in outcome["shots"])
    assert outcome["computed_frames"] == 10


def test_enhance_writes_an_image_for_every_frame(workspace):
    shown = pictures(5)
    write(workspace / "often.mkv", [shown[i // 2] for i in range(10)])
    for index in range(10):
        write_png(workspace / "lq" / f"{index + 7:04d}.png", shown[index // 2])
    for index in range(5):
        write_png(workspace / "once" / f"{index:04d}.png", shown[index])
    options = (*BICUBIC, "--segment-frames", "2")
    assert cli.run(["split", "often.mkv"]) == 0
    assert len(list_frames(workspace / "results" / "often" / "frames")) == 10
    vsr("enhance", "once", "--output", "expected/", *options)
    expected = [read_image(path) for path in list_frames(workspace / "expected")]
    for source in ("often.mkv", "lq", "results/often/frames"):
        output = workspace / f"hr_{source.replace('/', '_')}"
        result = vsr("enhance", source, "--output", output, *options)
        assert (result["frame_count"], result["computed_frames"]) == (10, 5)
        made = [read_image(path) for path in list_frames(output)]
        assert all(np.array_equal(pixels, expected[i // 2]) for i, pixels in enumerate(made))
        list_frames(output)[3].unlink()
        assert vsr("enhance", source, "--output", output, *options)["computed_frames"] in (1, 2)
        assert np.array_equal(read_image(list_frames(output)[3]), expected[1])
    assert vsr("enhance", "lq", "--output", "all/", *options, "--no-skip-duplicates")["computed_frames"] == 10


def test_an_image_that_is_edited_is_no_repeat_any_more(workspace):
    write(workspace / "often.mkv", [p for p in pictures(3) for _ in range(3)])
    options = (*BICUBIC, "--segment-frames", "2")
    frames = workspace / "results" / "often" / "frames"
    assert cli.run(["split", "often.mkv"]) == 0
    assert vsr("enhance", frames, *options)["computed_frames"] == 3
    kept = (frames / "00000004.png").read_bytes()
    write_png(frames / "00000004.png", np.zeros((48, 64, 3), np.uint8))
    assert vsr("enhance", frames, *options)["frame_count"] == 9
    enhanced = list_frames(workspace / "results" / "often" / "enhanced")
    assert read_image(enhanced[4]).max() == 0
    assert np.array_equal(read_image(enhanced[3]), read_image(enhanced[5]))
    (frames / "00000004.png").write_bytes(kept)
    vsr("enhance", frames, *options)
    assert np.array_equal(read_image(enhanced[3]), read_image(enhanced[4]))


@pytest.mark.parametrize("name", DECODED_FORMATS.split())
def test_every_value_of_a_picture_counts_and_nothing_else(name):
    """Rows are longer in memory than in the picture, and what is behind it is whatever was there before."""
    one, other = (VideoFrame(37, 21, name) for _ in range(2))
    for frame in (one, other):
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
    assert is_same_picture(one, other)
    for index, plane in enumerate(other.planes):
        width = sum(c.width for c in one.format.components if c.plane == index) if one.format.is_planar else 1
        for place in (0, width - 1, (plane.height - 1) * plane.line_size):
            values = bytearray(plane.buffer_size)
            values[place] = 1
            plane.update(bytes(values))
            assert not is_same_picture(one, other), (index, place)
        plane.update(bytes(plane.buffer_size))
    if name in ("yuv420p", "nv12", "gray"):
        values = np.zeros((21, other.planes[0].line_size), np.uint8)
        values[:, 37:] = 9
        other.planes[0].update(values.tobytes())
        assert is_same_picture(one, other)
    other.colorspace = 1
    assert not is_same_picture(one, other)


def test_fields_that_are_made_whole_depend_on_their_neighbours(workspace):
    write(workspace / "often.mkv", [p for p in pictures(4) for _ in range(2)])
    timeline = analyse(workspace / "often.mkv", InputConfig(interlaced="bwdif")).timeline
    assert timeline.deinterlace == "tff"
    assert timeline.repeats == ()


def test_frames_are_read_by_their_place_among_the_distinct_ones(workspace):
    shown = pictures(6)
    pattern = (0, 1, 1, 2, 2, 2, 3, 4, 4, 5)
    write(workspace / "often.mkv", [shown[i] for i in pattern])
    header = look_at(workspace / "often.mkv", Config().input)
    footage = footage_of(header, analyse_clip(header))
    with footage.open() as source:
        for start in range(6):
            for stop in range(start + 1, 7):
                found = list(source.read(start, stop))
                assert len(found) == stop - start
                assert all(np.array_equal(a, b) for a, b in zip(found, shown[start:stop], strict=True))


@st.composite
def repeating_timelines(draw):
    """Up to 40 frames: for each the time to the next one, and whether it is new, repeats, or begins a shot."""
    frames = draw(st.lists(st.tuples(st.integers(1, 50), st.sampled_from("nnrrrc")), min_size=1, max_size=40))
    pts = tuple(accumulate((step for step, _ in frames[:-1]), initial=draw(st.integers(-100, 100))))
    found = {what: tuple(i for i, (_, w) in enumerate(frames) if w == what and i > 0) for what in "rc"}
    return Timeline(Fraction(1, 100), pts, frames[-1][0], found["c"], repeats=found["r"])


@settings(deadline=None, max_examples=60)
@given(timeline=repeating_timelines(), segment_frames=st.integers(1, 20), context=st.integers(0, 5))
def test_every_frame_is_shown_and_every_distinct_one_is_computed_once(timeline, segment_frames, context):
    segments = plan_segments(timeline, segment_frames=segment_frames, warm_up=context, lookahead=context)
    schedule = schedule_of(timeline, origin_ticks=0)
    assert schedule.pts == timeline.pts
    distinct = timeline.distinct
    assert [i for s in segments for i in range(s.start, s.stop)] == list(range(len(distinct)))
    assert [place for s in segments for place in schedule.shows(s)] == list(range(timeline.frame_count))
    for place, index in enumerate(schedule.frames):
        # What is shown is the frame itself, or the one that it repeats without a break.
        assert set(range(distinct[index] + 1, place + 1)) <= set(timeline.repeats)
    for shot, computed in zip(timeline.shots, timeline.without_repeats.shots, strict=True):
        assert distinct[computed.start] == shot.start
    assert timeline.without_repeats.duration_seconds == timeline.duration_seconds


@settings(deadline=None, max_examples=60)
@given(timeline=repeating_timelines(), first=st.integers(0, 40), count=st.integers(1, 40))
def test_a_part_begins_with_a_frame_of_its_own(timeline, first, count):
    first = min(first, timeline.frame_count - 1)
    start = (timeline.pts[first] - timeline.pts[0]) * timeline.time_base
    zero = timeline.pts[0] * timeline.time_base
    part = part_of(timeline, InputConfig(start=f"{float(start):.2f}", max_frames=count), start_seconds=zero)
    assert part.first == first
    stop = part.stop
    assert {first + index for index in part.timeline.repeats} == set(timeline.repeats) & set(range(first + 1, stop))


def test_a_timeline_refuses_repeats_that_cannot_be():
    ten = {"time_base": Fraction(1, 25), "pts": tuple(range(10)), "last_duration": 1}
    for wrong in ((0,), (3, 3), (10,), (5, 2)):
        with pytest.raises(ValueError, match="repeats"):
            Timeline(**ten, repeats=wrong)
    with pytest.raises(ValueError, match="is a cut"):
        Timeline(**ten, cuts=(4,), repeats=(4,))
    with pytest.raises(ValueError, match="neighbours"):
        Timeline(**ten, deinterlace="tff", repeats=(4,))
    assert Timeline(**ten, cuts=(4,)).with_repeats([3, 4, 5]).repeats == (3, 5)
    assert Timeline(**ten, deinterlace="tff").with_repeats([3]).repeats == ()
