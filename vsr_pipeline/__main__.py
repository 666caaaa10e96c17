"""Where the command `vsr`, which is `python -m vsr_pipeline`, begins."""

import sys


def main() -> None:
    """Run the command line and leave with its exit code, also when Ctrl-C comes before it can be waited for."""
    try:
        from vsr_pipeline.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
