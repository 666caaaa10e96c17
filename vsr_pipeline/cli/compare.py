"""`vsr compare`: the same moments by several models, to choose by eye."""

import dataclasses
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vsr_pipeline.cli.early import announce_loading, refuse_missing, refuse_unknown_codec, refuse_unknown_steps
from vsr_pipeline.cli.options import (
    ENCODING,
    READING,
    UPSCALE,
    Given,
    Json,
    LogFormat,
    Overwrite,
    print_json,
    settings_from,
    takes_settings,
)
from vsr_pipeline.errors import UsageError

if TYPE_CHECKING:
    from vsr_pipeline.api import Config, Reporter
    from vsr_pipeline.compare.candidates import Candidate
    from vsr_pipeline.compare.options import CompareOptions
    from vsr_pipeline.compare.tool import Comparison

app = typer.Typer(rich_markup_mode=None)

_SIZES = {name: UPSCALE[name] for name in ("scale", "height", "width", "shrink_input")}
_RUNNING = {name: UPSCALE[name] for name in ("precision", "device")}
_ENCODING = {name: ENCODING[name] for name in ("codec", "quality")}


@app.command(
    epilog="Example: vsr compare holiday.mp4 --models bicubic,realbasicvsr-open-x4:cleaning=0.5 -o choice.html"
)
@takes_settings(_SIZES, READING, _ENCODING, _RUNNING)
def compare(
    input_path: Annotated[Path, typer.Argument(metavar="INPUT", help="A video, or a folder of images.")],
    given: Given,
    at: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TIME", help="Show this moment, such as 1:30; repeatable. [default: three that tell much]"
        ),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(
            metavar="A,B:dial=0.5",
            help="These, with dials: cleaning, strength, detail...; or none. [default: usual ones]",
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The page; a .png sheet lies beside it.")] = Path(
        "compare.html"
    ),
    reference: Annotated[
        Path | None, typer.Option(help="What it should look like: measure PSNR, SSIM, MSE and VMAF.")
    ] = None,
    results: Annotated[
        list[Path] | None,
        typer.Option("--result", metavar="FILE", help="Show a video that was made of the clip, too; repeatable."),
    ] = None,
    blind: Annotated[bool, typer.Option("--blind", help="Hide the names until a choice is made.")] = False,
    overwrite: Overwrite = False,
    log_format: LogFormat = "text",
    as_json: Json = False,
) -> int:
    """Show the same moments of a clip by several models, with what each costs for the whole clip.

    A page to open in a browser, and a sheet. Only a part of the picture around each moment is computed.
    """
    from vsr_pipeline.compare.options import CompareOptions, refuse_output
    from vsr_pipeline.runtime.terminal import reporter_for

    reporter = reporter_for(log_format)
    settings = settings_from(given, reporter)
    refuse_missing(input_path, *((reference,) if reference else ()), *(results or ()))
    options = CompareOptions(
        source=input_path,
        output=output,
        candidates=_candidates(models),
        results=tuple(results or ()),
        at=tuple(map(_seconds, at or ())),
        reference=reference,
        blind=blind,
        overwrite=overwrite,
        run_options=tuple(_as_typed(given)),
    )
    for candidate in options.candidates:
        refuse_unknown_steps(candidate.applied_to(settings))
    refuse_unknown_codec(settings)
    refuse_output(options)
    result = _compared(options, settings, reporter)
    print_json(dataclasses.asdict(result)) if as_json else print(result)
    return 0


def _compared(options: "CompareOptions", settings: "Config", reporter: "Reporter") -> "Comparison":
    announce_loading(reporter)
    from vsr_pipeline import api

    return api.compare(options, settings, reporter)


def _candidates(models: str | None) -> "tuple[Candidate, ...]":
    from vsr_pipeline.compare.candidates import parse_candidates, usual_candidates

    if models == "none":
        return ()
    return parse_candidates(models) if models else usual_candidates()


def _seconds(text: str) -> Fraction:
    from vsr_pipeline.config_text import seconds_from

    try:
        return seconds_from(text)
    except ValueError as error:
        raise UsageError(f"--at {text}: {error}") from error


def _as_typed(given: Given) -> list[str]:
    """Return the settings that were given as options again, for a line that is shown."""
    words: list[str] = []
    for name, value in given.items():
        if value is not None and value is not False:
            words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return words
