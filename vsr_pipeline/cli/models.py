"""`vsr models`: weights by name."""

import dataclasses
from typing import Annotated

import typer

from vsr_pipeline.cli.options import Json, LogFormat, each, help_without_command, print_json

app = typer.Typer(help="List, get and check model weights.", rich_markup_mode=None)
app.callback(invoke_without_command=True)(help_without_command)


@app.command("list", epilog="Example: vsr models list")
def list_models(as_json: Json = False) -> None:
    """List the models, what they are for, and which are here."""
    from vsr_pipeline.checkpoints import manifest as weights

    entries = weights.load_manifest()
    if as_json:
        print_json([{**dataclasses.asdict(entry), "path": weights.locate(entry)} for entry in entries])
        return
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        here = "here" if weights.is_here(entry) else "-"
        print(f"{entry.name:<{width}}  {here:<4}  {entry.licence}  {entry.note}")


@app.command("pull", epilog="Example: vsr models pull realbasicvsr-x4")
def pull(
    name: Annotated[str, typer.Argument(help="A name of `vsr models list`.")], log_format: LogFormat = "text"
) -> None:
    """Download weights and check their hash. Run it again to continue after an interruption."""
    from vsr_pipeline.checkpoints import manifest as weights

    weights.find(name)  # an unknown one is refused before anything is loaded
    from vsr_pipeline import api

    print(api.pull_model(name, reporter=api.reporter_for(log_format)))


@app.command("verify", epilog="Example: vsr models verify")
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Names; by default all that are here.")] = None,
) -> int:
    """Check the hashes of the weights that are here."""
    from vsr_pipeline.checkpoints import manifest as weights

    entries = [weights.find(n) for n in names] if names else [e for e in weights.load_manifest() if weights.locate(e)]

    def one(entry: weights.ModelEntry) -> str:
        return f"{entry.name}: {weights.verified_path(entry.name)} is right"

    if not entries:
        print("no weights are here: see vsr models list")
    return each(entries, one, as_json=False)
