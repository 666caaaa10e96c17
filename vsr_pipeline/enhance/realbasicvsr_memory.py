"""How much memory RealBasicVSR takes at most for a clip, worked out before a frame is computed; pure arithmetic.

In bytes for each pixel of an LQ frame, with `C` channels of features in samples of `s` bytes, windows of `W` frames and
a lookahead of `L`; reconstruction has `A` channels at twice the size and `B` at four times it. `benchmarks/memory.py`
holds it against measurements.

Held for the whole of a window:

    28 (W + L + 1)      cleaned frames in float32 (12) and the flows to both neighbours (16)
    C s (W + 1)         the backward features of the window, and the state of forward propagation

For a moment, one of these after the other (the larger one counts):

    reading             `n` frames at once: a cleaning step, or a step of SPyNet at full size, for which no backward
                        feature is held yet
    propagation         the warped state, that beside the frame, and again in the layout of the convolutions, and three
                        maps of a residual block; or the state and what is sampled of it, both in float32
    reconstruction      features of 4 A, 16 B and 16 B values of a band of rows, and the details; then the
                        details, the enlarged frame and their sum
    output              the HR frame in float32, clipped, and scaled; with `--cleaning auto` also as the network gave it

Winograd's method, on a CPU in fp32, keeps a work space for residual blocks; its size was measured. CUDA graphs keep
what the two branches of propagation and reconstruction take for a moment, and their inputs and outputs.

In bands of rows, the maps of residual blocks and of SPyNet are those of a band, its halo included, and one more map
takes the result.
"""

from dataclasses import dataclass
from typing import Self

from vsr_pipeline.checkpoints.load import Checkpoint
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance.cuda_graphs import GRAPH_PIXELS
from vsr_pipeline.enhance.memory import around_model_bytes
from vsr_pipeline.enhance.realbasicvsr_stream import FRAMES_AT_ONCE, PIXELS_AT_ONCE, SCALE
from vsr_pipeline.enhance.transfer import DOWNLOADS
from vsr_pipeline.models.basicvsr import MIN_SIZE, RECONSTRUCTION_CHANNELS, RECONSTRUCTION_REACH, RECONSTRUCTION_ROWS
from vsr_pipeline.models.spynet import LEVEL_REACH
from vsr_pipeline.models.warp import COPY_BYTES
from vsr_pipeline.timeline import ClipSize

_HR = SCALE**2
"""HR pixels for each LQ pixel."""
_RGB = 3
_FLOAT = 4

# On a GPU, the driver's context and the convolutions' work space.
_CONTEXT_BYTES = 700 * 1024**2
# Maps of features that ncnn keeps as work space: measured.
_WINOGRAD_MAPS = 22
# In main memory, for what convolutions take while they compute, and what the allocator cannot use: measured.
_SLACK_ON_CPU = 1.2


@dataclass(frozen=True, slots=True)
class NetworkSizes:
    """What of a network its memory depends on."""

    channels: int = 64
    """Of the propagated features."""
    blocks: int = 30
    """Residual blocks of each propagation branch: they make the halo of a band."""
    cleaning_channels: int = 0
    """0: there is no cleaning module."""
    cleaning_blocks: int = 0
    reconstruction_channels: tuple[int, int] | None = None
    """At twice the LQ size, and at the size of the output; None: those of the released models."""

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Self:
        """Return the sizes of a checkpoint's network."""
        return cls(
            checkpoint.mid_channels,
            checkpoint.num_propagation_blocks,
            checkpoint.cleaning_channels or 0,
            checkpoint.num_cleaning_blocks or 0,
            checkpoint.reconstruction_channels,
        )


def peak_bytes(
    settings: UpscaleConfig,
    clip: ClipSize,
    sizes: NetworkSizes,
    *,
    on_gpu: bool,
    sample_bytes: int,
    band_rows: int | None,
    winograd: bool = False,
) -> int:
    """Return how much memory a run takes at most: all of the process on a CPU, else the GPU's.

    Args:
        settings: windows and backend count.
        clip: what is enhanced.
        sizes: of the network.
        on_gpu: where the network computes.
        sample_bytes: of a feature: 4 in fp32, else 2.
        band_rows: as for `vsr_pipeline.enhance.realbasicvsr.prepare`; the same for `winograd`.
        winograd: whether convolutions are computed by Winograd's method.
    """
    network = _Network(
        settings, clip, sizes, on_gpu=on_gpu, sample=sample_bytes, band_rows=band_rows, winograd=winograd
    )
    if on_gpu:
        return round(network.peak()) + _CONTEXT_BYTES
    return round(_SLACK_ON_CPU * network.peak()) + around_model_bytes(clip, SCALE)


class _Network:
    """The arithmetic for one network on one clip; everything in bytes."""

    def __init__(
        self,
        settings: UpscaleConfig,
        clip: ClipSize,
        sizes: NetworkSizes,
        *,
        on_gpu: bool,
        sample: int,
        band_rows: int | None,
        winograd: bool,
    ) -> None:
        self._is_exact = settings.windows == "exact" and settings.backend == "torch"
        self._changes_output = settings.cleaning == "auto"
        self._width, self._height = max(clip.width, MIN_SIZE), max(clip.height, MIN_SIZE)
        self._pixels = self._width * self._height
        self._clip = clip
        self._on_gpu = on_gpu
        self._sample = sample
        self._band_rows = band_rows
        self._winograd = winograd
        self._graphs = settings.cuda_graphs and on_gpu and band_rows is None and self._pixels <= GRAPH_PIXELS
        self._sizes = sizes
        self._feature = sizes.channels * sample * self._pixels
        self._reach = 1 + 2 * sizes.blocks
        self._window = min(settings.max_seq_len, clip.frame_count)
        self._held = min(settings.max_seq_len + settings.lookahead, clip.frame_count)
        self._mmedit = settings.backend == "mmedit"

    def peak(self) -> float:
        """Return the most that is held at a time."""
        if not self._is_exact:
            return self._work_space() + self._peak_of_whole_window()
        frames_and_flows = 28 * (self._held + 1) * self._pixels
        downloads = (DOWNLOADS + 1) * _HR * _RGB * self._clip.bytes_per_value * self._pixels if self._on_gpu else 0
        reading = self._feature + self._reading()
        window = (self._window + 1) * self._feature + max(self._propagation(), self._reconstruction(), self._output())
        return self._work_space() + frames_and_flows + downloads + max(reading, window)

    def _reading(self) -> float:
        """Return what cleaning or flow takes, for as many frames as are read at once."""
        count = max(1, min(FRAMES_AT_ONCE, PIXELS_AT_ONCE // self._pixels)) if self._on_gpu else 1
        count = min(count, self._clip.frame_count)
        maps, whole = self._of_band(1 + 2 * self._sizes.cleaning_blocks)
        cleaning = (3 * maps + whole) * self._sizes.cleaning_channels * self._sample * self._pixels
        maps, whole = self._of_band(LEVEL_REACH)
        # For two flows: frames and pyramids (64 + 48 + 24 + 16), the input of the level (64, 32), 32 and 64 channels.
        flow = (152 + 64 + 16 * self._sample + whole * 4 * self._sample + maps * 2 * 96 * self._sample) * self._pixels
        return count * (36 * self._pixels + max(cleaning, flow))

    def _propagation(self) -> float:
        maps, whole = self._of_band(self._reach)
        beside_frame = (self._sizes.channels + _RGB) * self._sample * self._pixels
        blocks = (1 + 3 * maps + whole) * self._feature + 2 * beside_frame
        in_float = self._sizes.channels * _FLOAT * self._pixels
        if self._sample == _FLOAT:
            return max(blocks, in_float + 24 * self._pixels)
        copies = 2 * min(in_float, max(COPY_BYTES, _FLOAT * self._pixels))
        return max(blocks, self._feature + copies + 24 * self._pixels)

    def _reconstruction(self) -> float:
        rows = min(self._height, RECONSTRUCTION_ROWS + 2 * RECONSTRUCTION_REACH)
        band = self._details_of_a_pixel() * rows * self._width
        details = _HR * _RGB * self._sample * self._pixels
        return details + max(band, 2 * _HR * _RGB * _FLOAT * self._pixels)

    def _details_of_a_pixel(self) -> int:
        """Return what reconstruction takes for each LQ pixel: a map of twice its size, two maps of the output's."""
        twice, whole = self._sizes.reconstruction_channels or (self._sizes.channels, RECONSTRUCTION_CHANNELS)
        return (2 * _HR * whole + 4 * twice) * self._sample

    def _work_space(self) -> float:
        """Return what ncnn keeps, or CUDA graphs do."""
        if self._winograd:
            return _WINOGRAD_MAPS * self._of_band(self._reach)[0] * self._feature
        if self._graphs and self._is_exact:
            branch = self._propagation() + 2 * self._feature + 20 * self._pixels
            hr = _HR * _RGB * _FLOAT * self._pixels
            return 2 * branch + self._reconstruction() + 2 * self._feature + 12 * self._pixels + hr
        return 0.0

    def _output(self) -> float:
        return (4 if self._changes_output else 3) * _HR * _RGB * _FLOAT * self._pixels

    def _of_band(self, reach: int) -> tuple[float, int]:
        """Return which part of a map a band with its halo is, and how many whole maps its results take beside it."""
        if self._band_rows is None or self._height <= self._band_rows:
            return 1.0, 0
        count = -(-self._height // self._band_rows)
        return min(1.0, (self._height / count + 2 * reach) / self._height), 1

    def _peak_of_whole_window(self) -> float:
        """Return what official windows take, whose frames and results are all held at once.

        mmedit moreover cleans and estimates the flow of all frames at once, and reconstructs whole frames.
        """
        hr = _HR * _RGB * _FLOAT * self._pixels
        each = self._window * ((12 * 3 + 16 * 2) * self._pixels + self._feature + 2 * hr)
        if not self._mmedit:
            return each + max(self._propagation(), self._reconstruction(), self._reading())
        flows = self._window * max(3 * self._feature, (152 + 64 + 2 * 96 * _FLOAT) * self._pixels)
        return max(each + self._details_of_a_pixel() * self._pixels, flows + 28 * self._window * self._pixels)
