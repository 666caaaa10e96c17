"""The command `vsr`. Parses, calls the API, prints, sets the exit code. No logic.

Everything heavy is imported inside the commands, so that `vsr --help` answers at once.
"""

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from vsr_pipeline import __version__
from vsr_pipeline.errors import Interrupted, UsageError, VsrError
from vsr_pipeline.stopping import stoppable

if TYPE_CHECKING:
    from vsr_pipeline.config import Config
    from vsr_pipeline.reporting import Reporter

app = typer.Typer(
    name="vsr",
    help="Video super-resolution: the same frames, the same sound, four times larger, cleaned and sharp.",
    epilog="Example: vsr split holiday.mp4 && vsr enhance && vsr merge",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
models_app = typer.Typer(help="List, get and check model weights.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(models_app, name="models", epilog="Example: vsr models pull realbasicvsr-x4")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON result on stdout.")]
LogFormat = Annotated[Literal["text", "json"], typer.Option(help="Progress on stderr as text or as JSON lines.")]
Results = Annotated[Path, typer.Option(help="Folder of the workspace's results.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="Settings: TOML, or an official mmedit config.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")]

RESULTS = Path("results")
Item = TypeVar("Item")


def main() -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command line in this process; returns the exit code. A bug raises its exception."""
    try:
        with stoppable():
            code = app(arguments, prog_name="vsr", standalone_mode=False)
    except VsrError as error:
        return _fail(str(error), error.exit_code)
    except typer.TyperException as error:
        return _fail(f"{error.format_message()} See vsr --help.", UsageError.exit_code)
    except BrokenPipeError:
        # The reader of our output is gone (`vsr probe x | head -1`). Keep Python from flushing into it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code if isinstance(code, int) else 0


def _fail(message: str, code: int) -> int:
    print(f"vsr: {' '.join(message.split())}", file=sys.stderr)
    return code


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(f"vsr {__version__}")
        raise typer.Exit


@app.command(epilog="Example: vsr split holiday.mp4")
def split(
    videos: Annotated[list[Path] | None, typer.Argument(help="Videos; by default every one in data/.")] = None,
    results: Results = RESULTS,
    log_format: LogFormat = "text",
    as_json: Json = False,
) -> int:
    """Write the frames of videos to results/NAME/frames/ and what is known of them to results/NAME/clip.json."""
    from vsr_pipeline import api

    reporter = api.reporter_for(log_format)
    chosen = tuple(videos) if videos else api.videos_in(api.DATA)
    api.refuse_equal_stems(chosen)
    return _each(chosen, lambda video: api.split(video, results, reporter=reporter), as_json)


@app.command(epilog="Example: vsr enhance results/holiday/frames --max-seq-len 30")
def enhance(
    input_path: Annotated[
        Path | None,
        typer.Argument(metavar="INPUT", help="Frames folder or video; by default every results/*/frames."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for the PNGs; default results/NAME/enhanced.")] = None,
    results: Results = RESULTS,
    config: ConfigFile = None,
    model: Annotated[str | None, typer.Option(help="A name of `vsr models list`, bicubic-x4, or auto.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="A checkpoint of RealBasicVSR or BasicVSR.")] = None,
    max_seq_len: Annotated[int | None, typer.Option(help="Frames that the model holds at once. [default: 30]")] = None,
    windows: Annotated[
        str | None, typer.Option(help="exact, or official: hard cuts every --max-seq-len. [default: exact]")
    ] = None,
    lookahead: Annotated[int | None, typer.Option(help="Frames after a window that it looks at. [default: 12]")] = None,
    segment_frames: Annotated[
        int | None, typer.Option(help="Longest part that is recorded as done at once. [default: 300]")
    ] = None,
    refine_threshold: Annotated[
        float | None, typer.Option(help="Clean again while the mean residue reaches this; 255: once. [default: 5]")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32, bf16 or fp16. [default: auto]")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps. [default: auto]")] = None,
    backend: Annotated[
        str | None, typer.Option(help="torch, or mmedit: the official code, see `make reference`. [default: torch]")
    ] = None,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print the settings as TOML and stop.")] = False,
    log_format: LogFormat = "text",
    as_json: Json = False,
) -> int:
    """Make LQ frames four times larger: results/NAME/frames/ to results/NAME/enhanced/."""
    from vsr_pipeline import api

    reporter = api.reporter_for(log_format)
    settings = _settings(
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
    return _each(
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
    crf: Annotated[int | None, typer.Option(help="x264's quality, 0 (lossless) to 51. [default: 14]")] = None,
    preset: Annotated[str | None, typer.Option(help="x264's speed, ultrafast to veryslow. [default: medium]")] = None,
    overwrite: Overwrite = False,
    log_format: LogFormat = "text",
    as_json: Json = False,
) -> int:
    """Make a video of HR frames, with the source's timestamps, sound, subtitles and chapters."""
    from vsr_pipeline import api

    reporter = api.reporter_for(log_format)
    settings = _settings(config, reporter, crf=crf, preset=preset)
    frame_rate = _frame_rate(fps) if fps else None
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

    return _each(folders, one, as_json)


@app.command(epilog="Example: vsr metrics original.mp4 results/holiday/holiday_x4.mp4")
def metrics(
    reference: Annotated[Path, typer.Argument(help="The truth: a video or a folder of images.")],
    distorted: Annotated[list[Path], typer.Argument(help="What is compared with it; smaller ones are enlarged.")],
    as_json: Json = False,
) -> int:
    """Print PSNR (dB) and SSIM of clips against a reference, on RGB and on luma."""
    from vsr_pipeline import api

    rows = {str(path): api.measure(reference, path) for path in distorted}
    if as_json:
        _print_json([{"distorted": name, **dataclasses.asdict(scores)} for name, scores in rows.items()])
        return 0
    print(f"{'PSNR RGB':>9} {'PSNR Y':>7} {'SSIM RGB':>9} {'SSIM Y':>7} {'frames':>7}")
    for name, s in rows.items():
        print(f"{s.psnr_rgb:9.2f} {s.psnr_y:7.2f} {s.ssim_rgb:9.4f} {s.ssim_y:7.4f} {s.frame_count:7d}  {name}")
    return 0


@app.command(epilog="Example: vsr probe holiday.mp4")
def probe(input_path: Annotated[Path, typer.Argument(metavar="INPUT", help="A video.")]) -> None:
    """Print what the header of a video says, as JSON."""
    from vsr_pipeline import api

    _print_json(dataclasses.asdict(api.probe(input_path)))


@app.command(epilog="Example: vsr doctor")
def doctor(as_json: Json = False) -> int:
    """Look at Python, torch, the GPU, ffmpeg, weights and disk, and say what to do where something is wrong."""
    from vsr_pipeline import api

    findings = api.examine(Path())
    if as_json:
        _print_json([dataclasses.asdict(f) for f in findings])
    else:
        width = max(len(f.subject) for f in findings)
        for f in findings:
            print(f"{f.status:<8} {f.subject:<{width}}  {f.found}" + (f"; {f.remedy}" if f.remedy else ""))
    return 1 if any(f.status == "error" for f in findings) else 0


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
    """Make a video that wipes between the input and the result."""
    from vsr_pipeline import api

    options = api.DemoOptions(
        interpolation=interpolation,
        start_frame=start_frame,
        pause_frame=pause_frame,
        repeats=repeats,
        slide_step=slide_step,
        line_width=line_width,
        frame_rate=_frame_rate(fps) if fps else None,
        label_before=label_before,
        label_after=label_after,
    )
    reporter = api.reporter_for(log_format)
    return _each(
        (output,), lambda path: api.demo(before, after, path, options, overwrite=overwrite, reporter=reporter), as_json
    )


@models_app.command("list", epilog="Example: vsr models list")
def models_list(as_json: Json = False) -> None:
    """List the models, what they are for, and which are here."""
    from vsr_pipeline import weights

    rows = [(entry, weights.locate(entry)) for entry in weights.load_manifest()]
    if as_json:
        _print_json([{**dataclasses.asdict(entry), "path": path} for entry, path in rows])
        return
    width = max(len(entry.name) for entry, _ in rows)
    for entry, path in rows:
        print(f"{entry.name:<{width}}  {'here' if path else '-':<4}  {entry.licence}  {entry.note}")


@models_app.command("pull", epilog="Example: vsr models pull realbasicvsr-x4")
def models_pull(
    name: Annotated[str, typer.Argument(help="A name of `vsr models list`.")], log_format: LogFormat = "text"
) -> None:
    """Download weights and check their hash. Run it again to continue after an interruption."""
    from vsr_pipeline import api

    print(api.pull_model(name, reporter=api.reporter_for(log_format)))


@models_app.command("verify", epilog="Example: vsr models verify")
def models_verify(
    names: Annotated[list[str] | None, typer.Argument(help="Names; by default all that are here.")] = None,
) -> int:
    """Check the hashes of the weights that are here."""
    from vsr_pipeline import weights

    entries = [weights.find(n) for n in names] if names else [e for e in weights.load_manifest() if weights.locate(e)]

    def one(entry: weights.ModelEntry) -> str:
        return f"{entry.name}: {weights.verified_path(entry.name)} is right"

    if not entries:
        print("no weights are here: see vsr models list")
    return _each(entries, one, as_json=False)


def _settings(config_file: Path | None, reporter: "Reporter", **options: Any) -> "Config":  # noqa: ANN401
    """Read the configuration file, or the default one, and lay the command line's options over it."""
    from vsr_pipeline.config import default_config_path, load_config

    settings = load_config(config_file or default_config_path()).override(**options)
    if config_file and config_file.suffix == ".py" and settings.upscale.refine_threshold >= 255:
        reporter.note(f"{config_file} has dynamic_refine_thres=255: one cleaning pass (--refine-threshold 5 for more)")
    return settings


def _each(items: Iterable[Item], action: Callable[[Item], object], as_json: bool) -> int:
    """Do every item whatever becomes of the others; 7 when some of several failed."""
    results: list[object] = []
    codes = []
    for item in items:
        try:
            results.append(action(item))
        except Interrupted:
            raise
        except VsrError as error:
            codes.append(_fail(str(error), error.exit_code))
    if as_json:
        _print_json([dataclasses.asdict(r) if dataclasses.is_dataclass(r) else r for r in results])  # type: ignore[arg-type]
    else:
        for result in results:
            print(result)
    if not codes:
        return 0
    return codes[0] if len(codes) == 1 and not results else 7


def _frame_rate(text: str) -> Fraction:
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate <= 0:
        raise UsageError(f"--fps {text}: give a positive number or a fraction, such as 25, 29.97 or 30000/1001")
    return rate


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=1, default=str))
