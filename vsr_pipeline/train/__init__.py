"""Training of RealBasicVSR: data, degradation on the fly, losses, checkpoints, and the loop."""
