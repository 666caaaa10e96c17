"""Small networks with the weights of the goldens, and the goldens."""

import json
from pathlib import Path

import numpy as np
import torch

from tests.golden.make_reference import fill_parameters, make_clip
from vsr_pipeline.models.basicvsr import BasicVSRNet
from vsr_pipeline.models.realbasicvsr import RealBasicVSRNet

GOLDEN = Path(__file__).parent.parent / "golden"
CASES = {case["name"]: case for case in json.loads((GOLDEN / "cases.json").read_text())}


def fill(net, std):
    """Give a network the weights of the goldens."""
    filled = fill_parameters({k: v.numpy() for k, v in net.state_dict().items()}, std)
    net.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in filled.items()}, strict=True)
    return net.eval()


def golden_net(case):
    if case["net"] == "basicvsr":
        return fill(BasicVSRNet(**case["kwargs"]), case["std"])
    # Cleaning frame by frame or all at once is a matter of memory in the official code, not of results.
    kwargs = {k: v for k, v in case["kwargs"].items() if k != "is_sequential_cleaning"}
    return fill(RealBasicVSRNet(**kwargs), case["std"])


def assert_reproduces(name, net):
    """Hold the outputs of a network against those of the official one."""
    for what, worst in largest_differences(name, net).items():
        assert worst <= 1e-4, f"{what}: off by {worst:.2e}"


def largest_differences(name, net):
    """Return how far the outputs of a network are off those of the official one, by what they are."""
    case = CASES[name]
    clip = torch.from_numpy(make_clip(case["frames"], case["height"], case["width"], case["seed"]))
    length = case["max_seq_len"] or len(clip)
    outputs, cleaned = [], []
    for start in range(0, len(clip), length):
        window = clip[None, start : start + length]
        if case["net"] == "basicvsr":
            outputs.append(net(window)[0])
        else:
            output, clean = net(window, refine_threshold=case["refine_threshold"], return_cleaned=True)
            outputs.append(output[0])
            cleaned.append(clean[0])
    stride = case["stride"]
    with np.load(GOLDEN / "mmedit_0.16.1.npz") as golden:
        found = {"output": torch.cat(outputs)[:, :, ::stride, ::stride].numpy()}
        if cleaned:
            found["cleaned"] = torch.cat(cleaned).numpy()
        for what, values in found.items():
            assert values.shape == golden[f"{name}/{what}"].shape
        return {what: float(np.abs(values - golden[f"{name}/{what}"]).max()) for what, values in found.items()}


def save(net, path):
    """Write a checkpoint of mmedit's kind."""
    torch.save({"state_dict": {f"generator.{name}": value for name, value in net.state_dict().items()}}, path)
    return path
