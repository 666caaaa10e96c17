"""Speeds of precisions that the cache knows, as if this machine had been measured."""

import torch

from vsr_pipeline.enhance import precision
from vsr_pipeline.models.winograd import winograd_library

CPU = torch.device("cpu")
WINOGRAD = f"fp32 by {winograd_library()}"


def know_speeds(speeds, *, channels=8, threads=None):
    """Let the cache know how fast each candidate is, with so many threads or as many as now; others are slow."""
    every = precision.candidates_for(CPU)
    direct = [c for c in every if c.convolutions == "direct"]
    in_int8 = [c for c in [precision.int8_candidate(CPU)] if c]
    lists = [every, direct, [c for c in every if c.precision == "fp32"]]
    for candidates in (*lists, *([*some, *in_int8] for some in lists[:2] if in_int8)):
        values = {c.name: speeds.get(c.name, 0.1) for c in candidates}
        key = precision._speed_key(candidates, CPU, channels)
        precision._remember(key | {"threads": threads or key["threads"]}, values)
