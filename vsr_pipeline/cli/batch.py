"""`vsr batch`: a folder of videos, for cron."""

import dataclasses
import datetime
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vsr_pipeline.cli.early import refuse_unknown
from vsr_pipeline.cli.help import GroupedCommand
from vsr_pipeline.cli.options import (
    ENCODING,
    PART,
    RATE,
    READING,
    REPEATS,
    UPSCALE,
    AllowCpu,
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
    workers_from,
)
from vsr_pipeline.cli.queue import hours_from, print_queue
from vsr_pipeline.errors import InputError, UsageError
from vsr_pipeline.runtime.progress import one_line

if TYPE_CHECKING:
    from vsr_pipeline.api import BatchOptions, BatchOutcome, Config

app = typer.Typer(rich_markup_mode=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFlags:
    """Options of `vsr batch` that are no settings."""

    recursive: Annotated[bool, typer.Option("--recursive", help="Folders in it, too; they are kept.")] = False
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="With --recursive, also folders that links lead to.")
    ] = False
    include: Annotated[list[str] | None, typer.Option(help="Only what matches, such as '*.mov'; repeatable.")] = None
    exclude: Annotated[list[str] | None, typer.Option(help="Not what matches, such as 'raw/*'; repeatable.")] = None
    name: Annotated[str, typer.Option(help="Name of an output, of {stem}, {name}, {size}; no suffix.")] = (
        "{stem}_{size}"
    )
    queued: Annotated[
        bool, typer.Option("--queued", help="Only what was added with `vsr queue add`; else all of DIR, too.")
    ] = False
    until: Annotated[str | None, typer.Option(metavar="HH:MM", help="Stop then; the next run goes on.")] = None
    between: Annotated[
        str | None,
        typer.Option(metavar="HH:MM-HH:MM", help="Work only then, such as 22:00-06:00. [default: `vsr queue hours`]"),
    ] = None
    retries: Annotated[
        int, typer.Option(min=1, help="Runs in which a clip may fail; other Ray workers for a segment.")
    ] = 2
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Also what failed in --retries runs.")] = False
    redo_outdated: Annotated[
        bool, typer.Option("--redo-outdated", help="Make again what was made with other settings.")
    ] = False
    max_clips: Annotated[int | None, typer.Option(min=1, help="Clips to work on in this run.")] = None
    order: Annotated[Literal["name", "size", "newest", "oldest"], typer.Option(help="Which clip is first.")] = "name"
    overwrite: Overwrite = False
    strict: Strict = False
    allow_cpu: AllowCpu = False
    executor: ExecutorName = "auto"
    ray_address: RayAddress = None
    cpus_per_worker: CpusPerWorker = None
    on_finish: Annotated[
        str | None, typer.Option(metavar="COMMAND", help="Run this program at the end; see docs/batch.md.")
    ] = None
    status: Annotated[bool, typer.Option("--status", help="Show what is known of each clip, and stop.")] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and stop.")] = False
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on stderr; the log file has it.")] = False
    print_config: PrintConfig = False
    log_format: LogFormat = "text"
    as_json: Json = False


@app.command(cls=GroupedCommand, epilog="Example: vsr batch /media/inbox --output /media/enhanced --until 06:00")
@takes_settings(UPSCALE, READING, REPEATS, PART, ENCODING, RATE)
def batch(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the enhanced videos and the report.")],
    given: Given,
    folder: Annotated[Path | None, typer.Argument(metavar="DIR", help="A folder of videos.")] = None,
    *,
    flags: BatchFlags,
) -> int:
    """Enhance all videos of a folder, and what `vsr queue` adds.

    What is done and unchanged costs nothing, one that fails stops no other. For cron: see docs/overnight.md.
    """
    from vsr_pipeline.runtime.progress import Reporter
    from vsr_pipeline.runtime.terminal import reporter_for

    if flags.status:
        from vsr_pipeline import api

        print_queue(api.batch_status(output), api.workers_of(output), api.progress_of(output), flags.as_json)
        return 0
    if folder is None:
        raise UsageError("vsr batch needs the folder of the videos: vsr batch DIR --output DIR")
    reporter = Reporter() if flags.quiet else reporter_for(flags.log_format)
    settings = settings_from(given, reporter)
    if flags.print_config:
        print(settings.to_toml())
        return 0
    until = _time_from(flags.until) if flags.until is not None else None
    between = hours_from("--between", flags.between) if flags.between is not None else None
    if not os.path.isdir(folder):  # noqa: PTH112 - `Path.is_dir` fails on a long name
        raise InputError(f"no such folder: {folder}; give the folder that the videos are in")
    refuse_unknown(settings, weights_are_here=False)
    from vsr_pipeline import api

    options = dataclasses.replace(_options_from(flags, settings), until=until, between=between)
    if flags.dry_run:
        return each(api.preview_batch(folder, output, settings, options, reporter), lambda clip: clip, flags.as_json)
    outcome = api.batch(folder, output, settings, options=options, reporter=reporter)
    _print_batch(outcome, flags.as_json)
    return outcome.exit_code


def _options_from(flags: BatchFlags, settings: "Config") -> "BatchOptions":
    """Return what the flags ask for, but for the hours."""
    from vsr_pipeline import api

    return api.BatchOptions(
        recursive=flags.recursive,
        follow_links=flags.follow_links,
        include=tuple(flags.include or ()),
        exclude=tuple(flags.exclude or ()),
        name_template=flags.name,
        added_only=flags.queued,
        retries=flags.retries,
        retry_failed=flags.retry_failed,
        redo_outdated=flags.redo_outdated,
        max_clips=flags.max_clips,
        order=flags.order,
        overwrite=flags.overwrite,
        strict=flags.strict,
        allow_cpu=flags.allow_cpu,
        on_finish=flags.on_finish,
        log_format=flags.log_format,
        workers=workers_from(flags.executor, flags.ray_address, flags.cpus_per_worker, settings),
    )


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
