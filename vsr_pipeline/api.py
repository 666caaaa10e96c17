"""What the command line can do, as typed functions with frozen results. Importing it loads torch and av.

What `vsr run` does not need is imported when its name is used.
"""

import platform
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from vsr_pipeline import __version__
from vsr_pipeline.checkpoints.download import is_url
from vsr_pipeline.checkpoints.reported import local_source, pull_model
from vsr_pipeline.clip.footage import footage_of, look_at
from vsr_pipeline.clip.geometry import size_label
from vsr_pipeline.clip.inspect import analysed, default_suffix, inspect
from vsr_pipeline.config import Config, InputConfig, load_config
from vsr_pipeline.enhance.device import devices_of
from vsr_pipeline.enhance.open_model import note_model, open_model, sizing_of
from vsr_pipeline.errors import InputError, Interrupted, LockedError, OutputError, UsageError, VsrError
from vsr_pipeline.jobs.estimate import Estimate
from vsr_pipeline.jobs.job import Clock, RunOptions
from vsr_pipeline.jobs.report.files import REPORT_HTML, ReportFiles, write_report
from vsr_pipeline.jobs.report.outcome import BatchOutcome, ClipOutcome, Status, WorkerOutcome
from vsr_pipeline.jobs.runner import (
    estimate_clip,
    job_folder,
    recorded_identity,
    recorded_model,
    run_clip,
    settings_as_begun,
)
from vsr_pipeline.jobs.workers.options import WorkerOptions
from vsr_pipeline.jobs.workers.workers import uses_processes, with_default_address, workers_for
from vsr_pipeline.media.images import WRITTEN_SUFFIXES, ImageTarget, image_target, images_of
from vsr_pipeline.media.read.probe import probe
from vsr_pipeline.runtime.log import log_file
from vsr_pipeline.runtime.memory import memory_as_error
from vsr_pipeline.runtime.progress import Reporter, all_of, counted, locked, reported
from vsr_pipeline.runtime.terminal import reporter_for
from vsr_pipeline.stages.workspace import DATA, ENHANCED, FRAMES, frame_folders_in, videos_in

if TYPE_CHECKING:
    from vsr_pipeline.bench import BenchResult, bench
    from vsr_pipeline.bench_models import ModelAt, ModelTimes, bench_costs, bench_models
    from vsr_pipeline.checkpoints.efficientnet_lite0 import load_efficientnet_lite0
    from vsr_pipeline.clip.traits import Proposal
    from vsr_pipeline.compare.tool import Comparison, compare
    from vsr_pipeline.demo import DemoOptions, DemoResult
    from vsr_pipeline.doctor import Finding, examine
    from vsr_pipeline.jobs.batch.batch import batch_status, preview_batch
    from vsr_pipeline.jobs.batch.live import BatchProgress, ClipProgress, progress_of, workers_of
    from vsr_pipeline.jobs.batch.plan import BatchClip, BatchOptions
    from vsr_pipeline.jobs.batch.queue import Queue, open_queue
    from vsr_pipeline.jobs.batch.rows import QueueEvent, QueueRow
    from vsr_pipeline.live.options import LiveOptions
    from vsr_pipeline.live.run import LiveResult
    from vsr_pipeline.live.status import Status as LiveStatus
    from vsr_pipeline.metrics import Scores
    from vsr_pipeline.metrics.measure import measure
    from vsr_pipeline.stages.each import each_picture
    from vsr_pipeline.stages.enhance import EnhanceResult, default_output, enhance
    from vsr_pipeline.stages.merge import MergeResult, merge
    from vsr_pipeline.stages.split import SplitResult, split
    from vsr_pipeline.train.calibrate import quantize

__all__ = [
    "DATA",
    "ENHANCED",
    "FRAMES",
    "BatchClip",
    "BatchOptions",
    "BatchOutcome",
    "BatchProgress",
    "BenchResult",
    "ClipOutcome",
    "ClipProgress",
    "Comparison",
    "Config",
    "DemoOptions",
    "DemoResult",
    "EnhanceResult",
    "Estimate",
    "Finding",
    "ImageTarget",
    "LiveOptions",
    "LiveResult",
    "MergeResult",
    "ModelAt",
    "ModelTimes",
    "Proposal",
    "Queue",
    "QueueEvent",
    "QueueRow",
    "Reporter",
    "RunOptions",
    "Scores",
    "SplitResult",
    "VsrError",
    "WorkerOptions",
    "WorkerOutcome",
    "batch",
    "batch_status",
    "bench",
    "bench_costs",
    "bench_models",
    "compare",
    "default_output",
    "default_target",
    "demo",
    "each_picture",
    "enhance",
    "estimate",
    "examine",
    "frame_folders_in",
    "image_target",
    "job_folder",
    "live",
    "load_config",
    "load_efficientnet_lite0",
    "local_source",
    "measure",
    "merge",
    "open_model",
    "open_queue",
    "preview_batch",
    "probe",
    "progress_of",
    "propose_preset",
    "pull_model",
    "quantize",
    "refuse_equal_stems",
    "report_of",
    "reporter_for",
    "run",
    "split",
    "videos_in",
    "with_default_address",
    "workers_of",
]


_LATER = {
    "vsr_pipeline.bench": "BenchResult bench",
    "vsr_pipeline.bench_models": "ModelAt ModelTimes bench_costs bench_models",
    "vsr_pipeline.checkpoints.efficientnet_lite0": "load_efficientnet_lite0",
    "vsr_pipeline.clip.traits": "Proposal",
    "vsr_pipeline.compare.tool": "Comparison compare",
    "vsr_pipeline.demo": "DemoOptions DemoResult",
    "vsr_pipeline.doctor": "Finding examine",
    "vsr_pipeline.jobs.batch.batch": "batch_status preview_batch",
    "vsr_pipeline.jobs.batch.live": "BatchProgress ClipProgress progress_of workers_of",
    "vsr_pipeline.jobs.batch.plan": "BatchClip BatchOptions",
    "vsr_pipeline.jobs.batch.queue": "Queue open_queue",
    "vsr_pipeline.jobs.batch.rows": "QueueEvent QueueRow",
    "vsr_pipeline.live.options": "LiveOptions",
    "vsr_pipeline.live.run": "LiveResult",
    "vsr_pipeline.metrics": "Scores",
    "vsr_pipeline.metrics.measure": "measure",
    "vsr_pipeline.stages.each": "each_picture",
    "vsr_pipeline.stages.enhance": "EnhanceResult default_output enhance",
    "vsr_pipeline.stages.merge": "MergeResult merge",
    "vsr_pipeline.stages.split": "SplitResult split",
    "vsr_pipeline.train.calibrate": "quantize",
}
_MODULE_OF = {name: module for module, names in _LATER.items() for name in names.split()}

_PROPOSAL_FRAMES = 150
"""Six seconds of most clips."""


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def run(source: Path, output: Path, config: Config, *, options: RunOptions, reporter: Reporter) -> ClipOutcome:
    """Enhance a clip from file to file; see `vsr_pipeline.jobs.runner.run_clip`.

    A report and a log of it are written into the job's folder, also when it fails.
    """
    # Before there is a folder for the log.
    clip = inspect(source, output, config, sizing=sizing_of(config.upscale))
    with_ray = uses_processes(options.workers, config.upscale, reporter)
    settings = settings_as_begun(config.upscale, _begun(output, options), with_ray=with_ray)
    spec = None if with_ray else open_model(settings, allow_cpu=options.allow_cpu)
    folder = job_folder(output)
    clock = Clock()
    crew: tuple[WorkerOutcome, ...] = ()
    with log_file(folder / "run.log", "text") as log:
        both = Reporter(locked(all_of(reporter.sink, log)))
        hired = workers_for(
            settings,
            options.workers,
            spec=spec,
            folder=folder,
            allow_cpu=options.allow_cpu,
            retries=options.retries,
            reporter=both,
        )
        outcome = ClipOutcome(input=source, output=output, status="failed", started_at=clock.started_at)
        try:
            with memory_as_error(source), hired as workers:
                note_model(workers.spec, both)
                try:
                    outcome = run_clip(clip, workers, options=options, reporter=both)
                finally:
                    crew = workers.outcomes()
        except LockedError:
            raise  # the report and the job are another run's
        except (VsrError, Interrupted) as error:
            Reporter(log).note(f"ended with exit code {error.exit_code}: {error}")
            status: Status = "stopped" if isinstance(error, Interrupted) else "failed"
            outcome = replace(outcome, status=status, reason=str(error), exit_code=error.exit_code)
            with suppress(VsrError):  # on a full disk there is no room for it, and the cause is what matters
                _report(outcome, clip.config, clock, folder, crew)
            raise
        if outcome.status == "done":
            both.note(f"report: {_report(outcome, clip.config, clock, folder, crew).html}")
    return outcome


def _begun(output: Path, options: RunOptions) -> Mapping[str, str]:
    return {} if options.fresh else recorded_identity(output)


def _report(
    outcome: ClipOutcome, config: Config, clock: Clock, folder: Path, workers: tuple[WorkerOutcome, ...]
) -> ReportFiles:
    batch = BatchOutcome(
        program=f"vsr {__version__}",
        title=outcome.input.name,
        started_at=clock.started_at,
        elapsed_seconds=clock.elapsed_seconds,
        exit_code=outcome.exit_code,
        clips=(outcome,),
        config_toml=config.to_toml(),
        machine=platform.node(),
        log_file=folder / "run.log",
        workers=workers,
    )
    return write_report(batch, folder)


def batch(folder: Path, output: Path, config: Config, *, options: "BatchOptions", reporter: Reporter) -> BatchOutcome:
    """Enhance a folder of videos, as far as there is work; see `vsr_pipeline.jobs.batch.batch.run_batch`."""
    from vsr_pipeline.jobs.batch.batch import run_batch
    from vsr_pipeline.jobs.batch.on_finish import call_on_finish, program_of

    model = partial(open_model, allow_cpu=options.allow_cpu)
    words = program_of(options.on_finish) if options.on_finish is not None else ()
    code = 1
    clips: tuple[ClipOutcome, ...] = ()
    try:
        outcome = run_batch(folder, output, config, options=options, open_model=model, reporter=reporter)
        code, clips = outcome.exit_code, outcome.clips
        return outcome
    except LockedError:
        words = ()  # the batch that is at work will call it
        raise
    except (VsrError, Interrupted) as error:
        code = error.exit_code
        raise
    finally:
        report = output / REPORT_HTML
        if words and (warning := call_on_finish(words, code, clips, output, report)):
            reporter.warn(warning)


def estimate(source: Path, output: Path, config: Config, *, options: RunOptions, reporter: Reporter) -> Estimate:
    """Say what `run` would need, without beginning it; see `vsr_pipeline.jobs.runner.estimate_clip`."""
    clip = inspect(source, output, config, sizing=sizing_of(config.upscale))
    upscale = config.upscale
    if len(devices := devices_of(upscale.device)) > 1:
        upscale = upscale.model_copy(update={"device": devices[0]})
        reporter.note(f"what follows is for {devices[0]} alone, of {counted(len(devices), 'device')}")
    settings = settings_as_begun(upscale, _begun(output, options), with_ray=False)
    spec = open_model(settings, allow_cpu=options.allow_cpu)
    note_model(spec, reporter)
    return estimate_clip(clip, spec, options=options, reporter=reporter)


def default_target(text: str, config: Config) -> Path:
    """Return where the result goes where nobody says it: beside the input, with the size in its name.

    The name depends on the input and the settings alone, so that the same command continues.

    Args:
        text: the input, as on the command line.
        config: the settings.

    Raises:
        UsageError: the input is an address or a pattern, which lie beside nothing.
        InputError: it cannot be read.
        ModelError: the model is unknown, or its file is missing or damaged.
    """
    path = Path(text)
    if (is_url(text) and not path.exists()) or "%" in path.name:
        raise UsageError(f"{text} needs --output: a file's name, or a folder")
    label = size_label(config.upscale, sizing_of(config.upscale))
    if path.is_file() and images_of(path) is not None:
        suffix = path.suffix if path.suffix.lower() in WRITTEN_SUFFIXES else ".png"
        return path.with_name(f"{path.stem}_{label}{suffix}")
    header = look_at(path, config.input, frame_rate=config.encode.constant_rate)
    stem = path.absolute().name if path.is_dir() else path.stem
    folder = path.absolute().parent if path.is_dir() else path.parent
    return folder / f"{stem}_{label}{default_suffix(header, config)}"


def demo(
    before: Path, after: Path, output: Path, options: "DemoOptions", *, overwrite: bool, reporter: Reporter
) -> "DemoResult":
    """Make the slide-wipe video; see `vsr_pipeline.demo.make_demo`.

    Raises:
        OutputError: `output` exists and `overwrite` is not given; and what `make_demo` raises.
    """
    from vsr_pipeline.demo import make_demo
    from vsr_pipeline.stages.merge import merged_model

    if output.exists() and not overwrite:
        raise OutputError(f"{output} exists: give --overwrite to replace it, or another --output")
    if options.label_after is None:
        options = replace(options, label_after=recorded_model(after) or merged_model(after))
    with ExitStack() as progress:

        def begin(total: int) -> None:
            progress.enter_context(reported(reporter, f"demo {output.name}", total))

        return make_demo(before, after, output, options, on_total=begin, on_frame=partial(reporter.worked, 1.0))


def live(options: "LiveOptions", config: Config, status: "LiveStatus") -> "LiveResult":
    """Show a source larger, now; see `vsr_pipeline.live.run.run_live`."""
    from vsr_pipeline.live.run import run_live

    return run_live(options, config, status)


def propose_preset(source: Path, settings: InputConfig) -> "Proposal":
    """Say which preset suits a clip, by its first frames; see `vsr_pipeline.clip.traits.propose`.

    Raises:
        InputError: it cannot be read.
    """
    from vsr_pipeline.clip.traits import propose

    first = settings.max_frames or _PROPOSAL_FRAMES
    header = look_at(source, settings.model_copy(update={"max_frames": min(first, _PROPOSAL_FRAMES)}))
    return propose(footage_of(header, analysed(header, Reporter())))


def report_of(output: Path) -> Path:
    """Return the page about an output of a run, or about a folder of a batch or one of its outputs.

    Raises:
        InputError: there is none.
    """
    candidates = (output / REPORT_HTML, job_folder(output) / REPORT_HTML, output.parent / REPORT_HTML)
    page = next((page for page in candidates if page.is_file()), None)
    if page is None:
        raise InputError(f"no report of {output}: name the output of a run, or the folder of a batch")
    return page


def refuse_equal_stems(videos: tuple[Path, ...]) -> None:
    """Refuse videos whose results would go to the same folder.

    Raises:
        UsageError: two have the same name but for their folder and suffix.
    """
    stem, count = Counter(video.stem for video in videos).most_common(1)[0]
    if count > 1:
        same = ", ".join(str(video) for video in videos if video.stem == stem)
        raise UsageError(f"{same} would all go to results/{stem}: rename them, or split them one by one with --results")
