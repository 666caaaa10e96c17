"""jobs.report."""
