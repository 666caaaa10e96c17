"""jobs.batch."""
