"""Parameters that drift from frame to frame."""

from collections.abc import Iterator

import numpy as np

from vsr_pipeline.degrade.chains import Varying


def walk(parameter: Varying, rng: np.random.Generator, *, first: float | None = None) -> Iterator[float]:
    """Yield the parameter's value for each frame, without end.

    The first is uniform in [low, high] (or `first`); each next one is uniform within `step` of the one before, clipped
    to [low, high]: the stochastic scheme of RealBasicVSR (Chan et al., CVPR 2022, section 4.2), which lets a sequence
    be mirrored in time without the network finding the mirror.
    """
    value = float(rng.uniform(parameter.low, parameter.high)) if first is None else first
    while True:
        yield value
        if parameter.step:
            value += float(rng.uniform(-parameter.step, parameter.step))
            value = min(max(value, parameter.low), parameter.high)
