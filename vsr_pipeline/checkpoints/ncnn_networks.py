"""Which ncnn network is which of ours: the layers that it must have, and the official names of their weights."""

from collections.abc import Iterable
from math import isqrt

from vsr_pipeline.checkpoints.ncnn_graph import INPUT, Layer, Value, layer
from vsr_pipeline.errors import ModelError

Named = tuple[Layer, str | None]
"""A layer, and the official name of its weights; None: it has none."""

_LEAKY_RELU = 2.0
_SLOPE = 0.2
_NEAREST = 1.0


class _Network:
    """Collects the layers of a network in the order in which they compute."""

    def __init__(self) -> None:
        self.layers: list[Named] = []

    def add(self, kind: str, *inputs: int, name: str | None = None, **parameters: Value) -> int:
        """Append a layer, and return its index."""
        self.layers.append((layer(kind, *inputs, **parameters), name))
        return len(self.layers) - 1

    def conv(self, x: int, name: str, inputs: int, outputs: int, *, activated: bool = False) -> int:
        """Append a 3x3 convolution with a bias, and with LeakyReLU where `activated`."""
        fused: dict[str, Value] = {"p9": _LEAKY_RELU, "p10": (_SLOPE,)} if activated else {}
        sizes = {"p0": float(outputs), "p1": 3.0, "p4": 1.0, "p5": 1.0, "p6": 9.0 * inputs * outputs}
        return self.add("Convolution", x, name=name, **sizes, **fused)

    def residual(self, x: int, to: int) -> int:
        """Append 0.2 times one layer's output plus another's."""
        return self.add("Eltwise", x, to, p0=1.0, p1=(_SLOPE, 1.0))

    def nearest(self, x: int, factor: int) -> int:
        """Append an enlargement by repeating pixels."""
        return self.add("Interp", x, p0=_NEAREST, p1=float(factor), p2=float(factor))


def rrdb_layers(*, channels: int, growth: int, num_blocks: int) -> list[Named]:
    """Return the layers of an RRDBNet x4 for RGB."""
    net = _Network()
    first = x = net.conv(INPUT, "conv_first", 3, channels)
    for n in range(num_blocks):
        block_input = x
        for part in ("rdb1", "rdb2", "rdb3"):
            features, width = [x], channels
            for k in range(1, 6):
                source = features[0] if k == 1 else net.add("Concat", *features)
                outputs = growth if k < 5 else channels
                name = f"body.{n}.{part}.conv{k}"
                features.append(net.conv(source, name, width, outputs, activated=k < 5))
                width += growth
            x = net.residual(features[5], x)
        x = net.residual(x, block_input)
    x = net.add("BinaryOp", first, net.conv(x, "conv_body", channels, channels))
    for name in ("conv_up1", "conv_up2"):
        x = net.conv(net.nearest(x, 2), name, channels, channels, activated=True)
    x = net.conv(x, "conv_hr", channels, channels, activated=True)
    net.conv(x, "conv_last", channels, 3)
    return net.layers


def compact_layers(*, channels: int, num_convs: int, scale: int) -> list[Named]:
    """Return the layers of an SRVGGNetCompact for RGB."""
    net = _Network()
    x, width = INPUT, 3
    for n in range(num_convs + 1):
        x = net.conv(x, f"body.{2 * n}", width, channels)
        x = net.add("PReLU", x, name=f"body.{2 * n + 1}", p0=float(channels))
        width = channels
    x = net.conv(x, f"body.{2 * num_convs + 2}", channels, 3 * scale**2)
    x = net.add("PixelShuffle", x, p0=float(scale))
    net.add("BinaryOp", x, net.nearest(INPUT, scale))
    return net.layers


def recognise(layers: tuple[Layer, ...]) -> list[Named]:
    """Return the layers with the official names of their weights.

    Raises:
        ModelError: the network is neither an RRDBNet nor an SRVGGNetCompact; the message names the first difference.
    """
    convs = [found for found in layers if found.kind == "Convolution"]
    if len(convs) < 3:
        raise ModelError(f"ncnn network: {len(convs)} convolutions are too few for a known network")
    channels = _setting(convs[0])
    if any(found.kind == "PReLU" for found in layers):
        what = "an SRVGGNetCompact"
        scale = isqrt(_setting(convs[-1]) // 3)
        expected = compact_layers(channels=channels, num_convs=len(convs) - 2, scale=scale)
    else:
        what = "an RRDBNet"
        expected = rrdb_layers(channels=channels, growth=_setting(convs[1]), num_blocks=(len(convs) - 6) // 15)
    _compare(layers, [wanted for wanted, _ in expected], what)
    return expected


def _setting(conv: Layer) -> int:
    """Return the output channels of a convolution."""
    value = dict(conv.parameters).get(0)
    if not isinstance(value, float) or not 1 <= value <= 4096 or value != int(value):
        raise ModelError(f"ncnn network: a convolution of {value} channels; 1 to 4096 are known")
    return int(value)


def _compare(found: Iterable[Layer], wanted: Iterable[Layer], what: str) -> None:
    found, wanted = list(found), list(wanted)
    for n, (a, b) in enumerate(zip(found, wanted, strict=False)):
        if a != b:
            raise ModelError(f"ncnn network: layer {n} is {a.describe()}; in {what} it is {b.describe()}")
    if len(found) != len(wanted):
        extra = found[len(wanted)].describe() if len(found) > len(wanted) else "nothing"
        raise ModelError(f"ncnn network: {len(found)} layers, {what} has {len(wanted)}; layer {len(wanted)} is {extra}")
