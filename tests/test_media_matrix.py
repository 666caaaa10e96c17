"""What the real files lack, made by ffmpeg: `vsr run` keeps everything of it. Looked at by a second reader."""

import os
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.support.enhancing import H264, LOSSLESS, enhance, make, picture, ran, tone
from tests.support.second_reader import attached_files, chapters, header, luma, packets, pixels, shown


def assert_same_times(source: Path, output: Path, tolerance=Fraction(0)):
    """As many frames, shown when they were."""
    before, after = shown(source).times, packets(output, "video")[0].times
    assert len(before) == len(after) > 0
    assert max(abs(a - b) for a, b in zip(before, after, strict=True)) <= tolerance


# --- time ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("frames", [1, 2])
def test_one_and_two_frames(tmp_path, frames, suffix):
    source = make(tmp_path / f"in{suffix}", *picture(frames=frames), *H264)
    result = ran(source, tmp_path, suffix=suffix)
    assert_same_times(source, result.output)


def test_variable_frame_rate(tmp_path):
    uneven = ("-vf", "settb=1/10000,setpts=N*N*37+N*400", "-fps_mode", "passthrough", "-enc_time_base", "1/10000")
    source = make(tmp_path / "in.mp4", *picture(frames=12), *uneven, "-video_track_timescale", "10000", *H264)
    assert len({b - a for a, b in pairwise(shown(source).times)}) > 5
    assert_same_times(source, ran(source, tmp_path).output)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("offset", ["0.5", "-0.5"])
def test_sound_that_starts_later_or_earlier(tmp_path, offset, suffix):
    late = ("-itsoffset", offset, *tone(0.8)) if offset[0] != "-" else tone(0.8)
    early = ("-itsoffset", "0.5", *picture(frames=12)) if offset[0] == "-" else picture(frames=12)
    source = make(tmp_path / f"in{suffix}", *early, *late, *H264, "-c:a", "aac")
    result = ran(source, tmp_path, suffix=suffix)
    assert_same_times(source, result.output)
    before, after = packets(source, "audio")[0], packets(result.output, "audio")[0]
    assert before.digests == after.digests
    assert abs(before.times[0] - after.times[0]) <= Fraction(1, 1000)


@pytest.mark.parametrize("seconds", [0.1, 1.5])
def test_sound_that_ends_earlier_or_later(tmp_path, seconds):
    source = make(tmp_path / "in.mp4", *picture(frames=12), *tone(seconds), *H264, "-c:a", "aac")
    result = ran(source, tmp_path)
    assert_same_times(source, result.output)
    assert packets(source, "audio")[0].packets == packets(result.output, "audio")[0].packets


def test_broadcast_that_starts_in_the_middle(tmp_path):
    mpeg = ("-c:v", "mpeg2video", "-g", "6", "-c:a", "mp2", "-output_ts_offset", "93000")
    whole = make(tmp_path / "whole.ts", *picture(frames=30, rate="25"), *tone(1.2), *mpeg)
    source = tmp_path / "in.ts"
    source.write_bytes(whole.read_bytes()[188 * 40 + 77 :])
    result = ran(source, tmp_path, suffix=".mkv")
    before, after = shown(source).times, packets(result.output, "video")[0].times
    assert len(before) == len(after) > 10
    sound_before, sound_after = packets(source, "audio")[0], packets(result.output, "audio")[0]
    assert sound_before.digests == sound_after.digests
    shift = before[0] - after[0]
    assert all(abs(a - b - shift) <= Fraction(1, 1000) for a, b in zip(before, after, strict=True))
    assert abs(sound_before.times[0] - sound_after.times[0] - shift) <= Fraction(1, 1000)


def test_forced_frame_rate_is_said(tmp_path):
    source = make(tmp_path / "in.mp4", *picture(frames=12), *H264)
    result = ran(source, tmp_path, "--fps", "12")
    times = packets(result.output, "video")[0].times
    assert {b - a for a, b in pairwise(times)} == {Fraction(1, 12)}
    assert "12" in result.notes


def test_part_of_a_clip(tmp_path):
    source = make(tmp_path / "in.mp4", *picture(frames=48), *tone(2), *H264, "-c:a", "aac")
    result = ran(source, tmp_path, "--start", "0.5", "--max-frames", "12")
    assert len(packets(result.output, "video")[0].packets) == 12
    whole, part = packets(source, "audio")[0], packets(result.output, "audio")[0]
    assert 20 <= len(part.digests) <= 25
    first = whole.digests.index(part.digests[0])
    assert whole.digests[first : first + len(part.digests)] == part.digests
    picture_shift = Fraction(1, 2) - packets(result.output, "video")[0].times[0]
    assert abs(whole.packets[first].shown - part.packets[0].shown - picture_shift) <= Fraction(1, 1000)


# --- shape --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["2048x4", "4x2048", "1x1", "3x5", "65x33"])
def test_odd_shapes(tmp_path, size):
    source = make(tmp_path / "in.mkv", *picture(size, frames=2, source="color"), "-pix_fmt", "yuv444p", *LOSSLESS)
    result = ran(source, tmp_path, suffix=".mkv")
    width, height = map(int, size.split("x"))
    assert header(result.output).pictures[0].size == (4 * width, 4 * height)


def test_8k_by_16(tmp_path):
    # 32768 pixels are more than H.264 can have in a row; what fits, or one line that says why not.
    source = make(tmp_path / "in.mkv", *picture("8192x16", frames=2), "-pix_fmt", "yuv420p", *LOSSLESS)
    result = enhance(source, tmp_path / "out.mkv")
    if result.code == 0:
        assert header(result.output).pictures[0].size == (32768, 64)
    else:
        assert result.code in (2, 5, 6)
        assert "32768" in result.reason
    assert result.code == 0 or not result.output.exists()


@pytest.mark.parametrize("flip", ["", ":hflip=1"])
@pytest.mark.parametrize("angle", ["90", "180", "270"])
def test_rotated_and_mirrored(tmp_path, angle, flip):
    plain = make(tmp_path / "plain.mp4", *picture(frames=2), *H264)
    tag = ("-display_rotation", angle, *(("-display_hflip",) if flip else ()))
    source = make(tmp_path / "in.mp4", *tag, "-i", str(plain), "-c", "copy")
    result = ran(source, tmp_path, "--quality", "100")
    size = (256, 192) if angle == "180" else (192, 256)
    found = header(result.output).pictures[0]
    assert (found.rotation, found.size) == (0, size)
    small = (size[0] // 4, size[1] // 4, 1)
    assert np.abs(luma(result.output, *small) - luma(source, *small)).mean() < 8  # ffmpeg turns it


def test_rotation_can_be_kept(tmp_path):
    plain = make(tmp_path / "plain.mp4", *picture(frames=2), *H264)
    source = make(tmp_path / "in.mp4", "-display_rotation", "90", "-i", str(plain), "-c", "copy")
    found = header(ran(source, tmp_path, "--keep-rotation").output).pictures[0]
    assert (found.rotation, found.size) == (header(source).pictures[0].rotation, (256, 192))


# --- interlace ----------------------------------------------------------------------------------------------------


def panning(rate, seconds=0.96):
    """ffmpeg's options for upright bars that move sideways: what is between their fields shows as combs."""
    return ("-f", "lavfi", "-t", str(seconds), "-i", f"smptebars=size=192x144:rate={rate},scroll=h=0.015")


@pytest.mark.parametrize("first", ["tff", "bff"])
@pytest.mark.parametrize("flag", ["right", "none", "wrong"])
def test_interlaced_is_deinterlaced_and_said(tmp_path, first, flag):
    other = {"tff": "bff", "bff": "tff"}[first]
    field = {"right": first, "none": "prog", "wrong": other}[flag]
    mode = {"tff": "interleave_top", "bff": "interleave_bottom"}[first]
    flags = ("-flags", "+ilme+ildct") if flag != "none" else ()
    mpeg = ("-c:v", "mpeg2video", "-q:v", "2", *flags)
    source = make(tmp_path / "in.ts", *panning(50), "-vf", f"tinterlace={mode},setfield={field}", *mpeg)
    result = ran(source, tmp_path, suffix=".mkv")
    assert "interlace" in result.notes
    assert_same_frame_count(source, result.output)
    assert combing(result.output) < combing_of_kept(source, tmp_path) / 2


def combing_of_kept(source, folder):
    """How combed the same picture is when it is not deinterlaced."""
    kept = enhance(source, folder / "kept.mkv", "--interlaced", "keep")
    assert kept.code == 0, kept.said
    return combing(kept.output)


def combing(path):
    """How much lines differ from the mean of the lines one source line above and below, beyond the one two away."""
    found = header(path).pictures[0].size
    frames = np.frombuffer(pixels(path, "gray"), np.uint8).reshape(-1, found[1] // 4, 4, found[0]).mean(2)
    middle = frames[4:-4]
    return np.abs(middle[:, 1:-1] - (middle[:, :-2] + middle[:, 2:]) / 2).mean()


def assert_same_frame_count(source, output):
    assert len(shown(source).packets) == len(packets(output, "video")[0].packets)


def test_progressive_is_left_alone_whatever_the_flag_says(tmp_path):
    lying = ("-vf", "setfield=tff", "-c:v", "mpeg2video", "-q:v", "2", "-flags", "+ilme+ildct")
    source = make(tmp_path / "in.ts", *panning(25), *lying)
    result = ran(source, tmp_path, suffix=".mkv")
    assert_same_frame_count(source, result.output)
    assert "not deinterlaced" in result.notes


def test_interlaced_can_be_refused(tmp_path):
    mpeg = ("-c:v", "mpeg2video", "-q:v", "2", "-flags", "+ilme+ildct")
    source = make(tmp_path / "in.ts", *panning(50), "-vf", "tinterlace=interleave_top,setfield=tff", *mpeg)
    result = enhance(source, tmp_path / "out.mkv", "--interlaced", "refuse")
    assert result.code == 3
    assert "interlace" in result.reason


def test_telecine_is_reported(tmp_path):
    pulled_down = ("-vf", "telecine=first_field=top:pattern=23,setfield=tff", "-c:v", "mpeg2video", "-q:v", "2")
    flags = ("-flags", "+ilme+ildct")
    source = make(tmp_path / "in.ts", *panning("24000/1001", 2), *pulled_down, *flags)
    result = ran(source, tmp_path, suffix=".mkv")
    assert_same_frame_count(source, result.output)
    assert "telecine" in result.notes


# --- streams ------------------------------------------------------------------------------------------------------


def test_mov_with_drop_frame_timecode_and_data(tmp_path):
    payload = tmp_path / "telemetry.bin"
    payload.write_bytes(bytes(range(256)))
    inputs = (*picture(rate="30000/1001"), *tone(), "-f", "data", "-i", str(payload))
    mapped = ("-map", "0", "-map", "1", "-map", "2", "-tag:d", "gpmd", "-c:d", "copy")
    source = make(tmp_path / "in.mov", *inputs, *mapped, "-timecode", "01:00:00;02", "-c:a", "pcm_s16le", *H264)
    result = ran(source, tmp_path, suffix=".mov")
    assert_same_times(source, result.output)
    assert sorted(header(source).others) == sorted(header(result.output).others)
    assert len(header(source).others) == 2
    joined = [b"".join(p.digest.encode() for p in packets(f, "audio")[0].packets) for f in (source, result.output)]
    assert joined[0] == joined[1]


def test_mkv_with_fonts_languages_chapters_and_titles(tmp_path):
    fonts = [tmp_path / "One.ttf", tmp_path / "Zwei.otf"]
    for number, font in enumerate(fonts):
        font.write_bytes(bytes([number]) * 5000)
    marks = tmp_path / "marks.txt"
    marks.write_text(
        ";FFMETADATA1\ntitle=A film\nartist=Somebody\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=100\ntitle=One\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=100\nEND=250\ntitle=Zwei \u00e4\n"
    )
    text = tmp_path / "text.srt"
    text.write_text("1\n00:00:00,050 --> 00:00:00,200\nHello\n")
    languages = ("eng", "deu", "jpn", "fra", "und")
    inputs = [word for i in range(5) for word in tone(frequency=300 + 100 * i)] + ["-i", str(text), "-i", str(text)]
    mapped = [word for i in range(8) for word in ("-map", str(i))]
    tags = [word for i, code in enumerate(languages) for word in (f"-metadata:s:a:{i}", f"language={code}")]
    tags += ["-metadata:s:a:1", "title=Kommentar", "-metadata:s:s:0", "language=eng", "-metadata:s:s:1", "language=spa"]
    tags += ["-disposition:a:0", "0", "-disposition:a:2", "default", "-disposition:s:1", "forced"]
    tags += [word for font in fonts for word in ("-attach", str(font))]
    tags += ["-metadata:s:t", "mimetype=application/x-truetype-font"]
    meta = ("-i", str(marks), "-map_metadata", "8", "-map_chapters", "8")
    source = make(tmp_path / "in.mkv", *picture(), *inputs, *meta, *mapped, *H264, "-c:a", "ac3", "-c:s", "ass", *tags)

    result = ran(source, tmp_path, suffix=".mkv")

    before, after = header(source), header(result.output)
    assert (len(before.sounds), len(before.subtitles), len(before.attachments)) == (5, 2, 2)
    assert (after.sounds, after.subtitles) == (before.sounds, before.subtitles)
    assert after.title == before.title == "A film"
    assert attached_files(result.output, tmp_path / "b") == attached_files(source, tmp_path / "a")
    assert len(set(attached_files(source, tmp_path / "c").values())) == 2
    assert chapters(result.output) == chapters(source)
    assert packets(result.output, "audio", "subtitle") == packets(source, "audio", "subtitle")


def test_webm_stays_webm_or_becomes_mkv(tmp_path):
    vp9 = ("-c:v", "libvpx-vp9", "-cpu-used", "8", "-deadline", "realtime", "-c:a", "libopus")
    source = make(tmp_path / "in.webm", *picture(), *tone(), *vp9)
    result = ran(source, tmp_path, suffix=".mkv")
    assert_same_times(source, result.output, Fraction(1, 1000))
    assert packets(source, "audio")[0].packets == packets(result.output, "audio")[0].packets


def test_what_does_not_fit_is_refused_with_the_ways_out(tmp_path):
    source = make(tmp_path / "in.mkv", *picture(), *tone(), *H264, "-c:a", "pcm_s16le")
    result = enhance(source, tmp_path / "out.mp4")
    if result.code == 0:  # mp4 holds PCM by now
        assert packets(result.output, "audio")[0].codec.startswith("pcm")
    else:
        assert result.code == 6
        assert ".mkv" in result.reason
        assert "--transcode-audio aac" in result.reason


# --- damage -------------------------------------------------------------------------------------------------------


def test_damage_is_counted_and_strict_refuses_it(tmp_path):
    whole = make(tmp_path / "whole.mkv", *picture("192x144", frames=24), "-g", "24", *H264)
    data = bytearray(whole.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(range(200)) * 2
    source = tmp_path / "in.mkv"
    source.write_bytes(data)
    result = ran(source, tmp_path, suffix=".mkv")
    assert "could not be decoded" in result.notes or "decode error" in result.notes
    assert len(packets(result.output, "video")[0].packets) == len(shown(source).packets)
    strict = enhance(source, tmp_path / "strict.mkv", "--strict")
    assert strict.code == 3
    assert strict.reason
    assert not strict.output.exists()


def test_what_is_missing_at_the_end_is_said(tmp_path):
    whole = make(tmp_path / "whole.mkv", *picture("192x144", frames=72), "-g", "6", *H264)
    source = tmp_path / "in.mkv"
    source.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    result = ran(source, tmp_path, suffix=".mkv")
    frames = len(packets(result.output, "video")[0].packets)
    assert 24 < frames == len(shown(source).packets) < 48
    assert "announces" in result.notes or "missing" in result.notes


# --- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("with space", 'it\'s "so"', "two\nlines", "%d", "%03d", "-dash", "--output", "\u00fc\U0001f3ac", "a:b"),
        *("[0]*?", "#&;$x", os.fsdecode(b"caf\xe9 \xff")),
    ],
    ids=range(12),
)
def test_names(tmp_path, name):
    source = make(tmp_path / "plain.mp4", *picture(frames=2), *tone(0.1), *H264, "-c:a", "aac")
    folder = tmp_path / name
    folder.mkdir()
    odd = source.rename(folder / f"{name}.mp4")
    result = enhance(odd, folder / f"{name} x4.mp4")
    assert result.code == 0, result.said
    assert len(packets(result.output, "video")[0].packets) == 2
    assert len(packets(result.output, "audio")) == 1


@pytest.mark.parametrize(
    "content",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{other}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{other}'\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><AdaptationSet><Representation>'
        "<BaseURL>{other}</BaseURL></Representation></AdaptationSet></Period></MPD>",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    ],
    ids=["hls", "concat", "dash", "sdp"],
)
def test_a_playlist_is_no_video(tmp_path, content):
    other = make(tmp_path / "other.mp4", *picture(frames=2), *H264)
    trap = tmp_path / "film.mp4"
    trap.write_text(content.format(other=other))
    result = enhance(trap, tmp_path / "out.mkv")
    assert result.code == 3
    assert result.reason
    assert not result.output.exists()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x.mp4", "concat:a.mp4|b.mp4", "pipe:0", "rtmp://127.0.0.1/x"])
def test_urls_are_refused(tmp_path, url):
    result = enhance(Path(url) if "//" not in url else url, tmp_path / "out.mkv")
    assert result.code in (2, 3)
    assert result.reason


def test_tags_that_are_no_unicode(tmp_path):
    source = make(tmp_path / "in.flv", *picture(frames=2), "-c:v", "flv1", "-metadata", "title=TITLE")
    source.write_bytes(source.read_bytes().replace(b"TITLE", b"\xf4\xff\xfe\xfd\xf4"))
    result = ran(source, tmp_path, suffix=".mkv")
    assert_same_times(source, result.output)
