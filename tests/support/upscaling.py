"""Upscalers over small clips."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch

from tests.golden.make_reference import make_clip
from vsr_pipeline.clip.geometry import Geometry
from vsr_pipeline.enhance.frames import enhance_frames
from vsr_pipeline.enhance.realbasicvsr_cleaning import cleaned
from vsr_pipeline.enhance.realbasicvsr_network import prepare
from vsr_pipeline.enhance.realbasicvsr_segment import SegmentUpscaler
from vsr_pipeline.enhance.realbasicvsr_stream import Windows
from vsr_pipeline.enhance.spec import Context, Upscaler
from vsr_pipeline.timeline import Segment, Shot, Timeline

CPU = torch.device("cpu")
GPU = torch.device("cuda", 0)


@dataclass(frozen=True)
class Model:
    """An upscaler, and how clips are cut for it."""

    upscaler: Upscaler
    context: Context


def frames_of(frames, height=64, width=64, seed=0):
    clip = make_clip(frames, height, width, seed)
    return [(f.transpose(1, 2, 0) * 255).round().astype(np.uint8) for f in clip]


def exact(net, *, precision="fp32", refine_threshold=5.0, band_rows=None, winograd=False, record=None, **windows):
    """A network in exact windows, on the CPU."""
    prepare(net, device=CPU, precision=precision, band_rows=band_rows, winograd=winograd)
    cut = Windows(**windows)
    upscaler = SegmentUpscaler(net, device=CPU, windows=cut, refine_threshold=refine_threshold, record=record)
    context = Context(segment_frames=cut.segment_frames, warm_up=cut.warm_up, lookahead=cut.lookahead)
    return Model(upscaler, context)


def built(spec):
    """The first variant of a model."""
    return Model(spec.variants[0].build(), spec.context)


def segments_of(context, count, cuts=()):
    return context.segments(Timeline.constant_rate(count, Fraction(25), cuts))


def run(model, frames, *, cuts=(), passes=1):
    """Upscale a clip; returns its HR frames, and how much work was reported."""
    outputs, work = [], []
    for segment in segments_of(model.context, len(frames), cuts):
        context = iter(frames[segment.context_start : segment.context_stop])
        outputs += enhance_frames(
            model.upscaler, context, segment, cleaned(passes), geometry=geometry_of(frames), on_work=work.append
        )
    return outputs, sum(work)


def upscale_whole(upscaler, frames, passes=1):
    """Upscale a clip as one segment."""
    whole = segment(0, len(frames))
    geometry = geometry_of(frames)
    return list(
        enhance_frames(upscaler, iter(frames), whole, cleaned(passes), geometry=geometry, on_work=lambda _: None)
    )


def geometry_of(frames, scale=4):
    """The sizes of frames that a network enlarges."""
    height, width = frames[0].shape[:2]
    return Geometry.enlarged((width, height), scale)


def segment(start=0, stop=300):
    return Segment(start, stop, start, stop, Shot(start, stop))


def worst(a, b):
    return max(int(np.abs(x.astype(int) - y.astype(int)).max()) for x, y in zip(a, b, strict=True))
