"""`split`, `enhance` and `merge`: the pipeline with a folder of PNGs in between, for looking at or editing frames."""
