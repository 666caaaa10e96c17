"""What the pages say, in the language of the reader. Each language is one file in `languages/`."""

import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

DEFAULT = "en"
_FOLDER = Path(__file__).parent / "languages"

Texts = Callable[..., str]
"""`t("queue.title")`, or with values: `t("queue.free", size="3 GB")`."""


@cache
def languages() -> Mapping[str, Mapping[str, str]]:
    """Return all catalogues by the code of their language, such as `zh-CN`."""
    return {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(_FOLDER.glob("*.toml"))}


def texts_in(language: str) -> Texts:
    """Return what gives the texts of a language; an unknown one is English."""
    catalogue = languages().get(language, languages()[DEFAULT])

    def text(key: str, **values: object) -> str:
        return catalogue[key].format(**values) if values else catalogue[key]

    return text


def language_for(chosen: str | None, accepted: str) -> str:
    """Return the language of a reader.

    Args:
        chosen: what was chosen on the page; None: nothing.
        accepted: the header Accept-Language, best first as browsers write it.
    """
    if chosen in languages():
        return str(chosen)
    for part in accepted.split(","):
        wanted = part.partition(";")[0].strip().lower()
        for code in languages():
            if wanted and code.lower().partition("-")[0] == wanted.partition("-")[0]:
                return code
    return DEFAULT
