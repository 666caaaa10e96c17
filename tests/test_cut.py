"""A part of a clip: sound, subtitles, data and chapters are cut to it, and stay where they are in time."""

from fractions import Fraction

import av
import ffmpeg
import numpy as np
import pytest

from tests.support.streams import MILLISECOND, chapters, make, packets, picture, sound, video_times
from vsr_pipeline.media.contents import read_contents
from vsr_pipeline.media.ffmpeg import input_file
from vsr_pipeline.media.streams.mux import mux
from vsr_pipeline.media.write.writer import VideoWriter
from vsr_pipeline.timeline import Colour

SUBTITLES = """1
00:00:00,250 --> 00:00:00,750
before

2
00:00:00,900 --> 00:00:01,900
into it

3
00:00:02,100 --> 00:00:02,500
out of it
"""
CHAPTERS = ";FFMETADATA1\n" + "".join(
    f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={start}\nEND={stop}\ntitle={title}\n"
    for start, stop, title in ((0, 700, "one"), (700, 1500, "two\\=2\\; \u00fc"), (1500, 3000, "three"))
)
START, STOP = Fraction(12, 10), Fraction(22, 10)


def film(folder, suffix, **options):
    (folder / "a.srt").write_text(SUBTITLES)
    (folder / "chapters.txt").write_text(CHAPTERS, encoding="utf-8")
    others = [input_file(folder / "a.srt"), ffmpeg.input(str(folder / "chapters.txt"))["9999?"]]
    return make(folder / f"source{suffix}", picture(3), sound(3), *others, map_chapters=3, **options)


def cut(source, output, start, stop, **options):
    """The part of `source` as the pipeline would make it: its first frame is at 0."""
    times, time_base, index = video_times(source)
    inside = [time for time in times if start <= time < (stop or times[-1] + 1)]
    track = output.with_name("track.mp4")
    colour = Colour(matrix="bt709", range="tv")
    with VideoWriter(track, width=32, height=32, time_base=time_base, frame_rate=None, colour=colour) as writer:
        for time in inside:
            writer.write(int((time - inside[0]) / time_base), np.zeros((32, 32, 3), np.uint8), duration=1)
    mux(track, read_contents(source), output, source_video_index=index, origin=inside[0], span=(start, stop), **options)
    return inside[0]


def shown(path):
    """(begin, duration, text) of all subtitles, in seconds."""
    with av.open(path) as container:
        found = list(container.demux(container.streams.subtitles[0]))
        return [(p.pts * p.time_base, p.duration * p.time_base, bytes(p)) for p in found if p.size > 2]


@pytest.mark.parametrize(
    ("before", "after", "scodec"),
    [(".mp4", ".mp4", "mov_text"), (".mp4", ".mkv", "mov_text"), (".mkv", ".mkv", "ass"), (".mkv", ".mkv", "subrip")],
)
def test_a_part_has_what_is_heard_and_seen_in_it(tmp_path, before, after, scodec):
    source = film(tmp_path, before, scodec=scodec)
    output = tmp_path / f"out{after}"
    origin = cut(source, output, START, STOP)
    wanted = [(data, time - origin) for data, time in packets(source, ("audio",))[0] if START <= time < STOP]
    found = packets(output, ("audio",))[0]
    assert [data for data, _ in found] == [data for data, _ in wanted]
    assert max(abs(a - b) for (_, a), (_, b) in zip(found, wanted, strict=True)) < MILLISECOND

    into, out = shown(output)
    assert (into[0], into[1]) == (0, Fraction(7, 10))
    assert b"into it" in into[2]
    assert (out[0], out[1]) == (Fraction(9, 10), Fraction(1, 10))
    assert b"out of it" in out[2]
    with av.open(output) as container:
        assert chapters(container) == [
            (0, Fraction(3, 10), "two=2; \u00fc"),
            (Fraction(3, 10), 1, "three"),
        ]


def test_a_part_from_the_beginning_keeps_what_the_decoder_needs(tmp_path):
    source = film(tmp_path, ".mp4", scodec="mov_text")
    cut(source, tmp_path / "out.mp4", Fraction(0), Fraction(1))
    before, after = packets(source, ("audio",))[0], packets(tmp_path / "out.mp4", ("audio",))[0]
    assert before[0][1] < 0
    assert after == [(data, time) for data, time in before if time < 1]
    cut(source, tmp_path / "end.mp4", Fraction(2), None)
    assert packets(tmp_path / "end.mp4", ("audio",))[0][-1][0] == before[-1][0]


def test_sound_that_is_encoded_is_cut_to_the_sample(tmp_path):
    source = make(tmp_path / "source.mkv", picture(3), sound(3), acodec="pcm_mulaw")
    cut(source, tmp_path / "out.mp4", START, STOP, transcode_audio="aac")
    with av.open(tmp_path / "out.mp4") as container:
        stream = container.streams.audio[0]
        first = next(container.decode(stream))
        assert abs(first.pts * first.time_base) < MILLISECOND
        assert abs(stream.duration * stream.time_base - 1) < Fraction(1, 40)


def test_a_timecode_goes_on(tmp_path):
    source = make(tmp_path / "source.mov", picture(3), acodec="copy", timecode="01:00:00:00")
    cut(source, tmp_path / "out.mov", START, STOP)
    with av.open(tmp_path / "out.mov") as container:
        assert container.streams.video[0].metadata["timecode"] == "01:00:01:05"


def test_a_part_of_a_transport_stream(tmp_path):
    source = make(tmp_path / "source.ts", picture(3), sound(3), acodec="mp2")
    origin = cut(source, tmp_path / "out.mkv", Fraction(24, 10), Fraction(35, 10))
    wanted = [(d, t - origin) for d, t in packets(source, ("audio",))[0] if Fraction(24, 10) <= t < Fraction(35, 10)]
    found = packets(tmp_path / "out.mkv", ("audio",))[0]
    assert [data for data, _ in found] == [data for data, _ in wanted]
    assert max(abs(a - b) for (_, a), (_, b) in zip(found, wanted, strict=True)) < MILLISECOND
