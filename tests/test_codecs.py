"""Every codec: what can be asked of it, what depth and colours come back, the same bytes, one line where it cannot."""

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.support.clips import analyse, decoded
from tests.support.codecs import CODECS, settings_of, texture, write, write_all
from vsr_pipeline.config import EncodeConfig
from vsr_pipeline.doctor import examine
from vsr_pipeline.errors import OutputError, UsageError
from vsr_pipeline.media.read.probe import probe
from vsr_pipeline.media.read.reader import VideoReader
from vsr_pipeline.media.streams.join import check_frames, join_segments
from vsr_pipeline.media.write.planes import RgbToYuv
from vsr_pipeline.media.write.writer import VideoWriter, available_codecs, check_encoder, codec_for, track_suffix
from vsr_pipeline.timeline import Colour, HdrMetadata, VideoInfo

PQ = Colour("bt2020nc", "tv", "bt2020", "smpte2084", "topleft")
MASTERING = HdrMetadata(
    primaries=tuple(
        (Fraction(x, 50000), Fraction(y, 50000)) for x, y in ((34000, 16000), (13250, 34500), (7500, 3000))
    ),
    white_point=(Fraction(15635, 50000), Fraction(16450, 50000)),
    min_luminance=Fraction(1, 200),
    max_luminance=Fraction(1000),
    max_cll=1000,
    max_fall=400,
)


def test_what_works_here_is_found_out():
    # Machines with hardware encoders have more; these are in every build of PyAV.
    assert set(CODECS) <= set(available_codecs())


def test_doctor_lists_them(tmp_path):
    codecs = next(f for f in examine(tmp_path) if f.subject == "codecs")
    assert codecs.status == "ok"
    assert "h264, hevc, av1, prores, ffv1" in codecs.found


@pytest.mark.parametrize("bit_depth", [8, 10, 12])
@pytest.mark.parametrize("codec", CODECS)
def test_depth_and_chroma(tmp_path, codec, bit_depth):
    settings = settings_of(codec)
    path = write(tmp_path / f"a{track_suffix(settings)}", texture(2), settings, bit_depth=bit_depth)
    with av.open(path) as container:
        got = next(container.decode(video=0)).format.name
    shallow, deep = {
        "prores": ("yuv422p10le", "yuv422p10le"),
        "ffv1": ("yuv444p10le", "yuv444p12le"),
    }.get(codec, ("yuv420p", "yuv420p10le"))
    assert got == (shallow if bit_depth == 8 else deep)


def bars_and_ramp():
    """Bars of 75 % and 100 %, 32 pixels wide, over a ramp of all greys; and where no other colour is near."""
    cube = np.array([[r, g, b] for r in (1, 0) for g in (1, 0) for b in (1, 0)], np.uint8)
    bars = np.concatenate([cube * 191, cube * 255]).reshape(2, 8, 3).repeat(32, 0).repeat(32, 1)
    ramp = np.arange(256, dtype=np.uint8)[None, :, None].repeat(64, 0).repeat(3, 2)
    inside = np.zeros((128, 256), bool)
    inside[:64] = ((np.indices((64, 256)) % 32 >= 8) & (np.indices((64, 256)) % 32 < 24)).all(axis=0)
    inside[72:120, 4:252] = True
    return np.concatenate([bars, ramp]), inside


MATRICES = ["bt709", "fcc", "bt470bg", "smpte170m", "smpte240m", "bt2020nc"]


@pytest.mark.parametrize("full_range", ["tv", "pc"])
@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize(
    ("codec", "quality", "worst"),
    [("h264", 100, 1), ("hevc", 100, 1), ("av1", 100, 1), ("prores", 72, 0), ("ffv1", 0, 0)],
)
def test_bars_and_greys_come_back_through_the_reader(tmp_path, codec, quality, worst, matrix, full_range):
    pixels, inside = bars_and_ramp()
    settings = settings_of(codec, quality=quality)
    path = write(tmp_path / f"a{track_suffix(settings)}", [pixels], settings, colour=Colour(matrix, full_range))
    with VideoReader(path) as reader:
        (frame,) = reader.read(analyse(path).timeline, 0, 1)
    got = frame.pixels if frame.pixels.dtype == np.uint8 else np.rint(frame.pixels / 257)
    assert np.abs(got.astype(int) - pixels)[inside].max() <= worst


def planes_of(frame):
    planes = [np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, -1) for plane in frame.planes]
    return [rows[:, : plane.width].astype(int) for rows, plane in zip(planes, frame.planes, strict=True)]


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
def test_the_default_quality_changes_flat_areas_by_one_code_at_most(tmp_path, codec, matrix):
    pixels, inside = bars_and_ramp()
    for full_range in ("tv", "pc"):
        colour = Colour(matrix, full_range)
        path = write(tmp_path / "a.mp4", [pixels] * 3, EncodeConfig(codec=codec), colour=colour)
        wanted = planes_of(RgbToYuv(colour, "yuv420p")(pixels))
        with av.open(path) as container:
            for frame in container.decode(video=0):
                for got, want, where in zip(planes_of(frame), wanted, (inside, *[inside[::2, ::2]] * 2), strict=True):
                    assert np.abs(got - want)[where].max() <= 1


@pytest.mark.parametrize("codec", ["prores", "ffv1"])
def test_what_a_file_cannot_say_is_converted(tmp_path, codec):
    settings = settings_of(codec)
    colour = Colour("smpte240m", "pc", chroma_location="center")
    info = probe(write(tmp_path / f"a{track_suffix(settings)}", texture(1), settings, colour=colour))
    assert (info.colour.matrix, info.colour.range) in [("bt709", "tv"), ("bt709", None), ("smpte240m", "pc")]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs to confine a process to one processor")
def test_the_same_bytes_on_any_machine(tmp_path):
    # Another process, on one processor, whose memory is not empty when it is allocated.
    there = tmp_path / "there"
    there.mkdir()
    code = (
        "import os, pathlib, sys; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from tests.support.codecs import write_all; write_all(pathlib.Path(sys.argv[1]))"
    )
    environment = os.environ | {"MALLOC_PERTURB_": "85"}
    command = [sys.executable, "-c", code, str(there)]
    subprocess.run(command, check=True, env=environment, cwd=Path(__file__).parent.parent)
    write_all(tmp_path)
    for path in there.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


TIMES = [0, 40, 41, 120, 700, 720, 760, 4000, 4040]


@pytest.mark.parametrize("hdr", [None, MASTERING])
@pytest.mark.parametrize("codec", CODECS)
def test_segments_of_any_length_become_one_track(tmp_path, codec, hdr):
    settings, tick = settings_of(codec), Fraction(1, 1000)
    suffix = track_suffix(settings)
    frames = [f.astype(np.uint16) * 257 for f in texture(len(TIMES))] if hdr else texture(len(TIMES))
    colour, depth = (PQ, 10) if hdr else (Colour("bt709", "tv"), 8)
    segments = []
    for start, stop in ((0, 5), (5, 6), (6, 9)):
        with VideoWriter(
            tmp_path / f"{start}{suffix}", width=64, height=64, time_base=tick, frame_rate=None, colour=colour,
            bit_depth=depth, hdr=hdr, settings=settings,
        ) as writer:  # fmt: skip
            for index in range(start, stop):
                end = TIMES[index + 1] if index + 1 < len(TIMES) else 4100
                writer.write(TIMES[index], frames[index], duration=end - TIMES[index])
        segments.append(writer.path)
    track = tmp_path / f"track{suffix}"
    join_segments(segments, track)
    check_frames(track, [time * tick for time in TIMES], decode=True)
    check_frames(track, [time * tick for time in TIMES], decode=False)
    apart = [pixels for path in segments for _, pixels in decoded(path)]
    assert all(np.array_equal(a, b) for (_, a), b in zip(decoded(track), apart, strict=True))
    with av.open(track) as container:
        stream = container.streams.video[0]
        assert stream.duration * stream.time_base == Fraction(4100, 1000)
    info = probe(track)
    assert (info.colour.primaries, info.colour.transfer) == (colour.primaries, colour.transfer)
    if hdr is None:
        assert info.hdr is None
        return
    # AV1 counts in 65536ths.
    for got, wanted in zip(numbers_of(info.hdr), numbers_of(hdr), strict=True):
        assert abs(got - wanted) <= Fraction(1, 16384)


def numbers_of(hdr):
    points = [value for point in (*hdr.primaries, hdr.white_point) for value in point]
    return [*points, hdr.min_luminance, hdr.max_luminance, hdr.max_cll, hdr.max_fall]


@pytest.mark.parametrize(
    ("codec", "transfer", "chosen"),
    [
        ("auto", "smpte2084", "hevc"),
        ("auto", "arib-std-b67", "hevc"),
        ("auto", "bt709", "h264"),
        ("h264", "smpte2084", "h264"),
        ("av1", "smpte2084", "av1"),
    ],
)
def test_hdr_is_not_put_into_8_bits(tmp_path, codec, transfer, chosen):
    info = VideoInfo(
        tmp_path / "a.mkv", "matroska", "hevc", 0, 64, 64, "yuv420p10le", 10, Fraction(1, 25), None,
        colour=Colour("bt2020nc", "tv", "bt2020", transfer),
    )  # fmt: skip
    assert codec_for(EncodeConfig(codec=codec), info).codec == chosen


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"codec": "h265"}, "no encoder h265: did you mean hevc?"),
        ({"codec": "libsvtav1"}, "did you mean av1?"),
        ({"preset": "ultra"}, "h264 has no preset 'ultra': known are ultrafast"),
        ({"codec": "prores", "preset": "fast"}, "prores has no preset 'fast': it has none"),
        ({"codec": "av1", "preset": "99"}, "av1 has no preset '99'"),
        ({"encoder_options": {"tunes": "film"}}, "h264 has no such option; did you mean 'tune'?"),
        ({"encoder_options": {"crf": "much"}}, "h264 refuses .* crf"),
        ({"encoder_options": {"x264-params": "qqq=1"}}, "h264 refuses .*qqq"),
        ({"codec": "hevc", "encoder_options": {"x265-params": "qqq=1"}}, "hevc refuses .*qqq"),
        ({"codec": "av1", "encoder_options": {"svtav1-params": "qqq=1"}}, "av1 refuses .*qqq"),
        ({"encoder_options": {"color_range": "pc"}}, "follows from the source"),
        ({"codec": "h264_videotoolbox" if sys.platform == "linux" else "h264_vaapi"}, "no encoder"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_any_work(settings, message):
    with pytest.raises(UsageError, match=message):
        check_encoder(EncodeConfig(**settings))


def test_hardware_that_is_not_there():
    missing = [name for name in ("h264_nvenc", "h264_qsv", "h264_amf") if name not in available_codecs()]
    for name in missing:
        with pytest.raises(UsageError, match=rf"{name}.*--codec is one of h264, hevc"):
            check_encoder(EncodeConfig(codec=name))


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("h264", {"tune": "film", "x264-params": "aq-mode=3"}),
        ("hevc", {"x265-params": "aq-mode=3"}),
        ("av1", {"svtav1-params": "tune=0"}),
        ("ffv1", {"context": "1"}),
    ],
)
def test_options_of_the_encoder_reach_it(tmp_path, codec, options):
    changed, plain = settings_of(codec, encoder_options=options), settings_of(codec)
    check_encoder(changed)
    a = write(tmp_path / "a.mp4", texture(3), changed)
    b = write(tmp_path / "b.mp4", texture(3), plain)
    assert a.read_bytes() != b.read_bytes()


_TRIAL_AFTER_OTHER_WORK = """
import av, numpy as np
from vsr_pipeline.config import EncodeConfig
from vsr_pipeline.media.write.encoders import check_encoder

generator = np.random.default_rng(3)
for _ in range(3):
    frames = [av.VideoFrame(64, 48, "yuv420p10le") for _ in range(300)]
    for frame in frames:
        for plane in frame.planes:
            length = plane.buffer_size // 2
            steps = generator.integers(0, 65536, length // 32 + 1).astype(np.uint16)
            plane.update(np.resize(steps.repeat(32), length).tobytes())
    held = frames[::2]
    del frames, frame, plane
    check_encoder(EncodeConfig(codec="h264"), size=(64, 48), bit_depth=10)
"""


def test_a_trial_does_not_depend_on_what_lay_in_memory():
    """x264 aborts the process when samples of 10 bits are larger than 10 bits can be."""
    result = subprocess.run([sys.executable, "-c", _TRIAL_AFTER_OTHER_WORK], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_better_quality_is_never_smaller(tmp_path):
    grain = list(np.random.default_rng(5).integers(0, 256, (3, 64, 64, 3), np.uint8))
    for codec in ("h264", "hevc", "av1", "prores"):
        sizes = []
        for quality in (0, 25, 50, 72, 90, 100):
            settings = settings_of(codec, quality=quality)
            sizes.append(write(tmp_path / f"a{track_suffix(settings)}", grain, settings).stat().st_size)
        assert sizes == sorted(sizes), codec


@pytest.mark.parametrize(
    ("codec", "size", "message"),
    [
        ("h264", (20000, 16), r"libx264 cannot encode 20000x16 frames .*: use --codec ffv1"),
        ("hevc", (4, 4), r"libx265 cannot encode 4x4 frames .*: use --codec h264 or av1 or ffv1"),
        ("av1", (20000, 16), r"libsvtav1 cannot encode 20000x16 frames .*: use --codec ffv1"),
        ("h264", (70000, 70000), "no codec here can"),
    ],
)
def test_sizes_out_of_reach(codec, size, message, capfd):
    with pytest.raises(OutputError, match=message):
        check_encoder(EncodeConfig(codec=codec), size=size)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("codec", "size"), [("h264", (4, 4)), ("h264", (4, 64)), ("av1", (4, 4)), ("ffv1", (4, 8))])
def test_tiny_frames(tmp_path, codec, size):
    settings = settings_of(codec)
    check_encoder(settings, size=size)
    frames = [np.full((size[1], size[0], 3), 90 * index, np.uint8) for index in range(3)]
    path = write(tmp_path / "a.mp4", frames, settings)
    check_frames(path, [Fraction(index, 25) for index in range(3)], decode=True)


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="only Linux says how threads are scheduled")
def test_encoding_does_not_starve_the_machine(tmp_path):
    options = {"width": 64, "height": 64, "time_base": Fraction(1, 25), "frame_rate": Fraction(25)}
    settings = EncodeConfig(codec="av1", preset="12")
    colour = Colour(matrix="bt709", range="tv")
    with VideoWriter(tmp_path / "a.mp4", **options, colour=colour, settings=settings) as writer:
        writer.write(0, np.zeros((64, 64, 3), np.uint8), duration=1)
        threads = [int(folder.name) for folder in Path("/proc/self/task").iterdir()]
        assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_OTHER}
