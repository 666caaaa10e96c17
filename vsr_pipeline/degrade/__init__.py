"""Spoil clean frames the way that real videos are spoiled: what RealBasicVSR is trained on, and test pairs."""
