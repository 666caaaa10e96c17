"""A training run from its settings to a model in a file. Reads top to bottom."""

import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from vsr_pipeline import __version__
from vsr_pipeline.errors import ChangedError, InputError, Interrupted, LockedError
from vsr_pipeline.runtime.files import make_folder, write_text
from vsr_pipeline.runtime.progress import Reporter, counted, reported
from vsr_pipeline.train import checkpoint
from vsr_pipeline.train.checkpoint import State
from vsr_pipeline.train.config import RunConfig, differences
from vsr_pipeline.train.curves import Curves
from vsr_pipeline.train.data import Sequences, batches
from vsr_pipeline.train.network import Sample
from vsr_pipeline.train.processes import Processes
from vsr_pipeline.train.sources import find_sources
from vsr_pipeline.train.stop import StopRequest, stop_requests
from vsr_pipeline.train.teacher import Lessons, prepare
from vsr_pipeline.train.trainer import Trainer
from vsr_pipeline.train.validate import Validation


@dataclass(frozen=True, slots=True)
class TrainResult:
    """Where a run stands when it ends: done, or out of time."""

    output: Path
    weights: Path
    iterations: int
    complete: bool
    """Whether all iterations were done; else the time was up."""
    seconds: float
    scores: dict[str, float]
    """Of the validation clips, where there are any."""

    def __str__(self) -> str:
        end = "done" if self.complete else "time is up"
        return f"{self.weights}: {end} after {counted(self.iterations, 'iteration')}, {self.seconds / 60:.1f} minutes"


def train(config: RunConfig, output: Path, *, must_resume: bool = False, reporter: Reporter) -> TrainResult:
    """Train, from the start or from where the output folder's checkpoint stands.

    The folder gets `checkpoint.pt`, `model.safetensors` (fp16, for `--checkpoint`), `config.json`, `curves.csv` and
    `curves.png`. SIGINT and SIGTERM end the run after the iteration at hand.

    Raises:
        InputError: no training data; or `must_resume` and there is nothing to continue.
        ChangedError: the folder's run was begun with other settings.
        LockedError: another run writes to the folder.
        ModelError, NotFiniteError, ResourceError, OutputError: weights, numbers, device or disk, files.
        Interrupted: as asked; all is saved.
    """
    processes = Processes(config.train.device)
    if not processes.is_first:
        return _train(config, output, must_resume, processes, Reporter())
    make_folder(output)
    try:
        with FileLock(output / ".lock", timeout=0):
            return _train(config, output, must_resume, processes, reporter)
    except Timeout as error:
        raise LockedError(f"another run trains in {output}: run again when it has ended") from error


def _train(config: RunConfig, output: Path, must_resume: bool, processes: Processes, reporter: Reporter) -> TrainResult:
    state = _state(config, output, must_resume, processes)
    sources = find_sources(config.data.folders, config.data.truth_size, reporter.note)
    videos = sum(source.kind == "video" for source in sources)
    reporter.note(f"data: {counted(len(sources) - videos, 'image')}, {counted(videos, 'video')}")
    if not (config.model.init or config.model.flow_from):
        reporter.note("SPyNet is neither trained nor given (model.init, model.flow_from): flow will be random")
    trainer = Trainer(config, processes)
    if state is not None:
        trainer.restore(state.parts)
        reporter.note(f"resumed {output} at iteration {state.iteration}")
    if processes.is_first:
        write_text(output / "config.json", config.to_json() + "\n")
    run = _Run(
        config=config,
        output=output,
        processes=processes,
        reporter=reporter,
        trainer=trainer,
        validation=Validation(config, sources, reporter, processes),
        curves=Curves(output, until=state.iteration if state else 0) if processes.is_first else None,
        iteration=state.iteration if state else 0,
        seconds=state.seconds if state else 0.0,
    )
    drawn = Sequences(sources, config, seed=config.train.seed, with_truth=config.losses.upscales)
    with stop_requests() as stop:
        has_teacher = config.teacher is not None
        sequences = _lessons(config, drawn, output, processes, reporter, stop) if has_teacher else drawn
        samples = [] if processes.any(stop.signal_number is not None) else run.samples()
        run.go_on(batches(sequences, samples, batch=config.train.batch, workers=config.train.workers), stop)
        run.save()
        # Asked together: who goes on to validate would wait for who has left.
        if processes.any(stop.signal_number is not None):
            raise Interrupted(stop.signal_number or signal.SIGTERM)
        scores = run.validate()
        run.save_curves()
    return TrainResult(
        output=output,
        weights=output / checkpoint.WEIGHTS,
        iterations=run.iteration,
        complete=run.iteration >= config.train.iterations,
        seconds=run.seconds,
        scores=scores,
    )


def _lessons(
    config: RunConfig,
    sequences: Sequences,
    output: Path,
    processes: Processes,
    reporter: Reporter,
    stop: StopRequest,
) -> Lessons:
    """Have the teacher answer what it has not answered before, or until a stop is asked for."""
    assert config.teacher is not None
    folder = config.teacher.folder or output / "teacher"
    if processes.is_first:
        prepare(config, sequences, folder, reporter, lambda: stop.signal_number is not None)
    return Lessons(folder, config)


def _state(config: RunConfig, output: Path, must_resume: bool, processes: Processes) -> State | None:
    """Return what the folder has to continue; None where that is nothing."""
    state = checkpoint.load(output)
    if state is None:
        if must_resume:
            raise InputError(f"{output} has no {checkpoint.CHECKPOINT} to resume from: leave out --resume to begin")
        return None
    changed = differences(state.config_json, config)
    if state.processes != processes.count:
        changed.append(f"the number of processes ({state.processes}, not {processes.count})")
    if changed:
        raise ChangedError(
            f"the run in {output} was begun with other values of {', '.join(changed)}: "
            "put them back, or choose another --output"
        )
    return state


@dataclass
class _Run:
    """A run under way. The first process alone writes."""

    config: RunConfig
    output: Path
    processes: Processes
    reporter: Reporter
    trainer: Trainer
    validation: Validation
    curves: Curves | None
    iteration: int
    seconds: float

    def samples(self) -> list[int]:
        """Return the numbers of the samples that this process has yet to see; no two processes see the same."""
        settings, count, index = self.config.train, self.processes.count, self.processes.index
        firsts = ((n * count + index) * settings.batch for n in range(self.iteration, settings.iterations))
        return [first + n for first in firsts for n in range(settings.batch)] if self.progress < 1 else []

    def go_on(self, loader: Iterable[Sample], stop: StopRequest) -> None:
        """Iterate until all is done, the time is up or a stop is asked for."""
        settings = self.config.train
        sums: dict[str, float] = {}
        since_log = 0  # where a run is resumed, fewer than log_every
        # How many steps a time limit leaves is not known.
        total = 0 if settings.max_minutes else settings.iterations - self.iteration
        with reported(self.reporter, f"train {self.output.name}", total, "steps"):
            before = time.monotonic()
            for batch in loader:
                wait = time.monotonic() - before
                losses = self.trainer.step(batch, self.iteration, self.progress)
                self.iteration += 1
                now = time.monotonic()
                self.seconds += now - before
                for name, value in (losses | {"step": now - before, "wait": wait}).items():
                    sums[name] = sums.get(name, 0.0) + value
                self.reporter.worked(1)
                since_log += 1
                if self.iteration % settings.log_every == 0:
                    self._log({name: value / since_log for name, value in sums.items()})
                    sums.clear()
                    since_log = 0
                # One process out of time or told to stop would leave the others waiting for its gradients.
                if self.processes.any(stop.signal_number is not None or self.progress >= 1):
                    break
                if self.iteration % settings.checkpoint_every == 0:
                    self.save()
                    self.reporter.milestone()
                if self.iteration % self.config.validation.every == 0:
                    self.validate()
                before = time.monotonic()

    @property
    def progress(self) -> float:
        """How much of the run is done, 0 to 1, by iterations or by time, whichever is further."""
        settings = self.config.train
        by_time = self.seconds / (60 * settings.max_minutes) if settings.max_minutes else 0.0
        return max(self.iteration / settings.iterations, by_time)

    def save(self) -> None:
        """Write checkpoint, weights and curves."""
        if not self.processes.is_first:
            return
        config = self.config.to_json()
        checkpoint.save(
            self.output,
            State(
                iteration=self.iteration,
                seconds=self.seconds,
                processes=self.processes.count,
                config_json=config,
                parts=self.trainer.parts(),
            ),
        )
        facts = {"made_by": f"vsr-pipeline {__version__}", "iterations": str(self.iteration), "config": config}
        checkpoint.export(self.output, self.trainer.averaged_weights(), facts)
        self.save_curves()

    def save_curves(self) -> None:
        """Write the curves."""
        if self.curves is not None:
            self.curves.write()

    def validate(self) -> dict[str, float]:
        """Score the moving average of the weights, where there are clips for it; all processes together."""
        if not self.validation:
            return {}
        self.trainer.swap_in_average()
        scores = self.validation.score(self.trainer)
        self.trainer.swap_in_average()
        if self.curves is not None:
            self.curves.add({"iteration": self.iteration, **scores})
        self.reporter.note(f"iteration {self.iteration}: " + ", ".join(f"{k} {v:.4g}" for k, v in scores.items()))
        return scores

    def _log(self, means: dict[str, float]) -> None:
        if self.curves is not None:
            self.curves.add({"iteration": self.iteration, "seconds": self.seconds, **means})
        shown = ", ".join(f"{name} {value:.4g}" for name, value in means.items())
        self.reporter.note(f"iteration {self.iteration}: {shown}")
