"""The slide-wipe video: how it moves, what it shows, what it refuses; and the clip that `make demo` runs on."""

from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsr_pipeline import cli
from vsr_pipeline.demo import Choreography, DemoOptions, DemoResult, Moment, make_demo
from vsr_pipeline.errors import InputError, UsageError, VsrError
from vsr_pipeline.media.images import frame_name, write_png

from .conftest import REPOSITORY

DARK, BRIGHT = 60, 200
SHORT = DemoOptions(repeats=1, frame_rate=Fraction(4))  # few frames: half-second rests are two


def grey_folder(folder: Path, size: tuple[int, int], levels: Iterable[int], *, deep: bool = False) -> Path:
    """A frames folder with one flat grey picture of `size` (width, height) per level."""
    folder.mkdir()
    for index, level in enumerate(levels):
        pixels = np.full((size[1], size[0], 3), level, np.uint8)
        write_png(folder / frame_name(index), pixels.astype(np.uint16) * 257 if deep else pixels)
    return folder


def decode(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def moments(*, clip_frames: int, width: int = 640, rate: int = 25, options: DemoOptions | None = None) -> list[Moment]:
    options = options or DemoOptions()
    moves = Choreography.choose(options, clip_frames=clip_frames, width=width, frame_rate=Fraction(rate))
    return list(moves.moments())


# How it moves


@given(
    clip_frames=st.integers(1, 400),
    width=st.integers(2, 4096),
    rate=st.fractions(Fraction(1, 2), 240),
    start=st.none() | st.integers(0, 399),
    wait=st.none() | st.integers(0, 399),
    repeats=st.integers(0, 3),
    step=st.none() | st.integers(20, 5000),
)
def test_every_frame_is_shown_in_order_and_the_line_never_jumps(clip_frames, width, rate, start, wait, repeats, step):
    start = None if start is None else min(start, clip_frames - 1)
    pause = None if wait is None else min((start or 0) + wait, clip_frames - 1)
    options = DemoOptions(start_frame=start, pause_frame=pause, repeats=repeats, slide_step=step)
    moves = Choreography.choose(options, clip_frames=clip_frames, width=width, frame_rate=rate)
    shown = list(moves.moments())

    assert shown[0].clip_frame == 0
    assert {m.clip_frame for m in shown} == set(range(clip_frames))
    for a, b in pairwise(shown):
        assert b.clip_frame in (a.clip_frame, (a.clip_frame + 1) % clip_frames)
        assert abs(b.line_x - a.line_x) <= moves.slide_step
    assert all(0 <= m.line_x <= width for m in shown)
    assert 0 <= moves.start_frame <= moves.pause_frame < clip_frames


def test_line_starts_stops_and_rests_where_it_should():
    options = DemoOptions(start_frame=2, pause_frame=4, repeats=1, slide_step=30)
    shown = moments(clip_frames=6, width=100, rate=4, options=options)
    assert shown[:5] == [(0, 100), (1, 100), (2, 70), (3, 40), (4, 10)]
    # Arrives, then rests for half a second, while the clip plays at half speed, again from its start.
    assert shown[5:8] == [(4, 0), (5, 0), (5, 0)]
    assert shown[8:14] == [(0, 30), (0, 60), (1, 90), (1, 100), (2, 100), (2, 100)]
    assert shown[14:17] == [(3, 70), (4, 50), (5, 50)]  # plays on and, being short, plays again
    assert shown[-1] == (5, 50)


def test_long_clip_comes_to_the_point_early_and_is_not_played_twice():
    shown = moments(clip_frames=10_000)
    assert next(m.clip_frame for m in shown if m.line_x < 640) == 25
    assert len(shown) < 10_000 + 25 * 15
    assert shown[-1] == (9_999, 320)


def test_one_frame_is_enough():
    shown = moments(clip_frames=1)
    assert {m.line_x for m in shown} >= {0, 320, 640}
    assert len(shown) > 25 * 5


# What it shows


def test_before_is_left_and_after_is_right_of_the_line(tmp_path):
    before = grey_folder(tmp_path / "before", (40, 24), [DARK] * 3)
    after = grey_folder(tmp_path / "after", (160, 96), [BRIGHT] * 3, deep=True)
    totals, ticks = [], []
    options = DemoOptions(repeats=1, frame_rate=Fraction(4), line_width=4)
    result = make_demo(
        before, after, tmp_path / "out" / "demo.mp4", options, on_total=totals.append, on_frame=lambda: ticks.append(1)
    )

    frames = decode(result.path)
    expected = moments(clip_frames=3, width=160, rate=4, options=options)
    assert result == DemoResult(result.path, len(expected), 160, 96, Fraction(4), scaled_down=False)
    assert len(frames) == len(ticks) == len(expected)
    assert totals == [len(expected)]
    for frame, (_, line_x) in zip(frames, expected, strict=True):
        row = frame[60].astype(int)
        assert abs(row[: max(0, line_x - 8)] - DARK).max(initial=0) <= 3
        assert abs(row[line_x + 8 :] - BRIGHT).max(initial=0) <= 3
        if 8 < line_x < 152:
            assert row[line_x - 1 : line_x + 1].min() > 220
    assert [p.name for p in result.path.parent.iterdir()] == ["demo.mp4"]


def test_frames_of_both_sides_stay_together(tmp_path):
    """Through playing, pausing and playing again, both sides show the same frame of the clip."""
    levels = [40, 80, 120, 160, 200]
    before = grey_folder(tmp_path / "before", (32, 32), levels)
    after = grey_folder(tmp_path / "after", (128, 128), levels)
    result = make_demo(before, after, tmp_path / "demo.mp4", SHORT)
    for frame, moment in zip(
        decode(result.path), moments(clip_frames=5, width=128, rate=4, options=SHORT), strict=True
    ):
        for x in (2, 125):
            if abs(x - moment.line_x) > 8:
                assert abs(int(frame[100, x, 1]) - levels[moment.clip_frame]) <= 4


def test_browsers_can_play_it(tmp_path):
    before = grey_folder(tmp_path / "before", (33, 17), [DARK, BRIGHT])
    after = grey_folder(tmp_path / "after", (131, 67), [DARK, BRIGHT])
    result = make_demo(before, after, tmp_path / "demo.mp4", SHORT)
    assert (result.width, result.height) == (132, 68)
    data = result.path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(result.path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.pix_fmt, context.width, context.height) == ("h264", "yuv420p", 132, 68)
        assert (context.color_range, context.colorspace, context.color_primaries, context.color_trc) == (1, 1, 1, 1)
        assert stream.average_rate == 4
        assert stream.start_time == 0
        assert stream.duration * stream.time_base == Fraction(result.frame_count, 4)


def test_labels_go_with_their_own_side(tmp_path):
    before = grey_folder(tmp_path / "before", (160, 90), [128])
    after = grey_folder(tmp_path / "after", (640, 360), [128])
    frames = {}
    for name, labels in (("labelled", (None, "result")), ("bare", ("", ""))):
        options = DemoOptions(
            repeats=1,
            slide_step=640,
            line_width=0,
            frame_rate=Fraction(4),
            label_before=labels[0],
            label_after=labels[1],
        )
        frames[name] = decode(make_demo(before, after, tmp_path / f"{name}.mp4", options).path)
    changed = [
        np.abs(a.astype(int) - b).max(axis=(0, 2)) > 40 for a, b in zip(frames["labelled"], frames["bare"], strict=True)
    ]
    places = {(bool(c[:320].any()), bool(c[320:].any())) for c in changed}
    assert places == {(True, False), (False, True), (True, True)}
    text_rows = np.abs(frames["labelled"][0].astype(int) - 128).max(axis=(1, 2)) > 40
    assert not text_rows[60:].any()


def test_an_empty_label_of_the_command_line_is_no_label(tmp_path, capsys):
    before = str(grey_folder(tmp_path / "before", (160, 90), [128]))
    command = ["demo", before, before, "--repeats", "0", "--fps", "2", "--slide-step", "160", "--line-width", "0"]
    assert cli.run([*command, "--output", str(tmp_path / "a.mp4"), "--label-before", "", "--label-after", ""]) == 0
    assert cli.run([*command, "--output", str(tmp_path / "b.mp4"), "--label-before=", "--label-after="]) == 0
    assert cli.run([*command, "--output", str(tmp_path / "labelled.mp4")]) == 0
    assert all(np.ptp(frame) <= 2 for name in "ab" for frame in decode(tmp_path / f"{name}.mp4"))
    assert np.ptp(decode(tmp_path / "labelled.mp4")[0]) > 40


@pytest.mark.parametrize("size", [(2, 2), (16, 12), (160, 90), (90, 400)])
def test_small_and_odd_shapes(tmp_path, size):
    before = grey_folder(tmp_path / "before", (1, 1), [DARK])
    after = grey_folder(tmp_path / "after", size, [BRIGHT])
    result = make_demo(before, after, tmp_path / "demo.mp4", SHORT)
    assert (result.width, result.height) == size
    assert len(decode(result.path)) == result.frame_count


def test_picture_that_no_player_takes_is_scaled_down(tmp_path):
    before = grey_folder(tmp_path / "before", (2000, 16), [DARK])
    after = grey_folder(tmp_path / "after", (8000, 64), [BRIGHT])
    result = make_demo(before, after, tmp_path / "demo.mp4", DemoOptions(repeats=0, frame_rate=Fraction(1)))
    assert (result.width, result.height, result.scaled_down) == (4096, 32, True)


def test_video_and_folder_of_the_demo_clip(tmp_path):
    """The picture right of the line is the original; rate and count are the video's."""
    originals = decode(REPOSITORY / "data/original/demo.mp4")
    after = tmp_path / "after"
    after.mkdir()
    for index, pixels in enumerate(originals):
        write_png(after / frame_name(index), pixels)
    options = DemoOptions(repeats=0, label_before="", label_after="", interpolation="nearest")
    result = make_demo(REPOSITORY / "data/demo.mp4", after, tmp_path / "demo.mp4", options)
    assert (result.width, result.height, result.frame_rate) == (640, 360, 25)
    last = decode(result.path)[-1]
    assert cv2.PSNR(last[:, 330:], originals[-1][:, 330:]) > 36
    blocks = last[:, :312].reshape(90, 4, 78, 4, 3).astype(int)
    assert np.abs(blocks - blocks.mean(axis=(1, 3), keepdims=True)).mean() < 3  # nearest: 4x4 pixels alike


# What it refuses


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"slide_step": 0}, "slide step"),
        ({"slide_step": -4}, "slide step"),
        ({"repeats": -1}, "repeats"),
        ({"line_width": -1}, "line width"),
        ({"start_frame": -1}, "start frame"),
        ({"pause_frame": -1}, "pause frame"),
        ({"start_frame": 5, "pause_frame": 4}, "start frame"),
        ({"frame_rate": Fraction(0)}, "frame rate"),
    ],
)
def test_options_that_no_clip_allows(options, named):
    with pytest.raises(UsageError, match=named):
        DemoOptions(**options)


def test_refused_before_anything_is_written(tmp_path):
    before = grey_folder(tmp_path / "before", (8, 8), [DARK] * 3)
    after = grey_folder(tmp_path / "after", (32, 32), [DARK] * 4)
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    output = tmp_path / "out" / "demo.mp4"
    cases: list[tuple[type[VsrError], str, Path, Path, Path, DemoOptions]] = [
        (InputError, "3 frames.* has 4", before, after, output, SHORT),
        (InputError, "nowhere", tmp_path / "nowhere.mp4", after, output, SHORT),
        (InputError, "text.mp4", text, after, output, SHORT),
        (UsageError, "frames 0 to 2", before, before, output, DemoOptions(start_frame=3)),
        (UsageError, "frames 0 to 2", before, before, output, DemoOptions(pause_frame=7)),
        (UsageError, "mp4", before, before, tmp_path / "out" / "demo.gif", SHORT),
        (UsageError, "own input", text, before, text, SHORT),
    ]
    for error, message, left, right, target, options in cases:
        with pytest.raises(error, match=message):
            make_demo(left, right, target, options)
        assert not output.parent.exists()


def test_interrupted_demo_leaves_the_old_one(tmp_path):
    before = grey_folder(tmp_path / "before", (8, 8), [DARK] * 3)
    output = tmp_path / "out" / "demo.mp4"
    output.parent.mkdir()
    output.write_bytes(b"old")

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_demo(before, before, output, SHORT, on_frame=stop)
    assert output.read_bytes() == b"old"
    assert [p.name for p in output.parent.iterdir()] == ["demo.mp4"]


# The clip in data/


def test_demo_clip_and_its_original_correspond():
    small, large = decode(REPOSITORY / "data/demo.mp4"), decode(REPOSITORY / "data/original/demo.mp4")
    assert len(small) == len(large) == 30
    assert small[0].shape == (90, 160, 3)
    assert large[0].shape == (360, 640, 3)
    shrunk = [cv2.resize(frame, (160, 90), interpolation=cv2.INTER_AREA) for frame in large]
    for index, frame in enumerate(small):
        neighbours = range(max(0, index - 2), min(30, index + 3))
        errors = {i: float(((frame.astype(int) - shrunk[i]) ** 2).mean()) for i in neighbours}
        # The source shows one picture twice; there, two frames are as good as equal.
        assert errors[index] < 1.02 * min(errors.values())
        assert errors[index] < 60  # 30 dB


def test_demo_clip_has_sound_and_is_small():
    path = REPOSITORY / "data/demo.mp4"
    with av.open(str(path)) as container:
        (audio,) = container.streams.audio
        samples = np.concatenate([frame.to_ndarray() for frame in container.decode(audio)], axis=1)
    assert abs(samples.shape[1] / audio.rate - 1.2) < 0.05
    assert np.abs(samples).max() > 0.02
    assert path.stat().st_size + (REPOSITORY / "data/original/demo.mp4").stat().st_size < 1_000_000
