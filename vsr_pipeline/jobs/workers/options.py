"""Who computes the segments, as the user says it."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """Where segments are computed; nothing here changes a pixel."""

    executor: Literal["auto", "serial", "ray"] = "auto"
    """auto: Ray with more than one GPU or with an address, else this process alone."""
    ray_address: str | None = None
    """Of a Ray cluster that runs: `auto`, `ray://HOST:PORT` or `HOST:PORT`. None: one of our own, on this machine."""
    cpus_per_worker: int | None = None
    """Cores of each worker. None: one for a worker with a GPU, else as many as this process would compute with."""
