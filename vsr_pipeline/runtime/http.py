"""Who may talk to a page of ours: token, Host, Origin, cookie and headers, for `vsr serve` and `vsr live`.

`Guard` is a layer of ASGI around a whole application, so that no route can be forgotten. What it decides is a pure
function, `decide`, of a few headers. It knows no web framework.

1. Host: only names of an allow-list, or a page elsewhere could reach us under its own name (DNS rebinding).
2. Origin: a request that changes something must come from our own page, if a browser sends it.
3. Token: as `Authorization: Bearer`, as cookie, or once as `?token=`, which is exchanged for the cookie.
"""

import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from vsr_pipeline.errors import UsageError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with no-referrer, browsers would send `Origin: null` with our own forms
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_AUTHORITY = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::(?P<port>[0-9]{1,5}))?", re.IGNORECASE)
_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<authority>[^/?#]+)", re.IGNORECASE)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_CHANGE_NOTHING = {"GET", "HEAD", "OPTIONS"}
_COOKIE_SECONDS = 180 * 86_400


@dataclass(frozen=True, slots=True)
class Authority:
    """A host as it stands in a Host header or after `//` in a URL; IPv6 addresses keep their brackets."""

    name: str
    port: int | None
    """None: the default of the scheme; in an allow-list: any."""

    @classmethod
    def of(cls, text: str) -> "Authority":
        """Read `example.org`, `example.org:8443`, `127.0.0.1:8787` or `[::1]:8787`.

        Raises:
            UsageError: it is none of these.
        """
        found = _AUTHORITY.fullmatch(text)
        if found is None or (found["port"] and not 0 < int(found["port"]) < 65_536):
            raise UsageError(
                f"{text!r} is no host: allowed are a name or an address, with :port if needed; IPv6 as [::1]"
            )
        return cls(found["name"].lower().removesuffix("."), int(found["port"]) if found["port"] else None)


def allowed_hosts(names: Iterable[str] = ()) -> frozenset[Authority]:
    """Return an allow-list: those of this machine, which others cannot take, and further names.

    Raises:
        UsageError: a name is none.
    """
    return frozenset(Authority.of(name) for name in (*LOOPBACK_NAMES, *names))


@dataclass(frozen=True, slots=True)
class Access:
    """Whom to let in."""

    token: str
    hosts: frozenset[Authority]

    @property
    def cookie_name(self) -> str:
        """Browsers share cookies between the ports of a host: servers with other tokens have other names."""
        return "vsr_" + hashlib.sha256(self.token.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Question:
    """What of a request decides whether it is let in."""

    method: str
    query: str = ""
    host: str = ""
    origin: str | None = None
    fetch_site: str | None = None
    authorization: str | None = None
    cookie: str = ""
    accept: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """It is not let in."""

    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class Entered:
    """It brought the token in its URL: a cookie, and the same URL without it."""

    query: str


def decide(question: Question, access: Access) -> Refused | Entered | None:
    """Decide about a request; None: it is let in."""
    if not _is_allowed(question.host, access.hosts):
        return Refused(421, "this host is not allowed here: start with --allow-host NAME to allow it")
    if question.method not in _CHANGE_NOTHING and not _is_ours(question):
        return Refused(403, "a request that changes something must come from the page itself (Origin and Host differ)")
    pairs = parse_qsl(question.query, keep_blank_values=True)
    given = [value for key, value in pairs if key == "token"]
    if question.method == "GET" and len(given) == 1 and _is_equal(given[0], access.token):
        if "text/html" not in question.accept:
            return None  # players and programs, which keep no cookie
        return Entered(urlencode([pair for pair in pairs if pair[0] != "token"]))
    bearer = _bearer(question.authorization)
    given = [bearer] if bearer is not None else _cookies(question.cookie, access.cookie_name)
    if any(_is_equal(value, access.token) for value in given):
        return None
    return Refused(401, "the token is missing or wrong")


def _is_allowed(host: str, hosts: frozenset[Authority]) -> bool:
    try:
        found = Authority.of(host)
    except UsageError:
        return False
    return found in hosts or Authority(found.name, None) in hosts


def _is_ours(question: Question) -> bool:
    """Whether a request comes from our own page, or from a program that is no browser."""
    if question.fetch_site not in (None, "same-origin", "none"):
        return False
    if question.origin is None:
        return question.fetch_site is not None or _bearer(question.authorization) is not None
    found = _ORIGIN.fullmatch(question.origin)
    if found is None:
        return False
    default = _DEFAULT_PORTS[found["scheme"].lower()]
    try:
        origin, host = Authority.of(found["authority"]), Authority.of(question.host)
    except UsageError:
        return False
    return (origin.name, origin.port or default) == (host.name, host.port or default)


def _bearer(authorization: str | None) -> str | None:
    """Return the token of an Authorization header; None: it is missing, or for a proxy before us."""
    scheme, _, value = (authorization or "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else None


def _is_equal(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode())


def _cookies(header: str, name: str) -> list[str]:
    pairs = (part.strip().partition("=") for part in header.split(";"))
    return [value for key, _, value in pairs if key == name]


def question_of(scope: Scope) -> Question | None:
    """Read what decides from an ASGI scope; None: a header that may come once comes twice."""
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    once = ("host", "origin", "sec-fetch-site", "authorization")
    if any(len(found.get(name, ())) > 1 for name in once):
        return None
    host, origin, site, authorization = (found.get(name, [None])[0] for name in once)
    return Question(
        method=scope["method"],
        query=scope["query_string"].decode("latin-1"),
        host=host or "",
        origin=origin,
        fetch_site=site,
        authorization=authorization,
        cookie="; ".join(found.get("cookie", [])),
        accept=", ".join(found.get("accept", [])),
    )


class Guard:
    """A layer around an ASGI application: lets in whom `Access` allows, and adds headers to all that is answered."""

    def __init__(self, application: Application, access: Access, *, root_path: str = "") -> None:
        self._application = application
        self._access = access
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # closed without an answer: there are no web sockets here
        question = question_of(scope)
        decision = Refused(400, "a header comes twice") if question is None else decide(question, self._access)
        answering = _with_headers(send)
        if decision is None:
            await self._application(scope, receive, answering)
        elif isinstance(decision, Refused):
            wants_page = question is not None and "text/html" in question.accept
            await _answer(answering, decision.status, *_refusal(decision, wants_page=wants_page))
        else:
            # Relative: a proxy may have cut the beginning of the path.
            last = scope["path"].rpartition("/")[2]
            location = f"./{quote(last)}" + (f"?{decision.query}" if decision.query else "")
            headers = [(b"location", location.encode()), (b"set-cookie", self._cookie(scope["scheme"]).encode())]
            await _answer(answering, 303, b"", "text/plain", headers)

    def _cookie(self, scheme: str) -> str:
        secure = "; Secure" if scheme == "https" else ""
        return (
            f"{self._access.cookie_name}={self._access.token}; Path={self._root_path or '/'}; "
            f"Max-Age={_COOKIE_SECONDS}; HttpOnly; SameSite=Strict{secure}"
        )


def _with_headers(send: Send) -> Send:
    """Add headers to an answer that does not have them."""

    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", []))
            there = {name.lower() for name, _ in headers}
            added = ((name.encode(), value.encode()) for name, value in _HEADERS.items())
            message = {**message, "headers": headers + [pair for pair in added if pair[0] not in there]}
        await send(message)

    return sending


def _refusal(refused: Refused, *, wants_page: bool) -> tuple[bytes, str]:
    """Return the body of a refusal and its type."""
    if not (wants_page and refused.status == 401):
        return f"{refused.reason}\n".encode(), "text/plain; charset=utf-8"
    # Without script and style: nothing else of the page is served without the token.
    page = (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        "<meta name=color-scheme content='light dark'>"
        f"<title>vsr</title><h1>{escape(refused.reason.capitalize())}</h1>"
        "<p>If you followed a link from elsewhere, reload this page. Else open the address that the program printed, "
        "or give the token, which lies in the file that the program named.</p>"
        "<form method=get action=''><label>Token <input name=token type=password required></label>"
        " <button>Open</button></form></html>"
    )
    return page.encode(), "text/html; charset=utf-8"


async def _answer(send: Send, status: int, body: bytes, kind: str, more: Headers = ()) -> None:
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode()), *more]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
