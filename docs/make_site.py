"""Collect what the site is made of: the pages of this repository, and the reference, which the program itself knows.

    python docs/make_site.py build/site

Files keep their places, so that a link that works in the repository works on the site.
"""

import re
import shutil
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.core import TyperCommand, TyperGroup

from vsr_pipeline import cli
from vsr_pipeline.cli.help import options_in_groups
from vsr_pipeline.config import Config, load_config

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "NOTICE", "LICENSE", "benchmarks/RESULTS.md", "data/README.md")
FOLDERS = {"docs": ("*.md", "*.webp", "*.png", "cluster/*"), "checkpoints": ("*.md",), "configs": ("*.toml",)}

_PYTHON = """# Python API

Every name of `import vsr_pipeline as vsr`. [The guide](../python.md) has examples.

::: vsr_pipeline.library
    options:
      members: [open_model, run, Model]
      show_root_toc_entry: false

## What became of a clip

::: vsr_pipeline.jobs.report.outcome.ClipOutcome
    options:
      heading_level: 3

## Failures

::: vsr_pipeline.errors
    options:
      heading_level: 3
      show_root_toc_entry: false
"""


def make(target: Path) -> None:
    """Write all sources of the site into a folder, which is made anew."""
    shutil.rmtree(target, ignore_errors=True)
    files = [ROOT / page for page in PAGES]
    files += [
        path for folder, patterns in FOLDERS.items() for pattern in patterns for path in (ROOT / folder).glob(pattern)
    ]
    for path in files:
        copy = target / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    reference = target / "docs" / "reference"
    reference.mkdir()
    (reference / "commands.md").write_text(commands_page(), encoding="utf-8")
    (reference / "settings.md").write_text(settings_page(), encoding="utf-8")
    (reference / "python.md").write_text(_PYTHON, encoding="utf-8")


def commands_page() -> str:
    """Return every command with its arguments and options, as `--help` has them."""
    lines = ["# Commands", "", "Made from the program: the same as `--help`.", ""]
    for words, command in sorted(_commands(typing.cast("TyperGroup", typer.main.get_command(cli.app)), ("vsr",))):
        lines += [f"## {' '.join(words)}", "", *_paragraphs(command.help or ""), ""]
        context = typer.Context(command, info_name=" ".join(words))
        usage = command.get_usage(context).removeprefix("Usage: ")
        lines += ["```", " ".join(usage.split()), "```", ""]
        for title, records in options_in_groups(command, context).items():
            lines += [f"**{title}**", "", "| name | what it is for |", "|---|---|"]
            lines += [f"| {_code(name)} | {_cell(text)} |" for name, text in records if name != "--help"]
            lines.append("")
        if command.epilog:
            lines += [command.epilog.replace("Example: ", "Example: `", 1) + "`", ""]
    return "\n".join(lines)


def settings_page() -> str:
    """Return every setting of a configuration file, from the models that read it."""
    lines = [
        "# Settings",
        "",
        "Every key of the TOML file that `--config` takes, from the models that check it. An unknown key is refused.",
        "Options of the command line go before it, and `vsr run INPUT --print-config` prints what counts.",
        "",
    ]
    default = load_config(ROOT / "configs" / "realbasicvsr_x4.toml")
    for name, field in Config.model_fields.items():
        lines += _section(name, typing.cast("type[BaseModel]", field.annotation), getattr(default, name))
    return "\n".join(lines)


def _section(name: str, model: type[BaseModel], default: BaseModel) -> list[str]:
    lines = [f"## [{name}]", "", model.__doc__ or "", "", "| key | default | allowed | |", "|---|---|---|---|"]
    inner: list[str] = []
    for key, field in model.model_fields.items():
        value = getattr(default, key)
        if isinstance(value, BaseModel):
            inner += _section(f"{name}.{key}", type(value), value)
            continue
        shown = "" if value is None or value == () or value == {} else f"`{_toml(value)}`"
        lines.append(f"| `{key}` | {shown} | {_cell(_allowed(field))} | {_cell(field.description or '')} |")
    return [*lines, "", *inner]


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(list(value) if isinstance(value, tuple) else value)


def _allowed(field: FieldInfo) -> str:
    """Say in words what a field's type and its bounds allow."""
    bounds = {}
    for bound in field.metadata:
        for sign, attribute in (("from", "ge"), ("above", "gt"), ("to", "le"), ("below", "lt")):
            if getattr(bound, attribute, None) is not None:
                bounds[sign] = getattr(bound, attribute)
    return " ".join([_type(field.annotation), *(f"{sign} {value:g}" for sign, value in bounds.items())])


def _type(annotation: object) -> str:
    names = {int: "whole number", float: "number", str: "text", bool: "true or false", Path: "path", types.NoneType: ""}
    if annotation in names:
        return names[typing.cast("type", annotation)]
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if typing.get_origin(annotation) is tuple:
        return f"list of {_type(arguments[0])}"
    if typing.get_origin(annotation) is dict:
        return "table of texts"
    return " or ".join(filter(None, map(_type, arguments)))


def _commands(
    command: TyperCommand | TyperGroup, words: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], TyperCommand]]:
    if isinstance(command, TyperCommand):
        yield words, command
        return
    for name, inner in command.commands.items():
        yield from _commands(typing.cast("TyperCommand | TyperGroup", inner), (*words, name))


def _paragraphs(text: str) -> list[str]:
    return [_linked(line.strip()) for line in text.strip().splitlines()]


def _code(text: str) -> str:
    return f"`{text.strip()}`".replace("|", "\\|")


def _cell(text: str) -> str:
    escaped = " ".join(text.split()).replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;").replace("[", "\\[")
    return _linked(escaped)


def _linked(text: str) -> str:
    """Make links of the pages that a help text names, such as docs/overnight.md."""
    return re.sub(r"docs/([\w-]+)\.md", r"[\1.md](../\1.md)", text)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
