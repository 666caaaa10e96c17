"""`vsr live`: a camera, a stream or a file, larger, now."""

import dataclasses
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from vsr_pipeline.cli.early import announce_loading, refuse_missing, refuse_unknown
from vsr_pipeline.cli.help import GroupedCommand
from vsr_pipeline.cli.options import (
    ENCODING,
    UPSCALE,
    Given,
    Json,
    LogFormat,
    Overwrite,
    print_json,
    settings_from,
    takes_settings,
)
from vsr_pipeline.errors import UsageError

if TYPE_CHECKING:
    from vsr_pipeline.live.options import LiveOptions

app = typer.Typer(rich_markup_mode=None)

_USUAL_MODEL = "fsrcnn-x3"
_MODEL = {
    "model": Annotated[str | None, typer.Option(help=f"A name of `vsr models list`. [default: {_USUAL_MODEL}]")],
    **{name: UPSCALE[name] for name in ("checkpoint", "scale", "height", "width", "strength")},
    **{name: UPSCALE[name] for name in ("cleaning", "denoise", "detail")},
}
_RUNNING = {name: UPSCALE[name] for name in ("precision", "convolutions", "cuda_graphs", "device", "memory_limit")}
_ENCODING = {name: ENCODING[name] for name in ("codec", "quality", "encoder_preset")}


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveFlags:
    """Options of `vsr live` that are no settings."""

    to: Annotated[
        list[str] | None,
        typer.Option("--to", metavar="SINK", help="y4m (on stdout), http:PORT, FILE.mkv or null; repeatable."),
    ] = None
    input_width: Annotated[
        int | None, typer.Option(help="Reduce frames to this width first. [default: as they come]")
    ] = None
    compare: Annotated[
        str | None, typer.Option(metavar="VIEWS", help="Show these beside the model's: original,bicubic.")
    ] = None
    max_age: Annotated[
        str, typer.Option(metavar="TIME", help="How old a frame may be when it is given out, such as 200ms.")
    ] = "200ms"
    level: Annotated[
        str, typer.Option(metavar="auto|N", help="Where to begin; 0 is the best. auto: by 20 timed frames.")
    ] = "auto"
    lookahead: Annotated[
        int, typer.Option(help="Later frames that a recurrent model waits for, 0 to 4; each is a delay.")
    ] = 2
    no_drop: Annotated[bool, typer.Option("--no-drop", help="Every frame of a file or of stdin, however late.")] = False
    seconds: Annotated[float | None, typer.Option(min=0, help="End after so long. [default: with the source]")] = None
    raw: Annotated[
        str | None, typer.Option(metavar="WxH,FORMAT,RATE", help="What raw frames on stdin are: 640x480,yuv420p,30.")
    ] = None
    list_cameras: Annotated[bool, typer.Option("--list", help="List the cameras of this machine and stop.")] = False
    overwrite: Overwrite = False
    log_format: LogFormat = "text"
    as_json: Json = False


@app.command(
    cls=GroupedCommand,
    epilog="Example: vsr live 0 --input-width 300 --compare original,bicubic --to http:8080, or: "
    "vsr live rtsp://camera/stream --to y4m | mpv -",
)
@takes_settings(_MODEL, _ENCODING, _RUNNING)
def live(
    given: Given,
    source: Annotated[
        str | None,
        typer.Argument(help="A camera's number, a file, rtsp(s):// or http(s)://, or - (y4m or --raw on stdin)."),
    ] = None,
    *,
    flags: LiveFlags,
) -> int:
    """Show a camera, a stream or a file larger, now, with a bounded delay.

    The newest frame wins: what cannot be computed in time is dropped and counted. When frames become too old, a smaller
    input is taken, then a smaller model, then interpolation; and back when there is time.
    """
    if flags.list_cameras:
        return _list(flags.as_json)
    options = _options_from(source, flags)
    from vsr_pipeline.live.status import Status
    from vsr_pipeline.runtime.progress import Reporter

    status = Status(flags.log_format)
    reporter = Reporter(status)
    settings = settings_from(given, reporter)
    if settings.upscale.model == "auto" and settings.upscale.checkpoint is None:
        settings = settings.override(model=_USUAL_MODEL)
    refuse_unknown(settings)
    announce_loading(reporter)
    from vsr_pipeline import api

    result = api.live(options, settings, status)
    if flags.as_json:
        print_json(dataclasses.asdict(result))
    else:
        print(result, file=sys.stderr)
    return 0


def _options_from(source: str | None, flags: LiveFlags) -> "LiveOptions":
    """Read the command line.

    Raises:
        UsageError, InputError: something is missing, or makes no sense.
    """
    from vsr_pipeline.live import options as asked

    if source is None:
        raise UsageError(
            "SOURCE is missing: give a camera's number, a file, an address or - (vsr live --list: cameras)"
        )
    if not flags.to:
        raise UsageError("--to is missing: give http:8080 for a page, y4m for a player, FILE.mkv or null")
    options = asked.LiveOptions(
        source=asked.source_from(source),
        sinks=asked.sinks_from(flags.to),
        raw=asked.raw_from(flags.raw) if flags.raw else None,
        input_width=flags.input_width,
        views=asked.views_from(flags.compare),
        max_age_seconds=asked.age_seconds_from(flags.max_age),
        level=_level_from(flags.level),
        lookahead=flags.lookahead,
        no_drop=flags.no_drop,
        seconds=flags.seconds,
        overwrite=flags.overwrite,
    )
    if flags.as_json and any(sink.kind == "y4m" for sink in options.sinks):
        raise UsageError("--json and --to y4m both write to standard output: give --log-format json instead")
    if options.source.kind == "file":
        refuse_missing(options.source.address)
    return options


def _level_from(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal():
        raise UsageError(f"--level {text}: give auto, or a number from 0 (the best)")
    return int(text)


def _list(as_json: bool) -> int:
    from vsr_pipeline.live.options import cameras

    found = cameras()
    if as_json:
        print_json([{"camera": number, "name": name} for number, name in found.items()])
    elif not found:
        print("no cameras: there is no /dev/video* (is one plugged in, and does this system have V4L2?)")
    for number, name in {} if as_json else found.items():
        print(f"{number}  {name}")
    return 0
