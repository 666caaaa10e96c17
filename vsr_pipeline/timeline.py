"""The values that the stages hand to each other. Frozen, standard library only.

Times are exact: integer ticks (`pts`) with a `time_base` in seconds, or `Fraction`. Ranges of frames are half-open and
0-based.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Literal

FieldOrder = Literal["tff", "bff"]
"""Which field of an interlaced frame was taken first: the top or the bottom one."""

Deinterlacing = Literal["tff", "bff", "tff-double", "bff-double"]
"""The order of fields, and whether both fields of a frame become frames of their own."""

_HDR_TRANSFERS = frozenset({"smpte2084", "arib-std-b67"})


@dataclass(frozen=True, slots=True)
class Colour:
    """Colour description of a stream, in ffmpeg's names; `None` where the stream does not say."""

    matrix: str | None = None
    range: str | None = None
    primaries: str | None = None
    transfer: str | None = None
    chroma_location: str | None = None


@dataclass(frozen=True, slots=True)
class HdrMetadata:
    """The display that an HDR picture was mastered on (SMPTE ST 2086), and how bright it gets (CTA-861.3).

    Each part is `None` where the source does not say.
    """

    primaries: tuple[tuple[Fraction, Fraction], ...] | None = None
    """CIE 1931 (x, y) of red, green and blue."""
    white_point: tuple[Fraction, Fraction] | None = None
    """CIE 1931 (x, y)."""
    min_luminance: Fraction | None = None
    """Candela per square metre, as is `max_luminance`."""
    max_luminance: Fraction | None = None
    max_cll: int | None = None
    """Brightest pixel of all frames, candela per square metre."""
    max_fall: int | None = None
    """Largest mean brightness of a frame, candela per square metre."""


@dataclass(frozen=True, slots=True)
class Crop:
    """Columns and rows at the edges of a coded picture that its container says are not shown."""

    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What the header of a file says about the video stream that is enhanced.

    `width` and `height` are pixels as coded, of which `crop` is not shown. To show the picture upright, turn it
    clockwise by `rotation_degrees` (0, 90, 180 or 270), then, if `mirrored`, swap left and right. The reader does so if
    `upright`.
    """

    path: Path
    container: str
    codec: str
    stream_index: int
    width: int
    height: int
    pixel_format: str
    bit_depth: int
    time_base: Fraction
    average_frame_rate: Fraction | None
    sample_aspect_ratio: Fraction = Fraction(1)
    rotation_degrees: int = 0
    mirrored: bool = False
    colour: Colour = Colour()
    frame_count_from_header: int | None = None
    duration_seconds_from_header: Fraction | None = None
    audio_streams: int = 0
    subtitle_streams: int = 0
    video_streams: int = 1
    """How many video streams the file has, cover pictures left out."""
    video_stream: int = 0
    """Which of them this is."""
    field_order: Literal["progressive", "tff", "bff", "unknown"] = "unknown"
    """As flagged, which need not be true."""
    has_alpha: bool = False
    hdr: HdrMetadata | None = None
    upright: bool = True
    """Whether the reader turns the frames upright; else they come as coded."""
    crop: Crop = Crop()

    @property
    def display_size(self) -> tuple[int, int]:
        """(width, height) in pixels of the frames that the reader gives; the pixel aspect ratio is not applied."""
        width = self.width - self.crop.left - self.crop.right
        height = self.height - self.crop.top - self.crop.bottom
        return (height, width) if self._is_turned_sideways else (width, height)

    @property
    def display_aspect_ratio_of_pixels(self) -> Fraction:
        """Sample aspect ratio (width / height of a pixel) of the frames that the reader gives."""
        sar = self.sample_aspect_ratio
        return 1 / sar if self._is_turned_sideways else sar

    @property
    def is_hdr(self) -> bool:
        """Whether the picture is coded for high dynamic range (PQ or HLG)."""
        return self.colour.transfer in _HDR_TRANSFERS

    @property
    def _is_turned_sideways(self) -> bool:
        return self.upright and self.rotation_degrees % 180 != 0


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided once for a whole shot, so that its segments look alike. Only the model reads `values`."""

    values: Mapping[str, str | int | float] = field(default_factory=dict)
    description: str = ""
    """For people, such as "cleaned once"; empty where there was nothing to decide."""


@dataclass(frozen=True, slots=True)
class ClipSize:
    """What of a clip its memory depends on."""

    width: int
    """In LQ pixels, as shown; the same for `height`."""
    height: int
    frame_count: int
    """Frames that are computed: windows hold no more than there are."""
    bytes_per_value: int = 1
    """2: more than 8 bits."""
    output_size: tuple[int, int] | None = None
    """Width and height of what is written; None: as the model gives it."""

    def output_pixels(self, scale: int) -> int:
        """Return the pixels of a frame that is written, by a model that multiplies sides by `scale`."""
        width, height = self.output_size or (scale * self.width, scale * self.height)
        return width * height

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


@dataclass(frozen=True, slots=True)
class Shot:
    """Frames `[start, stop)` without a scene cut between them."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise ValueError(f"shot [{self.start}, {self.stop}) is empty or negative")

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Tint:
    """The one tint of a picture: what red, green and blue have more than its luma, white being 1. All 0: it is grey."""

    red: float = 0.0
    green: float = 0.0
    blue: float = 0.0


@dataclass(frozen=True, slots=True)
class ClockPart:
    """From a position in the file on, its clock counts from another time: `shift_seconds` more make it continuous."""

    position: int
    """Byte of the file from which on this holds, for the packets of all streams."""
    shift_seconds: Fraction


@dataclass(frozen=True, slots=True)
class Timeline:
    """Exact time of every frame of a clip, and where its scenes change.

    `pts` are ticks of `time_base` seconds, strictly increasing, one per frame. `last_duration` is how many ticks the
    last frame is shown. `cuts` are the indices of the first frames of all shots but the first. `deinterlace` is the
    order of the fields that the reader makes whole pictures of, one of a frame, or two (`-double`), each with its own
    time and index here; None where it leaves the frames as they are. `repeats`
    are the indices of frames that need not be computed: each is equal, to the pixel, to the one before it. `tints` has
    one entry per shot, the tint that all its frames have everywhere, or None where it has several colours; empty where
    nobody has looked.

    `coded_pts` are what the decoder gives the frames, by which they are found in the file; empty: the same as `pts`.
    `clock_parts` say how the file's clock became that of `pts`, for its other streams; empty: it is the same one.
    """

    time_base: Fraction
    pts: tuple[int, ...]
    last_duration: int
    cuts: tuple[int, ...] = ()
    deinterlace: Deinterlacing | None = None
    repeats: tuple[int, ...] = ()
    tints: tuple[Tint | None, ...] = ()
    coded_pts: tuple[int, ...] = ()
    clock_parts: tuple[ClockPart, ...] = ()

    def __post_init__(self) -> None:
        if not self.pts:
            raise ValueError("a timeline needs at least one frame")
        if any(a >= b for a, b in pairwise(self.pts)):
            raise ValueError("timestamps are not strictly increasing")
        if len(self.coded_pts) not in (0, len(self.pts)):
            raise ValueError(f"{len(self.coded_pts)} coded timestamps for {len(self.pts)} frames")
        if self.last_duration <= 0 or self.time_base <= 0:
            raise ValueError(f"last_duration {self.last_duration} and time_base {self.time_base} must be positive")
        inside = (0, *self.cuts, len(self.pts))
        if any(a >= b for a, b in pairwise(inside)):
            raise ValueError(f"cuts {self.cuts} are not increasing inside 1..{len(self.pts) - 1}")
        inside = (0, *self.repeats, len(self.pts))
        if any(a >= b for a, b in pairwise(inside)) or not set(self.repeats).isdisjoint(self.cuts):
            raise ValueError(f"repeats are not increasing inside 1..{len(self.pts) - 1}, or one of them is a cut")
        if len(self.tints) not in (0, len(self.cuts) + 1):
            raise ValueError(f"{len(self.tints)} tints for {len(self.cuts) + 1} shots")
        if self.repeats and self.deinterlace:
            raise ValueError("frames that are deinterlaced depend on their neighbours: none is a repeat")

    @property
    def frame_count(self) -> int:
        """Number of frames, repeats and all."""
        return len(self.pts)

    @property
    def fields_per_frame(self) -> int:
        """How many frames the reader makes of one of the file: 2 where each field becomes one, else 1."""
        return 2 if self.deinterlace in ("tff-double", "bff-double") else 1

    @property
    def frames_in_file(self) -> int:
        """Number of frames that the file has."""
        return len(self.pts) // self.fields_per_frame

    def doubled(self) -> "Timeline":
        """Return the timeline with a frame for each field: the second field of a frame is shown half its time later.

        Ticks are half as long, so that these times are exact. A frame that stands for longer than usual (a pause) has
        its second field when the usual time is half over.
        """
        assert self.deinterlace in ("tff", "bff"), "only pictures with two fields can be doubled"
        lengths = [*(b - a for a, b in pairwise(self.pts)), self.last_duration]
        usual = sorted(lengths)[(len(lengths) - 1) // 2]
        halves = [min(length, usual) for length in lengths]
        return replace(
            self,
            time_base=self.time_base / 2,
            pts=tuple(2 * pts + extra for pts, half in zip(self.pts, halves, strict=True) for extra in (0, half)),
            last_duration=2 * lengths[-1] - halves[-1],
            cuts=tuple(2 * cut for cut in self.cuts),
            deinterlace="tff-double" if self.deinterlace == "tff" else "bff-double",
            coded_pts=tuple(pts for pts in self.pts_in_file for _ in (0, 1)),
        )

    @property
    def as_coded(self) -> "Timeline":
        """The timeline of the file's own frames, by which they are found."""
        if self.fields_per_frame == 1:
            return self
        coded = self.coded_pts[::2]
        return Timeline(time_base=2 * self.time_base, pts=tuple(range(len(coded))), last_duration=1, coded_pts=coded)

    @property
    def pts_in_file(self) -> tuple[int, ...]:
        """What the decoder gives each frame."""
        return self.coded_pts or self.pts

    @property
    def distinct(self) -> tuple[int, ...]:
        """Indices of the frames that are no repeats: those that are read, planned and computed, by their place here."""
        repeats = frozenset(self.repeats)
        return tuple(index for index in range(len(self.pts)) if index not in repeats)

    @property
    def without_repeats(self) -> "Timeline":
        """The timeline of the distinct frames: each is shown until the next one is."""
        if not self.repeats:
            return self
        distinct = self.distinct
        return Timeline(
            time_base=self.time_base,
            pts=tuple(self.pts[index] for index in distinct),
            last_duration=self.pts[-1] + self.last_duration - self.pts[distinct[-1]],
            cuts=tuple(bisect_left(distinct, cut) for cut in self.cuts),
            tints=self.tints,
        )

    def with_repeats(self, found: Iterable[int]) -> "Timeline":
        """Return this timeline with the frames that were found to be equal to the one before them, as coded.

        There are none where frames are deinterlaced: those are made of their neighbours, too. And none begins a shot.
        """
        if self.deinterlace is not None:
            return self
        cuts = frozenset(self.cuts)
        return replace(self, repeats=tuple(index for index in found if index not in cuts))

    @property
    def shots(self) -> tuple[Shot, ...]:
        """The shots, in order; together they are all frames."""
        return tuple(Shot(a, b) for a, b in pairwise((0, *self.cuts, len(self.pts))))

    def tint_at(self, index: int) -> Tint | None:
        """Return the tint of the shot that a frame is in; None where it has several colours, or nobody has looked."""
        return self.tints[bisect_right(self.cuts, index)] if self.tints else None

    @property
    def duration_seconds(self) -> Fraction:
        """From the first frame's appearance to the last one's end."""
        return (self.pts[-1] + self.last_duration - self.pts[0]) * self.time_base

    @classmethod
    def constant_rate(cls, frame_count: int, frame_rate: Fraction, cuts: tuple[int, ...] = ()) -> "Timeline":
        """Timeline of `frame_count` frames at exactly `frame_rate` frames per second, starting at 0."""
        return cls(time_base=1 / frame_rate, pts=tuple(range(frame_count)), last_duration=1, cuts=cuts)


@dataclass(frozen=True, slots=True)
class Analysis:
    """What one pass over a whole clip finds out."""

    timeline: Timeline
    decode_errors: int = 0
    """Lost packets, frames with errors, an unreadable rest."""
    missing_seconds: Fraction = Fraction(0)
    """What the header announces and the decoder does not give; 0 where the header says nothing."""
    hidden_frames: int = 0
    """Frames that the header counts and an edit list hides: they are not missing."""
    notes: tuple[str, ...] = ()
    """What was guessed, measured, changed or left out, in plain sentences."""


@dataclass(frozen=True, slots=True)
class Segment:
    """The unit of work: frames `[start, stop)` of one shot, and the context frames around them.

    `[context_start, start)` is the warm-up (feeds forward propagation only), `[stop, context_stop)` the lookahead
    (feeds backward propagation only). Neither leaves the segment's shot.
    """

    start: int
    stop: int
    context_start: int
    context_stop: int
    shot: Shot

    def __post_init__(self) -> None:
        ordered = (
            self.shot.start,
            self.context_start,
            self.start,
            self.stop,
            self.context_stop,
            self.shot.stop,
        )
        if list(ordered) != sorted(ordered) or self.start == self.stop:
            raise ValueError(f"segment out of order: {self}")

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def warm_up(self) -> int:
        """Number of frames before the segment that feed forward propagation only."""
        return self.start - self.context_start

    @property
    def lookahead(self) -> int:
        """Number of frames after the segment that feed backward propagation only."""
        return self.context_stop - self.stop


@dataclass(frozen=True, slots=True)
class Window:
    """The frames `[start, stop)` that the model holds at once.

    `[stop, lookahead_stop)` feed backward propagation only.
    """

    start: int
    stop: int
    lookahead_stop: int
