"""`vsr doctor`: is this machine ready, and what to do where it is not."""

import math
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from vsr_pipeline.checkpoints import manifest as weights
from vsr_pipeline.checkpoints.ranges import ranges_beside
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.choice import fastest
from vsr_pipeline.enhance.device import choose_device, describe
from vsr_pipeline.enhance.memory import allowed_bytes, amount, first_that_fits, same_memory
from vsr_pipeline.enhance.open_model import open_model
from vsr_pipeline.enhance.precision import Candidate, candidates_for, int8_candidate
from vsr_pipeline.errors import VsrError
from vsr_pipeline.media.ffmpeg import encoders, ffmpeg_binary
from vsr_pipeline.media.write.encoders import available_codecs
from vsr_pipeline.models.winograd import winograd_library
from vsr_pipeline.timeline import ClipSize

_NEEDED_ENCODERS = ("libx264",)
_LOW_DISK_BYTES = 10 * 1024**3
_COMMON_SIZES = {"SD": (720, 576), "HD": (1280, 720), "Full HD": (1920, 1080), "4K": (3840, 2160)}
_LONG_CLIP_FRAMES = 1000
_CHANNELS = 64
_ABSOLUTE = re.compile(r"(?<![\w.:/\\])(?:[A-Za-z]:)?[/\\](?:[^\s/\\,;:'\"]+[/\\])*([^\s/\\,;:'\"]+)")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    status: Literal["ok", "warning", "error"]
    found: str
    remedy: str = ""
    where: Path | None = None
    """Its file or folder."""

    def to_share(self) -> dict[str, str]:
        """Return it for an issue that everybody can read: of paths, nothing but their last names is in it."""
        return {
            "subject": self.subject,
            "status": self.status,
            "found": _without_folders(self.found),
            "remedy": _without_folders(self.remedy),
        }

    def __str__(self) -> str:
        at = f" ({self.where})" if self.where is not None else ""
        return f"{self.found}{at}" + (f"; {self.remedy}" if self.remedy else "")


def examine(workspace: Path) -> tuple[Finding, ...]:
    """Look at Python, torch, its device and memory, ffmpeg, encoders, weights, the disk of `workspace`.

    Never raises `VsrError`.
    """
    choice = cache(_choice)
    checks: tuple[tuple[str, Callable[[], list[Finding]]], ...] = (
        ("python", _python),
        ("torch", lambda: _torch(choice)),
        ("memory", lambda: _memory(choice)),
        ("ffmpeg", _ffmpeg),
        ("codecs", _codecs),
        ("weights", _weights),
        ("disk", lambda: _disk(workspace)),
    )
    findings: list[Finding] = []
    for subject, check in checks:
        try:
            findings += check()
        except VsrError as error:
            findings.append(Finding(subject, "error", str(error)))
    return tuple(findings)


def _python() -> list[Finding]:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    old = sys.version_info < (3, 11)
    return [Finding("python", "error" if old else "ok", found, "install Python 3.11 or newer" if old else "")]


def _choice() -> tuple[Candidate, str]:
    """Return what `--precision auto` means here for a network of the usual size, and why."""
    device = choose_device("auto")
    candidates = list(candidates_for(device))
    if (in_int8 := int8_candidate(device)) is not None and _default_has_ranges():
        candidates.append(in_int8)
    return fastest(UpscaleConfig(), device, _CHANNELS, psnr_of=lambda _: math.inf, candidates=candidates)


def _default_has_ranges() -> bool:
    """Whether the model that runs by default can be computed in int8."""
    try:
        path = weights.locate(weights.choose_auto())
    except VsrError:
        return False
    return path is not None and ranges_beside(path).is_file()


def _torch(choice: Callable[[], tuple[Candidate, str]]) -> list[Finding]:
    import torch

    device = choose_device("auto")
    taken, why = choice()
    findings = [
        Finding("torch", "ok", str(torch.__version__)),
        Finding("device", "ok", f"{describe(device)}, computes in {taken.precision}"),
        Finding("precision", "ok", why),
    ]
    if device.type == "cpu":
        cuda = torch.version.cuda
        remedy = (
            "a GPU is many times faster; if there is one, look at its driver with nvidia-smi"
            if cuda
            else "a GPU is many times faster; if there is one, install the CUDA build of torch"
        )
        if taken.precision == "fp32" and winograd_library() is None:
            remedy = f"pip install 'vsr-pipeline[ncnn]' for faster convolutions in fp32; {remedy}"
        findings[1] = Finding("device", "warning", findings[1].found, remedy)
    return findings


def _memory(choice: Callable[[], tuple[Candidate, str]]) -> list[Finding]:
    """What free memory is enough for: for each size of video the first variant of the default model that fits."""
    device = choose_device("auto")
    allowed = allowed_bytes(None, device)
    if allowed is None:
        return [Finding("memory", "ok", "the system does not say how much is free: see --memory-limit")]
    taken, _ = choice()
    settings = UpscaleConfig(precision=taken.precision, convolutions=taken.convolutions)
    try:
        variants = same_memory(open_model(settings).variants)
    except VsrError:
        return []  # what is wrong with the weights is another finding
    fitting = {}
    for name, (width, height) in _COMMON_SIZES.items():
        clip = ClipSize(width, height, _LONG_CLIP_FRAMES)
        level = first_that_fits([variant.memory_bytes(clip) for variant in variants], allowed)
        if level is not None:
            fitting[name] = variants[level].description
    found = f"{amount(allowed)} may be taken" + (" of the GPU's" if device.type != "cpu" else "")
    if not fitting:
        remedy = "close other programs; videos of less than SD size may fit"
        return [Finding("memory", "warning", f"{found}, not enough for SD", remedy)]
    return [Finding("memory", "ok", f"{found}: " + ", ".join(f"{name} in {way}" for name, way in fitting.items()))]


def _ffmpeg() -> list[Finding]:
    available = encoders()
    binary = ffmpeg_binary()
    missing = [name for name in _NEEDED_ENCODERS if name not in available]
    if missing:
        remedy = "unset VSR_FFMPEG to use the one that comes with imageio-ffmpeg, or name another"
        return [Finding("ffmpeg", "error", f"lacks {', '.join(missing)}", remedy, binary)]
    return [Finding("ffmpeg", "ok", f"has {', '.join(_NEEDED_ENCODERS)}", where=binary)]


def _codecs() -> list[Finding]:
    """Each of these has encoded a frame, so a hardware encoder is listed only where there is the hardware."""
    working = available_codecs()
    if "h264" in working:
        return [Finding("codecs", "ok", ", ".join(working))]
    return [Finding("codecs", "error", f"h264 does not work; {', '.join(working) or 'none'} do", "reinstall PyAV")]


def _weights() -> list[Finding]:
    findings = []
    for entry in weights.load_manifest():
        path = weights.locate(entry)
        if path is None:
            continue
        try:
            weights.verify(entry, path)
        except VsrError as error:
            remedy = f"delete it and run `vsr models pull {entry.name}`"
            findings.append(Finding(f"weights {entry.name}", "error", str(error), remedy))
        else:
            findings.append(Finding(f"weights {entry.name}", "ok", "verified", where=path))
    try:
        findings.append(Finding("model auto", "ok", weights.choose_auto().name))
    except VsrError as error:
        findings.append(Finding("model auto", "error", str(error)))
    return findings


def _disk(workspace: Path) -> list[Finding]:
    free = shutil.disk_usage(workspace).free
    found = f"{free / 1024**3:.1f} GiB free"
    low = free < _LOW_DISK_BYTES
    remedy = "HR frames as PNG take about 1 MB per megapixel: free some space" if low else ""
    return [Finding("disk", "warning" if low else "ok", found, remedy, workspace.resolve())]


def _without_folders(text: str) -> str:
    """Shorten paths, which may hold a person's or a customer's name, to their last names.

    Folders that are known to come up may have spaces in their names; others are told by their slashes.
    """
    named = Path(os.environ.get("VSR_FFMPEG", "")).parent
    for folder in (Path.cwd(), weights.checkpoints_folder(), named, Path.home()):
        if folder.is_absolute() and folder != folder.parent:
            text = text.replace(f"{folder}{os.sep}", "")
    return _ABSOLUTE.sub(r"\1", text)
