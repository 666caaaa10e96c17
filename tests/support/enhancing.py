"""Runs `vsr run` in this process, and makes small source files by ffmpeg."""

import contextlib
import io
import json
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from vsr_pipeline.cli import run
from vsr_pipeline.media.ffmpeg import ffmpeg_binary

H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
LOSSLESS = ("-c:v", "ffv1")


@dataclass(frozen=True, slots=True)
class Enhanced:
    """What a run gave. `clip` is its JSON result, empty where it failed; `said` is all that went to stderr."""

    code: int
    output: Path
    clip: dict
    said: str

    @property
    def notes(self) -> str:
        """Everything that the report says of the clip beyond numbers, in one text."""
        return "\n".join([*self.clip.get("warnings", []), *self.clip.get("notes", [])])

    @property
    def reason(self) -> str:
        """Why it failed: the one line on stderr."""
        lines = [line for line in self.said.splitlines() if line.startswith("vsr: ")]
        assert len(lines) == 1, f"{len(lines)} lines instead of one: {self.said}"
        return lines[0]


def enhance(source: Path, output: Path, *options: str) -> Enhanced:
    """Enhance a file by `bicubic-x4`, fast."""
    fast = [] if "--encoder-preset" in options or "--codec" in options else ["--encoder-preset", "ultrafast"]
    command = ["run", "--output", str(output), "--model", "bicubic-x4", "--json", *fast, *options, "--", str(source)]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(command)
    clip = json.loads(out.getvalue())[0] if code == 0 else {}
    return Enhanced(code, output, clip, err.getvalue())


def make(path: Path, *arguments: str, stdin: bytes = b"") -> Path:
    """Write a file by ffmpeg."""
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [str(ffmpeg_binary()), "-v", "error", "-y", *arguments, f"file:{path}"]
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return path


def picture(size="64x48", rate="24", frames=6, source="testsrc2"):
    """ffmpeg's options for a synthetic picture as an input."""
    return ("-f", "lavfi", "-t", str(float(frames / Fraction(rate))), "-i", f"{source}=size={size}:rate={rate}")


def tone(seconds=0.25, frequency=440):
    """ffmpeg's options for a sound as an input."""
    return ("-f", "lavfi", "-i", f"sine=frequency={frequency}:sample_rate=44100:duration={seconds}")


def ran(source: Path, folder: Path, *options: str, suffix=".mp4") -> Enhanced:
    """Enhance what must work."""
    result = enhance(source, folder / f"out{suffix}", *options)
    assert result.code == 0, result.said
    return result
