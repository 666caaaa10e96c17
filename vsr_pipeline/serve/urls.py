"""All links, in one place; a proxy may put a path before them."""

from dataclasses import dataclass
from urllib.parse import urlencode

from vsr_pipeline import __version__

STATIC = ("style.css", "page.js", "upload.js", "divider.js", "live.js", "picture.js", "icon.svg")


@dataclass(frozen=True, slots=True)
class Urls:
    """Links from pages. `root` is what the proxy puts before, such as `/vsr`; empty: nothing."""

    root: str = ""

    def queue(self) -> str:
        """Return the first page."""
        return f"{self.root}/"

    def batch(self) -> str:
        """Return where the batch is started and stopped."""
        return f"{self.root}/batch"

    def add(self, uploads: tuple[str, ...] = ()) -> str:
        """Return the page for new clips, on which some uploads are ticked."""
        return f"{self.root}/add" + ("?" + urlencode([("upload", one) for one in uploads]) if uploads else "")

    def files(self) -> str:
        """Return where a plain form sends videos."""
        return f"{self.root}/add/files"

    def uploads(self) -> str:
        """Return where uploads begin."""
        return f"{self.root}/api/uploads"

    def delete_upload(self, upload_id: str) -> str:
        """Return where a form deletes an upload."""
        return f"{self.root}/upload/{upload_id}/delete"

    def clip(self, clip_id: str) -> str:
        """Return the page of a clip, which also takes what is to be done with it."""
        return f"{self.root}/clips/{clip_id}"

    def again(self, clip_id: str) -> str:
        """Return where a clip gets other settings."""
        return f"{self.root}/clips/{clip_id}/again"

    def file(self, clip_id: str, which: str, *, download: bool = False) -> str:
        """Return a file of a clip: `source`, `result`, `before` or `after`."""
        return f"{self.root}/clips/{clip_id}/{which}" + ("?download=1" if download else "")

    def previews(self) -> str:
        """Return where previews begin."""
        return f"{self.root}/previews"

    def preview(self, preview_id: str) -> str:
        """Return the page of a preview."""
        return f"{self.root}/previews/{preview_id}"

    def preview_file(self, preview_id: str, which: str) -> str:
        """Return a video of a preview: `before` or `after`."""
        return f"{self.root}/previews/{preview_id}/{which}"

    def compare(self, clip_id: str = "") -> str:
        """Return the page that compares, for a clip."""
        return f"{self.root}/compare" + (f"?clip={clip_id}" if clip_id else "")

    def comparison(self, comparison_id: str) -> str:
        """Return what `vsr compare` has written."""
        return f"{self.root}/compare/{comparison_id}"

    def delete_comparison(self, comparison_id: str) -> str:
        """Return where a form deletes a comparison."""
        return f"{self.root}/compare/{comparison_id}/delete"

    def report(self) -> str:
        """Return the report of the last run."""
        return f"{self.root}/report"

    def log(self) -> str:
        """Return the end of the log."""
        return f"{self.root}/log"

    def machine(self) -> str:
        """Return the page about this machine."""
        return f"{self.root}/machine"

    def pull(self, model: str) -> str:
        """Return where a model is downloaded."""
        return f"{self.root}/machine/models/{model}"

    def picture(self, picture_id: str = "") -> str:
        """Return the page that enlarges pictures, with the result of one."""
        return f"{self.root}/picture" + (f"?id={picture_id}" if picture_id else "")

    def picture_file(self, picture_id: str, which: str, *, download: bool = False) -> str:
        """Return a picture: `before` or `after`."""
        return f"{self.root}/picture/{picture_id}/{which}" + ("?download=1" if download else "")

    def events(self) -> str:
        """Return the stream of events."""
        return f"{self.root}/events"

    def language(self) -> str:
        """Return where the language is chosen."""
        return f"{self.root}/language"

    def api(self) -> str:
        """Return the page about the HTTP API."""
        return f"{self.root}/api"

    def static(self, name: str) -> str:
        """Return a file of the pages themselves."""
        assert name in STATIC, name
        return f"{self.root}/static/{name}?v={__version__}"
