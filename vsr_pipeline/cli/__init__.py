"""The command `vsr`. Parses, calls the API, prints, sets the exit code. No logic.

Everything heavy is imported inside the commands, so that `vsr --help` answers at once.
"""

import re
import sys
from itertools import pairwise
from typing import Annotated

import typer

from vsr_pipeline import __version__
from vsr_pipeline.cli import batch, clip, compare, degrade, live, machine, models, queue, serve, stages, train
from vsr_pipeline.cli.options import fail, help_without_command
from vsr_pipeline.cli.streams import guard_standard_streams
from vsr_pipeline.errors import Interrupted, ResourceError, UsageError, VsrError
from vsr_pipeline.runtime.files import refusals_as_errors
from vsr_pipeline.runtime.signals import stoppable

__all__ = ["app", "main", "run"]

app = typer.Typer(
    name="vsr",
    help="Video super-resolution: the same frames, the same sound, larger, cleaned and sharp.",
    epilog="Example: vsr run holiday.mp4 --output holiday_x4.mp4",
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(clip.app)
app.add_typer(batch.app)
app.add_typer(queue.app, name="queue", epilog="Example: vsr queue list --output /media/enhanced")
app.add_typer(stages.app)
app.add_typer(compare.app)
app.add_typer(live.app)
app.add_typer(degrade.app)
app.add_typer(train.app)
app.add_typer(models.app, name="models", epilog="Example: vsr models pull realbasicvsr-x4")
app.add_typer(serve.app)
app.add_typer(machine.app)


_NO_VALUE = re.compile("--[a-z-]+=")
_MAY_BE_EMPTY = frozenset({"--label-before", "--label-after"})


def main() -> None:
    """Run the command line and leave with its exit code."""
    guard_standard_streams()
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command line in this process; returns the exit code. A bug raises its exception."""
    try:
        with stoppable(), refusals_as_errors():
            _refuse_empty(arguments)
            code = app(arguments, prog_name="vsr", standalone_mode=False)
            sys.stdout.flush()
    except (VsrError, Interrupted) as error:
        return fail(str(error), error.exit_code)
    except MemoryError as error:
        return fail(f"memory ran out ({error or 'nothing is left'}): do less at once", ResourceError.exit_code)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "vsr"
        return fail(f"{error.format_message()} See {command} --help.", UsageError.exit_code)
    return code if isinstance(code, int) else 0


def _refuse_empty(arguments: list[str]) -> None:
    """Refuse what would be taken for the current folder: an empty path is a variable that a script did not set."""
    for before, argument in pairwise(["vsr", *arguments]):
        if before in _MAY_BE_EMPTY or argument.removesuffix("=") in _MAY_BE_EMPTY:
            continue
        if argument == "" or _NO_VALUE.fullmatch(argument):
            raise UsageError(f"the argument after {before} is empty" if argument == "" else f"{argument} has no value")


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    if version:
        print(f"vsr {__version__}")
        raise typer.Exit
    help_without_command(context)
