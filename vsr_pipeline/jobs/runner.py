"""`vsr run`: one clip from file to file, durable: whatever ends it, the same command continues."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from vsr_pipeline.build import BuiltUpscaler
from vsr_pipeline.config import Config
from vsr_pipeline.errors import ChangedError, LockedError, OutputError
from vsr_pipeline.files import make_folder
from vsr_pipeline.jobs.fingerprint import SourceIdentity, differences, fingerprint_of
from vsr_pipeline.jobs.job import (
    SEGMENTS,
    TRACK,
    Clock,
    Job,
    RunOptions,
    analyse_clip,
    delete_intermediates,
    delete_temporaries,
    outcome_of,
)
from vsr_pipeline.jobs.outcome import ClipOutcome
from vsr_pipeline.jobs.preflight import Estimate, estimate, refuse_what_cannot_fit, seconds_needed
from vsr_pipeline.jobs.store import FinishedRow, Ledger
from vsr_pipeline.media.mux import container_for, unfit_streams
from vsr_pipeline.media.probe import probe
from vsr_pipeline.reporting import Reporter
from vsr_pipeline.timeline import VideoInfo
from vsr_pipeline.upscale import SCALE

WORK_FOLDER = ".vsr"
LEDGER = "ledger.sqlite"
LOCK = "lock"


def job_folder(output: Path) -> Path:
    """Return the folder of an output's job: its ledger, its segments, its report."""
    return output.parent / WORK_FOLDER / output.name


def run_clip(
    source: Path, output: Path, config: Config, built: BuiltUpscaler, *, options: RunOptions, reporter: Reporter
) -> ClipOutcome:
    """Enhance a video into `output`, continuing where an earlier run was stopped.

    Raises:
        ChangedError: the job was begun with other settings or another source, and `fresh` is not given.
        InputError: the source cannot be read.
        OutputError: the output exists and is not ours, or cannot be written.
        ResourceError: disk or memory do not suffice.
        LockedError: another run is at work on this output.
    """
    clock = Clock()
    info = check_clip(source, output)
    folder = job_folder(output)
    with locked(make_folder(folder) / LOCK, f"another run is at work on {output}: wait for it"):
        if options.fresh:
            _clear(folder)
        delete_temporaries(folder)
        with Ledger(folder / LEDGER) as ledger:
            _check_fingerprint(ledger, source, config, built, output)
            known = ledger.finished()
            if known and _is_published(output, known):
                delete_intermediates(folder)
                reporter.note(f"{output} is there already")
                return replace(outcome_of(known), status="unchanged", input=source, output=output, computed_frames=0)
            if output.exists() and not options.overwrite:
                raise OutputError(f"{output} exists and is not what this job made: give --overwrite to replace it")
            if known and not (folder / TRACK).exists():
                reporter.note(f"{output} was finished on {known.finished_at} and is gone: it is made again")
                for row in ledger.segments().values():
                    ledger.forget_segment(row.start, row.stop)
            outcome = Job(source, output, folder, info, config, built, ledger, reporter, options).run(clock)
            delete_intermediates(folder)
            return outcome


def estimate_clip(source: Path, output: Path, config: Config, built: BuiltUpscaler, reporter: Reporter) -> Estimate:
    """Say what `run_clip` would need, without beginning it: the clip is analysed, and the model timed on a few frames.

    Raises:
        InputError, OutputError, ResourceError: what `run_clip` would refuse before any work.
    """
    info = check_clip(source, output)
    timeline = analyse_clip(source, info, reporter)
    folder = next(parent for parent in output.absolute().parents if parent.exists())
    needed = estimate(timeline, built.upscaler.plan(timeline), info, config, folder)
    refuse_what_cannot_fit(needed, folder)
    return replace(needed, seconds=seconds_needed(source, timeline, built, config.encode))


@contextmanager
def locked(path: Path, message: str) -> Iterator[None]:
    """Hold a lock that ends with the process, however it ends.

    Raises:
        LockedError: another process holds it.
    """
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise LockedError(message) from error
    try:
        yield
    finally:
        lock.release()


def check_clip(source: Path, output: Path) -> VideoInfo:
    """Look at a source's header, and refuse what cannot be meant, before anything is written.

    Raises:
        InputError: the source cannot be read.
        OutputError: the output is a folder, the source itself, or of a kind that cannot be written.
    """
    info = probe(source)
    if output.is_dir():
        raise OutputError(f"{output} is a folder: give the name of a file, such as {output / container_name(source)}")
    if output.resolve() == source.resolve():
        raise OutputError(f"the output would replace its own source {source}: choose another --output")
    unfit_streams(source, output.suffix)  # raises for a suffix that cannot be written
    return info


def container_name(source: Path) -> str:
    """Return the file name that the enhanced `source` has by default."""
    return f"{source.stem}_x{SCALE}{container_for(source)}"


def _check_fingerprint(ledger: Ledger, source: Path, config: Config, built: BuiltUpscaler, output: Path) -> None:
    """Refuse to continue a job that was begun with anything else; record what a new one is made from."""
    begun = ledger.fingerprint()
    if begun is not None:
        recorded = SourceIdentity.recorded(source, begun)
        identity = recorded if recorded.is_untouched(source) else SourceIdentity.of(source)
    else:
        identity = SourceIdentity.of(source)
    current = fingerprint_of(identity, config, built.identity)
    if begun is None or (begun != current and not differences(begun, current)):
        ledger.start(current)  # a source that was only touched need not be hashed the next time
    elif changed := differences(begun, current):
        raise ChangedError(
            f"the job for {output} was begun with something else ({'; '.join(changed)}): "
            "run as before to continue it, or give --fresh to start over"
        )


def _clear(folder: Path) -> None:
    """Forget a job. The ledger goes first: without it, nothing else in the folder counts."""
    for name in (LEDGER, f"{LEDGER}-wal", f"{LEDGER}-shm", TRACK):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / SEGMENTS, ignore_errors=True)


def _is_published(output: Path, known: FinishedRow) -> bool:
    """Whether the output is there as it was published."""
    try:
        status = output.stat()
    except FileNotFoundError:
        return False
    return (status.st_size, status.st_mtime_ns) == (known.size_bytes, known.modified_ns)
