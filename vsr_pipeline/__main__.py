"""`python -m vsr_pipeline` is `vsr`."""

from vsr_pipeline.cli import main

main()
