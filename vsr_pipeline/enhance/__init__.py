"""Makes frames larger: from LQ frames to HR frames, the same count in the same order.

`open_model` turns settings into a `ModelSpec`: what the rest of the program knows of a model, whichever it is.
`Fallback` builds the first of its variants that fits into memory, and goes down the list when memory runs out. The
variant's `Upscaler` makes a segment's HR frames, which stay on the device until `transfer.download` fetches them.
"""
