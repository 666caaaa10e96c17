"""`vsr run`: all stages in one, streaming and durable. `vsr batch`: a folder of videos."""

import dataclasses
import datetime
import functools
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

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
    print_json,
    settings_from,
    takes_settings,
)
from vsr_pipeline.cli.queue import hours_from, print_queue
from vsr_pipeline.errors import ChangedError, InputError, OutputError, UsageError
from vsr_pipeline.runtime.progress import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from vsr_pipeline.api import (
        BatchOutcome,
        ClipOutcome,
        Config,
        ImageTarget,
        Reporter,
        RunOptions,
        WorkerOptions,
    )
    from vsr_pipeline.config import UpscaleConfig
    from vsr_pipeline.enhance.spec import ModelSpec

app = typer.Typer(rich_markup_mode=None)


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
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget what an earlier run has done.")] = False,
    overwrite: Overwrite = False,
    strict: Strict = False,
    allow_url: AllowUrl = False,
    allow_cpu: AllowCpu = False,
    executor: ExecutorName = "auto",
    ray_address: RayAddress = None,
    cpus_per_worker: CpusPerWorker = None,
    retries: Annotated[int, typer.Option(min=0, help="Other Ray workers for a segment whose worker died.")] = 2,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it will need, and stop.")] = False,
    print_config: PrintConfig = False,
    log_format: LogFormat = "text",
    each_picture: Annotated[
        bool, typer.Option("--each", help="INPUT is a folder of pictures, not of frames: each by itself, names kept.")
    ] = False,
    suffix: Annotated[
        str | None, typer.Option(metavar="TEXT", help="With --each: added to names, such as _x4, or _x4.png for PNGs.")
    ] = None,
    recursive_pictures: Annotated[
        bool, typer.Option("--recursive", help="With --each: folders in it, too; kept.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Enhance a video, from file to file.

    Streaming: no image files. Whatever ends it, the same command continues; at most one window is made again.
    """
    from vsr_pipeline.runtime.terminal import reporter_for

    reporter = reporter_for(log_format)
    settings = settings_from(given, reporter)
    if print_config:
        print(settings.to_toml())
        return 0

    def options_for(images: "ImageTarget | None") -> "RunOptions":
        from vsr_pipeline import api

        flags = {"--dry-run": dry_run, "--executor ray": executor == "ray", "--ray-address": ray_address is not None}
        for option in (flag for flag, is_given in flags.items() if is_given and images is not None):
            raise UsageError(f"{option} is for videos: {output or input_path} is for images")
        workers = _workers(executor, ray_address, cpus_per_worker, settings)
        return api.RunOptions(
            fresh=fresh, overwrite=overwrite, strict=strict, allow_cpu=allow_cpu, workers=workers, retries=retries
        )

    def one(text: str) -> object:
        refuse_missing(text)
        here = executor != "ray" and not (ray_address or os.environ.get("RAY_ADDRESS"))
        refuse_unknown(settings, weights_are_here=here)
        announce_loading(reporter)
        from vsr_pipeline import api

        target = output or str(api.default_target(text, settings))
        images = api.image_target(target)
        options = options_for(images)
        path = api.local_source(text, api.job_folder(Path(target)), allow_url=allow_url, reporter=reporter)
        if images is not None:
            return _enhance(path, images, settings, options, reporter)
        if dry_run:
            return api.estimate(path, Path(target), settings, options=options, reporter=reporter)
        outcome = _run(path, Path(target), settings, options, reporter, is_named=output is not None)
        if outcome.status == "done" and not as_json:
            reporter.note(f"to compare: {outcome.how_to_compare}")
        return outcome

    if each_picture:
        return _each_picture(
            *(input_path, output, settings, options_for, reporter, as_json),
            suffix=suffix or "",
            recursive=recursive_pictures,
        )
    if suffix is not None or recursive_pictures:
        option = "--recursive" if recursive_pictures else "--suffix"
        raise UsageError(f"{option} is for folders of pictures: give --each")
    return each((input_path,), one, as_json)


@app.command(cls=GroupedCommand, epilog="Example: vsr batch /media/inbox --output /media/enhanced --until 06:00")
@takes_settings(UPSCALE, READING, REPEATS, PART, ENCODING, RATE)
def batch(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the enhanced videos and the report.")],
    given: Given,
    folder: Annotated[Path | None, typer.Argument(metavar="DIR", help="A folder of videos.")] = None,
    recursive: Annotated[bool, typer.Option("--recursive", help="Folders in it, too; they are kept.")] = False,
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="With --recursive, also folders that links lead to.")
    ] = False,
    include: Annotated[list[str] | None, typer.Option(help="Only what matches, such as '*.mov'; repeatable.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Not what matches, such as 'raw/*'; repeatable.")] = None,
    name: Annotated[
        str, typer.Option(help="Name of an output, of {stem}, {name}, {size}; no suffix.")
    ] = "{stem}_{size}",
    queued: Annotated[
        bool, typer.Option("--queued", help="Only what was added with `vsr queue add`; else all of DIR, too.")
    ] = False,
    until: Annotated[str | None, typer.Option(metavar="HH:MM", help="Stop then; the next run goes on.")] = None,
    between: Annotated[
        str | None,
        typer.Option(metavar="HH:MM-HH:MM", help="Work only then, such as 22:00-06:00. [default: `vsr queue hours`]"),
    ] = None,
    retries: Annotated[
        int, typer.Option(min=1, help="Runs in which a clip may fail; other Ray workers for a segment.")
    ] = 2,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Also what failed in --retries runs.")] = False,
    redo_outdated: Annotated[
        bool, typer.Option("--redo-outdated", help="Make again what was made with other settings.")
    ] = False,
    max_clips: Annotated[int | None, typer.Option(min=1, help="Clips to work on in this run.")] = None,
    order: Annotated[Literal["name", "size", "newest", "oldest"], typer.Option(help="Which clip is first.")] = "name",
    overwrite: Overwrite = False,
    strict: Strict = False,
    allow_cpu: AllowCpu = False,
    executor: ExecutorName = "auto",
    ray_address: RayAddress = None,
    cpus_per_worker: CpusPerWorker = None,
    on_finish: Annotated[
        str | None, typer.Option(metavar="COMMAND", help="Run this program at the end; see docs/batch.md.")
    ] = None,
    status: Annotated[bool, typer.Option("--status", help="Show what is known of each clip, and stop.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and stop.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on stderr; the log file has it.")] = False,
    print_config: PrintConfig = False,
    log_format: LogFormat = "text",
    as_json: Json = False,
) -> int:
    """Enhance all videos of a folder, and what `vsr queue` adds.

    What is done and unchanged costs nothing, one that fails stops no other. For cron: see docs/overnight.md.
    """
    from vsr_pipeline.runtime.progress import Reporter
    from vsr_pipeline.runtime.terminal import reporter_for

    if status:
        from vsr_pipeline import api

        print_queue(api.batch_status(output), api.workers_of(output), api.progress_of(output), as_json)
        return 0
    if folder is None:
        raise UsageError("vsr batch needs the folder of the videos: vsr batch DIR --output DIR")
    reporter = Reporter() if quiet else reporter_for(log_format)
    settings = settings_from(given, reporter)
    if print_config:
        print(settings.to_toml())
        return 0
    until_time = _time_from(until) if until is not None else None
    hours = hours_from("--between", between) if between is not None else None
    if not os.path.isdir(folder):  # noqa: PTH112 - `Path.is_dir` fails on a long name
        raise InputError(f"no such folder: {folder}; give the folder that the videos are in")
    refuse_unknown(settings, weights_are_here=False)
    from vsr_pipeline import api

    options = api.BatchOptions(
        recursive=recursive,
        follow_links=follow_links,
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        name_template=name,
        added_only=queued,
        until=until_time,
        between=hours,
        retries=retries,
        retry_failed=retry_failed,
        redo_outdated=redo_outdated,
        max_clips=max_clips,
        order=order,
        overwrite=overwrite,
        strict=strict,
        allow_cpu=allow_cpu,
        on_finish=on_finish,
        log_format=log_format,
        workers=_workers(executor, ray_address, cpus_per_worker, settings),
    )
    if dry_run:
        return each(api.preview_batch(folder, output, settings, options, reporter), lambda clip: clip, as_json)
    outcome = api.batch(folder, output, settings, options=options, reporter=reporter)
    _print_batch(outcome, as_json)
    return outcome.exit_code


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


def _each_picture(
    folder: str,
    output: str | None,
    settings: "Config",
    options_for: "Callable[[ImageTarget], RunOptions]",
    reporter: "Reporter",
    as_json: bool,
    *,
    suffix: str,
    recursive: bool,
) -> int:
    """Enhance each picture of a folder by itself, with one model."""
    refuse_missing(folder)
    refuse_unknown(settings, weights_are_here=True)
    announce_loading(reporter)
    from vsr_pipeline import api

    images = api.image_target(output) if output else None
    if images is None or not images.is_frames_folder:
        name = output or f"{folder.rstrip('/')}_large"
        raise UsageError(f"--each makes a folder of pictures: give one as --output, such as {name}/")
    options = options_for(images)
    model = functools.cache(functools.partial(api.open_model, allow_cpu=options.allow_cpu))

    def enhance(pair: "tuple[Path, ImageTarget]") -> object:
        path, target = pair
        return _enhance(path, target, settings, options, reporter, model)

    pictures = api.each_picture(Path(folder), images.folder, suffix=suffix, recursive=recursive)
    return each(pictures, enhance, as_json)


def _workers(
    executor: Literal["auto", "serial", "ray"], address: str | None, cpus_per_worker: int | None, settings: "Config"
) -> "WorkerOptions":
    """Return where segments are computed; `RAY_ADDRESS` counts where no option says otherwise."""
    from vsr_pipeline import api

    options = api.WorkerOptions(executor=executor, ray_address=address, cpus_per_worker=cpus_per_worker)
    return api.with_default_address(options, settings.upscale, os.environ.get("RAY_ADDRESS"))


def _time_from(text: str) -> datetime.time:
    try:
        return datetime.datetime.strptime(text, "%H:%M").time()
    except ValueError as error:
        raise UsageError(f"--until {text}: give a local time such as 06:00") from error


def _print_batch(outcome: "BatchOutcome", as_json: bool) -> None:
    """Print what a mail from cron should say: what is not there and why, and how many are."""
    if as_json:
        print_json(dataclasses.asdict(outcome))
        return
    for clip in outcome.clips:
        if clip.status in ("failed", "given up"):
            print(clip)
    counts = Counter(clip.status for clip in outcome.clips)
    found = ", ".join(f"{count} {status}" for status, count in counts.items()) or "no videos"
    print(f"{one_line(outcome.title)}: {found}")
