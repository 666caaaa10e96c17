"""Files whose times are strange: joined recordings, pauses, times of decoding, cuts without encoding."""

import shutil
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest

from tests.support.enhancing import H264, enhance, make, picture, ran, tone
from vsr_pipeline import cli
from vsr_pipeline.errors import OutputError
from vsr_pipeline.media.streams.dry import check_times
from vsr_pipeline.media.write.order import packet_times

B_FRAMES = ("--encoder-preset", "fast")
MILLISECOND = Fraction(1, 1000)


@pytest.fixture
def faults(shared_data):
    return shared_data / "data/faults"


def streams_of(path):
    """Per kind of stream: (begin, duration) in seconds of each packet, in the order of showing; and the length."""
    with av.open(str(path)) as container:
        streams = [stream for stream in container.streams if stream.type in ("video", "audio", "subtitle")]
        found = {stream.index: [] for stream in streams}
        for packet in container.demux(*streams):
            if packet.size and packet.pts is not None:
                span = packet.pts * packet.time_base, (packet.duration or 0) * packet.time_base
                found[packet.stream.index].append(span)
        return [sorted(found[stream.index]) for stream in streams], Fraction(container.duration, 1_000_000)


def times_of(path, stream=0):
    return [begin for begin, _ in streams_of(path)[0][stream]]


def decoded_sound(path):
    """Seconds of sound, as a player hears it."""
    with av.open(str(path)) as container:
        return sum(Fraction(frame.samples, frame.sample_rate) for frame in container.decode(audio=0))


def film(path, times_ms, *, bf=2):
    """A picture whose frames are shown at these milliseconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": str(bf), "g": "12"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = MILLISECOND
        noise = np.random.RandomState(0).randint(0, 255, (48, 64, 3)).astype("uint8")
        for index, time in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.roll(noise, 3 * index, 1)), format="rgb24")
            frame.pts, frame.time_base = time, MILLISECOND
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def recording(path, *, codecs=H264, sound="aac", seconds=2, offset=0, rate="25"):
    """A picture with sound, whose clock begins at `offset`."""
    frames = int(seconds * Fraction(rate))
    inputs = (*picture(rate=rate, frames=frames), *tone(seconds))
    return make(path, *inputs, *codecs, "-c:a", sound, "-output_ts_offset", str(offset))


def joined(path, *parts):
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def assert_in_step(source_parts, output):
    """Picture and sound of each part begin as far apart as they did, and nothing goes back."""
    (shown, heard), _ = streams_of(output)
    assert all(a < b for (a, _), (b, _) in pairwise(shown))
    assert all(a < b for (a, _), (b, _) in pairwise(heard))
    at = [0, 0]
    for part in source_parts:
        (frames, sounds), _ = streams_of(part)
        apart = frames[0][0] - sounds[0][0]
        assert abs(shown[at[0]][0] - heard[at[1]][0] - apart) < 2 * MILLISECOND
        at = [at[0] + len(frames), at[1] + len(sounds)]
    assert at == [len(shown), len(heard)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("name", ["twice", "fwd", "back"])
def test_the_sound_of_joined_recordings_is_moved_as_the_picture_is(faults, tmp_path, name, suffix):
    result = ran(faults / f"{name}.ts", tmp_path, suffix=suffix)
    (shown, heard), length = streams_of(result.output)
    assert len(shown) == 104
    assert abs(float(shown[-1][0]) - 4.38) < 0.01
    assert len(heard) == 176
    assert 4.1 < heard[-1][0] < 4.4
    assert length < 4.5
    second = next(index for index, (a, b) in enumerate(pairwise(heard), start=1) if b[0] - a[0] > Fraction(1, 10))
    assert second == 88
    assert abs(shown[52][0] - heard[88][0] - (shown[0][0] - heard[0][0])) < 2 * MILLISECOND
    assert "the file's clock jumps once" in result.notes
    assert "announces" not in result.notes


MPEG2 = ("-c:v", "mpeg2video")


@pytest.mark.parametrize(
    ("suffix", "codecs", "sound", "offsets", "output"),
    [
        (".vob", MPEG2, "ac3", (0, 0), ".mp4"),
        (".vob", MPEG2, "ac3", (0, 10_000), ".mp4"),
        (".vob", MPEG2, "ac3", (10_000, 0, 20_000), ".mkv"),
        (".mpg", MPEG2, "mp2", (0, 0, 0), ".mkv"),
        (".ts", H264, "aac", (40, 3600, 0), ".mov"),
        (".ts", H264, "aac", (95_300, 0), ".mp4"),
        (".mkv", H264, "aac", (0, 0), ".mp4"),
    ],
)
def test_a_clock_may_jump_ahead_and_back(tmp_path, suffix, codecs, sound, offsets, output):
    parts = [
        recording(tmp_path / f"{index}{suffix}", codecs=codecs, sound=sound, offset=offset)
        for index, offset in enumerate(offsets)
    ]
    source = joined(tmp_path / f"joined{suffix}", *parts)
    result = ran(source, tmp_path, "--segment-frames", "40", suffix=output)
    assert_in_step(parts, result.output)
    jumps = "once" if len(parts) == 2 else f"{len(parts) - 1} times"
    assert f"the file's clock jumps {jumps}" in result.notes
    assert 2 * len(parts) - 0.1 < streams_of(result.output)[1] < 2.2 * len(parts)


def test_sound_that_only_the_source_holds_is_moved_too(tmp_path):
    part = make(
        tmp_path / "a.vob",
        *picture(rate="25", frames=50),
        *tone(2),
        *MPEG2,
        "-c:a",
        "pcm_dvd",
        "-ar",
        "48000",
        "-ac",
        "2",
    )
    result = ran(joined(tmp_path / "twice.vob", part, part), tmp_path, suffix=".mkv")
    (shown, heard), _ = streams_of(result.output)
    assert len(shown) == 100
    assert 3.9 < heard[-1][0] < 4.2
    assert abs(decoded_sound(result.output) - 4) < Fraction(1, 20)


def test_a_joined_recording_of_other_streams_is_said(tmp_path):
    first = recording(tmp_path / "a.ts")
    other = make(tmp_path / "b.ts", *picture(rate="25", frames=50), *H264, "-mpegts_start_pid", "0x300")
    notes = ran(joined(tmp_path / "joined.ts", first, other), tmp_path, suffix=".mkv").notes
    assert "of the file have nothing of this picture" in notes
    assert "of the file have nothing" not in ran(first, tmp_path / "first").notes


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_another_sound_after_a_jump_is_said_and_does_not_fail_at_the_end(tmp_path, suffix):
    first = recording(tmp_path / "a.ts")
    other = recording(tmp_path / "b.ts", sound="ac3")
    result = ran(joined(tmp_path / "codec.ts", first, other), tmp_path / "codec", suffix=suffix)
    assert "stream 1 is no aac there: it is left out" in result.notes
    assert decoded_sound(result.output) > 1.9
    rate = make(tmp_path / "c.ts", *picture(rate="30", frames=60), *tone(2), *H264, "-c:a", "aac", "-ar", "48000")
    result = ran(joined(tmp_path / "rate.ts", first, rate), tmp_path / "rate", suffix=suffix)
    assert "aac of 48000 Hz and 1 channel there, after aac of 44100 Hz" in result.notes
    (shown, heard), _ = streams_of(result.output)
    assert len(shown) == 110
    assert 3.9 < heard[-1][0] < 4.3


def test_the_number_of_a_clock_that_wraps_is_no_jump(tmp_path):
    source = recording(tmp_path / "wrap.ts", offset=95_442)
    result = ran(source, tmp_path)
    assert "clock jumps" not in result.notes
    assert abs(streams_of(result.output)[1] - 2) < Fraction(1, 10)


def test_a_pause_of_the_picture_alone_is_no_jump(tmp_path):
    sound = make(tmp_path / "sound.mp2", *tone(22), "-c:a", "mp2")
    still = film(tmp_path / "pause.mkv", [40 * index + 20_000 * (index >= 10) for index in range(20)])
    source = make(tmp_path / "pause.ts", "-i", str(still), "-i", str(sound), "-map", "0:v", "-map", "1:a", "-c", "copy")
    result = ran(source, tmp_path)
    assert "clock jumps" not in result.notes
    assert times_of(result.output)[10] - times_of(result.output)[9] > 20
    alone = make(tmp_path / "alone.ts", "-i", str(still), "-c", "copy")
    assert times_of(ran(alone, tmp_path / "alone").output)[-1] > 20


def test_a_part_of_joined_recordings_has_the_sound_of_that_part(faults, tmp_path):
    whole = streams_of(ran(faults / "twice.ts", tmp_path / "whole").output)[0]
    for number, (options, start, stop) in enumerate(
        [(("--end", "1"), 0, 1), (("--start", "1", "--end", "3"), 1, 3), (("--start", "2.5"), Fraction(5, 2), 5)]
    ):
        result = ran(faults / "twice.ts", tmp_path / str(number), *options)
        (shown, heard), _ = streams_of(result.output)
        frames = [begin for begin, _ in whole[0] if start <= begin < stop]
        sounds = [begin for begin, _ in whole[1] if frames[0] <= begin or start == 0]
        sounds = [begin for begin in sounds if begin < stop]
        origin = 0 if start == 0 else frames[0]
        assert [begin for begin, _ in shown] == [begin - frames[0] for begin in frames]
        assert abs(len(heard) - len(sounds)) <= 1
        assert abs(heard[0][0] - (sounds[0] - origin)) < Fraction(3, 100)
        assert abs(heard[-1][0] - (sounds[-1] - (frames[0] if start == 0 else origin))) < Fraction(3, 100)


def test_the_stages_and_the_batch_move_the_sound_as_well(faults, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = streams_of(ran(faults / "fwd.ts", tmp_path / "whole").output)[0]
    shutil.copy(faults / "fwd.ts", tmp_path / "fwd.ts")
    assert cli.run(["split", "fwd.ts"]) == 0
    assert cli.run(["enhance", "--model", "bicubic-x4"]) == 0
    assert cli.run(["merge", "results/fwd/enhanced", "--encoder-preset", "ultrafast", "--output", "merged.mp4"]) == 0
    assert streams_of(tmp_path / "merged.mp4")[0] == whole
    (tmp_path / "in").mkdir()
    shutil.copy(faults / "fwd.ts", tmp_path / "in/fwd.ts")
    assert cli.run(["batch", "in", "--output", "out", "--model", "bicubic-x4", "--encoder-preset", "ultrafast"]) == 0
    (made,) = (path for path in (tmp_path / "out").iterdir() if path.suffix == ".mkv")
    assert [len(stream) for stream in streams_of(made)[0]] == [len(stream) for stream in whole]
    assert max(abs(a - b) for a, b in zip(times_of(made, 1), [t for t, _ in whole[1]], strict=True)) < MILLISECOND


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_a_recording_of_a_screen_with_a_pause(faults, tmp_path, suffix, codec):
    options = ("--codec", codec, *(B_FRAMES if codec == "h264" else ("--encoder-preset", "ultrafast")))
    result = ran(faults / "late_start_gap20s.mkv", tmp_path, *options, suffix=suffix)
    shown = times_of(result.output)
    assert shown == times_of(faults / "late_start_gap20s.mkv")
    assert result.clip["duration_seconds"] == pytest.approx(22.0)
    length = streams_of(result.output)[1]
    assert length == (Fraction(2204, 100) if suffix == ".mkv" else 22)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("before", [1, 10, 27, 28, 29])
def test_a_pause_of_two_hours_anywhere(tmp_path, before, suffix):
    source = film(tmp_path / "source.mkv", [40 * index + 7_200_000 * (index >= before) for index in range(30)])
    result = ran(source, tmp_path, *B_FRAMES, "--segment-frames", "7", suffix=suffix)
    assert times_of(result.output) == times_of(source)
    assert abs(streams_of(result.output)[1] - Fraction(72_012, 10)) < Fraction(1, 20)


def test_decoding_times_over_a_pause_are_not_hours_early():
    decoded = [0, 120, 40, 80, 160, 7_200_280, 7_200_200, 7_200_240]
    times = packet_times(decoded, 7_200_320)
    assert all(time.dts <= pts for time, pts in zip(times, decoded, strict=True))
    assert all(a.dts < b.dts for a, b in pairwise(times))
    assert times[0].dts > -1000
    assert times[-1].dts + times[-1].duration - times[0].dts == 7_200_320


def test_the_last_frame_of_two_lasts_as_long_as_it_says(tmp_path):
    source = film(tmp_path / "two.mkv", [0, 20_000])
    assert ran(source, tmp_path).clip["duration_seconds"] == pytest.approx(20.04)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_times_of_decoding_are_put_into_showing_order(faults, tmp_path, suffix):
    result = ran(faults / "fails_at_end.mp4", tmp_path, *B_FRAMES, suffix=suffix)
    assert times_of(result.output) == [Fraction(k, 25) for k in range(8)]
    assert "in showing order" in result.notes
    assert "damaged" not in result.notes


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_segments_of_a_film_with_times_of_decoding_have_the_right_pictures(tmp_path, suffix):
    right = film(tmp_path / "right.mp4", [40 * index for index in range(60)], bf=3)
    wrong = tmp_path / f"wrong{suffix}"
    with av.open(str(right)) as source, av.open(str(wrong), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.pts = packet.dts = packet.dts + round(Fraction(2, 25) / packet.time_base)
                packet.stream = stream
                target.mux(packet)
    lossless = ("--codec", "ffv1", "--segment-frames", "13")
    a, b = tmp_path / "a", tmp_path / "b"
    one = enhance(right, a / "out.mkv", *lossless)
    other = enhance(wrong, b / "out.mkv", *lossless)
    assert (one.code, other.code) == (0, 0)
    assert "in showing order" in other.notes
    assert times_of(other.output) == times_of(one.output)
    with av.open(str(one.output)) as first, av.open(str(other.output)) as second:
        for x, y in zip(first.decode(video=0), second.decode(video=0), strict=True):
            assert np.array_equal(x.to_ndarray(format="rgb24"), y.to_ndarray(format="rgb24"))
    part = ran(wrong, tmp_path / "part", "--start", "1", "--end", "2")
    assert times_of(part.output) == [Fraction(k, 25) for k in range(25)]


@pytest.mark.parametrize("options", [(), ("--end", "1"), ("--start", "0.5")])
def test_sound_before_a_cut_without_encoding_is_not_kept_in_matroska(faults, tmp_path, options):
    result = ran(faults / "trim.mp4", tmp_path, *options, suffix=".mkv")
    (shown, heard), length = streams_of(result.output)
    assert heard[0][0] >= Fraction(-1, 10)
    wanted = {(): Fraction(151, 100), ("--end", "1"): 1, ("--start", "0.5"): Fraction(98, 100)}[options]
    assert abs(decoded_sound(result.output) - wanted) < Fraction(6, 100)
    end = max(sum(shown[-1]), sum(heard[-1]))
    assert length - end < Fraction(15, 100)
    assert "damaged" not in result.notes
    assert "announces" not in result.notes


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_sound_before_a_cut_stays_hidden_elsewhere(faults, tmp_path, suffix):
    result = ran(faults / "trim.mp4", tmp_path, suffix=suffix)
    assert abs(decoded_sound(result.output) - decoded_sound(faults / "trim.mp4")) < MILLISECOND
    assert streams_of(result.output)[1] < Fraction(171, 100)


def test_more_frames_than_milliseconds_are_refused_before_any_is_made(tmp_path):
    source = make(tmp_path / "fast.mp4", *picture(rate="10000", frames=50), *H264)
    refused = enhance(source, tmp_path / "out.mkv")
    assert refused.code == 6
    assert "name the output .mp4 or .mov" in refused.reason
    assert "enhance fast.mp4" not in refused.said
    result = ran(source, tmp_path)
    assert times_of(result.output) == [Fraction(k, 10_000) for k in range(50)]


def test_times_that_a_container_cannot_hold_are_refused():
    with pytest.raises(OutputError, match="cannot hold the times of these 3 frames"):
        check_times((0, 1_200_000, 7200 * 1_200_000), Fraction(1, 1_200_000), 1, suffix=".mp4", track_suffix=".mp4")
    few = (*range(0, 90 * 400, 90 * 40), 90 * 400 + 1, 90 * 400 + 2, *range(90 * 440, 90 * 40_000, 90 * 40))
    (note,) = check_times(few, Fraction(1, 90_000), 3600, suffix=".mkv", track_suffix=".mp4")
    assert note.startswith(".mkv counts time in milliseconds: 1 of 1001 frames")
    assert check_times((0,), Fraction(1, 25), 1, suffix=".mov", track_suffix=".mov") == ()


def test_two_lengths_that_differ_look_different(tmp_path):
    whole = make(tmp_path / "whole.mkv", *picture(rate="50", frames=46), *H264, "-bf", "0")
    data = whole.read_bytes()
    with av.open(str(whole)) as container:
        packets = [packet.pos for packet in container.demux(container.streams.video[0]) if packet.size]
    (tmp_path / "cut.mkv").write_bytes(data[: packets[-2]])
    result = ran(tmp_path / "cut.mkv", tmp_path)
    for sentence in result.notes.splitlines():
        if "announces" in sentence and "lasts" in sentence:
            first, second = (word for word in sentence.split() if word.replace(".", "").isdigit())
            assert first != second
