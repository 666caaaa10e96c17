"""What is compared, and where it goes. Loads no torch."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from vsr_pipeline.compare.candidates import Candidate
from vsr_pipeline.errors import OutputError, UsageError
from vsr_pipeline.runtime.files import refuse_to_replace


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """What is compared, and where it goes.

    Attributes:
        source: the clip.
        output: the page; the sheet lies beside it.
        candidates: the models.
        results: videos that were made of the clip, with the same frames.
        at: when the moments are, in seconds as a player counts; empty: they are chosen.
        reference: what the result should be.
        blind: hide the names until a choice is made.
        overwrite: replace files that exist.
        run_options: those options of the command line that `vsr run` is to be given, too.
    """

    source: Path
    output: Path
    candidates: tuple[Candidate, ...]
    results: tuple[Path, ...] = ()
    at: tuple[Fraction, ...] = ()
    reference: Path | None = None
    blind: bool = False
    overwrite: bool = False
    run_options: tuple[str, ...] = ()

    @property
    def sheet(self) -> Path:
        """The PNG beside the page."""
        return self.output.with_suffix(".png")


def refuse_output(options: CompareOptions) -> None:
    """Refuse an output that cannot be meant; no torch is loaded for it.

    Raises:
        UsageError: it is no HTML file, or nothing is compared.
        OutputError: it exists, or would replace what it is made from.
    """
    if not options.candidates and not options.results:
        raise UsageError("nothing is compared: name --models or a --result")
    if options.output.suffix.lower() != ".html":
        raise UsageError(f"--output {options.output} is to be a .html file: give it that suffix")
    for path in (options.output, options.sheet):
        for source in (options.source, options.reference, *options.results):
            if source is not None:
                refuse_to_replace(source, path)
        if path.is_dir():
            raise OutputError(f"{path} is a folder: name another --output")
        if path.exists() and not options.overwrite:
            raise OutputError(f"{path} exists: give --overwrite to replace it, or another --output")
