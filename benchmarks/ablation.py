"""What each measure for speed is worth: the network with all of them, and with each one taken away.

    python benchmarks/ablation.py [--size 160x90] [--frames 8] [--repeats 5] [--model auto] [--device auto]

All variants run in one process, in turns. Prints for each the median fps, its ratio to the plain reference path
(eager, float32, NCHW), and the PSNR against that.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from vsr_pipeline.bench_network import moving_picture
from vsr_pipeline.config import UpscaleConfig
from vsr_pipeline.enhance import realbasicvsr_network
from vsr_pipeline.enhance.cuda_graphs import cuda_recorder
from vsr_pipeline.enhance.device import choose_device, describe
from vsr_pipeline.enhance.frames import enhance_in_memory
from vsr_pipeline.enhance.open_model import checkpoint_of, open_model
from vsr_pipeline.enhance.precision import int8_candidate
from vsr_pipeline.enhance.realbasicvsr import context_of, winograd_for
from vsr_pipeline.enhance.realbasicvsr_cleaning import cleaned
from vsr_pipeline.enhance.realbasicvsr_network import net_for
from vsr_pipeline.enhance.realbasicvsr_segment import SegmentUpscaler
from vsr_pipeline.enhance.realbasicvsr_stream import SCALE, Windows
from vsr_pipeline.enhance.transfer import to_pixels, to_tensor
from vsr_pipeline.media.images import Pixels
from vsr_pipeline.models import int8
from vsr_pipeline.models.realbasicvsr import RealBasicVSRNet

Path = Callable[[list[Pixels]], list[Pixels]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="160x90")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--model", default="auto")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    settings = UpscaleConfig(model=options.model, device=options.device)
    device = choose_device(settings.device)
    precision = open_model(settings).precision
    checkpoint = checkpoint_of(settings)[1]
    clip = moving_picture(width, height, options.frames)

    def exact(
        precision: str,
        *,
        flow_in_fewer_bits: bool = True,
        channels_last: bool = True,
        winograd: bool = False,
        graphs: bool = device.type == "cuda",
    ) -> Path:
        levels, in_int8 = realbasicvsr_network._FLOW_LEVELS_IN_16_BITS, int8._FLOW_LEVELS
        if not flow_in_fewer_bits:
            realbasicvsr_network._FLOW_LEVELS_IN_16_BITS, int8._FLOW_LEVELS = (), slice(0)
        net = net_for(checkpoint)
        ranges = checkpoint.calibration.ranges if checkpoint.calibration else None
        realbasicvsr_network.prepare(net, device=device, precision=precision, winograd=winograd, ranges=ranges)
        realbasicvsr_network._FLOW_LEVELS_IN_16_BITS, int8._FLOW_LEVELS = levels, in_int8
        if not channels_last:
            net.to(memory_format=torch.contiguous_format)
        upscaler = SegmentUpscaler(
            net,
            device=device,
            windows=Windows(),
            refine_threshold=255,
            record=cuda_recorder(device) if graphs else None,
        )

        def run(frames: list[Pixels]) -> list[Pixels]:
            return enhance_in_memory(upscaler, context_of(settings), frames, cleaned(1), SCALE)

        return run

    plain = net_for(checkpoint).eval().requires_grad_(False).to(device)

    @torch.inference_mode()
    def reference(frames: list[Pixels]) -> list[Pixels]:
        frames_NTCHW = torch.cat([to_tensor(pixels, device) for pixels in frames])[None].contiguous()
        once = {"refine_threshold": 255} if isinstance(plain, RealBasicVSRNet) else {}
        return [to_pixels(frame[None], frames[0].dtype) for frame in plain(frames_NTCHW, **once)[0]]

    variants: dict[str, Path] = {
        "reference: eager, fp32, NCHW": reference,
        "streamed, fp32, channels last": exact("fp32"),
    }
    if winograd_for(settings, device, "fp32"):
        variants["  and by Winograd's method"] = exact("fp32", winograd=True)
    if checkpoint.calibration is not None and int8_candidate(device) is not None:
        variants |= {
            "int8": exact("int8"),
            "  without: flow's large levels in 8 bits": exact("int8", flow_in_fewer_bits=False),
        }
    if precision in ("bf16", "fp16"):
        variants |= {
            f"product: {precision}, channels last": exact(precision),
            "  without: flow's large levels in 16 bits": exact(precision, flow_in_fewer_bits=False),
            "  without: channels last": exact(precision, channels_last=False),
        }
    if device.type == "cuda":
        variants["  without: CUDA graphs"] = exact(precision, graphs=False)
    print(f"{describe(device)}, torch {torch.__version__}, {options.size}, {options.frames} frames", flush=True)
    deep = [pixels.astype(np.uint16) * 257 for pixels in clip]
    expected = np.stack(reference(deep)).astype(np.float64)
    psnr = {}
    for name, path in variants.items():
        error = float(np.mean(((np.stack(path(deep)) - expected) / 65535) ** 2))
        psnr[name] = -10 * np.log10(error) if error else np.inf
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(options.repeats):
        for name, path in variants.items():
            started = time.perf_counter()
            path(clip)
            seconds[name].append(time.perf_counter() - started)
    slowest = statistics.median(seconds["reference: eager, fp32, NCHW"])
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"{name:<44} {options.frames / median:7.3f} fps {slowest / median:6.2f} x {psnr[name]:7.1f} dB")


if __name__ == "__main__":
    main()
