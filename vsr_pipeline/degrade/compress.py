"""Compression by real encoders, in memory: JPEG frame by frame, video over a whole sequence."""

import platform
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain

import av
import cv2
import numpy as np
import numpy.typing as npt

from vsr_pipeline.degrade.chains import Encoder
from vsr_pipeline.media.antialias import FloatFrame

_CODECS: dict[Encoder, str] = {"h264": "libx264", "hevc": "libx265", "mpeg4": "mpeg4"}

# x265 refuses pictures of less than 64x64, and of that size makes another stream each time.
_MIN_SIDE: dict[Encoder, int] = {"h264": 16, "hevc": 80, "mpeg4": 16}

# With AVX2 and more, x264's mbtree makes another stream now and then from the same frames, at widths that are no
# multiple of 128 (seen at 64x64, 176x144 and 720x576). Without, the streams are the same, and as fast at these sizes.
# numpy's own builds for these machines need SSE4.2, too.
REPEATABLE = {"x264-params": "asm=sse4.2"} if platform.machine().lower() in ("x86_64", "amd64") else {}

# ITU-R BT.601, limited range: rows of Y, Cb, Cr from full-range R, G, B and 1.
_TO_YUV = np.array(
    [
        [65.481, 128.553, 24.966, 16.0],
        [-37.797, -74.203, 112.0, 128.0],
        [112.0, -93.786, -18.214, 128.0],
    ]
)
_TO_RGB = np.linalg.inv(_TO_YUV[:, :3])


def jpeg(frame: FloatFrame, quality: float) -> FloatFrame:
    """Compress one frame (height, width, 3) as JPEG, 4:2:0, quality 1 to 100, and decode it."""
    bgr = np.rint(frame[..., ::-1] * 255).clip(0, 255).astype(np.uint8)
    coded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, round(quality)])[1]
    decoded = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    assert decoded is not None
    return decoded[..., ::-1].astype(np.float32) / np.float32(255)


def video(
    frames: Iterator[FloatFrame],
    encoder: Encoder,
    *,
    crf: float | None = None,
    bits_per_frame: float | None = None,
    speed: str = "medium",
) -> Iterator[FloatFrame]:
    """Encode frames as one video, decode it, and yield as many frames in the same order.

    The picture is YUV 4:2:0 of 8 bits. Frames of another size than the first are resized to it, since a video has one
    size. Odd or very small pictures are padded by their edges and cropped again. The encoder holds back some frames
    (about 50 at `speed` "medium"), so memory does not grow with the length.

    Args:
        frames: (height, width, 3), RGB in [0, 1].
        encoder: which one; see `_CODECS`.
        crf: constant quality of x264 and x265; mpeg4 gets the quantiser whose step is that of the same QP of H.264.
        bits_per_frame: in place of `crf`, the mean size to aim at.
        speed: preset of x264 and x265.
    """
    first = next(frames, None)
    if first is None:
        return
    height, width = first.shape[:2]
    smallest = _MIN_SIDE[encoder]
    coded_size = (max(height + height % 2, smallest), max(width + width % 2, smallest))
    coder = _open_encoder(encoder, coded_size, crf=crf, bits_per_frame=bits_per_frame, speed=speed)
    decoder = av.CodecContext.create(coder.codec.canonical_name, "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.thread_count = 1
    pictures = _pictures(chain([first], frames), coded_size)
    for packet in chain.from_iterable(coder.encode(picture) for picture in chain(pictures, [None])):
        for decoded in decoder.decode(packet):
            yield _to_rgb(decoded)[:height, :width]
    for decoded in decoder.decode(None):
        yield _to_rgb(decoded)[:height, :width]


def _pictures(frames: Iterator[FloatFrame], coded_size: tuple[int, int]) -> Iterator[av.VideoFrame]:
    """Frames as the encoder takes them, all of the first one's size, numbered."""
    size: tuple[int, int] | None = None
    for index, frame in enumerate(frames):
        size = size or (frame.shape[1], frame.shape[0])
        if (frame.shape[1], frame.shape[0]) != size:
            frame = cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)
        picture = av.VideoFrame.from_ndarray(_to_planes(frame, coded_size), format="yuv420p")
        picture.pts = index
        yield picture


def _open_encoder(
    encoder: Encoder, size: tuple[int, int], *, crf: float | None, bits_per_frame: float | None, speed: str
) -> av.VideoCodecContext:
    context = av.CodecContext.create(_CODECS[encoder], "w")
    assert isinstance(context, av.VideoCodecContext)
    context.height, context.width = size
    context.pix_fmt = "yuv420p"
    # One frame a second makes bits per second bits per frame. But to x264 and x265 a CRF means less compression the
    # longer a frame is shown.
    context.framerate = Fraction(25 if bits_per_frame is None else 1)
    context.time_base = 1 / context.framerate
    context.thread_count = 1
    options = {} if encoder == "mpeg4" else {"preset": speed}
    if encoder == "h264":
        options |= REPEATABLE
    elif encoder == "hevc":
        options["x265-params"] = "log-level=none:pools=none:frame-threads=1"
    if bits_per_frame is not None:
        context.bit_rate = round(bits_per_frame)
    elif crf is not None and encoder == "mpeg4":
        # The step of H.264 is 0.625 * 2^(QP / 6), that of MPEG-4 twice its quantiser.
        options["qmin"] = options["qmax"] = str(round(min(max(0.3125 * 2 ** (crf / 6), 1), 31)))
    else:
        options["crf"] = f"{crf:.2f}"
    context.options = options
    return context


def _to_planes(frame: FloatFrame, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """RGB to planes Y, Cb, Cr one under the other, (height * 3 / 2, width); a chroma sample is the mean of 2x2."""
    height, width = size
    bottom, right = height - frame.shape[0], width - frame.shape[1]
    if bottom or right:
        frame = cv2.copyMakeBorder(frame, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    yuv = cv2.transform(frame, _TO_YUV)
    chroma = cv2.resize(yuv[..., 1:], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    planes = np.empty((height * 3 // 2, width), np.uint8)
    planes[:height] = np.rint(yuv[..., 0]).clip(16, 235)
    planes[height:].reshape(2, height // 2, width // 2)[:] = np.rint(chroma).clip(16, 240).transpose(2, 0, 1)
    return planes


def _to_rgb(picture: av.VideoFrame) -> FloatFrame:
    """Back to RGB in [0, 1]; chroma is interpolated between the same centres, so that nothing moves."""
    planes = picture.to_ndarray(format="yuv420p")
    height, width = picture.height, picture.width
    chroma = np.ascontiguousarray(planes[height:].reshape(2, height // 2, width // 2).transpose(1, 2, 0))
    yuv = np.empty((height, width, 3), np.float32)
    yuv[..., 0] = planes[:height]
    yuv[..., 1:] = cv2.resize(chroma.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    yuv -= np.array([16, 128, 128], np.float32)
    rgb: FloatFrame = cv2.transform(yuv, _TO_RGB)
    return rgb.clip(0, 1)
