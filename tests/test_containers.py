"""What becomes of each stream in each container: copied, encoded, dropped as asked, left out, or refused."""

from fractions import Fraction

import av
import ffmpeg
import pytest

from tests.support.streams import (
    MILLISECOND,
    assert_copied,
    lavfi,
    make,
    muxed,
    packets,
    picture,
    sound,
    video_times,
)
from vsr_pipeline.config import EncodeConfig, OutputConfig
from vsr_pipeline.errors import OutputError
from vsr_pipeline.media.contents import read_contents
from vsr_pipeline.media.ffmpeg import input_file
from vsr_pipeline.media.streams.cut import later_timecode
from vsr_pipeline.media.streams.mux import mux
from vsr_pipeline.media.streams.plan import plan_streams

AAC = OutputConfig(transcode_audio="aac")


def subtitle_file(folder):
    path = folder / "a.srt"
    path.write_text("1\n00:00:00,250 --> 00:00:00,750\n<i>hello</i>\n")
    return input_file(path)


@pytest.mark.parametrize(
    ("codec", "suffixes"),
    [
        ("h264", {".mp4", ".m4v", ".mov", ".mkv"}),
        ("hevc_nvenc", {".mp4", ".m4v", ".mov", ".mkv"}),
        ("auto", {".mp4", ".m4v", ".mov", ".mkv"}),
        ("av1", {".mp4", ".m4v", ".mkv", ".webm"}),
        ("prores", {".mov", ".mkv"}),
        ("ffv1", {".mkv"}),
    ],
)
def test_containers_of_the_picture(codec, suffixes):
    def fits(suffix):
        try:
            return plan_streams(None, suffix, EncodeConfig(codec=codec)).suffix == suffix
        except OutputError:
            return False

    assert {suffix for suffix in (".mp4", ".m4v", ".mov", ".mkv", ".webm") if fits(suffix)} == suffixes


def test_five_languages_two_fonts_and_a_comment_track(tmp_path):
    fonts = [tmp_path / "a.ttf", tmp_path / "b \u00fc.otf"]
    for font in fonts:
        font.write_bytes(font.name.encode() * 100)
    languages = ["eng", "deu", "fra", "jpn", "hin"]
    tags = {f"metadata:s:a:{n}": f"language={language}" for n, language in enumerate(languages)}
    dispositions = {"disposition:a:0": 0, "disposition:a:3": "default", "disposition:a:4": "comment"}
    sounds = [sound(0.5, 300 + 100 * n) for n in range(5)]
    plain = make(tmp_path / "plain.mkv", picture(0.5), *sounds, subtitle_file(tmp_path), **tags, **dispositions)
    source = tmp_path / "source.mkv"
    with av.open(plain) as before, av.open(source, "w") as after:
        streams = {s.index: after.add_stream_from_template(s) for s in before.streams}
        for index, stream in streams.items():
            stream.metadata.update(before.streams[index].metadata)
            stream.disposition = before.streams[index].disposition
        for font in fonts:
            after.add_attachment(font.name, "font/ttf", font.read_bytes())
        for packet in before.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                after.mux(packet)
    output = muxed(source, tmp_path)
    assert output.suffix == ".mkv"
    assert_copied(source, output)
    with av.open(source) as before, av.open(output) as after:
        for one, other in zip(before.streams, after.streams, strict=True):
            assert (one.type, one.metadata.get("language")) == (other.type, other.metadata.get("language"))
            assert one.type == "video" or one.disposition == other.disposition
        assert [s.name for s in after.streams if s.type == "attachment"] == [font.name for font in fonts]
        assert [s.data for s in after.streams if s.type == "attachment"] == [font.read_bytes() for font in fonts]


@pytest.mark.parametrize("suffix", [".mov", ".mp4", ".mkv"])
@pytest.mark.parametrize(("timecode", "rate"), [("01:00:59;28", "30000/1001"), ("10:11:12:13", "25")])
def test_timecode(tmp_path, suffix, timecode, rate):
    moving = lavfi(f"testsrc2=size=64x48:rate={rate}:duration=0.5")
    source = make(tmp_path / "source.mov", moving, sound(0.5), acodec="pcm_s16le", timecode=timecode)
    output = muxed(source, tmp_path, suffix)
    with av.open(output) as container:
        tags = {name.lower(): value for name, value in container.streams.video[0].metadata.items()}
        assert tags["timecode"] == timecode
        # In mp4 and mov there is a track, too, which holds the number of the first frame.
        kinds = ["video", "audio", "data"] if suffix != ".mkv" else ["video", "audio"]
        assert [s.type for s in container.streams] == kinds
    if suffix != ".mkv":
        assert packets(output, ("data",)) == packets(source, ("data",))
    dropped = muxed(source, tmp_path, suffix, drop=["data"])
    with av.open(dropped) as container:
        assert [s.type for s in container.streams] == ["video", "audio"]


@pytest.mark.parametrize(
    ("before", "seconds", "rate", "after"),
    [
        ("01:00:59;28", Fraction(1, 10), Fraction(30000, 1001), "01:01:00;03"),
        ("00:09:59;29", Fraction(1001, 30000), Fraction(30000, 1001), "00:10:00;00"),
        ("00:00:00;00", Fraction(3600), Fraction(30000, 1001), "01:00:00;00"),
        ("23:59:59:24", Fraction(1), Fraction(25), "00:00:00:24"),
        ("nonsense", Fraction(1), Fraction(25), "nonsense"),
    ],
)
def test_a_later_timecode(before, seconds, rate, after):
    assert later_timecode(before, seconds, rate) == after


def test_data_of_a_camera(tmp_path):
    plain = make(tmp_path / "plain.mp4", picture(0.5), sound(0.5))
    source = tmp_path / "source.mp4"
    with av.open(plain) as before, av.open(source, "w") as after:
        streams = {s.index: after.add_stream_from_template(s) for s in before.streams}
        data = after.add_data_stream("bin_data")
        for packet in before.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                after.mux(packet)
        for number in range(3):
            packet = av.Packet(b"DEVC%d" % number)
            packet.stream, packet.time_base, packet.duration = data, Fraction(1, 1000), 100
            packet.pts = packet.dts = 50 + 100 * number
            after.mux(packet)
    for suffix in (".mp4", ".mov"):
        assert packets(muxed(source, tmp_path, suffix), ("data",)) == packets(source, ("data",))
    assert plan_streams(read_contents(source), None).suffix == ".mp4"
    # No container of ours but these holds it, and that is no reason to refuse the others.
    assert plan_streams(read_contents(source), ".mkv").notes == (
        "stream 2 (data, gpmd) is left out: .mkv cannot hold it",
    )
    assert len(packets(muxed(source, tmp_path, ".mkv"))) == 1


def test_text_subtitles_of_mp4_become_subrip_in_matroska(tmp_path):
    source = make(tmp_path / "source.mp4", picture(), sound(), subtitle_file(tmp_path), scodec="mov_text")
    assert plan_streams(read_contents(source), None).suffix == ".mp4"
    plan = plan_streams(read_contents(source), ".mkv")
    assert plan.notes == ("stream 2 (subtitle, mov_text) becomes subrip: .mkv cannot hold it as it is",)
    found = packets(muxed(source, tmp_path, ".mkv"), ("subtitle",))
    assert found == [[(b"<i>hello</i>", Fraction(1, 4))]]


@pytest.mark.parametrize("start", [0, 0.5])
def test_sound_that_does_not_fit_can_be_transcoded(tmp_path, start):
    late = sound().filter("asetpts", f"PTS+{start}/TB")
    streams = {"c:a:0": "pcm_mulaw", "c:a:1": "aac", "metadata:s:a:0": "language=deu"}
    source = make(tmp_path / "source.mkv", picture(), late, sound(1, 880), copyts=None, **streams)
    with pytest.raises(
        OutputError,
        match=r"stream 1 \(audio, pcm_mulaw, deu\) of .*name the output .mkv or give --transcode-audio aac$",
    ):
        muxed(source, tmp_path, ".mp4")
    assert plan_streams(read_contents(source), None, output=AAC).suffix == ".mkv"
    output = muxed(source, tmp_path, ".mp4", transcode_audio="aac")
    with av.open(output) as container:
        first, _ = container.streams.audio
        assert (first.codec_context.name, first.metadata["language"]) == ("aac", "deu")
        begins = next(frame for frame in container.decode(first))
    assert abs(begins.pts * begins.time_base - Fraction(start)) <= MILLISECOND
    before, after = packets(source, ("audio",))[1], packets(output, ("audio",))[1]
    assert [data for data, _ in before] == [data for data, _ in after]


def test_sound_that_no_container_holds_is_kept_without_loss(tmp_path):
    source = make(tmp_path / "source.m2ts", picture(0.5), sound(0.5), acodec="pcm_bluray", ac=2)
    note = "stream 1 (audio, pcm_bluray) becomes flac: .mkv cannot hold it as it is"
    assert plan_streams(read_contents(source), None).notes == (note,)
    output = muxed(source, tmp_path)
    samples, starts = [], []
    for path in (source, output):
        with av.open(path) as container:
            frames = list(container.decode(audio=0))
        samples.append(b"".join(frame.to_ndarray().tobytes() for frame in frames))
        starts.append(frames[0].pts * frames[0].time_base)
    assert len(samples[0]) > 0
    assert samples[0] == samples[1]
    assert abs(starts[0] - starts[1]) < MILLISECOND


def test_kinds_can_be_dropped(tmp_path):
    chapter_file = tmp_path / "chapters.txt"
    chapter_file.write_text(";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1\nSTART=0\nEND=1\ntitle=one\n")
    streams = [picture(), sound(), subtitle_file(tmp_path), ffmpeg.input(str(chapter_file))["9999?"]]
    (tmp_path / "f.ttf").write_bytes(b"font")
    attached = {"attach": str(tmp_path / "f.ttf"), "metadata:s:t": "mimetype=font/ttf"}
    source = make(tmp_path / "source.mkv", *streams, map_chapters=3, **attached)
    for kind, left in {
        "audio": ["video", "subtitle", "attachment"],
        "subtitles": ["video", "audio", "attachment"],
        "attachments": ["video", "audio", "subtitle"],
        "chapters": ["video", "audio", "subtitle", "attachment"],
    }.items():
        with av.open(muxed(source, tmp_path, drop=[kind])) as container:
            assert [s.type for s in container.streams] == left
            assert len(container.chapters()) == (kind != "chapters")
    output = OutputConfig(drop=("subtitles", "attachments"))
    plan = plan_streams(read_contents(source), ".mp4", output=output)
    assert plan.notes == (
        "stream 2 (subtitle, ass) is left out, as asked",
        "stream 3 (attachment, f.ttf) is left out, as asked",
    )


def test_other_videos_are_named(shared_data):
    source = shared_data / "data" / "media" / "multi_stream" / "torchcodec__nasa_13013.mp4"
    note = "stream 0 (video, h264, eng) is left out: only one video is enhanced"
    assert plan_streams(read_contents(source), None, video_index=3).notes == (note,)


def test_hevc_opens_in_apples_players(tmp_path):
    source = make(
        tmp_path / "source.mov", picture(0.2), vcodec="libx265", **{"tag:v": "hev1", "x265-params": "log-level=none"}
    )
    times = len(video_times(source)[0])
    for suffix in (".mp4", ".mov"):
        mux(source, None, tmp_path / f"out{suffix}")
        with av.open(tmp_path / f"out{suffix}") as container:
            assert container.streams.video[0].codec_tag == "hvc1"
        assert len(video_times(tmp_path / f"out{suffix}")[0]) == times
