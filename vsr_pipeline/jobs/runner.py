"""`vsr run`: one clip from file to file, durable: whatever ends it, the same command continues."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from vsr_pipeline.clip.footage import footage_of
from vsr_pipeline.clip.inspect import Inspection, analysed, constant_rate_of, refuse_damage
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.recorded import as_recorded, as_recorded_here
from vsr_pipeline.enhance.spec import ModelSpec
from vsr_pipeline.enhance.too_large import refuse_too_large
from vsr_pipeline.errors import ChangedError, LockedError, OutputError, VsrError
from vsr_pipeline.jobs.estimate import Estimate, estimate, refuse_what_cannot_fit, seconds_needed
from vsr_pipeline.jobs.fingerprint import JobSource, differences, fingerprint_of, identity_in
from vsr_pipeline.jobs.job import (
    SEGMENTS,
    Clock,
    Job,
    RunOptions,
    delete_intermediates,
    delete_temporaries,
    joined_tracks,
    outcome_of,
)
from vsr_pipeline.jobs.ledger import FinishedRow, Ledger
from vsr_pipeline.jobs.report.outcome import ClipOutcome
from vsr_pipeline.jobs.workers.workers import Workers
from vsr_pipeline.plan import schedule_of
from vsr_pipeline.runtime.database import JOURNALS
from vsr_pipeline.runtime.files import WORK_FOLDER, FileIdentity, make_folder, write_failure
from vsr_pipeline.runtime.progress import Reporter

LEDGER = "ledger.sqlite"
LOCK = "lock"


def job_folder(output: Path) -> Path:
    """Return the folder of an output's job: its ledger, its segments, its report."""
    return output.parent / WORK_FOLDER / output.name


def recorded_source_sha256(output: Path) -> str:
    """Return the hash of what an output's job was begun with; empty where no ledger says it."""
    path = job_folder(output) / LEDGER
    if not path.exists():
        return ""
    with Ledger(path, only_read=True) as ledger:
        return (ledger.fingerprint() or {}).get("source.sha256", "")


def run_clip(clip: Inspection, workers: Workers, *, options: RunOptions, reporter: Reporter) -> ClipOutcome:
    """Enhance a clip into its output, continuing where an earlier run was stopped.

    Raises:
        ChangedError: the job was begun with other settings or another source, and `fresh` is not given.
        InputError: the source cannot be read, or is damaged and `strict` is given.
        OutputError: the output exists and is not ours, or cannot be written.
        ResourceError: disk or memory do not suffice.
        LockedError: another run is at work on this output.
    """
    clock = Clock()
    output = clip.output
    folder = job_folder(output)
    with locked(make_folder(folder) / LOCK, f"another run is at work on {output}: wait for it"):
        if options.fresh:
            _clear(folder)
        delete_temporaries(folder)
        with Ledger(folder / LEDGER) as ledger:
            spec = workers.spec_for(clip.config.upscale, identity_in(ledger.fingerprint()))
            _check_fingerprint(ledger, clip, spec)
            known = ledger.finished()
            if known and _is_published(output, known, ledger):
                delete_intermediates(folder)
                reporter.note(f"{output} is there already")
                done = outcome_of(known)
                return replace(done, status="unchanged", input=clip.source, output=output, computed_frames=0)
            if output.exists() and not options.overwrite:
                raise OutputError(f"{output} exists and is not what this job made: give --overwrite to replace it")
            if known and not joined_tracks(folder):
                reporter.note(f"{output} was finished on {known.finished_at} and is gone: it is made again")
                for row in ledger.segments().values():
                    ledger.forget_segment(row.start, row.stop)
            outcome = Job(clip, folder, workers, spec, ledger, reporter, options).run(clock)
            delete_intermediates(folder)
            return outcome


def recorded_identity(output: Path) -> Mapping[str, str]:
    """Return what the ledger of an output says about how it is computed; empty where it was not begun."""
    path = job_folder(output) / LEDGER
    try:
        if not path.exists():
            return {}
        with Ledger(path) as ledger:
            return identity_in(ledger.fingerprint())
    except (VsrError, OSError):
        return {}  # `run_clip` will say what is wrong with it


def recorded_model(output: Path) -> str | None:
    """Return the name of the model that an output was made by; None where no ledger says it."""
    path = job_folder(output) / LEDGER
    try:
        if not path.exists():
            return None
        with Ledger(path, only_read=True) as ledger:
            known = ledger.finished()
    except (VsrError, OSError):
        return None
    return outcome_of(known).model.partition(" ")[0] or None if known else None


def settings_as_begun(settings: UpscaleConfig, identity: Mapping[str, str], *, with_ray: bool) -> UpscaleConfig:
    """Return the settings with what was chosen for `auto` when a clip was begun; nothing is measured for it again."""
    return as_recorded(settings, identity) if with_ray else as_recorded_here(settings, identity)


def estimate_clip(clip: Inspection, spec: ModelSpec, *, options: RunOptions, reporter: Reporter) -> Estimate:
    """Say what `run_clip` would need, without beginning it: the clip is analysed, and the model timed on a few frames.

    Raises:
        InputError, OutputError, ResourceError: what `run_clip` would refuse before any work.
    """
    header = clip.header
    config = clip.config.model_copy(update={"upscale": as_recorded(clip.config.upscale, spec.identity)})
    refuse_too_large(spec, header, clip.geometry, config)
    analysis = analysed(header, reporter)
    if options.strict:
        refuse_damage(header, analysis)
    footage = footage_of(header, analysis, every_frame=spec.context.every_frame)
    schedule = schedule_of(footage.timeline, origin_ticks=0, frame_rate=constant_rate_of(header, config))
    folder = next(parent for parent in clip.output.absolute().parents if parent.exists())
    segments = tuple(s for s in spec.context.segments(footage.timeline) if schedule.shows(s))
    needed = estimate(spec, clip.geometry, footage, schedule, segments, config, folder)
    refuse_what_cannot_fit(needed, folder)
    return replace(needed, seconds=seconds_needed(footage, clip.geometry, spec, config, reporter))


@contextmanager
def locked(path: Path, message: str) -> Iterator[None]:
    """Hold a lock that ends with the process, however it ends.

    Raises:
        LockedError: another process holds it.
        OutputError, DiskFullError: it cannot be written.
    """
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:  # which is an OSError, too
        raise LockedError(message) from error
    except OSError as error:
        raise write_failure(path, error) from error
    try:
        yield
    finally:
        lock.release()


def _check_fingerprint(ledger: Ledger, clip: Inspection, spec: ModelSpec) -> None:
    """Refuse to continue a job that was begun with anything else; record what a new one is made from."""
    begun = ledger.fingerprint()
    source = clip.source
    if begun is not None:
        recorded = JobSource.recorded(source, begun)
        found = recorded if recorded.is_untouched() else JobSource.of(source)
    else:
        found = JobSource.of(source)
    current = fingerprint_of(found.identity, clip.config, spec.identity)
    if begun is None or (begun != current and not differences(begun, current)):
        ledger.start(current)  # a source that was only touched need not be hashed the next time
    elif changed := differences(begun, current):
        if ledger.attempts():
            raise ChangedError(
                f"the job for {clip.output} was begun with something else ({'; '.join(changed)}): "
                "run as before to continue it, or give --fresh to start over"
            )
        ledger.start(current, anew=True)  # no segment was begun: there is nothing to lose


def _clear(folder: Path) -> None:
    """Forget a job. The ledger goes first: without it, nothing else in the folder counts."""
    for path in (*(folder / f"{LEDGER}{suffix}" for suffix in ("", *JOURNALS)), *joined_tracks(folder)):
        path.unlink(missing_ok=True)
    shutil.rmtree(folder / SEGMENTS, ignore_errors=True)


def _is_published(output: Path, known: FinishedRow, ledger: Ledger) -> bool:
    """Whether the output is there as it was published; one that was only touched is, and its new time is recorded."""
    if known.published.is_untouched(output):
        return True
    if not replace(known.published, sha256=outcome_of(known).output_sha256).is_same_content(output):
        return False
    ledger.save_finished(replace(known, published=FileIdentity.of(output)))
    return True
