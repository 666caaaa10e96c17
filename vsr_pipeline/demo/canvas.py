"""How one picture of the slide-wipe video is composed: two sides, a line, two labels."""

import math
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from vsr_pipeline.demo.choreography import DemoOptions
from vsr_pipeline.demo.side import Side
from vsr_pipeline.media.images import Pixels

Picture: TypeAlias = npt.NDArray[np.uint8]
"""(H, W, 3), RGB, 8 bits."""

MAX_SIDE = 4096
MAX_PIXELS = 4096 * 2304  # the largest picture of H.264 level 5.2, the highest that browsers and their hardware promise

_INTERPOLATIONS = {"nearest": cv2.INTER_NEAREST, "bicubic": cv2.INTER_CUBIC}
_PLATE = 0.45  # how much of the picture shines through a label's plate
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_CAPITALS_HEIGHT = 22  # pixels at font scale 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """How one picture of the demo is composed; made once, used for every frame."""

    width: int
    height: int
    scaled_down: bool
    enlarge: int  # interpolation flag of OpenCV
    line_width: int
    label_before: "_Label"
    label_after: "_Label"

    @classmethod
    def choose(cls, options: DemoOptions, before: Side, after: Side) -> "Canvas":
        """Take the size of `after`, with square pixels and not larger than H.264 players take."""
        # A folder of images has lost its pixels' aspect ratio; that of the other version holds for it as well.
        info = after.info or before.info
        full_width = after.width * float(info.display_aspect_ratio_of_pixels if info else 1)
        pixels = full_width * after.height
        scale = min(1.0, MAX_SIDE / max(full_width, after.height), math.sqrt(MAX_PIXELS / pixels))
        width, height = (max(2, int(side * scale)) for side in (full_width, after.height))
        factor = round(after.width / before.width, 1)
        described = f"input, {options.interpolation} x{factor:g}" if factor > 1 else "input"
        label_before = described if options.label_before is None else options.label_before
        label_after = "enhanced" if options.label_after is None else options.label_after
        text_scale = _text_scale((label_before, label_after), width, height)
        return cls(
            width=width,
            height=height,
            scaled_down=scale < 1,
            enlarge=_INTERPOLATIONS[options.interpolation],
            line_width=max(2, round(width / 320)) if options.line_width is None else options.line_width,
            label_before=_Label.draw(label_before, text_scale, width, height, at_right=False),
            label_after=_Label.draw(label_after, text_scale, width, height, at_right=True),
        )

    def fit(self, pixels: Pixels, label: "_Label") -> Picture:
        """Bring a frame of any size and depth to 8 bits and the canvas, with its label on it. Returns a new array."""
        height, width = pixels.shape[:2]
        eight_bit = cv2.convertScaleAbs(pixels, alpha=1 / 257) if pixels.dtype == np.uint16 else pixels
        flag = cv2.INTER_AREA if width >= self.width and height >= self.height else self.enlarge
        picture = np.asarray(cv2.resize(eight_bit, (self.width, self.height), interpolation=flag), dtype=np.uint8)
        label.put_on(picture)
        return picture

    def wipe(self, left: Picture, right: Picture, line_x: int) -> Picture:
        """Compose what is left of `line_x` from `left`, the rest from `right`, with the line between them."""
        picture = right.copy()
        picture[:, :line_x] = left[:, :line_x]
        if self.line_width and 0 < line_x < self.width:
            first = max(0, line_x - self.line_width // 2)
            stop = first + self.line_width
            # A dark edge on either side, so that the white line is seen on snow as well.
            picture[:, max(0, first - 1) : stop + 1] //= 3
            picture[:, first:stop] = 255
        return picture


@dataclass(frozen=True, slots=True, kw_only=True)
class _Label:
    """White text on a translucent dark plate: pixels become `pixels * keep + add` inside `rows` and `columns`."""

    rows: slice
    columns: slice
    keep: npt.NDArray[np.float32]  # (h, w, 1), 0..1
    add: npt.NDArray[np.float32]  # (h, w, 1), 0..255

    @classmethod
    def draw(cls, text: str, scale: float, width: int, height: int, *, at_right: bool) -> "_Label":
        """Render the text once, for the top left or right corner of a picture of `width` x `height` pixels."""
        thickness = max(1, round(1.6 * scale))
        (text_width, _), descent = cv2.getTextSize(text, _FONT, scale, thickness)
        capitals = round(_CAPITALS_HEIGHT * scale)
        padding = max(2, round(0.4 * capitals))
        mask = np.zeros((capitals + descent + 2 * padding, text_width + 2 * padding), np.uint8)
        cv2.putText(mask, text, (padding, padding + capitals), _FONT, scale, 255, thickness, cv2.LINE_AA)
        mask = mask[: max(0, height - padding), : max(0, width - padding) if text else 0]
        ink = mask[:, :, np.newaxis] / 255
        left = width - padding - mask.shape[1] if at_right else padding
        return cls(
            rows=slice(padding, padding + mask.shape[0]),
            columns=slice(left, left + mask.shape[1]),
            keep=(_PLATE * (1 - ink)).astype(np.float32),
            add=(255 * ink).astype(np.float32),
        )

    def put_on(self, picture: Picture) -> None:
        """Blend the label into the picture."""
        area = picture[self.rows, self.columns]
        area[:] = np.rint(area * self.keep + self.add).astype(np.uint8)


def _text_scale(labels: tuple[str, str], width: int, height: int) -> float:
    """Font scale: capitals of a 20th of the shorter side, smaller so that both labels fit, never too small to read."""
    longest = max(cv2.getTextSize(text, _FONT, 1.0, 1)[0][0] for text in labels)
    wanted = min(width, height) / 20 / _CAPITALS_HEIGHT
    return max(min(wanted, 0.42 * width / max(1, longest)), 8 / _CAPITALS_HEIGHT)
