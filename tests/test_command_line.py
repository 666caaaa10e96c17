"""The command line, for people: names of outputs, help in groups, what is said at the end."""

import numpy as np
import pytest

from tests.support.clips import images, make_video, times
from vsr_pipeline import cli
from vsr_pipeline.cli.help import GROUPS
from vsr_pipeline.media.images import write_image

QUICK = ["--model", "fsrcnn-small-x2", "--encoder-preset", "ultrafast"]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ([], "a_x2.mp4"),
        (["--scale", "1.5"], "a_x1.5.mp4"),
        (["--height", "72"], "a_72p.mp4"),
        (["--width", "96"], "a_w96.mp4"),
    ],
)
def test_without_a_name_the_output_lies_beside_the_input(workspace, capsys, options, name):
    source = make_video(workspace / "in" / "a.mp4", frames=3, cut=9)
    assert cli.run(["run", str(source), *QUICK, *options]) == 0
    output = source.with_name(name)
    assert times(output) == times(source)
    streams = capsys.readouterr()
    assert f"{output}: 3 frames of" in streams.out
    assert "3 computed now" in streams.out
    assert " kB, 0:" in streams.out
    assert f"to compare: vsr demo {source} {output} --output" in streams.err


def test_the_same_command_finds_its_output_and_other_settings_are_told_the_ways_out(workspace, capsys):
    make_video(workspace / "a.mp4", frames=3, cut=9)
    assert cli.run(["run", "a.mp4", *QUICK]) == 0
    assert cli.run(["run", "a.mp4", *QUICK]) == 0
    assert "a_x2.mp4 is there already" in capsys.readouterr().err
    assert cli.run(["run", "a.mp4", *QUICK, "--quality", "60"]) == 6
    said = capsys.readouterr().err.splitlines()[-1]
    assert "a_x2.mp4 is there, made with other settings: give --fresh --overwrite to make it again, or another" in said
    assert cli.run(["run", "a.mp4", *QUICK, "--quality", "60", "--fresh", "--overwrite"]) == 0


def test_pictures_and_folders_get_names_too(workspace):
    write_image(workspace / "photo.jpg", np.full((12, 16, 3), 90, np.uint8))
    images(workspace / "shots", 3)
    assert cli.run(["run", "photo.jpg", *QUICK[:2]]) == 0
    assert (workspace / "photo_x2.jpg").is_file()
    assert cli.run(["run", "shots", *QUICK]) == 0
    assert len(list(workspace.glob("shots_x2.*"))) == 1


@pytest.mark.parametrize("source", ["https://example.org/a.mp4", "shots/frame_%05d.png"])
def test_what_lies_beside_nothing_needs_a_name(workspace, capsys, source):
    assert cli.run(["run", source, *QUICK, "--allow-url"]) == 2
    assert f"{source} needs --output" in capsys.readouterr().err


def test_a_short_name_for_the_output(workspace):
    make_video(workspace / "a.mp4", frames=2, cut=9)
    assert cli.run(["run", "a.mp4", "-o", "b.mp4", *QUICK]) == 0
    assert (workspace / "b.mp4").is_file()


def test_help_is_in_groups(capsys):
    assert cli.run(["run", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    titles = [line.removesuffix(":") for line in lines if line and not line.startswith((" ", "Usage"))]
    assert titles == ["Arguments", "Options", *(title for title in GROUPS if title != "Which clips, and when")]
    assert cli.run(["batch", "--help"]) == 0
    assert "\nWhich clips, and when:\n" in capsys.readouterr().out


def test_every_grouped_option_is_one_of_a_command():
    import typer

    commands = typer.main.get_command(cli.app).commands
    known = {parameter.name for name in ("run", "batch") for parameter in commands[name].params}
    assert {name for names in GROUPS.values() for name in names} <= known


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run"], "Missing argument 'INPUT'. See vsr run --help."),
        (["models", "pull"], "Missing argument 'name'. See vsr models pull --help."),
        (["run", "a.mp4", "--colour", "red"], "See vsr run --help."),
        (["rnu"], "See vsr --help."),
    ],
)
def test_a_mistake_points_to_the_help_of_its_command(capsys, words, message):
    assert cli.run(words) == 2
    assert capsys.readouterr().err.strip().endswith(message)
