"""Main memory: how much there is and how much this process has; pictures that are too large for it."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
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
            f"{free / _GIB:.1f} GiB are free: use a machine with more, or reduce it first: "
            + how_to_reduce(path, max(2, int(width * (free / needed) ** 0.5) // 2 * 2))
        )


def how_to_reduce(path: Path | str, width: int) -> str:
    """Return the command line that makes a video `width` pixels wide, for people: same times, sound as it is."""
    source = Path(path)
    smaller = source.with_name(f"{source.stem}_{width}.mkv")
    return (
        f"ffmpeg -i {shlex.quote(str(source))} -map 0:V:0 -map '0:a?' -vf scale={width}:-2 -fps_mode passthrough "
        f"-enc_time_base 1:90000 -c:v libx264 -crf 10 -c:a copy {shlex.quote(str(smaller))}"
    )


def available_memory_bytes() -> int | None:
    """Memory that can be used without swapping, by this process; None where the system does not say."""
    import psutil  # only who asks needs it

    try:
        free = [psutil.virtual_memory().available]
    except (OSError, psutil.Error):
        return None
    return min(free + _left_in_control_groups(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")))


def resident_memory_bytes() -> int:
    """Main memory that this process has now."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def peak_memory_bytes() -> int:
    """Largest main memory of this process so far; 0 where the system does not say."""
    try:  # `getrusage` counts what the parent had in memory when it started this process
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        import psutil

        return int(getattr(psutil.Process().memory_info(), "peak_wset", 0))
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)


def _left_in_control_groups(membership: Path, root: Path) -> list[int]:
    """Return what the limits of containers and services, which /proc/meminfo knows nothing of, leave of memory.

    Args:
        membership: lists the process's control groups; of version 2 as `0::/path`, of version 1 as `7:memory:/path`.
        root: where they are mounted. From inside of a container, only its own group may be there, as the root.
    """
    try:
        groups = [line.split(":", 2) for line in membership.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError):
        return []
    left = []
    for _, controllers, path in groups:
        if controllers == "":
            top, limit_file, used_file, cache = root, "memory.max", "memory.current", "inactive_file"
        elif controllers == "memory":
            top, cache = root / "memory", "total_inactive_file"
            limit_file, used_file = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        own = top / path.lstrip("/")
        for folder in [own, *(parent for parent in own.parents if parent.is_relative_to(top))]:
            try:
                limit = (folder / limit_file).read_text(encoding="ascii").strip()
                used = int((folder / used_file).read_text(encoding="ascii"))
                facts = (folder / "memory.stat").read_text(encoding="ascii").split()
            except (OSError, ValueError):
                continue
            if limit != "max":
                # Files that were read and not used lately are dropped when memory is wanted.
                left.append(int(limit) - used + int(dict(zip(facts[::2], facts[1::2], strict=False)).get(cache, 0)))
    return left


@contextmanager
def memory_as_error(what: Path) -> Iterator[None]:
    """Turn an exhausted main memory into an error that a user understands.

    Raises:
        ResourceError: in the place of a `MemoryError`.
    """
    try:
        yield
    except MemoryError as error:
        raise ResourceError(f"memory ran out with {what}: close other programs, or enhance less at once") from error
