"""Who computes the segments: this process, or workers on many GPUs and machines."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from vsr_pipeline.checkpoints.manifest import needs_device
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.device import choose_device, computes, devices_of, gpu_count
from vsr_pipeline.enhance.fallback import Fallback
from vsr_pipeline.enhance.open_model import note_model, open_model
from vsr_pipeline.enhance.recorded import as_recorded, as_recorded_here
from vsr_pipeline.enhance.spec import ModelSpec
from vsr_pipeline.errors import Interrupted, UsageError, VsrError
from vsr_pipeline.jobs.fingerprint import JobSource
from vsr_pipeline.jobs.report.outcome import WorkerOutcome
from vsr_pipeline.jobs.segment import Executor
from vsr_pipeline.jobs.workers.options import WorkerOptions
from vsr_pipeline.jobs.workers.serial import SerialExecutor
from vsr_pipeline.runtime.progress import Reporter

_DEVICES_WITH_RAY = ("auto", "cpu", "cuda")
HOW_TO_GET_RAY = "pip install 'vsr-pipeline[ray]'"


class Workers(Protocol):
    """Whatever computes segments, for any number of clips."""

    @property
    def spec(self) -> ModelSpec:
        """What they compute with."""
        ...

    def spec_for(self, settings: UpscaleConfig, identity: Mapping[str, str]) -> ModelSpec:
        """Return what they compute a clip with.

        Args:
            settings: as configured.
            identity: what was recorded when the clip was begun, as `as_recorded` takes it; empty for a new one.
        """
        ...

    def executor(self, source: JobSource, reporter: Reporter) -> Executor:
        """Return the executor of a clip's segments."""
        ...

    def wants_another_clip(self, preparing: int) -> bool:
        """Whether a clip should be begun beside those that are open, of which so many are about to be analysed."""
        ...

    def stop(self, error: VsrError | Interrupted) -> None:
        """Let every clip that another thread is at work on end with this error, at once."""
        ...

    def are_lost(self) -> bool:
        """Whether they have failed for good, so that every clip would fail with them."""
        ...

    def outcomes(self) -> tuple[WorkerOutcome, ...]:
        """Return what each has done so far; empty where it is this process alone."""
        ...


class SerialWorkers:
    """The process itself, one segment after the other."""

    def __init__(self, settings: UpscaleConfig, spec: ModelSpec, reporter: Reporter, *, allow_cpu: bool) -> None:
        self.spec = spec
        self._settings = settings
        self._reporter = reporter
        self._allow_cpu = allow_cpu
        self._fallback = Fallback(spec, limit_bytes=settings.memory_limit_bytes, allow_cpu=allow_cpu)

    def spec_for(self, settings: UpscaleConfig, identity: Mapping[str, str]) -> ModelSpec:
        """Return the model, opened again where the clip was begun in another precision."""
        wanted = as_recorded_here(settings, identity) if identity else settings
        if wanted not in (self._settings, as_recorded(self._settings, self.spec.identity)):
            self.spec = open_model(wanted, allow_cpu=self._allow_cpu)
            self._fallback = Fallback(self.spec, limit_bytes=wanted.memory_limit_bytes, allow_cpu=self._allow_cpu)
            self._settings = wanted
            note_model(self.spec, self._reporter)
        return self.spec

    def executor(
        self,
        source: JobSource,  # noqa: ARG002 - this process has just looked at it
        reporter: Reporter,
    ) -> Executor:
        """Return an executor that begins with the variant that fits: the next clip may fit where this one does not."""
        return SerialExecutor(self._fallback, reporter)

    def wants_another_clip(self, preparing: int) -> bool:  # noqa: ARG002
        """Return False: one clip after the other."""
        return False

    def stop(self, error: VsrError | Interrupted) -> None:
        """Do nothing: there is no other thread."""

    def are_lost(self) -> bool:
        """Whether the GPU no longer answers."""
        return not computes(self.spec.device)

    def outcomes(self) -> tuple[WorkerOutcome, ...]:
        """Return nothing: the clips say it all."""
        return ()


def uses_processes(options: WorkerOptions, settings: UpscaleConfig, reporter: Reporter) -> bool:
    """Decide where segments are computed: by workers in processes of their own, or by this one.

    Raises:
        ResourceError: a device is named that is not there.
        UsageError: Ray is asked for and is not installed, or what is asked for contradicts itself.
    """
    if options.executor == "serial" and options.ray_address is not None:
        raise UsageError("--ray-address is of no use with --executor serial: leave out one of them")
    devices = devices_of(settings.device)
    if len(devices) > 1 and options.executor == "serial":
        raise UsageError(f"--device {settings.device} starts workers, --executor serial none: leave out one of them")
    is_asked_for = options.executor == "ray" or options.ray_address is not None
    takes_any_gpu = settings.device in ("auto", "cuda") and (
        settings.has_net_steps or needs_device(settings.model, settings.checkpoint)
    )
    gpus = gpu_count() if takes_any_gpu and options.executor == "auto" else 0
    is_installed = _ray_is_installed()
    if is_asked_for and not is_installed:
        raise UsageError(
            "Ray is not installed, which --executor ray, --ray-address and the variable RAY_ADDRESS ask for: "
            f"{HOW_TO_GET_RAY}, or give --executor serial"
        )
    if is_asked_for and settings.device not in _DEVICES_WITH_RAY:
        raise UsageError(
            f"--device {settings.device} names devices of this machine, with Ray every GPU is a worker: use auto, cpu "
            "or cuda"
        )
    if len(devices) > 1:
        for device in devices:
            choose_device(device)
        return True
    if gpus > 1 and not is_installed:
        all_of_them = ",".join(map(str, range(gpus)))
        reporter.note(f"{gpus} GPUs are visible and one is used: for all of them, --device cuda:{all_of_them}")
    return is_asked_for or (gpus > 1 and is_installed)


def with_default_address(options: WorkerOptions, settings: UpscaleConfig, address: str | None) -> WorkerOptions:
    """Return options with an address of the environment, where no option says otherwise.

    Args:
        options: as given.
        settings: with the device.
        address: what `RAY_ADDRESS` says; None or empty: nothing.
    """
    is_wanted = options.executor != "serial" and settings.device in _DEVICES_WITH_RAY
    return replace(options, ray_address=options.ray_address or (address if is_wanted else None) or None)


def _ray_is_installed() -> bool:
    spec = find_spec("ray")
    return spec is not None and spec.origin is not None  # a folder of that name has no origin


@contextmanager
def workers_for(
    settings: UpscaleConfig,
    options: WorkerOptions,
    *,
    spec: ModelSpec | None,
    folder: Path,
    allow_cpu: bool,
    retries: int,
    reporter: Reporter,
) -> Iterator[Workers]:
    """Yield the workers, ready: with the model loaded, checked against each other. They are gone after the block.

    Args:
        settings: what to compute.
        options: where.
        spec: the model, for this process; None: the workers read it, as `uses_processes` has decided.
        folder: on a file system that all of them must see.
        allow_cpu: whether the CPU may be the last resort.
        retries: how often a segment is given to another worker when its worker has died.
        reporter: told about workers that come and go.

    Raises:
        UsageError, ModelError, ResourceError: as `open_model`; or a worker cannot be had or does not fit.
    """
    if spec is not None:
        yield SerialWorkers(settings, spec, reporter, allow_cpu=allow_cpu)
        return
    from vsr_pipeline.jobs.workers.cluster_executor import cluster_workers

    with cluster_workers(
        settings,
        options,
        devices=devices_of(settings.device),
        folder=folder,
        allow_cpu=allow_cpu,
        retries=retries,
        reporter=reporter,
    ) as workers:
        yield workers
