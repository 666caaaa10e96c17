"""The networks, nearly all of them in pure PyTorch: no paths, no environment, no logging.

Parameter names are those of the official implementation (mmedit 0.16), so that published checkpoints load strictly.
Shape suffixes on tensors: N clips, T frames, C channels, H and W rows and columns of the low-quality frames.
"""
