"""`vsr split`, `enhance`, `merge`, `demo`, `metrics`: the stages, and how to judge them."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import typer

from vsr_pipeline.cli.options import (
    RESULTS,
    Checkpoint,
    ConfigFile,
    Device,
    Json,
    LogFormat,
    Lookahead,
    MaxSeqLen,
    Model,
    Overwrite,
    Precision,
    Preset,
    PrintConfig,
    Quality,
    RefineThreshold,
    Results,
    SegmentFrames,
    Windows,
    each,
    frame_rate_from,
    print_json,
    settings_from,
)
from vsr_pipeline.errors import UsageError

app = typer.Typer(rich_markup_mode=None)


@app.command(epilog="Example: vsr split holiday.mp4")
def split(
    videos: Annotated[list[Path] | None, typer.Argument(help="Videos; by default every one in data/.")] = None,
    results: Results = RESULTS,
    log_format: LogFormat = "text",
    as_json: Json = False,
) -> int:
    """Write the frames of videos as PNGs.

    They go to results/NAME/frames/, their timestamps and all that is known of the video to results/NAME/clip.json.
    """
    from vsr_pipeline import api

    reporter = api.reporter_for(log_format)
    chosen = tuple(videos) if videos else api.videos_in(api.DATA)
    api.refuse_equal_stems(chosen)
    return each(chosen, lambda video: api.split(video, results, reporter=reporter), as_json)


@app.command(epilog="Example: vsr enhance results/holiday/frames --max-seq-len 30")
def enhance(
    input_path: Annotated[
        Path | None,
        typer.Argument(metavar="INPUT", help="Frames folder or video; by default every results/*/frames."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for the PNGs; default results/NAME/enhanced.")] = None,
    results: Results = RESULTS,
    config: ConfigFile = None,
    model: Model = None,
    checkpoint: Checkpoint = None,
    max_seq_len: MaxSeqLen = None,
    windows: Windows = None,
    lookahead: Lookahead = None,
    segment_frames: SegmentFrames = None,
    refine_threshold: RefineThreshold = None,
    precision: Precision = None,
    device: Device = None,
    backend: Annotated[
        str | None, typer.Option(help="torch, or mmedit: the official code, see `make reference`. [default: torch]")
    ] = None,
    print_config: PrintConfig = False,
    log_format: LogFormat = "text",
    as_json: Json = False,
) -> int:
    """Make frames four times larger.

    From results/NAME/frames/ to results/NAME/enhanced/. Run it again to continue: what is done is kept.
    """
    from vsr_pipeline import api

    reporter = api.reporter_for(log_format)
    settings = settings_from(
        config,
        reporter,
        model=model,
        checkpoint=checkpoint,
        max_seq_len=max_seq_len,
        windows=windows,
        lookahead=lookahead,
        segment_frames=segment_frames,
        refine_threshold=refine_threshold,
        precision=precision,
        device=device,
        backend=backend,
    )
    if print_config:
        print(settings.to_toml())
        return 0
    if input_path is None and output is not None:
        raise UsageError("--output needs an INPUT: without one, every results/*/frames is enhanced in its own place")
    inputs = (input_path,) if input_path else api.frame_folders_in(results, api.FRAMES)
    return each(
        inputs,
        lambda path: api.enhance(path, output or api.default_output(path, results), settings, reporter=reporter),
        as_json,
    )


@app.command(epilog="Example: vsr merge results/holiday/enhanced --fps 25")
def merge(
    frames: Annotated[Path | None, typer.Argument(help="HR frames; by default every results/*/enhanced.")] = None,
    fps: Annotated[
        str | None, typer.Option(help="Constant frame rate (25, 30000/1001); default: the source's own timestamps.")
    ] = None,
    source: Annotated[Path | None, typer.Option(help="Video to take sound, subtitles and timestamps from.")] = None,
    output: Annotated[Path | None, typer.Option(help="The video; default results/NAME/NAME_x4.mp4.")] = None,
    results: Results = RESULTS,
    config: ConfigFile = None,
    quality: Quality = None,
    preset: Preset = None,
    overwrite: Overwrite = False,
    log_format: LogFormat = "text",
    as_json: Json = False,
) -> int:
    """Make a video of frames.

    Timestamps, sound, subtitles and chapters are the source's.
    """
    from vsr_pipeline import api

    reporter = api.reporter_for(log_format)
    settings = settings_from(config, reporter, quality=quality, preset=preset)
    frame_rate = frame_rate_from(fps) if fps else None
    if frames is None and (output is not None or source is not None):
        raise UsageError("--output and --source need a FRAMES folder: without one, every results/*/enhanced is merged")
    folders = (frames,) if frames else api.frame_folders_in(results, api.ENHANCED)

    def one(folder: Path) -> api.MergeResult:
        return api.merge(
            folder,
            settings,
            results=results,
            output=output,
            source=source,
            frame_rate=frame_rate,
            overwrite=overwrite,
            reporter=reporter,
        )

    return each(folders, one, as_json)


@app.command(epilog="Example: vsr demo holiday.mp4 results/holiday/holiday_x4.mp4 --output demo.mp4")
def demo(
    before: Annotated[Path, typer.Argument(help="The input: a video or a folder of images, of any size.")],
    after: Annotated[Path, typer.Argument(help="The result: a video or a folder of images.")],
    output: Annotated[Path, typer.Option(help="The comparison, an MP4 that browsers play.")],
    interpolation: Annotated[
        Literal["bicubic", "nearest"], typer.Option(help="How the input is enlarged.")
    ] = "bicubic",
    start_frame: Annotated[int | None, typer.Option(help="Frame at which the line begins to slide.")] = None,
    pause_frame: Annotated[int | None, typer.Option(help="Frame at which the picture pauses.")] = None,
    repeats: Annotated[int, typer.Option(help="Sweeps of the line during the pause.")] = 2,
    slide_step: Annotated[int | None, typer.Option(help="Pixels that the line moves per frame.")] = None,
    line_width: Annotated[int | None, typer.Option(help="Width of the line in pixels; 0: none.")] = None,
    fps: Annotated[str | None, typer.Option(help="Frame rate (25, 30000/1001); default: the inputs' own.")] = None,
    label_before: Annotated[str | None, typer.Option(help="Text on the left; empty: none.")] = None,
    label_after: Annotated[str, typer.Option(help="Text on the right; empty: none.")] = "enhanced",
    overwrite: Overwrite = False,
    log_format: LogFormat = "text",
    as_json: Json = False,
) -> int:
    """Make a video that wipes between two clips."""
    from vsr_pipeline import api

    options = api.DemoOptions(
        interpolation=interpolation,
        start_frame=start_frame,
        pause_frame=pause_frame,
        repeats=repeats,
        slide_step=slide_step,
        line_width=line_width,
        frame_rate=frame_rate_from(fps) if fps else None,
        label_before=label_before,
        label_after=label_after,
    )
    reporter = api.reporter_for(log_format)
    return each(
        (output,), lambda path: api.demo(before, after, path, options, overwrite=overwrite, reporter=reporter), as_json
    )


@app.command(epilog="Example: vsr metrics original.mp4 results/holiday/holiday_x4.mp4")
def metrics(
    reference: Annotated[Path, typer.Argument(help="The truth: a video or a folder of images.")],
    distorted: Annotated[list[Path], typer.Argument(help="What is compared with it; smaller ones are enlarged.")],
    as_json: Json = False,
) -> int:
    """Print PSNR and SSIM against a reference.

    PSNR in dB and SSIM, means over the frames, on RGB and on luma.
    """
    from vsr_pipeline import api

    rows = {str(path): api.measure(reference, path) for path in distorted}
    if as_json:
        print_json([{"distorted": name, **dataclasses.asdict(scores)} for name, scores in rows.items()])
        return 0
    print(f"{'PSNR RGB':>9} {'PSNR Y':>7} {'SSIM RGB':>9} {'SSIM Y':>7} {'frames':>7}")
    for name, s in rows.items():
        print(f"{s.psnr_rgb:9.2f} {s.psnr_y:7.2f} {s.ssim_rgb:9.4f} {s.ssim_y:7.4f} {s.frame_count:7d}  {name}")
    return 0
