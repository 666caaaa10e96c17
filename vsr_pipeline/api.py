"""What the command line can do, as typed functions with frozen results. Importing it loads torch and av."""

from collections import Counter
from functools import partial
from pathlib import Path

from vsr_pipeline.config import Config, load_config
from vsr_pipeline.demo import DemoOptions, DemoResult, make_demo
from vsr_pipeline.doctor import Finding, examine
from vsr_pipeline.download import pull
from vsr_pipeline.errors import OutputError, UsageError, VsrError
from vsr_pipeline.measure import measure
from vsr_pipeline.media.probe import probe
from vsr_pipeline.metrics import Scores
from vsr_pipeline.reporting import Reporter, SilentReporter, reported, reporter_for
from vsr_pipeline.stages.enhance import EnhanceResult, default_output, enhance
from vsr_pipeline.stages.merge import MergeResult, merge
from vsr_pipeline.stages.split import SplitResult, split
from vsr_pipeline.weights import checkpoints_folder, find
from vsr_pipeline.workspace import DATA, ENHANCED, FRAMES, frame_folders_in, videos_in

__all__ = [
    "DATA",
    "ENHANCED",
    "FRAMES",
    "Config",
    "DemoOptions",
    "DemoResult",
    "EnhanceResult",
    "Finding",
    "MergeResult",
    "Reporter",
    "Scores",
    "SilentReporter",
    "SplitResult",
    "VsrError",
    "default_output",
    "demo",
    "enhance",
    "examine",
    "frame_folders_in",
    "load_config",
    "measure",
    "merge",
    "probe",
    "pull_model",
    "refuse_equal_stems",
    "reporter_for",
    "split",
    "videos_in",
]


def demo(
    before: Path, after: Path, output: Path, options: DemoOptions, *, overwrite: bool, reporter: Reporter
) -> DemoResult:
    """Make the slide-wipe video; see `vsr_pipeline.demo.make_demo`.

    Raises:
        OutputError: `output` exists and `overwrite` is not given; and what `make_demo` raises.
    """
    if output.exists() and not overwrite:
        raise OutputError(f"{output} exists: give --overwrite to replace it, or another --output")
    try:
        return make_demo(
            before,
            after,
            output,
            options,
            on_total=partial(reporter.started, f"demo {output.name}"),
            on_frame=partial(reporter.worked, 1.0),
        )
    finally:
        reporter.finished()


def pull_model(name: str, *, reporter: Reporter) -> Path:
    """Download the weights of a model and return their file; see `vsr_pipeline.download.pull`."""
    entry = find(name)
    megabyte = 1e6
    before = 0
    with reported(reporter, f"pull {entry.name}", round((entry.bytes or 0) / megabyte), "MB"):

        def on_progress(received: int, _total: int | None) -> None:
            nonlocal before
            reporter.worked((received - before) / megabyte)
            before = received

        return pull(entry, folder=checkpoints_folder(), on_progress=on_progress)


def refuse_equal_stems(videos: tuple[Path, ...]) -> None:
    """Refuse videos whose results would go to the same folder.

    Raises:
        UsageError: two have the same name but for their folder and suffix.
    """
    stem, count = Counter(video.stem for video in videos).most_common(1)[0]
    if count > 1:
        same = ", ".join(str(video) for video in videos if video.stem == stem)
        raise UsageError(f"{same} would all go to results/{stem}: rename them, or split them one by one with --results")
