"""`vsr degrade`: test pairs from any clean video."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from vsr_pipeline.cli.early import refuse_missing
from vsr_pipeline.cli.options import Json, LogFormat, Overwrite, each
from vsr_pipeline.errors import UsageError

app = typer.Typer(rich_markup_mode=None)


@app.command(epilog="Example: vsr degrade clean.mp4 spoiled.mp4 --strength heavy --seed 1")
def degrade(
    input_path: Annotated[Path, typer.Argument(metavar="INPUT", help="A clean video, or a folder of images.")],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="The spoiled video: .mp4 or .mkv.")],
    strength: Annotated[
        Literal["mild", "medium", "heavy"] | None, typer.Option(help="How much. [default: medium]")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same video.")] = 0,
    config: Annotated[
        Path | None, typer.Option(help="TOML whose section [degradation] is used instead of --strength.")
    ] = None,
    overwrite: Overwrite = False,
    log_format: LogFormat = "text",
    as_json: Json = False,
) -> int:
    """Spoil a clean video as real ones are spoiled, at a quarter of its width and height.

    Blur, downscaling, noise and a real H.264 encoder. The same frames at the same times, no sound, stored lossless.
    """
    if config is not None and strength is not None:
        raise UsageError("give --strength or --config, not both: the file says how strong the degradation is")

    def one(path: Path) -> object:
        refuse_missing(path, *((config,) if config is not None else ()))
        from vsr_pipeline.degrade.config import DegradationConfig, load_degradation
        from vsr_pipeline.degrade.tool import degrade_clip
        from vsr_pipeline.runtime.terminal import reporter_for

        degradation = load_degradation(config) if config else DegradationConfig(preset=strength or "medium")
        reporter = reporter_for(log_format)
        return degrade_clip(path, output, degradation, seed=seed, overwrite=overwrite, reporter=reporter)

    return each((input_path,), one, as_json)
