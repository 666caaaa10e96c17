"""What a worker has to be, on any machine: what it is hired for, and what would make its pixels differ."""

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vsr_pipeline.checkpoints.manifest import needs_device
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.spec import INT8, Identity
from vsr_pipeline.errors import ModelError, PrecisionError, ResourceError, UsageError
from vsr_pipeline.jobs.segment import SegmentTask

SIGHT_FILE = ".workers.tmp"
"""One name, so that what a killed driver leaves is written over, or deleted with the other temporaries."""


_OF_A_DEVICE = ("device", "precision", "convolutions", "refine_precision")


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster, and how many workers fit on it."""

    id: str
    name: str
    workers: int


def nodes_of(listed: list[dict[str, Any]], *, gpus: bool, cpus_per_worker: int) -> tuple[Node, ...]:
    """Count the workers of each living node: one per GPU, or one per so many cores.

    Args:
        listed: as `ray.nodes` does.
        gpus: whether workers want GPUs.
        cpus_per_worker: cores of each.
    """
    nodes = []
    for node in listed:
        resources = node["Resources"]
        count = int(resources.get("CPU", 0)) // cpus_per_worker
        if gpus:
            count = min(int(resources.get("GPU", 0)), count)
        if node["Alive"] and count:
            nodes.append(Node(node["NodeID"], node["NodeManagerHostname"], count))
    return tuple(nodes)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec:
    """What a worker is hired for."""

    settings: UpscaleConfig
    threads: int | None
    """Of torch, on the CPU; None: as it is."""
    allow_cpu: bool
    token: Path
    """A file in the work folder that the driver has just written."""
    secret: str
    """What it says."""


@dataclass(frozen=True, slots=True)
class Ready:
    """What a worker is that can begin."""

    device: str
    description: str
    identity: Identity
    choice: str = ""


def wants_gpus(settings: UpscaleConfig, has_gpu: bool) -> bool:
    """Whether workers compute on GPUs: where one is asked for, or any machine of the cluster has one.

    Raises:
        ResourceError: one is asked for, and none is there.
    """
    needs_one = settings.has_net_steps or needs_device(settings.model, settings.checkpoint)
    if settings.device == "cpu" or not needs_one:
        return False
    if settings.device == "cuda" and not has_gpu:
        raise ResourceError("no machine of the Ray cluster has a GPU: see `ray status`, or give --device cpu")
    return has_gpu


def spec_of(settings: UpscaleConfig, folder: Path, *, gpus: bool, cpus: int, allow_cpu: bool) -> WorkerSpec:
    """Name the worker's device as it sees it, and files as every machine sees them."""
    chosen: dict[str, Any] = {"device": "cuda" if gpus else "cpu"}
    if settings.checkpoint is not None:
        chosen["checkpoint"] = settings.checkpoint.absolute()
    if settings.kernel is not None:
        chosen["kernel"] = settings.kernel.absolute()
    return WorkerSpec(
        settings=settings.model_copy(update=chosen),
        threads=None if gpus else cpus,
        allow_cpu=allow_cpu,
        token=folder.absolute() / SIGHT_FILE,
        secret=uuid.uuid4().hex,
    )


def for_planning(settings: UpscaleConfig) -> UpscaleConfig:
    """Return settings with which this process plans: it may have no GPU, and computes nothing."""
    return settings.model_copy(update={"device": "cpu", "precision": "fp32", "convolutions": "direct"})


def refuse_other_pixels(identity: Identity, expected: Identity, node: str) -> None:
    """Refuse a worker that would give other pixels than the others.

    Raises:
        ModelError: it has other weights.
        PrecisionError: it computes in another precision, or convolutions in another way.
        UsageError: it is another in anything else.
    """
    for key, value in expected.items():
        if identity.get(key) != value:
            message = f"{node} has {key} {identity.get(key)}, the others have {value}"
            if key.endswith("weights_sha256"):
                raise ModelError(f"{message}: put the same weights on all machines")
            if key == INT8:
                raise PrecisionError(f"{message}: give --precision fp32, or leave that machine out")
            if key in ("precision", "convolutions"):
                raise PrecisionError(f"{message}: give it as an option, or leave that machine out")
            raise UsageError(f"{message}: give it as an option, or leave that machine out")


def most_common(ready: Sequence[Ready]) -> Ready:
    """Return a worker that computes as most do: one that differs must not leave out all the others."""
    identities = [tuple(sorted(one.identity.items())) for one in ready]
    return ready[identities.index(Counter(identities).most_common(1)[0][0])]


def without_device(identity: Identity) -> Identity:
    """Return what must be the same on a machine without the workers' kind of device."""
    return {key: value for key, value in identity.items() if key not in _OF_A_DEVICE}


def with_absolute_paths(task: SegmentTask) -> SegmentTask:
    """Return a task that means the same files in any working directory, for a worker that may get any other next."""
    header = task.footage.header
    path = header.path.absolute()
    images = tuple((number, image.absolute()) for number, image in header.images)
    header = replace(header, path=path, images=images, info=replace(header.info, path=path))
    return replace(task, footage=replace(task.footage, header=header), folder=task.folder.absolute(), following=None)
