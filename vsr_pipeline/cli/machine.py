"""`vsr probe` and `vsr doctor`: what is this file, and is this machine ready."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from vsr_pipeline.cli.options import Json, print_json

app = typer.Typer(rich_markup_mode=None)


@app.command(epilog="Example: vsr probe holiday.mp4")
def probe(input_path: Annotated[Path, typer.Argument(metavar="INPUT", help="A video.")]) -> None:
    """Print what a video's header says, as JSON."""
    from vsr_pipeline import api

    print_json(dataclasses.asdict(api.probe(input_path)))


@app.command(epilog="Example: vsr doctor")
def doctor(as_json: Json = False) -> int:
    """Check whether this machine is ready.

    Python, torch and the device, ffmpeg, weights, disk: each with what to do where something is wrong.
    """
    from vsr_pipeline import api

    findings = api.examine(Path())
    if as_json:
        print_json([dataclasses.asdict(f) for f in findings])
    else:
        width = max(len(f.subject) for f in findings)
        for f in findings:
            print(f"{f.status:<8} {f.subject:<{width}}  {f.found}" + (f"; {f.remedy}" if f.remedy else ""))
    return 1 if any(f.status == "error" for f in findings) else 0
