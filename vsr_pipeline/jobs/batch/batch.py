"""`vsr batch`: a folder of clips, night after night, until all are done. One bad clip stops no other."""

import traceback
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from vsr_pipeline.config import Config, UpscaleConfig
from vsr_pipeline.enhance.spec import ModelSpec
from vsr_pipeline.errors import InputError, Interrupted, VsrError
from vsr_pipeline.jobs.batch.discovery import check_folders
from vsr_pipeline.jobs.batch.plan import BatchClip, BatchOptions, plan_batch, with_size
from vsr_pipeline.jobs.batch.queue import Queue, QueueRow, saved_workers
from vsr_pipeline.jobs.batch.run import LOG, WORKERS, Batch
from vsr_pipeline.jobs.report.outcome import BatchOutcome, WorkerOutcome
from vsr_pipeline.jobs.runner import LOCK, locked
from vsr_pipeline.jobs.workers.workers import Workers, uses_ray, workers_for
from vsr_pipeline.runtime.files import WORK_FOLDER, make_folder
from vsr_pipeline.runtime.log import log_file
from vsr_pipeline.runtime.process import Isolation
from vsr_pipeline.runtime.progress import Reporter, all_of
from vsr_pipeline.runtime.progress import locked as locked_sink

QUEUE = "batch.sqlite"


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
    options = with_size(options, config.upscale)
    with_ray = uses_ray(options.workers, config.upscale, reporter)
    with ExitStack() as stack:
        work = make_folder(output / WORK_FOLDER)
        stack.enter_context(locked(work / LOCK, f"another batch is at work in {output}: run again when it has ended"))
        log = stack.enter_context(log_file(work / LOG, options.log_format))
        try:
            queue = stack.enter_context(Queue(work / QUEUE))
            both = Reporter(locked_sink(all_of(reporter.sink, log)))
            start = None if with_ray else open_model
            open_workers = partial(_open_workers, stack, start, options, work, both)
            call = stack.enter_context(Isolation())
            batch = Batch(folder, output, config, options, open_workers, both, Reporter(log), queue, call)
            return batch.run(side_by_side=with_ray)
        except (VsrError, Interrupted) as error:
            Reporter(log).note(f"ended with exit code {error.exit_code}: {error}")
            raise
        except Exception:
            Reporter(log).crashed(traceback.format_exc())
            raise


def _open_workers(
    stack: ExitStack,
    open_model: Callable[[UpscaleConfig], ModelSpec] | None,
    options: BatchOptions,
    folder: Path,
    reporter: Reporter,
    settings: UpscaleConfig,
) -> Workers:
    """Start the workers; they end with `stack`. Without `open_model`, they are Ray's."""
    workers = workers_for(
        settings,
        options.workers,
        spec=open_model(settings) if open_model is not None else None,
        folder=folder,
        allow_cpu=options.allow_cpu,
        retries=options.retries,
        reporter=reporter,
    )
    return stack.enter_context(workers)


def preview_batch(
    folder: Path, output: Path, config: Config, options: BatchOptions, reporter: Reporter | None = None
) -> tuple[BatchClip, ...]:
    """Say what `run_batch` would do with each clip, in its order; nothing is written.

    Raises:
        InputError, UsageError, ModelError: as `run_batch`.
    """
    check_folders(folder, output)
    options = with_size(options, config.upscale)
    known = batch_status(output) if (output / WORK_FOLDER / QUEUE).exists() else ()
    rows = {row.clip: row for row in known}
    note = reporter.note if reporter is not None else None
    with Isolation() as call:
        return plan_batch(folder, output, config, rows=rows, options=options, call=call, note=note)


def batch_status(output: Path) -> tuple[QueueRow, ...]:
    """Return what the queue of an output folder knows of each clip, also while a batch is at work.

    Raises:
        InputError: no batch was ever run there.
    """
    path = output / WORK_FOLDER / QUEUE
    if not path.exists():
        raise InputError(f"no batch has been run in {output}: there is no {path}")
    with Queue(path, only_read=True) as queue:
        return tuple(queue.rows().values())


def batch_workers(output: Path) -> tuple[WorkerOutcome, ...]:
    """Return what the workers of the last run have done, also while it is at work; nothing where there were none."""
    return saved_workers(output / WORK_FOLDER / WORKERS)
