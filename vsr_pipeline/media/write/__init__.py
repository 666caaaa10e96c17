"""media.write."""
