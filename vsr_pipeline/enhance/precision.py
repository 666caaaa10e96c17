"""Which precision and which way to compute convolutions are the fastest on this machine: measured, not guessed.

The names of instructions do not say what is fast, so the candidates are raced: each computes the network's own
convolutions on one tile, in turns, so that what else the machine does strikes all of them. The fastest call of each
counts. Where other programs were in the way all the same, the candidates are compared by the time that one thread
computes, and measured again the next time. Else the result is kept in the user's cache folder, for the same processor,
PyTorch, threads and ncnn.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.device import FLOATS, MEASURED, Precision
from vsr_pipeline.enhance.transfer import DTYPES
from vsr_pipeline.errors import PrecisionError, VsrError
from vsr_pipeline.models.blocks import ResidualBlocks
from vsr_pipeline.models.int8 import Range, int8_instructions, quantised_convolutions, use_int8
from vsr_pipeline.models.winograd import use_winograd, winograd_library
from vsr_pipeline.runtime.files import write_text

Call = Callable[[], object]

LEAST_PSNR_DB = 50.0
"""Of the network in a precision against itself in float32: below, `auto` does not take the precision."""
FAST_PSNR_DB = 45.0
"""Below, `fast` does not either."""

# As in the networks, many in a row: with one, what comes before it and the call itself weigh too much.
_RACED_BLOCKS = 8
_SECONDS = 0.4
_LEAST_ROUNDS, _MOST_ROUNDS = 4, 16
_STEADY = 1.2
# Whatever is so much slower than the fastest on the first tile is not raced on a larger one.
_HOPELESS = 3.0
_FIRST_TILE = (16, 32)
# Height and width in LQ pixels; the largest that the time suffices for is taken.
_TILES = ((360, 640), (180, 320), (90, 160), (48, 80), (32, 64))
# What PyTorch and ncnn raise where a device cannot compute in a precision, or has no memory for it.
_CANNOT = (RuntimeError, MemoryError, ImportError)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to compute the network: its name for people, how it is timed, and what it has to reach.

    Args:
        load: returns a call that computes `_RACED_BLOCKS` residual blocks of so many channels once, on a device, on a
            tile (height, width).
        share: the part of the network's arithmetic that is computed this way; the rest is as in the first candidate.
        least_gain: how many times as fast as what would be taken without it it has to be.
    """

    name: str
    precision: Precision
    convolutions: Literal["direct", "winograd"]
    load: Callable[[int, torch.device, tuple[int, int]], Call]
    share: float = 1.0
    least_gain: float = 1.1


def candidates_for(device: torch.device) -> tuple[Candidate, ...]:
    """Return what may be computed with on a device; the first one is what the others are compared with."""
    fp32, bf16, fp16 = (Candidate(name, name, "direct", _loader(name)) for name in FLOATS)
    if device.type != "cpu":
        return fp32, bf16, fp16
    library = winograd_library()
    if library is None:
        return fp32, bf16
    # The residual blocks are four fifths of the network.
    by_winograd = Candidate(f"fp32 by {library}", "fp32", "winograd", _loader("fp32", winograd=True), share=0.8)
    return fp32, by_winograd, bf16


def int8_candidate(device: torch.device) -> Candidate | None:
    """Return what computes a calibrated network in 8-bit integers; None: nothing does on this device."""
    instructions = int8_instructions() if device.type == "cpu" else None
    if instructions is None:
        return None
    # Nine tenths of the arithmetic: what is left makes features of colours, and colours of features. In the race, the
    # first convolution stays in float32, too.
    share = 0.9 * (1 + 1 / (2 * _RACED_BLOCKS))
    return Candidate(f"int8 by {instructions}", "int8", "direct", _load_int8, share=share)


def direct_candidates(
    name: str, settings: UpscaleConfig, device: torch.device, precisions: Sequence[str] = FLOATS
) -> tuple[Candidate, ...]:
    """Return what a network without Winograd's method may be computed with.

    Args:
        name: of the model, for the message.
        settings: what they name must be among it.
        device: where it computes.
        precisions: what the network itself allows.

    Raises:
        PrecisionError: the settings name something else.
    """
    known = tuple(c for c in candidates_for(device) if c.convolutions == "direct" and c.precision in precisions)
    if settings.convolutions == "winograd":
        raise PrecisionError(f"--convolutions winograd is for RealBasicVSR and BasicVSR, not for {name}")
    if settings.precision not in (*MEASURED, *(c.precision for c in known)):
        allowed = ", ".join(c.precision for c in known)
        raise PrecisionError(f"--precision {settings.precision}: {name} computes in {allowed} on {device.type}")
    return known


def speeds_of(candidates: Sequence[Candidate], device: torch.device, channels: int) -> dict[str, float]:
    """Return how many times as fast as the first candidate each is, by its name, as known from the cache or measured.

    Args:
        candidates: with the one that they are compared with at the front.
        device: where they compute.
        channels: of the network's features.

    Returns:
        1.0 for the first; whatever cannot be computed here is missing. Empty where the first one cannot.
    """
    key = _speed_key(candidates, device, channels)
    known = _recall(key)
    if known and known.get(candidates[0].name) == 1.0:
        return known
    measured, is_steady = _measured(candidates, device, channels)
    if is_steady:
        _remember(key, measured)
    return measured


def ranked(candidates: Sequence[Candidate], speeds: Mapping[str, float]) -> tuple[Candidate, ...]:
    """Return the candidates that may be taken, the best one first; the last one is the first of `candidates`.

    Each takes the first place only if it is `least_gain` times as fast as the one that has it, so that what is hardly
    faster, and less exact, is not taken.
    """
    ranking = [candidates[0]]
    for candidate in candidates[1:]:
        speed = speeds.get(candidate.name, 0.0)
        place = next(
            (k for k, other in enumerate(ranking) if speed >= candidate.least_gain * speeds.get(other.name, 1.0)), None
        )
        if place is not None:
            ranking.insert(place, candidate)
    return tuple(ranking)


def accuracy_of(candidate: Candidate, device: torch.device, weights_sha256: str, measure: Call) -> float:
    """Return the PSNR in dB that `measure` returns, as known from the cache, for these weights; -inf: it cannot."""
    key = _key("accuracy", device, weights=weights_sha256, candidate=candidate.name)
    known = _recall(key)
    if known and "psnr_db" in known:
        return known["psnr_db"]
    try:
        psnr_db = float(measure())  # type: ignore[arg-type]
    except _CANNOT:
        return -math.inf
    _remember(key, {"psnr_db": psnr_db})
    return psnr_db


def reason_for(
    taken: Candidate,
    speeds: Mapping[str, float],
    refused: Mapping[str, float],
    device: torch.device,
    least_psnr_db: float = LEAST_PSNR_DB,
) -> str:
    """Say in a line what was chosen and why.

    Args:
        taken: what was chosen.
        speeds: as `speeds_of` returns them.
        refused: the PSNR in dB of the candidates that are not exact enough.
        device: where it was measured.
        least_psnr_db: that is needed.
    """
    own = speeds.get(taken.name, 1.0)
    facts = [
        f"{name} was measured {speed / own:.2g} times as fast"
        + (f", but has {refused[name]:.0f} dB where {least_psnr_db:.0f} are needed" if name in refused else "")
        for name, speed in speeds.items()
        if name != taken.name
    ]
    where = "CPU" if device.type == "cpu" else "GPU"
    return f"precision {taken.name}: {', '.join(facts) or 'nothing else could be measured'} on this {where}"


def _loader(precision: Precision, *, winograd: bool = False) -> Callable[[int, torch.device, tuple[int, int]], Call]:
    """Return the `Candidate.load` of a precision, in the layout in which the product computes."""

    def load(channels: int, device: torch.device, tile: tuple[int, int]) -> Call:
        with torch.random.fork_rng(devices=[]):  # nobody else's random numbers change
            blocks = ResidualBlocks(channels, channels, num_blocks=_RACED_BLOCKS)
            x = torch.rand(1, channels, *tile)
        blocks.eval().requires_grad_(False).to(device, DTYPES[precision])
        blocks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if winograd:
            use_winograd(blocks)
        features = x.to(device, DTYPES[precision]).contiguous(memory_format=torch.channels_last)
        return lambda: blocks(features)

    return load


def _load_int8(channels: int, device: torch.device, tile: tuple[int, int]) -> Call:
    """Do what `_loader` does; where ranges end does not change the time."""
    with torch.random.fork_rng(devices=[]):
        blocks = ResidualBlocks(channels, channels, num_blocks=_RACED_BLOCKS).eval().requires_grad_(False).to(device)
        x = torch.rand(1, channels, *tile)
    blocks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    seen = Range(-1.0, 1.0, torch.zeros(channels))
    use_int8(blocks, {name: seen for name, _ in quantised_convolutions(blocks)})
    features = x.contiguous(memory_format=torch.channels_last)
    return lambda: blocks(features)


@torch.inference_mode()
def _measured(candidates: Sequence[Candidate], device: torch.device, channels: int) -> tuple[dict[str, float], bool]:
    """Return the speeds, and whether the clock was steady enough for them to be kept."""
    # As in the product: float32 is not rounded to TF32.
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        speeds, is_steady = _by_the_clock(candidates, device, channels)
        if not is_steady and device.type == "cpu":
            speeds = _by_one_core(candidates, device, channels)
    shares = {c.name: c.share for c in candidates}
    return {name: 1 / (shares[name] / speed + 1 - shares[name]) for name, speed in speeds.items()}, is_steady


def _by_the_clock(
    candidates: Sequence[Candidate], device: torch.device, channels: int
) -> tuple[dict[str, float], bool]:
    """Race the candidates on a small tile, then those that are left on the largest that the time suffices for."""
    first = candidates[0].name
    calls = _loaded(candidates, device, channels, _FIRST_TILE)
    if first not in calls:
        return {}, False
    deadline = time.perf_counter() + _SECONDS
    times = _raced(calls, device, rounds=_LEAST_ROUNDS, clock=time.perf_counter)
    speeds = _speeds(times, first)
    fastest = max(speeds.values())
    left = [c for c in candidates if c.name == first or speeds.get(c.name, 0.0) * _HOPELESS >= fastest]
    is_steady = _is_steady([times[c.name] for c in left])
    if len(left) == 1 or not is_steady:
        return speeds, is_steady
    tile = _tile_for(sum(min(times[c.name]) for c in left), deadline - time.perf_counter())
    calls = _loaded(left, device, channels, tile)
    if first not in calls:
        return speeds, False
    times = _raced(calls, device, rounds=_MOST_ROUNDS, deadline=deadline, clock=time.perf_counter)
    return speeds | _speeds(times, first), _is_steady(list(times.values()))


def _by_one_core(candidates: Sequence[Candidate], device: torch.device, channels: int) -> dict[str, float]:
    """Compare by the time that one thread computes, which other programs do not lengthen much."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        calls = _loaded(candidates, device, channels, _FIRST_TILE)
        times = _raced(calls, device, rounds=_LEAST_ROUNDS, clock=time.thread_time)
    finally:
        torch.set_num_threads(threads)
    first = candidates[0].name
    return _speeds(times, first) if first in times else {}


def _loaded(
    candidates: Sequence[Candidate], device: torch.device, channels: int, tile: tuple[int, int]
) -> dict[str, Call]:
    """Return the calls of the candidates that can be computed; each was called once, to prepare itself."""
    calls = {}
    for candidate in candidates:
        with suppress(*_CANNOT):
            call = candidate.load(channels, device, tile)
            call()
            _synchronize(device)
            calls[candidate.name] = call
    return calls


def _raced(
    calls: Mapping[str, Call],
    device: torch.device,
    *,
    rounds: int,
    deadline: float = math.inf,
    clock: Callable[[], float],
) -> dict[str, list[float]]:
    """Return the seconds of all calls of each; they are called in turns, in a fixed order."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for done in range(rounds):
        if done >= _LEAST_ROUNDS and time.perf_counter() > deadline:
            break
        for name, call in calls.items():
            started = clock()
            call()
            _synchronize(device)
            seconds[name].append(max(clock() - started, 1e-9))
    return seconds


def _speeds(times: Mapping[str, Sequence[float]], first: str) -> dict[str, float]:
    return {name: min(times[first]) / min(seconds) for name, seconds in times.items()}


def _is_steady(times: Sequence[Sequence[float]]) -> bool:
    """Whether the fastest calls of the even and of the odd rounds are about equal: no other program was in the way."""
    ratios = [min(seconds[::2]) / min(seconds[1::2]) for seconds in times]
    return all(1 / _STEADY <= ratio <= _STEADY for ratio in ratios)


def _tile_for(round_seconds: float, seconds_left: float) -> tuple[int, int]:
    """Return the largest tile of which enough rounds fit into the time, given what a round takes on the first one."""

    def expected(tile: tuple[int, int]) -> float:
        return round_seconds * math.prod(tile) / math.prod(_FIRST_TILE)

    rounds = _LEAST_ROUNDS + 1  # the first one prepares
    return next((tile for tile in _TILES if rounds * expected(tile) <= seconds_left), _FIRST_TILE)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _speed_key(candidates: Sequence[Candidate], device: torch.device, channels: int) -> dict[str, object]:
    return _key("speed", device, channels=channels, blocks=_RACED_BLOCKS, candidates=[c.name for c in candidates])


def _key(kind: str, device: torch.device, **facts: object) -> dict[str, object]:
    """Return everything that a measurement depends on."""
    if device.type == "cuda":
        machine: object = [torch.cuda.get_device_name(device), torch.version.cuda]
    else:
        abilities = torch.cpu.get_capabilities()
        # One name may stand for processors with other instructions, as in virtual machines.
        machine = [_processor_name(), sorted(name for name, value in abilities.items() if value is True)]
    return {
        "kind": kind,
        "device": device.type,
        "machine": machine,
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "ncnn": winograd_library(),
        **facts,
    }


def _processor_name() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return str(torch.cpu.get_capabilities().get("cpu_name", ""))


def _file_of(key: Mapping[str, object]) -> Path:
    import platformdirs  # a run whose precision is named needs no cache

    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:24]
    return platformdirs.user_cache_path("vsr-pipeline", appauthor=False) / "measured" / f"{name}.json"


def _recall(key: Mapping[str, object]) -> dict[str, float] | None:
    """Return what was measured for the key; None where nothing is, or the file is damaged."""
    try:
        known = json.loads(_file_of(key).read_text(encoding="utf-8"))
        values = {str(name): float(value) for name, value in known["values"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    is_sound = known["key"] == key and all(math.isfinite(value) and value > 0 for value in values.values())
    return values if is_sound else None


def _remember(key: Mapping[str, object], values: Mapping[str, float]) -> None:
    """Keep what was measured; where the cache cannot be written, it is measured the next time, too."""
    if values and all(math.isfinite(value) and value > 0 for value in values.values()):
        with suppress(VsrError):
            write_text(_file_of(key), json.dumps({"key": key, "values": values}, indent=1) + "\n")


def psnr_db(output: Tensor, expected: Tensor) -> float:
    """Return the PSNR of frames in [0, 1] against what is expected, in dB; 999 where they are equal."""
    mean_square = (output.float().clamp(0, 1) - expected.float().clamp(0, 1)).square().mean().item()
    if not math.isfinite(mean_square):
        return -math.inf
    return -10 * math.log10(mean_square) if mean_square else 999.0
