"""A clip before any work on it: what it is, what it will become, and whether that is possible."""

from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

from vsr_pipeline.clip.footage import USUAL_FRAME_RATE, Header, analyse_clip, look_at
from vsr_pipeline.clip.geometry import Geometry, Sizing, size_label
from vsr_pipeline.config import Config
from vsr_pipeline.errors import InputError, OutputError
from vsr_pipeline.media.streams.plan import StreamPlan, plan_streams
from vsr_pipeline.media.write.writer import check_encoder, codec_for
from vsr_pipeline.runtime.files import refuse_to_replace
from vsr_pipeline.runtime.process import Call, here
from vsr_pipeline.runtime.progress import Reporter, counted, reported
from vsr_pipeline.timeline import Analysis

_NOTICEABLE_SECONDS = 0.5
"""Less is said in milliseconds, so that two numbers that differ look different."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is known of a clip and its output before the clip is decoded.

    `config` has the codec that `auto` means for it.
    """

    header: Header
    geometry: Geometry
    output: Path
    config: Config
    streams: StreamPlan

    @property
    def source(self) -> Path:
        """What the user named."""
        return self.header.path

    @property
    def is_current(self) -> bool:
        """Whether a video is still as it was when it was looked at. Of images, whoever reads them tells."""
        contents = self.header.contents
        try:
            return contents is None or contents.identity.is_untouched(self.source)
        except OSError:
            return False  # who inspects it anew says why


def inspect(source: Path, output: Path, config: Config, *, sizing: Sizing, call: Call = here) -> Inspection:
    """Look at a source's header, and refuse what is not possible, before anything is written.

    Args:
        source: the clip.
        output: the file that is made of it.
        config: the settings.
        sizing: what the model makes.
        call: in which process the source is read.

    Raises:
        InputError: the source cannot be read.
        UsageError: the encoder cannot do what its settings say, or the size that is asked for makes no sense.
        OutputError: the output is a folder, the source itself, of a kind that cannot be written, or one that cannot
            hold the source's streams.
        ResourceError: one frame of it does not fit into memory.
    """
    header = call(source, partial(look_at, source, config.input, frame_rate=config.encode.constant_rate))
    config = config.model_copy(update={"encode": codec_for(config.encode, header.info)})
    if output.is_dir():
        name = f"{source.stem}_{size_label(config.upscale, sizing)}{default_suffix(header, config)}"
        raise OutputError(f"{output} is a folder: give the name of a file, such as {output / name}")
    refuse_to_replace(source, output)
    geometry = Geometry.of(header.info, sizing, config.upscale, even=True)
    check_encoder(config.encode, size=geometry.output_size, bit_depth=header.info.bit_depth)
    streams = plan_streams(header.contents, output.suffix, config.encode, config.output)
    return Inspection(header, geometry, output, config, streams)


def default_suffix(header: Header, config: Config) -> str:
    """Return the suffix of the container that the enhanced clip gets where nobody says one."""
    return plan_streams(header.contents, None, codec_for(config.encode, header.info), config.output).suffix


def analysed(header: Header, reporter: Reporter, call: Call = here) -> Analysis:
    """Decode a clip once, as far as its part goes, and report the progress.

    Raises:
        InputError, UsageError, ResourceError: as `analyse_clip`.
    """
    with reported(reporter, f"analyse {header.path.name}", header.frames_to_analyse):
        return call(header.path, partial(analyse_clip, header), partial(reporter.worked, 1.0))


def damage_of(header: Header, analysis: Analysis) -> tuple[str, ...]:
    """Say what of a clip could not be decoded: half a video must not look like a whole one."""
    name, timeline = header.path.name, analysis.timeline
    damage = []
    if analysis.decode_errors:
        errors = counted(analysis.decode_errors, "decode error")
        damage.append(f"{name} is damaged: {errors}, what can be decoded is kept")
    announced = header.info.frame_count_from_header
    announced = None if announced is None else announced - analysis.hidden_frames
    if not header.settings.is_part and announced is not None and timeline.frames_in_file < announced:
        damage.append(
            f"{name} announces {counted(announced, 'frame')}, {timeline.frames_in_file} could be decoded: "
            "it may be damaged or cut off"
        )
    if analysis.missing_seconds > 0:
        length, missing = float(timeline.duration_seconds), float(analysis.missing_seconds)
        digits = 1 if missing > _NOTICEABLE_SECONDS else 3
        damage.append(f"{name} announces {length + missing:.{digits}f} s, the picture lasts {length:.{digits}f} s")
    lost_bytes = header.contents.missing_bytes if header.contents else 0
    if lost_bytes:
        damage.append(f"{name} is cut off: {lost_bytes} bytes are missing at its end, which may be sound alone")
    return tuple(damage)


def refuse_damage(header: Header, analysis: Analysis) -> None:
    """Do what `--strict` is for.

    Raises:
        InputError: something could not be decoded.
    """
    if damage := damage_of(header, analysis):
        raise InputError(f"{'; '.join(damage)}; --strict refuses that, leave it out to enhance what is there")


def rate_notes(header: Header, config: Config) -> tuple[str, ...]:
    """Say how fast images are shown where nobody did."""
    if len(header.images) > 1 and not header.animation_ticks and config.encode.constant_rate is None:
        return (f"the images are shown at {USUAL_FRAME_RATE} frames per second: --fps gives another rate",)
    return ()


def constant_rate_of(header: Header, config: Config) -> Fraction | None:
    """Return the rate that frames are repeated or left out for; images are shown at any rate as they are."""
    return None if header.images else config.encode.constant_rate
