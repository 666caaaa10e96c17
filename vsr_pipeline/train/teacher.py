"""Distillation: a network learns to give what a slower model, or a chain of models, gives.

Most of the time of such a training would go into the teacher. So it is asked once for a number of sequences, its
answers are kept on the disk, and the network sees them again and again, flipped and turned.
"""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor
from torch.utils.data import Dataset

from vsr_pipeline.clip.geometry import Geometry
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.frames import decide_in_memory, enhance_frames
from vsr_pipeline.enhance.open_model import open_model
from vsr_pipeline.errors import ChangedError, ConfigError, InputError
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.runtime.files import make_folder, published, write_text
from vsr_pipeline.runtime.progress import Reporter, reported
from vsr_pipeline.timeline import Segment, Shot
from vsr_pipeline.train.config import RunConfig, TeacherConfig
from vsr_pipeline.train.data import Sequences
from vsr_pipeline.train.losses import luma
from vsr_pipeline.train.network import Sample, middle

_KEY = "teacher.txt"
_SCALE = 4


class Teacher:
    """A model of scale 4 that says what the output should be.

    Raises:
        ConfigError: the model has another scale.
        UsageError, ModelError, ResourceError: as `open_model`.
    """

    def __init__(self, config: TeacherConfig, device: str) -> None:
        settings = UpscaleConfig(model=config.model, refine=config.refine, device=device)
        self._spec = open_model(settings)
        if self._spec.scale != _SCALE:
            raise ConfigError(f"teacher.model {config.model} enlarges {self._spec.scale} times: {_SCALE} is wanted")
        self._upscaler = self._spec.variants[0].build()

    @property
    def identity(self) -> str:
        """What its pixels depend on."""
        return str(sorted(self._spec.identity.items()))

    def __call__(self, lq_TCHW: Tensor, count: int) -> Tensor:
        """Return the HR frames (count, 3, 4H, 4W) of the LQ frames in the middle, both uint8; all are one shot."""
        frames: list[Pixels] = [np.ascontiguousarray(frame.permute(1, 2, 0).numpy()) for frame in lq_TCHW]
        decision = decide_in_memory(self._upscaler, self._spec.context, frames, _SCALE)
        length = len(frames)
        wanted = middle(length, count)
        segment = Segment(wanted.start, wanted.stop, 0, length, Shot(0, length))
        height, width = frames[0].shape[:2]
        outputs = list(
            enhance_frames(
                self._upscaler,
                frames,
                segment,
                decision,
                geometry=Geometry.enlarged((width, height), _SCALE),
                on_work=lambda _: None,
            )
        )
        return torch.from_numpy(np.stack(outputs)).permute(0, 3, 1, 2).contiguous()


def prepare(
    config: RunConfig, sequences: Sequences, folder: Path, reporter: Reporter, stop: Callable[[], bool]
) -> None:
    """Ask the teacher for every sequence that the folder lacks; ends early when `stop` says so.

    Args:
        config: of the run; it has a teacher.
        sequences: samples with their truth; the first `teacher.sequences` of them are used.
        folder: where answers are kept: `000012.safetensors` for the 13th.
        reporter: is told of the progress.
        stop: is asked before each sequence.

    Raises:
        ChangedError: the folder has answers to other questions, or of another teacher.
        OutputError, DiskFullError: a file cannot be written.
    """
    settings = _teacher(config)
    make_folder(folder)
    missing = [k for k in range(settings.sequences) if not answer_path(folder, k).is_file()]
    if not missing:
        _check_key(folder, _key(config), None)
        return
    teacher = Teacher(settings, config.train.device)
    _check_key(folder, _key(config), teacher.identity)
    with reported(reporter, "teacher", len(missing), "sequences"):
        for k in missing:
            if stop():
                return
            sample = sequences[k]
            rng = np.random.default_rng((config.train.seed, k))
            seen = _quantised(sample["clean"]) if rng.random() < settings.clean_share else sample["lq"]
            answer = teacher(seen, settings.frames or len(seen))
            content = save({"answer": answer, **{name: sample[name] for name in ("lq", "clean", "truth")}})
            with published(answer_path(folder, k)) as temporary:
                temporary.write_bytes(content)
            reporter.worked(1)


class Lessons(Dataset[Sample]):
    """Sample k of a run: one of the teacher's answers, flipped and turned; a function of the seed and k alone.

    `sharp` is what the output should be: the answer and the truth, mixed, in the colour of the truth, since networks
    for stills shift colours. It has the frames in the middle, as many as were asked for.

    Args:
        folder: what `prepare` filled.
        config: of the run; it has a teacher.
    """

    def __init__(self, folder: Path, config: RunConfig) -> None:
        self._folder = folder
        self._count = _teacher(config).sequences
        self._truth_share = _teacher(config).truth_share
        self._seed = config.train.seed
        self._flips = config.data.flips

    def __len__(self) -> int:
        return 2**62  # samples never end; the sampler says which are taken

    def __getitem__(self, k: int) -> Sample:
        """Read sample `k`.

        Raises:
            InputError: its file is gone or damaged.
        """
        # Each answer is seen once before one is seen again.
        rng = np.random.default_rng((self._seed, k // self._count))
        number = int(rng.permutation(self._count)[k % self._count])
        path = answer_path(self._folder, number)
        try:
            sample = load_file(path)
        except Exception as error:  # what a parser raises on foreign bytes has no common base
            raise InputError(
                f"{path} cannot be read ({type(error).__name__}): delete it, and it is made again"
            ) from error
        sample["sharp"] = _lesson(sample.pop("answer"), sample["truth"], self._truth_share)
        turns = np.random.default_rng((self._seed, k, 1)).random(3) < 0.5
        return {name: _turned(frames, *turns) for name, frames in sample.items()} if self._flips else sample


def answer_path(folder: Path, number: int) -> Path:
    """Return the file of an answer."""
    return folder / f"{number:06d}.safetensors"


def _teacher(config: RunConfig) -> TeacherConfig:
    assert config.teacher is not None
    return config.teacher


def _key(config: RunConfig) -> str:
    """Return a text that is another one where answers would be other ones."""
    asked = {"data": config.data, "degradation": config.degradation, "teacher": config.teacher}
    texts = [
        part.model_dump_json(exclude={"folder", "sequences", "cache_gib", "truth_share"})
        for part in asked.values()
        if part
    ]
    sharpening = (config.losses.sharpen, config.losses.sharpen_spoiled)
    return sha256("\n".join([*texts, str(config.train.seed), str(sharpening)]).encode()).hexdigest()


def _check_key(folder: Path, key: str, identity: str | None) -> None:
    """Compare what the folder was made by with this run; written down where nothing is yet. None: any identity."""
    path = folder / _KEY
    if not path.is_file():
        write_text(path, f"{key}\n{identity}\n")
        return
    kept = path.read_text(encoding="utf-8").splitlines()
    if kept[:1] != [key] or (identity is not None and kept[1:] != [identity]):
        raise ChangedError(
            f"{folder} has answers of another teacher, or for other data: give teacher.folder another one, or delete it"
        )


def _lesson(answer: Tensor, truth: Tensor, truth_share: float) -> Tensor:
    """Return what is learnt of an answer (T, 3, H, W), in uint8; the truth may have more frames around these."""
    beside = truth[middle(len(truth), len(answer))].float()
    mixed = torch.lerp(answer.float(), beside, truth_share)
    in_its_colour = beside + (luma(mixed) - luma(beside)).unsqueeze(-3)
    return in_its_colour.round().clamp(0, 255).to(torch.uint8)


def _quantised(frames: Tensor) -> Tensor:
    return (frames.clamp(0, 1) * 255).round().to(torch.uint8)


def _turned(frames: Tensor, horizontal: bool, vertical: bool, transpose: bool) -> Tensor:
    frames = frames.flip(-1) if horizontal else frames
    frames = frames.flip(-2) if vertical else frames
    return (frames.transpose(-1, -2) if transpose else frames).contiguous()
