"""`vsr run`: all stages in one, streaming and durable; of images, too."""

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vsr_pipeline.cli.early import announce_loading, refuse_missing, refuse_unknown
from vsr_pipeline.cli.help import GroupedCommand
from vsr_pipeline.cli.options import (
    ENCODING,
    PART,
    RATE,
    READING,
    REPEATS,
    UPSCALE,
    AllowCpu,
    AllowUrl,
    CpusPerWorker,
    ExecutorName,
    Given,
    Json,
    LogFormat,
    Overwrite,
    PrintConfig,
    RayAddress,
    Strict,
    each,
    settings_from,
    takes_settings,
    workers_from,
)
from vsr_pipeline.errors import ChangedError, OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vsr_pipeline.api import ClipOutcome, Config, ImageTarget, Reporter, RunOptions
    from vsr_pipeline.config import UpscaleConfig
    from vsr_pipeline.enhance.spec import ModelSpec

app = typer.Typer(rich_markup_mode=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFlags:
    """Options of `vsr run` that are no settings."""

    fresh: Annotated[bool, typer.Option("--fresh", help="Forget what an earlier run has done.")] = False
    overwrite: Overwrite = False
    strict: Strict = False
    allow_url: AllowUrl = False
    allow_cpu: AllowCpu = False
    executor: ExecutorName = "auto"
    ray_address: RayAddress = None
    cpus_per_worker: CpusPerWorker = None
    retries: Annotated[int, typer.Option(min=0, help="Other Ray workers for a segment whose worker died.")] = 2
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it will need, and stop.")] = False
    print_config: PrintConfig = False
    log_format: LogFormat = "text"
    each_picture: Annotated[
        bool, typer.Option("--each", help="INPUT is a folder of pictures, not of frames: each by itself, names kept.")
    ] = False
    suffix: Annotated[
        str | None, typer.Option(metavar="TEXT", help="With --each: added to names, such as _x4, or _x4.png for PNGs.")
    ] = None
    recursive_pictures: Annotated[bool, typer.Option("--recursive", help="With --each: folders in it, too; kept.")] = (
        False
    )
    as_json: Json = False


@app.command(cls=GroupedCommand, epilog="Example: vsr run holiday.mp4 --output holiday_x4.mp4")
@takes_settings(UPSCALE, READING, REPEATS, PART, ENCODING, RATE)
def run(
    input_path: Annotated[
        str, typer.Argument(metavar="INPUT", help="A video, an image, a folder of images, or shots/frame_%05d.png.")
    ],
    given: Given,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="A video (.mp4, .mov, .mkv, .webm), a folder/, out_%05d.png or out.png. [default: beside INPUT, with "
            "the size in its name]",
        ),
    ] = None,
    *,
    flags: RunFlags,
) -> int:
    """Enhance a video, from file to file.

    Streaming: no image files. Whatever ends it, the same command continues; at most one window is made again.
    """
    from vsr_pipeline.runtime.terminal import reporter_for

    reporter = reporter_for(flags.log_format)
    settings = settings_from(given, reporter)
    if flags.print_config:
        print(settings.to_toml())
        return 0
    if flags.each_picture:
        return _each_picture(input_path, output, settings, flags, reporter)
    if flags.suffix is not None or flags.recursive_pictures:
        option = "--recursive" if flags.recursive_pictures else "--suffix"
        raise UsageError(f"{option} is for folders of pictures: give --each")
    return each((input_path,), lambda text: _one(text, output, settings, flags, reporter), flags.as_json)


def _one(text: str, output: str | None, settings: "Config", flags: RunFlags, reporter: "Reporter") -> object:
    """Enhance one input, into a video or into images."""
    refuse_missing(text)
    here = flags.executor != "ray" and not (flags.ray_address or os.environ.get("RAY_ADDRESS"))
    refuse_unknown(settings, weights_are_here=here)
    announce_loading(reporter, in_logs=flags.dry_run)
    from vsr_pipeline import api

    target = output or str(api.default_target(text, settings))
    images = api.image_target(target)
    if images is not None:
        _refuse_flags_for_videos(flags, output or text)
    options = _options_from(flags, settings)
    path = api.local_source(text, api.job_folder(Path(target)), allow_url=flags.allow_url, reporter=reporter)
    if images is not None:
        return _enhance(path, images, settings, options, reporter)
    if flags.dry_run:
        return api.estimate(path, Path(target), settings, options=options, reporter=reporter)
    outcome = _run(path, Path(target), settings, options, reporter, is_named=output is not None)
    if outcome.status == "done" and not flags.as_json:
        reporter.note(f"to compare: {outcome.how_to_compare}")
    return outcome


def _refuse_flags_for_videos(flags: RunFlags, target: str) -> None:
    are_given = {
        "--dry-run": flags.dry_run,
        "--executor ray": flags.executor == "ray",
        "--ray-address": flags.ray_address is not None,
    }
    for option in (option for option, is_given in are_given.items() if is_given):
        raise UsageError(f"{option} is for videos: {target} is for images")


def _options_from(flags: RunFlags, settings: "Config") -> "RunOptions":
    from vsr_pipeline import api

    return api.RunOptions(
        fresh=flags.fresh,
        overwrite=flags.overwrite,
        strict=flags.strict,
        allow_cpu=flags.allow_cpu,
        workers=workers_from(flags.executor, flags.ray_address, flags.cpus_per_worker, settings),
        retries=flags.retries,
    )


def _run(
    source: Path, target: Path, settings: "Config", options: "RunOptions", reporter: "Reporter", *, is_named: bool
) -> "ClipOutcome":
    """Enhance a video; where the name of the output is not the user's, say how to get out of a clash."""
    from vsr_pipeline import api

    try:
        return api.run(source, target, settings, options=options, reporter=reporter)
    except ChangedError as error:
        if is_named or not os.path.lexists(target):
            raise
        raise OutputError(
            f"{target} is there, made with other settings: give --fresh --overwrite to make it again, or another name "
            "as --output"
        ) from error


def _enhance(
    path: Path,
    target: "ImageTarget",
    settings: "Config",
    options: "RunOptions",
    reporter: "Reporter",
    model: "Callable[[UpscaleConfig], ModelSpec] | None" = None,
) -> object:
    """Enhance into images."""
    from vsr_pipeline import api

    return api.enhance(
        path,
        target,
        settings,
        reporter=reporter,
        model=model,
        fresh=options.fresh,
        overwrite=options.overwrite,
        strict=options.strict,
        allow_cpu=options.allow_cpu,
    )


def _each_picture(folder: str, output: str | None, settings: "Config", flags: RunFlags, reporter: "Reporter") -> int:
    """Enhance each picture of a folder by itself, with one model."""
    refuse_missing(folder)
    refuse_unknown(settings, weights_are_here=True)
    announce_loading(reporter)
    from vsr_pipeline import api

    images = api.image_target(output) if output else None
    if images is None or not images.is_frames_folder:
        name = output or f"{folder.rstrip('/')}_large"
        raise UsageError(f"--each makes a folder of pictures: give one as --output, such as {name}/")
    _refuse_flags_for_videos(flags, output or folder)
    options = _options_from(flags, settings)
    model = functools.cache(functools.partial(api.open_model, allow_cpu=options.allow_cpu))

    def enhance(pair: "tuple[Path, ImageTarget]") -> object:
        path, target = pair
        return _enhance(path, target, settings, options, reporter, model)

    suffix, recursive = flags.suffix or "", flags.recursive_pictures
    return each(
        api.each_picture(Path(folder), images.folder, suffix=suffix, recursive=recursive), enhance, flags.as_json
    )
