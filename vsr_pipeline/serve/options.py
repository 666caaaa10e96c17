"""What `vsr serve` was started with, and the folders that follow from it."""

from dataclasses import dataclass, field
from pathlib import Path

from vsr_pipeline.runtime.files import WORK_FOLDER


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Settings of the server, the same for all requests."""

    folder: Path
    """Absolute. `in` in it has the clips, `out` the results, `.vsr` token and uploads."""
    listen: str = "127.0.0.1"
    port: int = 8787
    """0: any free one."""
    allow_hosts: tuple[str, ...] = ()
    root_path: str = ""
    """What a reverse proxy puts before every path, such as `/vsr`."""
    keep_model_seconds: float = 600.0
    max_upload_bytes: int = 200 * 1000**3
    config: Path | None = None
    """Settings of the batch; None: the default ones."""
    batch_words: tuple[str, ...] = field(default=())
    """Further options of `vsr batch`, such as `--executor ray`."""

    @property
    def inbox(self) -> Path:
        """Where the clips are."""
        return self.folder / "in"

    @property
    def results(self) -> Path:
        """Where the outputs go; the queue lies in it."""
        return self.folder / "out"

    @property
    def work(self) -> Path:
        """Where the server's own files are."""
        return self.folder / WORK_FOLDER

    @property
    def token_file(self) -> Path:
        """The file that holds the token."""
        return self.work / "token"
