"""media.streams."""
