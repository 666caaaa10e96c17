"""Curves of short runs: what there is can be seen."""

import cv2
import numpy as np
import pytest

from vsr_pipeline.train.curves import Curves


def inked(picture):
    """Number of pixels that are coloured: neither the white of the paper, nor grey frames and text."""
    return int((np.ptp(picture.astype(int), axis=2) > 40).sum())


@pytest.mark.parametrize("rows", [1, 2])
def test_every_curve_of_few_points_is_seen(tmp_path, rows):
    curves = Curves(tmp_path, until=0)
    for n in range(rows):
        curves.add({"iteration": 20.0 * (n + 1), "loss": 0.3, "psnr_y": 25.0 + n})
    curves.write()
    picture = cv2.imread(str(tmp_path / "curves.png"))
    panels = np.split(picture, 2)
    assert [inked(panel) >= 40 * rows for panel in panels] == [True, True]
    # A value that does not change lies in the middle and is no point in the corner.
    ys, _ = np.nonzero(np.ptp(panels[0].astype(int), axis=2) > 40)
    assert abs(ys.mean() - panels[0].shape[0] / 2) < 3


def test_a_curve_without_a_finite_value_says_so(tmp_path):
    curves = Curves(tmp_path, until=0)
    curves.add({"iteration": 20.0, "psnr_y": float("inf")})
    curves.write()
    picture = cv2.imread(str(tmp_path / "curves.png"))
    assert (picture < 128).any()
