"""A device with little memory, played by the CPU: it counts what PyTorch holds, and runs out of it at a limit."""

import weakref

import numpy as np
import torch
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that are made inside of it and are alive, as a device's allocator does.

    What libraries under PyTorch hold for a moment is not seen. Beyond `limit`, memory has run out.
    """

    def __init__(self, limit=None):
        super().__init__()
        self.now = self.peak = 0
        self._limit = limit
        self._alive = set()

    def reset_peak(self):
        """Let `peak` be what is held now."""
        self.peak = self.now

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        outputs = func(*args, **(kwargs or {}))
        inputs = {storage._cdata for storage in _storages((args, kwargs))}
        for storage in _storages(outputs):
            if storage._cdata not in inputs:  # a view is nothing new
                self._hold(storage)
        return outputs

    def _hold(self, storage):
        address, count = storage._cdata, storage.nbytes()
        if address in self._alive:
            return
        self._alive.add(address)
        self.now += count
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._release, address, count)
        if self._limit is not None and self.now > self._limit:
            raise torch.OutOfMemoryError("CUDA out of memory")

    def _release(self, address, count):
        self._alive.remove(address)
        self.now -= count


class OnlyGpuOperations(TorchDispatchMode):
    """Refuses integers of 16 bits without a sign, for which GPUs have hardly any operation."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        outputs = func(*args, **(kwargs or {}))
        for leaf in _pytree.tree_leaves((args, kwargs, outputs)):
            if isinstance(leaf, torch.Tensor) and leaf.dtype == torch.uint16:
                raise NotImplementedError(f"\"{func}\" not implemented for 'UInt16'")
        return outputs


def _storages(values):
    leaves = _pytree.tree_leaves(values)
    return [leaf.untyped_storage() for leaf in leaves if isinstance(leaf, torch.Tensor)]


class SmallDevice:
    """An upscaler on a device with so many bytes of memory; None: enough. `peak` is the most that was held."""

    def __init__(self, upscaler, limit):
        self._upscaler = upscaler
        self._limit = limit
        self.peak = 0

    def take_notes(self):
        return self._upscaler.take_notes()

    def free_caches(self):
        self._upscaler.free_caches()

    def decide(self, samples, **about):
        return self._upscaler.decide(samples, **about)

    def upscale(self, frames, segment, decision, **options):
        with LiveBytes(self._limit) as live:
            yield from self._upscaler.upscale(frames, segment, decision, **options)
        self.peak = max(self.peak, live.peak)


def psnr(a, b):
    """Return the PSNR in dB over all frames together."""
    error = np.mean((np.stack(a).astype(float) - np.stack(b)) ** 2)
    return 10 * np.log10(255**2 / error) if error else np.inf
