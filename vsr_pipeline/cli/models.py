"""`vsr models`: weights by name."""

import dataclasses
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vsr_pipeline.cli.options import Json, LogFormat, each, help_without_command, print_json
from vsr_pipeline.errors import ModelError

if TYPE_CHECKING:
    from vsr_pipeline.checkpoints.manifest import ModelEntry

app = typer.Typer(help="List, get and check model weights.", rich_markup_mode=None)
app.callback(invoke_without_command=True)(help_without_command)

_HOW = {"download": "pull", "package": "pip", "converted": "pip"}


@app.command("list", epilog="Example: vsr models list")
def list_models(as_json: Json = False) -> None:
    """List the models, what they are for, and which are here."""
    from vsr_pipeline.checkpoints import manifest as weights

    entries = weights.load_manifest()
    if as_json:
        print_json([_facts(entry) for entry in entries])
        return
    default = ""
    with suppress(ModelError):
        default = weights.choose_auto().name
    rows = [("  name", "enlarges", "for", "here", "licence", "about")]
    for entry in entries:
        mark = "*" if entry.name == default else " "
        size = "-" if entry.kind == "face" else f"x{entry.scale}" if not entry.makes_any_size else "any"
        rows.append((f"{mark} {entry.name}", size, ", ".join(entry.tags), _state(entry), entry.licence, entry.note))
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[-1]]))
    print(
        "\n* is what --model auto takes. pull: get it by `vsr models pull NAME`. "
        "pip: `vsr models show NAME` says the package."
    )


@app.command("show", epilog="Example: vsr models show realesrgan-x4plus")
def show(
    name: Annotated[str, typer.Argument(help="A name of `vsr models list`.")],
    as_json: Json = False,
) -> None:
    """Say all that is known of a model: use, licence, origin, hash, where it lies."""
    from vsr_pipeline.checkpoints import manifest as weights

    entry = weights.find(name)
    if as_json:
        print_json(_facts(entry))
        return
    path = weights.locate(entry)
    commercial = "allowed" if entry.commercial_use else "not allowed"
    enlarges = "to any size" if entry.makes_any_size else f"{entry.scale} times, other sizes by --scale"
    use = f"--model {entry.name}"
    if entry.kind == "face":
        enlarges, use = "nothing: it is a step after another model", "--faces gfpgan"
    lines = {
        "name": entry.name,
        "about": entry.note,
        "for": ", ".join(entry.tags),
        "kind": f"{entry.kind}, {entry.architecture}",
        "enlarges": enlarges,
        "licence": f"{entry.licence}, commercial use is {commercial}",
        "source": entry.url or entry.package or entry.source,
        "size": f"{entry.bytes} bytes" if entry.bytes else "",
        "hash": entry.expected_hash if entry.file else "",
        "here": str(path) if path else ("yes" if weights.is_here(entry) else f"no: {entry.how_to_get}"),
        "else": f"{entry.stand_in} is taken" if entry.stand_in and not weights.is_here(entry) else "",
        "use": f"vsr run INPUT --output OUTPUT {use}",
    }
    for title, value in lines.items():
        if value:
            print(f"{title:<9} {value}")


@app.command("pull", epilog="Example: vsr models pull realbasicvsr-x4")
def pull(
    name: Annotated[str, typer.Argument(help="A name of `vsr models list`.")],
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept a licence that forbids commercial use.")
    ] = False,
    log_format: LogFormat = "text",
) -> None:
    """Download weights and check their hash. Run it again to continue after an interruption."""
    from vsr_pipeline.checkpoints import manifest as weights

    # What is refused is refused before anything is loaded.
    weights.refuse_unaccepted(weights.find(name), accepted=accept_licence)
    from vsr_pipeline import api

    print(api.pull_model(name, reporter=api.reporter_for(log_format)))


@app.command("quantize", epilog="Example: vsr models quantize basicvsr-reds4-wheel --on holiday/")
def quantize(
    name: Annotated[str, typer.Argument(help="A name of `vsr models list`, or a file: RealBasicVSR or BasicVSR.")],
    on: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Pictures and videos to measure on. [default: four that come along]"),
    ] = None,
    log_format: LogFormat = "text",
) -> None:
    """Measure what --precision int8 needs to know of a model, once. The models that come along have it."""
    from vsr_pipeline import api

    print(api.quantize(name, on, reporter=api.reporter_for(log_format)))


@app.command("verify", epilog="Example: vsr models verify")
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Names; by default all that are here.")] = None,
) -> int:
    """Check the hashes of the weights that are here."""
    from vsr_pipeline.checkpoints import manifest as weights

    entries = [weights.find(n) for n in names] if names else [e for e in weights.load_manifest() if weights.locate(e)]

    def one(entry: "ModelEntry") -> str:
        return f"{entry.name}: {weights.verified_path(entry.name)} is right"

    if not entries:
        print("no weights are here: see vsr models list")
    return each(entries, one, as_json=False)


def _facts(entry: "ModelEntry") -> dict[str, object]:
    from vsr_pipeline.checkpoints import manifest as weights

    return {**dataclasses.asdict(entry), "here": weights.is_here(entry), "path": weights.locate(entry)}


def _state(entry: "ModelEntry") -> str:
    """Say whether a model is here, or how it is got."""
    from vsr_pipeline.checkpoints import manifest as weights

    return "yes" if weights.is_here(entry) else _HOW.get(entry.source, "no")
