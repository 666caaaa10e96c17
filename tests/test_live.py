"""The parts of `vsr live`: what is asked for, mailboxes, clocks, the controller, levels, sinks."""

import fcntl
import io
import itertools
import math
import os
import resource
import struct
import termios
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.clips import times
from tests.support.live import bar_code, number_in, y4m_frames
from vsr_pipeline.config import EncodeConfig, UpscaleConfig
from vsr_pipeline.errors import DiskFullError, OutputError, UsageError
from vsr_pipeline.live.capture import CaptureClock, Pace
from vsr_pipeline.live.controller import SLACK_SECONDS, Control, controlled
from vsr_pipeline.live.frames import Shown
from vsr_pipeline.live.levels import geometry_for, levels_for, open_live_model
from vsr_pipeline.live.mailbox import Mailbox
from vsr_pipeline.live.meter import Measured, Meter
from vsr_pipeline.live.options import (
    LiveOptions,
    Source,
    age_seconds_from,
    raw_from,
    sinks_from,
    source_from,
    views_from,
)
from vsr_pipeline.live.sinks import (
    NullSink,
    ReaderGoneError,
    Recording,
    SinkThread,
    Y4mSink,
    partial_path,
    recording_settings,
    refuse_recording,
)
from vsr_pipeline.live.status import Second, Status
from vsr_pipeline.runtime.progress import Noted
from vsr_pipeline.timeline import VideoInfo

SIZE = (128, 64)
RATE = Fraction(30)


def shown(number, seconds=None, size=SIZE, **more):
    time_ = Fraction(number, 30) if seconds is None else Fraction(seconds)
    return Shown(number, time.monotonic(), time_, (bar_code(number, shape=size[::-1]),), **more)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("-", Source("stdin")),
        ("0", Source("camera", "0")),
        ("02", Source("camera", "2")),
        ("a.mp4", Source("file", "a.mp4")),
        ("./0", Source("file", "./0")),
        ("rtsp://u:p@h:554/x", Source("stream", "rtsp://u:p@h:554/x")),
        ("HTTPS://h/x", Source("stream", "HTTPS://h/x")),
    ],
)
def test_sources(text, source):
    assert source_from(text) == source


@pytest.mark.parametrize(
    "text", ["ftp://u:geheim@h/x", "file:///etc/passwd", "rtsp://u:geheim@", "http://[::1", "concat://a", "rtsp://h:x/"]
)
def test_other_addresses_are_refused_and_no_password_is_said(text):
    with pytest.raises(UsageError) as caught:
        source_from(text)
    assert "geheim" not in str(caught.value)


def test_names_of_streams_have_no_password():
    name = source_from("rtsp://user:pass@word@camera:554/a?token=geheim#x").name
    assert name == "rtsp://camera:554/a?..."


def test_sinks():
    kinds = [sink.kind for sink in sinks_from(["y4m", "http:0", "a b.mkv", "null"])]
    assert kinds == ["y4m", "http", "file", "null"]
    for texts in (["y4m", "y4m"], ["http:70000"], ["http:"], ["a.mp4"], ["x"], ["a.mkv", "a.mkv"]):
        with pytest.raises(UsageError, match="--to"):
            sinks_from(texts)


def test_ages_views_and_raw_formats():
    assert [age_seconds_from(text) for text in ("200ms", "1.5s", "0.2 s")] == [0.2, 1.5, 0.2]
    assert views_from("bicubic,original") == ("original", "bicubic")
    assert views_from(None) == ()
    raw = raw_from("64x48,rgb24,30000/1001")
    assert (raw.width, raw.pixel_format, raw.frame_rate) == (64, "rgb24", Fraction(30000, 1001))
    for read, text in [(age_seconds_from, "0ms"), (age_seconds_from, "5"), (views_from, "model"), (raw_from, "64x48")]:
        with pytest.raises(UsageError):
            read(text)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"source": Source("camera", "0"), "no_drop": True}, "--no-drop: camera 0 does not wait"),
        ({"source": Source("file", "a"), "lookahead": 5}, "--lookahead 5: 0 to 4"),
        ({"source": Source("file", "a"), "raw": raw_from("8x8,gray,1")}, "--raw is for standard input"),
        ({"source": Source("file", "a"), "input_width": 2}, "--input-width 2"),
    ],
)
def test_what_cannot_be_meant_is_refused(given, message):
    with pytest.raises(UsageError, match=message):
        LiveOptions(sinks=(), **given)


def test_the_newest_wins():
    box = Mailbox()
    assert [box.put(n) for n in range(3)] == [None, 0, 1]
    assert box.peek(0) == 2
    assert (box.take(0), box.take(0)) == (2, None)
    box.put(3)
    box.close()
    assert box.put(4) == 4
    assert not box.is_over
    assert (box.take(), box.take(), box.is_over) == (3, None, True)


def test_a_mailbox_that_waits_loses_nothing():
    box, taken = Mailbox(waits=True), []

    def read():
        while (item := box.take()) is not None:
            taken.append(item)
            time.sleep(0.001)

    reader = threading.Thread(target=read)
    reader.start()
    assert {box.put(n) for n in range(1, 50)} == {None}
    box.close()
    reader.join()
    assert taken == list(range(1, 50))


def test_times_follow_the_stamps_until_they_jump():
    clock = CaptureClock()
    first = clock.time_of(Fraction(1000), 50.0, trusts_stamps=False)
    late = clock.time_of(Fraction(1000) + Fraction(1, 30), 50.2, trusts_stamps=False)
    assert (first, late) == (0, Fraction(1, 30))
    assert clock.time_of(Fraction(5), 51.0, trusts_stamps=False) == 1
    assert clock.time_of(Fraction(5) + Fraction(1, 30), 51.0, trusts_stamps=False) == 1 + Fraction(1, 30)
    clock.reconnected()
    assert clock.time_of(None, 60.0, trusts_stamps=False) == 10
    assert clock.time_of(Fraction(0), 60.0, trusts_stamps=False) == 10 + Fraction(1, 1000)


def test_invented_stamps_are_not_believed_for_long():
    """15 frames a second that are stamped as 25."""
    clock = CaptureClock()
    times = [clock.time_of(Fraction(n, 25), 100 + n / 15, trusts_stamps=False) for n in range(200)]
    assert times[-1] == pytest.approx(Fraction(199, 15), abs=1e-6)
    steps = [b - a for a, b in itertools.pairwise(times[100:])]
    assert max(steps) == pytest.approx(min(steps), abs=1e-6)


def test_a_file_is_given_out_by_its_times():
    pace = Pace()
    assert pace.wait_seconds(Fraction(7), 100.0) == 0
    assert pace.wait_seconds(Fraction(8), 100.25) == pytest.approx(0.75)
    pace.was_taken(Fraction(8), 103.0)
    assert pace.wait_seconds(Fraction(9), 103.0) == pytest.approx(1)
    assert pace.wait_seconds(Fraction(9000), 103.0) == 0  # a jump, which nobody waits for
    assert pace.wait_seconds(Fraction(9001), 103.0) == pytest.approx(1)


def controls(ages, *, budget=0.2, last_level=4, start=None):
    control, levels = start or Control(), []
    for age in ages:
        control = controlled(control, seconds=1.0, p95_age_seconds=age, budget_seconds=budget, last_level=last_level)
        levels.append(control.level)
    return levels


@pytest.mark.parametrize(
    ("ages", "levels"),
    [
        ([0.3], [0]),
        ([0.3, 0.3], [0, 1]),
        ([0.3, 0.1, 0.3, 0.1], [0, 0, 0, 0]),
        ([0.3, None, 0.3], [0, 0, 0]),  # nothing came in: nothing is known
        ([math.inf] * 10, [0, 1, 1, 2, 2, 3, 3, 4, 4, 4]),
        ([0.3, 0.3] + [0.05] * 10, [0, 1] + [1] * 9 + [0]),
        ([0.3, 0.3] + [0.05] * 9 + [0.15] + [0.05] * 9, [0, 1] + [1] * 19),  # inside the budget, but no slack
    ],
)
def test_the_controller_by_a_table(ages, levels):
    assert controls(ages) == levels


def test_a_machine_between_two_levels_settles():
    """At level 0 each frame is too old, at level 1 there is slack: every attempt waits twice as long."""
    control, changes = Control(), []
    for second in range(1000):
        age = 0.3 if control.level == 0 else 0.05
        after = controlled(control, seconds=1.0, p95_age_seconds=age, budget_seconds=0.2, last_level=1)
        if after.level < control.level:
            changes.append(second)
        control = after
    waits = [b - a for a, b in itertools.pairwise(changes)]
    assert waits == [22, 42, 82, 162, 302, 302][: len(waits)]
    assert len(waits) >= 4


def test_after_a_good_minute_the_controller_is_quick_again():
    control = Control(level=1, patience_seconds=160.0, slack_seconds=159.0)
    levels = controls([0.05] + [0.15] * 60 + [0.3, 0.3] + [0.05] * 10, start=control)
    assert (levels[0], levels[62], levels[-1]) == (0, 1, 0)


@given(st.lists(st.one_of(st.none(), st.floats(0, 2), st.just(math.inf)), max_size=60), st.integers(0, 5))
def test_a_step_goes_to_the_next_level_and_never_off_the_ladder(ages, last_level):
    levels = [0, *controls(ages, last_level=last_level)]
    assert all(0 <= level <= last_level for level in levels)
    assert all(abs(b - a) <= 1 for a, b in itertools.pairwise(levels))
    ups = [n for n, (a, b) in enumerate(itertools.pairwise(levels)) if b < a]
    assert all(n + 1 >= SLACK_SECONDS for n in ups)


def test_levels_are_width_then_model_then_interpolation():
    info = VideoInfo(
        path=Path("a"), container="", codec="h264", stream_index=0, width=640, height=480, pixel_format="yuv420p",
        bit_depth=8, time_base=Fraction(1, 90000), average_frame_rate=RATE,
    )  # fmt: skip
    settings = UpscaleConfig(model="fsrcnn-x3")
    spec = open_live_model(settings)
    geometry = geometry_for(info, spec, settings, 300)
    levels = levels_for(spec, settings, geometry, open_live_model)
    assert [level.name for level in levels] == [
        "fsrcnn-x3 at 300x225",
        "fsrcnn-x3 at 225x169",
        "fsrcnn-x3 at 150x112",
        "fsrcnn-small-x3 at 150x112",
        "bicubic at 300x225",
    ]
    assert {level.geometry.output_size for level in levels} == {(900, 675)}
    with pytest.raises(UsageError, match="trains a network for minutes"):
        open_live_model(UpscaleConfig(model="zssr"))


def test_drops_are_counted_by_cause():
    meter = Meter()
    for age in range(1, 101):
        meter.captured()
        meter.shown("a", age / 100)
    meter.dropped("model", 3)
    meter.shown("b", 9.0)
    measured = meter.take(2.0)
    assert (measured.fps_in, measured.fps_out, measured.dropped) == (50, 50, {"model": 3})
    assert (measured.age_seconds(0.5), measured.age_seconds(0.95), measured.age_seconds(1)) == (0.51, 0.96, 1.0)
    assert meter.take(1.0).age_seconds(0.5) is None
    assert meter.total(4.0).out_by_sink == {"a": 100, "b": 1}


def test_on_a_terminal_a_second_replaces_the_one_before_it():
    reading, writing = os.openpty()
    fcntl.ioctl(writing, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    with os.fdopen(writing, "w") as stream:
        status = Status("text", stream)
        for number in range(2):
            measured = Measured(seconds=1.0, frames_in=30, frames_made=30, frames_out=29, ages_seconds=(0.04,))
            status.second(Second(at_seconds=number, measured=measured, level=0, level_name="a" * 90, state="live"))
        status(Noted("lost"))
        status.end()
        said = ""
        while "lost" not in said:  # a terminal gives what it has so far
            said += os.read(reading, 4096).decode()
    os.close(reading)
    first, second, note = said.split("\r\x1b[K")
    assert first.startswith("0:00 30.0 fps in, 29.0 out, age 40/40/40 ms, level 0: aaa")
    assert len(first) == len(second) == 59
    assert note == "lost\r\n"


class Slow(NullSink):
    def __init__(self, name, seconds):
        self.name, self.seconds, self.numbers = name, seconds, []

    def write(self, shown):
        time.sleep(self.seconds)
        self.numbers.append(shown.number)
        return True


def test_a_stalled_sink_does_not_delay_another():
    meter = Meter()
    quick, stalled = Slow("quick", 0.0), Slow("stalled", 0.3)
    threads = [SinkThread(sink, meter, waits=False) for sink in (quick, stalled)]
    for thread in threads:
        thread.start()
    for number in range(30):
        for thread in threads:
            thread.put(shown(number))
        time.sleep(0.02)
    for thread in threads:
        thread.finish()
        assert thread.join(5)
    total = meter.total(1.0)
    assert quick.numbers[-1] == stalled.numbers[-1] == 29
    assert stalled.numbers == sorted(stalled.numbers)
    for sink in (quick, stalled):
        assert len(sink.numbers) + total.dropped.get(sink.name, 0) == 30
    assert len(quick.numbers) > 2 * len(stalled.numbers)


def written_to_y4m(write):
    reading, writing = os.pipe()
    frames = []

    def read():
        with os.fdopen(reading, "rb") as stream:
            frames.extend(number_in(luma) for luma, _ in y4m_frames(stream))

    reader = threading.Thread(target=read)
    reader.start()
    write(writing)
    os.close(writing)
    reader.join()
    return frames


def test_y4m_repeats_frames_by_their_times():
    def write(writing):
        sink = Y4mSink(writing, SIZE, RATE, Fraction(1), by_stamps=True)
        for number, seconds in [(0, 0), (1, Fraction(1, 30)), (2, Fraction(4, 30)), (3, Fraction(4, 30)), (4, 2000)]:
            sink.write(shown(number, seconds))

    frames = written_to_y4m(write)
    assert frames[:6] == [0, 1, 1, 1, 2, 3]
    assert frames[-1] == 4
    assert len(frames) <= 6 + 30 + 1  # a gap of hours is not filled


def test_y4m_goes_on_in_time_while_no_frame_comes():
    def write(writing):
        sink = Y4mSink(writing, SIZE, RATE, Fraction(1), by_stamps=False)
        thread = SinkThread(sink, Meter(), waits=False)
        thread.start()
        thread.put(shown(5))
        time.sleep(1.0)
        thread.put(shown(6))
        thread.finish()
        assert thread.join(5)

    frames = written_to_y4m(write)
    assert set(frames) == {5, 6}
    assert 15 <= frames.count(5) <= 40
    assert frames[-1] == 6


def test_a_reader_that_leaves_ends_its_sink_without_a_failure():
    reading, writing = os.pipe()
    os.close(reading)
    sink = Y4mSink(writing, SIZE, RATE, Fraction(1), by_stamps=True)
    with pytest.raises(ReaderGoneError):
        sink.write(shown(0))
    thread = SinkThread(sink, Meter(), waits=False)
    thread.start()
    thread.put(shown(1))
    assert thread.join(5)
    assert thread.failure is None
    os.close(writing)


def recording(path, size=SIZE):
    return Recording(path, size, RATE, Fraction(1), recording_settings(EncodeConfig()))


def test_a_recording_has_the_times_of_capture(tmp_path):
    path = tmp_path / "a.mkv"
    sink = recording(path)
    wanted = [Fraction(0), Fraction(33, 1000), Fraction(517, 1000), Fraction(517, 1000), Fraction(3)]
    for number, seconds in enumerate(wanted):
        sink.write(shown(number, seconds))
    assert not path.exists()
    sink.close()
    assert times(path) == [0, Fraction(33, 1000), Fraction(517, 1000), Fraction(518, 1000), 3]
    assert [file.name for file in tmp_path.iterdir()] == ["a.mkv"]


def test_a_recording_without_a_frame_leaves_no_file(tmp_path):
    recording(tmp_path / "a.mkv").close()
    assert list(tmp_path.iterdir()) == []


def test_recordings_are_not_replaced(tmp_path):
    path = tmp_path / "a.mkv"
    refuse_recording(path, overwrite=False)
    partial_path(path).touch()
    with pytest.raises(OutputError, match="cut off and can be played"):
        refuse_recording(path, overwrite=False)
    refuse_recording(path, overwrite=True)
    with pytest.raises(OutputError, match="no folder"):
        refuse_recording(tmp_path / "b" / "a.mkv", overwrite=True)


def test_a_full_disk_ends_the_recording_which_can_be_played(tmp_path):
    path = tmp_path / "a.mkv"
    rng = np.random.default_rng(0)
    sink = recording(path, (512, 256))
    thread = SinkThread(sink, Meter(), waits=True)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, before[1]))
    try:
        thread.start()
        for number in range(200):
            noise = rng.integers(0, 255, (256, 512, 3), np.uint8)
            thread.put(Shown(number, 0.0, Fraction(number, 30), (noise,)))
            if thread.is_over:
                break
        thread.finish()
        assert thread.join(20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert isinstance(thread.failure, DiskFullError)
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) > 20


def test_a_stream_of_frames_reads_back():
    assert [number_in(bar_code(number)[..., 0]) for number in (0, 1, 300, 65_535)] == [0, 1, 300, 65_535]
    assert number_in(np.zeros((64, 128), np.uint8)) is None
    assert list(y4m_frames(io.BytesIO(b"YUV4MPEG2 W2 H2 F1:1\nFRAME\n12"))) == []
