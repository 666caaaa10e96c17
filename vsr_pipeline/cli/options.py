"""What the commands share: their options, and how results and failures are printed."""

import dataclasses
import json
import sys
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from vsr_pipeline.errors import Interrupted, UsageError, VsrError

if TYPE_CHECKING:
    from vsr_pipeline.config import Config
    from vsr_pipeline.reporting import Reporter

Item = TypeVar("Item")

RESULTS = Path("results")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON result on stdout.")]
LogFormat = Annotated[Literal["text", "json"], typer.Option(help="Progress on stderr as text or as JSON lines.")]
Results = Annotated[Path, typer.Option(help="Folder of the workspace's results.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="Settings: TOML, or an official mmedit config.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")]
PrintConfig = Annotated[bool, typer.Option("--print-config", help="Print the settings as TOML and stop.")]

Model = Annotated[str | None, typer.Option(help="A name of `vsr models list`, bicubic-x4, or auto.")]
Checkpoint = Annotated[Path | None, typer.Option(help="A checkpoint of RealBasicVSR or BasicVSR.")]
MaxSeqLen = Annotated[int | None, typer.Option(help="Frames that the model holds at once. [default: 30]")]
Windows = Annotated[
    str | None, typer.Option(help="exact, or official: hard cuts every --max-seq-len. [default: exact]")
]
Lookahead = Annotated[int | None, typer.Option(help="Frames after a window that it looks at. [default: 12]")]
SegmentFrames = Annotated[
    int | None, typer.Option(help="Longest part that is recorded as done at once. [default: 300]")
]
RefineThreshold = Annotated[
    float | None, typer.Option(help="Clean again while the mean residue reaches this; 255: once. [default: 5]")
]
Precision = Annotated[str | None, typer.Option(help="auto, fp32, bf16 or fp16. [default: auto]")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps. [default: auto]")]
Quality = Annotated[int | None, typer.Option(help="Of the encoding, 0 to 100 (the best there is). [default: 72]")]
Preset = Annotated[str | None, typer.Option(help="x264's speed, ultrafast to veryslow. [default: medium]")]


def settings_from(config_file: Path | None, reporter: "Reporter", **options: Any) -> "Config":  # noqa: ANN401
    """Read the configuration file, or the default one, and lay the command line's options over it."""
    from vsr_pipeline.config import default_config_path, load_config

    settings = load_config(config_file or default_config_path()).override(**options)
    if config_file and config_file.suffix == ".py" and settings.upscale.refine_threshold >= 255:
        reporter.note(f"{config_file} has dynamic_refine_thres=255: one cleaning pass (--refine-threshold 5 for more)")
    return settings


def each(items: Iterable[Item], action: Callable[[Item], object], as_json: bool) -> int:
    """Do every item whatever becomes of the others; 7 when some of several failed."""
    results: list[object] = []
    codes = []
    for item in items:
        try:
            results.append(action(item))
        except Interrupted:
            raise
        except VsrError as error:
            codes.append(fail(str(error), error.exit_code))
    if as_json:
        print_json([dataclasses.asdict(r) if dataclasses.is_dataclass(r) else r for r in results])  # type: ignore[arg-type]
    else:
        for result in results:
            print(result)
    if not codes:
        return 0
    return codes[0] if len(codes) == 1 and not results else 7


def frame_rate_from(text: str) -> Fraction:
    """Read the value of `--fps`: a number or a fraction."""
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate <= 0:
        raise UsageError(f"--fps {text}: give a positive number or a fraction, such as 25, 29.97 or 30000/1001")
    return rate


def print_json(value: object) -> None:
    """Print a result on stdout; what JSON does not know is printed as text."""
    print(json.dumps(value, indent=1, default=str))


def fail(message: str, code: int) -> int:
    """Print a failure on one line of stderr and return its exit code."""
    print(f"vsr: {' '.join(message.split())}", file=sys.stderr)
    return code
