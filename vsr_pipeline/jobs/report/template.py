"""Templates of self-contained pages: every value is escaped, pictures are part of the page."""

import base64
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment, Template

# Control characters have no meaning in HTML, lone surrogates none in UTF-8, and overrides of the writing direction
# would turn around what follows a name.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def page_template(package: str, name: str) -> "Template":
    """Return a template that lies in a package, with automatic escaping."""
    return page_environment(package, ".").get_template(name)


def page_environment(package: str, folder: str) -> "Environment":
    """Return what makes pages of the templates that lie in a folder of a package, with automatic escaping."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader(package, folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )


def printable(text: str) -> str:
    r"""Show what cannot be printed as in Python: `\n`."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def data_uri(image: bytes, kind: str = "jpeg") -> str:
    """Return an encoded image as an address that a page can hold."""
    return f"data:image/{kind};base64,{base64.b64encode(image).decode('ascii')}"


def _printable(value: object) -> object:
    return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value
