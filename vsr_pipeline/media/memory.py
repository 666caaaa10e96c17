"""Refusing pictures that cannot be processed because of their size, before a byte is allocated for them."""

from pathlib import Path

from vsr_pipeline.errors import ResourceError

_FRAMES_AT_ONCE = 1 + 4 * 4
"""A frame, and the 16 times as many pixels that are made of it."""
_GIB = 1024**3


def refuse_absurd_size(path: Path, width: int, height: int, *, bits: int = 8) -> None:
    """Refuse a size whose frame and its enlargement cannot both be in memory, at 1 or 2 bytes per value.

    A header that claims more than a quarter of a billion pixels counts as damaged: libav decodes nothing of it.

    Raises:
        ResourceError: they do not fit into the memory that is free.
    """
    needed = width * height * 3 * _FRAMES_AT_ONCE * (2 if bits > 8 else 1)
    free = available_memory_bytes()
    if free is not None and needed > free:
        raise ResourceError(
            f"one frame of {path} ({width}x{height}) and its enlargement need {needed / _GIB:.1f} GiB of memory, "
            f"{free / _GIB:.1f} GiB are free: scale the video down first, or use a machine with more"
        )


def available_memory_bytes() -> int | None:
    """Memory that can be used without swapping; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
