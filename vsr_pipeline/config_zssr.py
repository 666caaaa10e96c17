"""Settings of ZSSR, the network that is trained on the very picture: the table `[upscale.zssr]`."""

from pydantic import Field, field_validator

from vsr_pipeline.config_section import Section


class ZssrConfig(Section):
    """The network, its training, and what is done to its output."""

    width: int = Field(64, ge=1, le=512, description="channels of the features")
    depth: int = Field(8, ge=2, le=32, description="convolutions")
    kernel_size: int = Field(3, ge=1, le=9, description="sides of their kernels, odd")
    first_rate: float = Field(3e-4, gt=0, le=1, strict=False, description="Adam's learning rate at the start")
    last_rate: float = Field(1e-6, gt=0, le=1, strict=False, description="training ends when the rate falls below it")
    crop: int = Field(64, ge=16, le=1024, description="sides of the square that a step sees, in pixels")
    sizes: int = Field(6, ge=1, le=100, description="sizes of the picture that pairs are made of")
    smallest: float = Field(0.5, gt=0, le=1, strict=False, description="the smallest of them, as a share of the sides")
    measure_every: int = Field(25, ge=1, description="steps between two measurements of the error")
    fitted_points: int = Field(10, ge=3, le=1000, description="measurements that a line is fitted to")
    slope_factor: float = Field(
        1.5, gt=0, strict=False, description="the rate falls when the slope's deviation exceeds so many slopes"
    )
    largest_factor: float = Field(2.0, gt=1, le=8, strict=False, description="a larger scale is reached in equal steps")
    frames: int = Field(5, ge=1, le=100, description="frames of a shot that its network is trained on")
    orientations: bool = Field(False, description="mean over the 8 flips and turns of a frame: 8 times as slow")
    back_projections: int = Field(0, ge=0, le=100, description="how often what the reduced output lacks is added")
    seed: int = Field(0, ge=0, description="of the training's random numbers")

    @field_validator("kernel_size")
    @classmethod
    def _is_odd(cls, size: int) -> int:
        if size % 2 == 0:
            raise ValueError("must be odd")
        return size


OF_OTHER_MODELS = ZssrConfig(first_rate=1e-3).model_dump(mode="json")
"""What jobs of all other models say of these settings, which do nothing there: the defaults of the first version."""
