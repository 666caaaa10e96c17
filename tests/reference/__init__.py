"""Our networks and command line against the official implementation itself: `make reference`."""
