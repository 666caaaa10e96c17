"""`vsr train`: a model of one's own."""

from pathlib import Path
from typing import Annotated

import typer

from vsr_pipeline.cli.early import announce_loading, refuse_missing
from vsr_pipeline.cli.options import Json, LogFormat, each

app = typer.Typer(rich_markup_mode=None)


@app.command(epilog="Example: vsr train configs/train_open_x4_finetune.toml --output runs/mine")
def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Settings of the run: TOML, see docs/training.md.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for checkpoints, weights and curves.")],
    resume: Annotated[bool, typer.Option("--resume", help="Fail unless there is a run to continue.")] = False,
    minutes: Annotated[float | None, typer.Option(help="Time limit, in place of the config's max_minutes.")] = None,
    log_format: LogFormat = "text",
    as_json: Json = False,
) -> int:
    """Train RealBasicVSR.

    A run that the folder holds already is continued, whatever ended it. Ctrl-C saves first.
    """

    def one(path: Path) -> object:
        refuse_missing(path)
        from vsr_pipeline.runtime.terminal import reporter_for
        from vsr_pipeline.train.config import load_run_config

        settings = load_run_config(path).with_minutes(minutes)
        reporter = reporter_for(log_format)
        announce_loading(reporter)
        from vsr_pipeline.train.loop import train as run

        return run(settings, output, must_resume=resume, reporter=reporter)

    return each((config,), one, as_json)
