"""jobs.workers."""
