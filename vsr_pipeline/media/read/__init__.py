"""media.read."""
