"""`vsr batch`: a folder of clips, run after run, until all are done. One bad clip stops no other."""

import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, closing
from functools import partial
from pathlib import Path

from vsr_pipeline.config import Config, UpscaleConfig
from vsr_pipeline.enhance.spec import ModelSpec
from vsr_pipeline.errors import Interrupted, VsrError
from vsr_pipeline.jobs.batch.discovery import check_folders
from vsr_pipeline.jobs.batch.live import LOG, Live
from vsr_pipeline.jobs.batch.plan import BatchClip, BatchOptions, Planner
from vsr_pipeline.jobs.batch.pool import WorkerPool
from vsr_pipeline.jobs.batch.queue import QUEUE, open_queue
from vsr_pipeline.jobs.batch.rows import QueueRow
from vsr_pipeline.jobs.batch.run import Batch, BatchPlaces
from vsr_pipeline.jobs.batch.settings import BatchSettings
from vsr_pipeline.jobs.report.outcome import BatchOutcome
from vsr_pipeline.jobs.runner import LOCK, locked
from vsr_pipeline.jobs.workers.workers import Workers, uses_processes, workers_for
from vsr_pipeline.runtime.files import WORK_FOLDER, make_folder
from vsr_pipeline.runtime.log import log_file
from vsr_pipeline.runtime.process import Isolation
from vsr_pipeline.runtime.progress import Reporter, all_of
from vsr_pipeline.runtime.progress import locked as locked_sink


def run_batch(
    folder: Path,
    output: Path,
    config: Config,
    *,
    options: BatchOptions,
    open_model: Callable[[UpscaleConfig], ModelSpec],
    reporter: Reporter,
) -> BatchOutcome:
    """Enhance every video of `folder` that is new, has changed or was not finished, and write `output`'s report.

    Failures of single clips are part of the outcome, and raise nothing. Its exit code is 0 when all are done, 7 when
    some are not there because they failed, 75 when `until` came before the work ended or when another run is at work on
    one of the clips, 5 when the disk is full or the GPU is lost.

    Args:
        folder: where the videos are.
        output: where the outputs go; the batch's own files are in its `.vsr`.
        config: the settings, the same for all.
        options: which clips, and how.
        open_model: reads the model; called once, and only if there is work. With Ray, the workers do it themselves.
        reporter: hears what the log file is told, too, but not the tracebacks.

    Raises:
        InputError, UsageError: the folders or the options do not fit together; nothing was begun.
        LockedError: another batch is at work in `output`.
        ModelError, ResourceError: the model cannot be loaded.
        DiskFullError, OutputError: the queue cannot be written.
        Interrupted: the report is written before.
    """
    check_folders(folder, output)
    settings = BatchSettings(config, options.name_template)
    with_ray = uses_processes(options.workers, config.upscale, reporter)
    with ExitStack() as stack:
        work = make_folder(output / WORK_FOLDER)
        stack.enter_context(locked(work / LOCK, f"another batch is at work in {output}: run again when it has ended"))
        log = stack.enter_context(log_file(work / LOG, options.log_format))
        try:
            queue = stack.enter_context(open_queue(output))
            live = stack.enter_context(closing(Live(work / QUEUE, output)))
            both = Reporter(locked_sink(all_of(reporter.sink, log)))
            start = None if with_ray else open_model
            open_workers = partial(_open_workers, start, options, work, both)
            workers = stack.enter_context(WorkerPool(open_workers, output, both, with_ray=with_ray))
            call = stack.enter_context(Isolation())
            places = BatchPlaces(folder=folder, output=output, queue=queue, live=live, log=Reporter(log), call=call)
            return Batch(places, settings, options, workers, both).run()
        except (VsrError, Interrupted) as error:
            Reporter(log).note(f"ended with exit code {error.exit_code}: {error}")
            raise
        except Exception:
            Reporter(log).crashed(traceback.format_exc())
            raise


def _open_workers(
    open_model: Callable[[UpscaleConfig], ModelSpec] | None,
    options: BatchOptions,
    folder: Path,
    reporter: Reporter,
    settings: UpscaleConfig,
) -> AbstractContextManager[Workers]:
    """Return the workers for some settings. Without `open_model`, they are Ray's."""
    return workers_for(
        settings,
        options.workers,
        spec=open_model(settings) if open_model is not None else None,
        folder=folder,
        allow_cpu=options.allow_cpu,
        retries=options.retries,
        reporter=reporter,
    )


def preview_batch(
    folder: Path, output: Path, config: Config, options: BatchOptions, reporter: Reporter | None = None
) -> tuple[BatchClip, ...]:
    """Say what `run_batch` would do with each clip, in its order; nothing is written.

    Raises:
        InputError, UsageError, ModelError: as `run_batch`.
    """
    check_folders(folder, output)
    settings = BatchSettings(config, options.name_template)
    known = batch_status(output) if (output / WORK_FOLDER / QUEUE).exists() else ()
    rows = {row.clip: row for row in known}
    note = reporter.note if reporter is not None else None
    with Isolation() as call:
        return Planner(folder, output, settings, options, call).plan(rows, note)


def batch_status(output: Path) -> tuple[QueueRow, ...]:
    """Return what the queue of an output folder knows of each clip, also while a batch is at work.

    Raises:
        InputError: no batch was ever run there.
    """
    with open_queue(output, only_read=True) as queue:
        return queue.list()
