"""Pictures of each kind: grey, RGB, CMYK, palette, with and without alpha, 8 and 16 bits, turned, with a profile."""

import cv2
import numpy as np
from PIL import Image

from tests.support.icc import display_p3, grey_gamma, grey_inks
from tests.support.pictures import picture

WIDTH, HEIGHT = 40, 30
DPI = (300, 200)
# Name: mode and bits of the output, whether its profile is that of the source.
KINDS = {
    "grey.png": ("L", 8, True),
    "grey.jpg": ("L", 8, False),
    "grey16.png": ("I;16", 16, True),
    "grey16.tif": ("I;16", 16, True),
    "grey_alpha.png": ("LA", 8, True),
    "rgb.png": ("RGB", 8, False),
    "rgb.bmp": ("RGB", 8, False),
    "rgb.webp": ("RGB", 8, True),
    "rgba.png": ("RGBA", 8, True),
    "rgba.webp": ("RGBA", 8, True),
    "rgba.tif": ("RGBA", 8, True),
    "rgb16.png": ("RGB", 16, False),
    "rgba16.png": ("RGBA", 16, False),
    "palette.png": ("RGB", 8, True),
    "palette_clear.png": ("RGBA", 8, True),
    "cmyk.jpg": ("RGB", 8, False),
    "turned.jpg": ("RGB", 8, True),
    "turned.webp": ("RGB", 8, False),
    "p3.png": ("RGB", 8, True),
    "p3.jpg": ("RGB", 8, True),
}


def colours(height=HEIGHT, width=WIDTH):
    return np.rint(picture(height, width) * 255).astype(np.uint8)


def soft_disc(height=HEIGHT, width=WIDTH, radius=9.0):
    """Alpha of a disc whose edge is a pixel wide."""
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y - height / 2 + 0.5, x - width / 2 + 0.5)
    return np.rint(255 * np.clip(radius - distance, 0, 1)).astype(np.uint8)


def make_album(folder):
    folder.mkdir()
    rgb = Image.fromarray(colours())
    grey, alpha = rgb.convert("L"), Image.fromarray(soft_disc())
    rgba = Image.merge("RGBA", [*rgb.split(), alpha])
    of_rgb = {"icc_profile": display_p3(), "dpi": DPI}
    of_grey = {"icc_profile": grey_gamma(), "dpi": DPI}
    deep = np.asarray(grey).astype(np.uint16) * 257  # as if it were 8 bits
    grey.save(folder / "grey.png", **of_grey)
    grey.save(folder / "grey.jpg", dpi=DPI, quality=95)
    Image.fromarray(deep).save(folder / "grey16.png", **of_grey)
    Image.fromarray(deep).save(folder / "grey16.tif", **of_grey)
    Image.merge("LA", [grey, alpha]).save(folder / "grey_alpha.png", **of_grey)
    rgb.save(folder / "rgb.png")
    rgb.save(folder / "rgb.bmp", dpi=DPI)
    for name in ("rgba.png", "rgba.webp", "rgba.tif", "rgb.webp"):
        (rgba if "rgba" in name else rgb).save(folder / name, **of_rgb)
    bgra16 = np.asarray(rgba)[..., [2, 1, 0, 3]].astype(np.uint16) * 257
    cv2.imwrite(str(folder / "rgb16.png"), bgra16[..., :3])
    cv2.imwrite(str(folder / "rgba16.png"), bgra16)
    rgb.quantize(16).save(folder / "palette.png", **of_rgb)
    rgb.quantize(16).save(folder / "palette_clear.png", transparency=3, **of_rgb)
    rgb.convert("CMYK").save(folder / "cmyk.jpg", quality=95, dpi=DPI, icc_profile=grey_inks())
    turned = Image.Exif()
    turned[0x112] = 6
    rgb.save(folder / "turned.jpg", exif=turned, quality=95, **of_rgb)
    rgb.save(folder / "turned.webp", exif=turned, quality=95)
    rgb.save(folder / "p3.png", **of_rgb)
    rgb.save(folder / "p3.jpg", quality=95, **of_rgb)
    return folder
