"""The command line as a person meets it: help, mistakes, exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from tests.support.bad_inputs import FAILING_COMMANDS
from tests.support.clips import images
from vsr_pipeline import cli

COMMANDS = ["split", "enhance", "merge", "demo", "metrics", "probe", "doctor", "bench", "models list", "models pull"]


@pytest.mark.parametrize("command", [*COMMANDS, "models verify", "models"])
def test_help_shows_an_example(capsys, command):
    assert cli.run([*command.split(), "--help"]) == 0
    assert f"Example: vsr {command}" in capsys.readouterr().out


@pytest.mark.parametrize("group", ["", "models"])
def test_no_command_shows_the_help(capsys, group):
    assert cli.run(group.split()) == 2
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("  list  " if group else "  batch  ") for line in lines)


def test_version(capsys):
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("vsr 0.")


@pytest.mark.parametrize(("arguments", "code", "message"), FAILING_COMMANDS)
def test_bad_input_is_one_line_and_the_documented_code(bad_inputs, capsys, monkeypatch, arguments, code, message):
    monkeypatch.setenv("VSR_CHECKPOINTS", str(bad_inputs / "checkpoints"))
    before = sorted(bad_inputs.rglob("*"))
    assert cli.run(arguments.split()) == code
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("vsr: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in captured.err
    assert captured.out == ""
    made = [p for p in sorted(bad_inputs.rglob("*")) if p not in before and p.is_file()]
    assert made == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "clip.mp4", "--output", ""], "the argument after --output is empty"),
        (["run", "clip.mp4", "--output="], "--output= has no value"),
        (["batch", ""], "the argument after batch is empty"),
        (["demo", "a.mp4", "", "--output", "d.mp4", "--label-before", ""], "the argument after a.mp4 is empty"),
    ],
)
def test_a_variable_that_is_not_set_is_not_the_current_folder(capsys, arguments, message):
    assert cli.run(arguments) == 2
    assert capsys.readouterr().err == f"vsr: {message}\n"


def test_ctrl_c_while_the_program_is_still_being_loaded():
    program = """
import sys
class Interrupting:
    def find_spec(name, *_):
        if name == "typer":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupting)
from vsr_pipeline.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_results(bad_inputs, capsys):
    (bad_inputs / "results").mkdir(mode=0o500)
    assert cli.run(["enhance", "good", "--model", "bicubic-x4"]) == 6
    assert "cannot write" in capsys.readouterr().err


def test_print_config_can_be_used_again(workspace, capsys):
    assert cli.run(["enhance", "--max-seq-len", "9", "--print-config"]) == 0
    printed = capsys.readouterr().out
    (workspace / "mine.toml").write_text(printed)
    assert cli.run(["enhance", "--config", "mine.toml", "--print-config"]) == 0
    assert capsys.readouterr().out == printed
    assert "max_seq_len = 9" in printed


def test_doctor_knows_this_machine(workspace, capsys):
    assert cli.run(["doctor", "--json"]) in (0, 1)
    findings = {f["subject"]: f for f in json.loads(capsys.readouterr().out)}
    assert findings["python"]["status"] == "ok"
    assert findings["ffmpeg"]["status"] == "ok"
    assert "libx264" in findings["ffmpeg"]["found"]
    assert {"torch", "device", "disk", "model auto"} <= findings.keys()
    assert "SD in windows of" in findings["memory"]["found"]


def test_json_is_the_only_thing_on_stdout(workspace, capsys):
    images(workspace / "clip" / "frames", 3)
    assert cli.run(["enhance", "clip/frames", "--model", "bicubic-x4", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert result["frame_count"] == 3
    assert result["output"] == "clip/enhanced"


@pytest.mark.skipif(os.name == "nt", reason="descriptors are closed and reserved as POSIX has it")
def test_work_goes_on_when_nobody_listens(workspace):
    """stdin and stdout are closed, and whoever read stderr is gone: the work is done all the same."""
    images(workspace / "clip" / "frames", 3)
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "vsr_pipeline", "enhance", "clip/frames", "--model", "bicubic-x4", "--json"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(command, env=environment, stderr=writer, preexec_fn=lambda: os.closerange(0, 2), check=False)
    os.close(writer)
    assert done.returncode == 0
    assert len(list((workspace / "clip" / "enhanced").glob("*.png"))) == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_result_that_cannot_be_written_is_a_failure(workspace):
    command = [sys.executable, "-m", "vsr_pipeline", "models", "list", "--json"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 5
    assert done.stderr.startswith("vsr: no space left while writing the result")
    assert len(done.stderr.splitlines()) == 1


TOO_LONG = "x" * 300


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (f"run {TOO_LONG}.mp4 --output x.mp4", 3),
        (f"run clip --output {TOO_LONG}.mp4", 6),
        (f"enhance {TOO_LONG} --output e", 3),
        (f"merge {TOO_LONG} --fps 5", 3),
        (f"demo clip clip --output {TOO_LONG}.mp4", 6),
        (f"metrics clip clip --no-vmaf --csv {TOO_LONG}.csv", 6),
        (f"batch . --output {TOO_LONG}", 6),
        (f"batch --status --output {TOO_LONG}", 6),
    ],
)
def test_a_name_that_the_file_system_refuses_is_one_line(workspace, capsys, arguments, code):
    images(workspace / "clip")
    assert cli.run(arguments.split()) == code
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("vsr: ")]
    assert "name too long" in line


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGHUP, 129, marks=pytest.mark.nightly)]
)
def test_stopping_leaves_nothing_half_done(workspace, number, code):
    """The frames of a stopped run are whole, no temporary is left, and the same command does the rest."""
    images(workspace / "clip" / "frames", 100, 160, 120)
    arguments = ["enhance", "clip/frames", "--model", "bicubic-x4"]
    command = [sys.executable, "-m", "vsr_pipeline", *arguments]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    # Under `nohup`, of the tests, the program would ignore SIGHUP, as it should.
    heeding = partial(signal.signal, number, signal.SIG_DFL)
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, preexec_fn=heeding)
    enhanced = workspace / "clip" / "enhanced"
    deadline = time.monotonic() + 60
    while len(list(enhanced.glob("0*.png"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=10)
    assert process.returncode == code
    assert stderr.splitlines()[-1].startswith("vsr: ")
    assert "Traceback" not in stderr
    assert [p for p in enhanced.iterdir() if p.name.startswith(".")] == []
    assert len(list(enhanced.glob("*.png"))) < 100
    assert cli.run(arguments) == 0
    assert len(list(enhanced.glob("*.png"))) == 100


def test_a_long_native_call_does_not_hold_up_stopping(workspace):
    """The main thread may be inside one convolution for minutes; the process still ends soon, without temporaries."""
    program = """
import time, signal, sys
from pathlib import Path
from vsr_pipeline.runtime.files import published
from vsr_pipeline.runtime.signals import stoppable
from vsr_pipeline.errors import Interrupted
import torch

try:
    with stoppable(), published(Path("out.bin")) as temporary:
        temporary.write_bytes(b"x")
        picture, kernels = torch.zeros(1, 256, 700, 700), torch.zeros(256, 256, 15, 15)
        print("ready", flush=True)
        torch.nn.functional.conv2d(picture, kernels)
except Interrupted as stopped:  # on a busy machine the signal may come before the call
    print(stopped, file=sys.stderr)
    sys.exit(stopped.exit_code)
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    process = subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.5)
    process.terminate()
    _, stderr = process.communicate(timeout=8)
    assert process.returncode == 143
    assert "stopped as asked" in stderr
    assert list(workspace.iterdir()) == []
