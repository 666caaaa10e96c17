"""Sources with streams of all kinds, and what can be read back of them."""

from contextlib import suppress
from fractions import Fraction

import av
import ffmpeg
import numpy as np
from av.stream import Disposition

from vsr_pipeline.config import EncodeConfig
from vsr_pipeline.media.contents import read_contents
from vsr_pipeline.media.ffmpeg import file_url, input_file, run_ffmpeg
from vsr_pipeline.media.streams.mux import mux
from vsr_pipeline.media.streams.plan import plan_streams
from vsr_pipeline.media.write.writer import VideoWriter
from vsr_pipeline.timeline import Colour

MILLISECOND = Fraction(1, 1000)


def lavfi(description):
    return ffmpeg.input(description, f="lavfi")


def picture(seconds=1):
    return lavfi(f"testsrc2=size=64x48:rate=25:duration={seconds}")


def sound(seconds=1, frequency=440):
    return lavfi(f"sine=frequency={frequency}:sample_rate=48000:duration={seconds}")


def make(path, *streams, **options):
    options = {"c:v:0": options.pop("vcodec", "libx264"), "acodec": "aac"} | options
    run_ffmpeg(ffmpeg.output(*streams, file_url(path), **options), what="making a source")
    return path


def packets(path, kinds=("audio", "subtitle")):
    """Per stream that is copied: the bytes and the time in seconds of its packets."""
    with av.open(file_url(path)) as container, suppress(av.InvalidDataError):  # a file that is cut off
        streams = [s for s in container.streams if s.type in kinds]
        found = {s.index: [] for s in streams}
        for packet in container.demux(streams) if streams else ():
            if packet.size:
                found[packet.stream.index].append((bytes(packet), packet.pts * packet.time_base))
    return list(found.values())


def video_times(path):
    with av.open(file_url(path)) as container:
        stream = next(s for s in container.streams.video if not s.disposition & Disposition.attached_pic)
        pts = sorted(p.pts for p in container.demux(stream) if p.pts is not None and not p.is_discard)
        return [tick * stream.time_base for tick in pts], stream.time_base, stream.index


def enhanced(source, folder, *, origin=Fraction(0)):
    """A video track with the timestamps of `source`: what the pipeline hands to `mux`."""
    times, time_base, index = video_times(source)
    colour = Colour(matrix="bt709", range="tv")
    track = folder / "track.mp4"
    with VideoWriter(track, width=32, height=32, time_base=time_base, frame_rate=None, colour=colour) as writer:
        for time in times:
            writer.write(int((time - origin) / time_base), np.zeros((32, 32, 3), np.uint8), duration=1)
    return track, index


def container_for(source, encode=EncodeConfig()):
    """Suffix of the container for the enhanced source: its own where everything fits, else `.mkv`."""
    return plan_streams(read_contents(source), None, encode).suffix


def muxed(source, folder, suffix=None, **options):
    track, index = enhanced(source, folder, origin=options.get("origin", Fraction(0)))
    output = folder / f"out{suffix or container_for(source)}"
    mux(track, read_contents(source), output, source_video_index=index, **options)
    return output


def assert_copied(source, output, *, origin=Fraction(0)):
    # What Matroska rounds, picture and sound each, may be half a millisecond; mp4 moves a start by 11 us at most.
    tolerance = MILLISECOND if ".mkv" in (source.suffix, output.suffix) else Fraction(1, 90_000)
    times, got = video_times(source)[0], video_times(output)[0]
    assert len(times) == len(got)
    assert max(abs(a - origin - b) for a, b in zip(times, got, strict=True)) <= (
        MILLISECOND / 2 if output.suffix == ".mkv" else 0
    )
    before, after = packets(source), packets(output)
    assert len(before) == len(after)
    for stream, copy in zip(before, after, strict=True):
        assert [data for data, _ in stream] == [data for data, _ in copy]
        assert max(abs(a - origin - b) for (_, a), (_, b) in zip(stream, copy, strict=True)) <= tolerance


def make_cover(path, codec):
    run_ffmpeg(
        ffmpeg.output(lavfi("testsrc2=size=32x32"), file_url(path), vframes=1, update=1, vcodec=codec), what="cover"
    )
    return input_file(path)


def chapters(container):
    found = container.chapters()
    return [(c["start"] * c["time_base"], c["end"] * c["time_base"], c["metadata"]["title"]) for c in found]
