"""`vsr probe`, `vsr metrics`, `vsr doctor`, `vsr bench`: what is this file, how good is that one, and this machine."""

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vsr_pipeline.cli.early import announce_loading, refuse_missing, refuse_unknown
from vsr_pipeline.cli.help import GroupedCommand
from vsr_pipeline.cli.options import (
    UPSCALE,
    VIDEO_STREAM,
    Given,
    Json,
    LogFormat,
    Overwrite,
    print_json,
    settings_from,
    takes_settings,
)
from vsr_pipeline.errors import UsageError
from vsr_pipeline.runtime.progress import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vsr_pipeline.api import Scores
    from vsr_pipeline.metrics.measure import Measurement

app = typer.Typer(rich_markup_mode=None)


@app.command(cls=GroupedCommand, epilog="Example: vsr probe holiday.mp4")
@takes_settings(VIDEO_STREAM)
def probe(input_path: Annotated[Path, typer.Argument(metavar="INPUT", help="A video.")], given: Given) -> int:
    """Print what a video's header says, as JSON, and which preset suits it by what its first frames show."""
    from vsr_pipeline.runtime.progress import Reporter

    settings = settings_from(given, Reporter())
    refuse_missing(input_path)
    from vsr_pipeline import api

    proposal = api.propose_preset(input_path, settings.input)
    print_json({**dataclasses.asdict(api.probe(input_path, settings.input)), "proposal": dataclasses.asdict(proposal)})
    return 0


@app.command(epilog="Example: vsr report enhanced/holiday_x4.mp4 --open")
def report(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="What a run has made, or the folder of a batch.")],
    in_browser: Annotated[bool, typer.Option("--open", help="Open it in the browser, too.")] = False,
) -> int:
    """Print where the report about an output lies."""
    from vsr_pipeline import api

    page = api.report_of(output)
    print(one_line(str(page)))
    if in_browser:
        import webbrowser

        webbrowser.open(page.absolute().as_uri())
    return 0


@app.command(
    cls=GroupedCommand,
    epilog="Example: vsr metrics original.mp4 results/holiday/holiday_x4.mp4; "
    "without an original: vsr metrics --no-reference results/holiday/holiday_x4.mp4",
)
def metrics(
    reference: Annotated[
        Path,
        typer.Argument(help="The truth: a video or a folder of images. With --no-reference judged as the others."),
    ],
    distorted: Annotated[
        list[Path] | None, typer.Argument(help="What is compared with it; smaller ones are enlarged.")
    ] = None,
    no_reference: Annotated[
        bool,
        typer.Option(
            "--no-reference",
            help="There is no truth: measure NIQE and BRISQUE of all that is named, on 25 frames of each at most.",
        ),
    ] = False,
    naturalness: Annotated[
        bool, typer.Option("--naturalness", help="Measure NIQE and BRISQUE, too, on 25 frames of each at most.")
    ] = False,
    perceptual: Annotated[
        bool,
        typer.Option(
            "--perceptual", help="Measure a perceptual distance, too, on 25 frames at most (extra perceptual)."
        ),
    ] = False,
    vmaf: Annotated[bool, typer.Option(help="Measure VMAF, too: it takes about as long as all the rest.")] = True,
    csv: Annotated[Path | None, typer.Option(help="Write the scores of each frame into this .csv file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the scores of each frame into this .png file.")] = None,
    overwrite: Overwrite = False,
    log_format: LogFormat = "text",
    as_json: Json = False,
) -> int:
    """Compare videos with a reference, or judge them without one.

    Means over the frames. More is better: PSNR in dB and SSIM, on RGB and on luma, VMAF and VMAF-NEG. Less is better:
    temporal flicker, mean squared error (MSE), perceptual distance, NIQE, BRISQUE. NIQE and BRISQUE overrate
    over-sharpened pictures.
    """
    clips = [reference, *(distorted or [])]
    _refuse_incomparable(clips, no_reference=no_reference, perceptual=perceptual)
    from vsr_pipeline import api

    measurements = api.measure(
        None if no_reference else reference,
        clips if no_reference else clips[1:],
        vmaf=vmaf,
        naturalness=naturalness,
        perceptual=api.load_efficientnet_lite0() if perceptual else None,
        csv_file=csv,
        plot_file=plot,
        overwrite=overwrite,
        reporter=api.reporter_for(log_format),
    )
    natural = no_reference or naturalness
    if as_json:
        warning = {"warning": _WARNING} if natural else {}
        print_json([{"distorted": str(m.distorted), **_json_scores(m.scores), **warning} for m in measurements])
    else:
        _print_scores(measurements, fidelity=not no_reference, perceptual=perceptual, natural=natural)
    return 0


def _refuse_incomparable(clips: list[Path], *, no_reference: bool, perceptual: bool) -> None:
    if not no_reference and len(clips) == 1:
        raise UsageError(
            f"{clips[0]} is alone: name what is compared with it, or give --no-reference to judge it by itself"
        )
    if no_reference and perceptual:
        raise UsageError("--perceptual measures how far a clip is from its reference: leave out --no-reference")
    refuse_missing(*clips)


def _print_scores(measurements: "Sequence[Measurement]", *, fidelity: bool, perceptual: bool, natural: bool) -> None:
    """Print a line of means for each video, of the kinds of scores that were measured."""
    columns = (
        *(_FULL_COLUMNS if fidelity else ()),
        *(_PERCEPTUAL_COLUMNS if perceptual else ()),
        *(_NATURAL_COLUMNS if natural else ()),
        *(_SAMPLE_COLUMNS if natural or perceptual else ()),
        _COUNT_COLUMN,
    )
    print(" ".join(f"{title:>{width}}" for _, title, width, _ in columns))
    for m in measurements:
        cells = (_cell(getattr(m.scores, name), width, form) for name, _, width, form in columns)
        print(*cells, f" {one_line(str(m.distorted))}")
    if natural:
        print(_WARNING)


_WARNING = (
    "NIQE and BRISQUE: less is better. They overrate over-sharpened pictures: look at the pictures, and compare with a "
    "reference where there is one."
)
_FULL_COLUMNS = (
    ("psnr_rgb", "PSNR RGB", 8, ".2f"),
    ("psnr_y", "PSNR Y", 6, ".2f"),
    ("ssim_rgb", "SSIM RGB", 8, ".4f"),
    ("ssim_y", "SSIM Y", 6, ".4f"),
    ("vmaf", "VMAF", 6, ".2f"),
    ("vmaf_neg", "VMAF-NEG", 8, ".2f"),
    ("flicker", "flicker", 7, ".3f"),
    ("mse_rgb", "MSE RGB", 7, ".2f"),
    ("mse_y", "MSE Y", 7, ".2f"),
)
"""Field, title, width and format of each column that needs a reference."""
_PERCEPTUAL_COLUMNS = (("perceptual", "perceptual", 10, ".3f"),)
_NATURAL_COLUMNS = (
    ("niqe", "NIQE", 5, ".2f"),
    ("brisque", "BRISQUE", 7, ".2f"),
)
_SAMPLE_COLUMNS = (("sampled_frame_count", "sampled", 7, "d"),)
_COUNT_COLUMN = ("frame_count", "frames", 6, "d")


def _cell(value: float | None, width: int, form: str) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:{width}{form}}"


def _json_scores(scores: "Scores") -> dict[str, object]:
    """Scores for JSON, which has no infinity: the text "inf" stands for it."""
    return {k: "inf" if v == math.inf else v for k, v in dataclasses.asdict(scores).items()}


@app.command(cls=GroupedCommand, epilog="Example: vsr doctor")
def doctor(as_json: Json = False) -> int:
    """Check whether this machine is ready.

    Python, torch and the device, ffmpeg, weights, disk: each with what to do where something is wrong. With --json, no
    path, no name of a machine or a person is in it: for issues.
    """
    from vsr_pipeline import api

    findings = api.examine(Path())
    if as_json:
        print_json([f.to_share() for f in findings])
    else:
        width = max(len(f.subject) for f in findings)
        for f in findings:
            print(f"{f.status:<8} {f.subject:<{width}}  {f}")
    return 1 if any(f.status == "error" for f in findings) else 0


@app.command(
    cls=GroupedCommand,
    epilog="Example: vsr bench --size 160x90 --frames 8, or vsr bench --models bicubic,espcn-x4,fsrcnn-x3@350x197",
)
@takes_settings(UPSCALE)
def bench(
    given: Given,
    models: Annotated[
        str | None, typer.Option(metavar="A,B@WxH", help="Time these instead, beside bicubic; with a size each.")
    ] = None,
    size: Annotated[str, typer.Option(metavar="WxH", help="Size of the LQ frames.")] = "160x90",
    frames: Annotated[int, typer.Option(min=1, help="Length of the clip.")] = 8,
    repeats: Annotated[int, typer.Option(min=1, help="How often each path runs.")] = 5,
    costs: Annotated[
        bool, typer.Option(help="End with what a minute of video takes, for each model that is here.")
    ] = True,
    log_format: LogFormat = "text",
    as_json: Json = False,
) -> int:
    """Measure how fast this machine is.

    The network as it is run here and as one would write it down (eager, fp32), in turns: the ratio of their speeds, how
    near their pixels are, and where the time goes. With --models: seconds a frame of each, and how many times as long
    as bicubic interpolation to the same size that is. Both end with what a minute of video takes.
    """
    from vsr_pipeline.runtime.terminal import reporter_for

    reporter = reporter_for(log_format)
    settings = settings_from(given, reporter)
    width_and_height = _size_from(size)
    names = [text.partition("@")[0] for text in models.split(",")] if models else [settings.upscale.model]
    for name in names:
        refuse_unknown(settings.override(model=name))
    announce_loading(reporter, in_logs=True)
    from vsr_pipeline import api

    if models:
        chosen = [api.ModelAt.parse(text, width_and_height) for text in models.split(",")]
        times = api.bench_models(chosen, settings.upscale, frames=frames, repeats=repeats, reporter=reporter)
        if as_json:
            print_json(dataclasses.asdict(times))
        else:
            print(times)
        return 0
    result = api.bench(
        settings.upscale, settings.encode, size=width_and_height, frames=frames, repeats=repeats, reporter=reporter
    )
    if not as_json:
        print(result, flush=True)
    all_models = api.bench_costs(width_and_height, settings.upscale, reporter=reporter) if costs else None
    if as_json:
        print_json(
            {**dataclasses.asdict(result), "models": dataclasses.asdict(all_models)["models"] if all_models else []}
        )
    elif all_models:
        print(f"\n{all_models.costs}")
    return 0


def _size_from(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise UsageError(f"--size {text}: give width and height in pixels, such as 160x90")
    return int(width), int(height)
