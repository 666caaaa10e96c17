"""`vsr split`, `enhance`, `merge`, `demo`: the stages, and a video to judge them by."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from vsr_pipeline.cli.early import announce_loading, refuse_missing, refuse_unknown, refuse_unknown_codec
from vsr_pipeline.cli.help import GroupedCommand
from vsr_pipeline.cli.options import (
    ENCODING,
    PART,
    READING,
    REPEATS,
    RESULTS,
    UPSCALE,
    AllowUrl,
    Given,
    Json,
    LogFormat,
    Overwrite,
    PrintConfig,
    Results,
    Strict,
    each,
    frame_rate_from,
    settings_from,
    takes_settings,
)
from vsr_pipeline.errors import UsageError

app = typer.Typer(rich_markup_mode=None)

_BACKEND = {
    "backend": Annotated[
        str | None, typer.Option(help="torch, or mmedit: the official code, see `make reference`. [default: torch]")
    ]
}
_IMAGE_RATE = {
    "fps": Annotated[
        str | None, typer.Option(help="Constant frame rate (25, 30000/1001); default: the source's own timestamps.")
    ]
}


@app.command(cls=GroupedCommand, epilog="Example: vsr split holiday.mp4 --start 1:30 --max-frames 100")
@takes_settings(READING, PART)
def split(
    given: Given,
    videos: Annotated[list[str] | None, typer.Argument(help="Videos; by default every one in data/.")] = None,
    results: Results = RESULTS,
    strict: Strict = False,
    allow_url: AllowUrl = False,
    log_format: LogFormat = "text",
    as_json: Json = False,
) -> int:
    """Write the frames of videos as PNGs.

    They go to results/NAME/frames/, their timestamps and all that is known of the video to results/NAME/clip.json.
    """
    from vsr_pipeline.runtime.terminal import reporter_for

    reporter = reporter_for(log_format)
    settings = settings_from(given, reporter)

    def one(text: str) -> object:
        refuse_missing(text)
        from vsr_pipeline import api

        video = api.local_source(text, results, allow_url=allow_url, reporter=reporter)
        return api.split(video, results, settings, strict=strict, reporter=reporter)

    if videos is not None and len(videos) == 1:
        return each(videos, one, as_json)
    from vsr_pipeline import api

    chosen = (
        tuple(api.local_source(text, results, allow_url=allow_url, reporter=reporter) for text in videos)
        if videos
        else api.videos_in(api.DATA)
    )
    api.refuse_equal_stems(chosen)
    return each(map(str, chosen), one, as_json)


@app.command(cls=GroupedCommand, epilog="Example: vsr enhance results/holiday/frames --max-seq-len 30")
@takes_settings(UPSCALE, _BACKEND, READING, REPEATS, PART)
def enhance(
    given: Given,
    input_path: Annotated[
        str | None,
        typer.Argument(metavar="INPUT", help="Frames folder, image(s) or video; by default every results/*/frames."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", help="Folder for the PNGs, out_%05d.png or out.png; default results/NAME/enhanced."
        ),
    ] = None,
    results: Results = RESULTS,
    strict: Strict = False,
    allow_url: AllowUrl = False,
    print_config: PrintConfig = False,
    log_format: LogFormat = "text",
    as_json: Json = False,
) -> int:
    """Make frames larger.

    From results/NAME/frames/ to results/NAME/enhanced/. Run it again to continue: what is done is kept.
    """
    from vsr_pipeline.runtime.terminal import reporter_for

    reporter = reporter_for(log_format)
    settings = settings_from(given, reporter)
    if print_config:
        print(settings.to_toml())
        return 0
    if input_path is None and output is not None:
        raise UsageError("--output needs an INPUT: without one, every results/*/frames is enhanced in its own place")

    def one(text: str) -> object:
        refuse_missing(text)
        refuse_unknown(settings)
        announce_loading(reporter)
        from vsr_pipeline import api

        path = api.local_source(text, results, allow_url=allow_url, reporter=reporter)
        folder = api.ImageTarget(Path(output) if output else api.default_output(path, results))
        target = (api.image_target(output) if output else None) or folder
        return api.enhance(path, target, settings, reporter=reporter, strict=strict)

    if input_path is not None:
        return each((input_path,), one, as_json)
    from vsr_pipeline import api

    return each(map(str, api.frame_folders_in(results, api.FRAMES)), one, as_json)


@app.command(cls=GroupedCommand, epilog="Example: vsr merge results/holiday/enhanced --fps 25")
@takes_settings(_IMAGE_RATE, ENCODING)
def merge(
    given: Given,
    frames: Annotated[
        Path | None, typer.Argument(help="HR frames, or shots/frame_%05d.png; by default every results/*/enhanced.")
    ] = None,
    source: Annotated[Path | None, typer.Option(help="Video to take sound, subtitles and timestamps from.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The video; default results/NAME/NAME_x4.mp4.")
    ] = None,
    results: Results = RESULTS,
    overwrite: Overwrite = False,
    log_format: LogFormat = "text",
    as_json: Json = False,
) -> int:
    """Make a video of frames.

    Timestamps, sound, subtitles and chapters are the source's.
    """
    from vsr_pipeline.runtime.terminal import reporter_for

    reporter = reporter_for(log_format)
    settings = settings_from(given, reporter)
    if frames is None and (output is not None or source is not None):
        raise UsageError("--output and --source need a FRAMES folder: without one, every results/*/enhanced is merged")

    def one(folder: Path) -> object:
        refuse_missing(folder, *((source,) if source is not None else ()))
        refuse_unknown_codec(settings)
        from vsr_pipeline import api

        return api.merge(
            folder, settings, results=results, output=output, source=source, overwrite=overwrite, reporter=reporter
        )

    if frames is not None:
        return each((frames,), one, as_json)
    from vsr_pipeline import api

    return each(api.frame_folders_in(results, api.ENHANCED), one, as_json)


@app.command(
    cls=GroupedCommand, epilog="Example: vsr demo holiday.mp4 results/holiday/holiday_x4.mp4 --output demo.mp4"
)
def demo(
    before: Annotated[Path, typer.Argument(help="The input: a video or a folder of images, of any size.")],
    after: Annotated[Path, typer.Argument(help="The result: a video or a folder of images.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The comparison, an MP4 that browsers play.")],
    interpolation: Annotated[
        Literal["bicubic", "nearest"], typer.Option(help="How the input is enlarged.")
    ] = "bicubic",
    start_frame: Annotated[int | None, typer.Option(min=0, help="Frame at which the line begins to slide.")] = None,
    pause_frame: Annotated[int | None, typer.Option(min=0, help="Frame from which on the clip plays slowly.")] = None,
    repeats: Annotated[int, typer.Option(min=0, help="Sweeps of the line while the clip plays slowly.")] = 2,
    slide_step: Annotated[int | None, typer.Option(min=1, help="Pixels that the line moves per frame.")] = None,
    line_width: Annotated[int | None, typer.Option(min=0, help="Width of the line in pixels; 0: none.")] = None,
    fps: Annotated[str | None, typer.Option(help="Frame rate (25, 30000/1001); default: the inputs' own.")] = None,
    label_before: Annotated[str | None, typer.Option(help="Text on the left; empty: none.")] = None,
    label_after: Annotated[
        str | None, typer.Option(help="Text on the right; empty: none. [default: the model, where its job is known]")
    ] = None,
    overwrite: Overwrite = False,
    log_format: LogFormat = "text",
    as_json: Json = False,
) -> int:
    """Make a video that wipes between two clips."""
    from vsr_pipeline.runtime.terminal import reporter_for

    frame_rate = frame_rate_from(fps) if fps is not None else None
    reporter = reporter_for(log_format)

    def one(path: Path) -> object:
        refuse_missing(before, after)
        from vsr_pipeline import api

        options = api.DemoOptions(
            interpolation=interpolation,
            start_frame=start_frame,
            pause_frame=pause_frame,
            repeats=repeats,
            slide_step=slide_step,
            line_width=line_width,
            frame_rate=frame_rate,
            label_before=label_before,
            label_after=label_after,
        )
        return api.demo(before, after, path, options, overwrite=overwrite, reporter=reporter)

    return each((output,), one, as_json)
