"""
Where a node and h11 read bytes differently, and why that is right.

A node leaves the tokens to llhttp, and is stricter where two readers could understand something in
two ways. h11 follows the grammar of RFC 9112, and is lenient where old clients need it.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from tests.fuzz.verdicts import CLOSES, REFUSED, WAITS, Verdict, h11s, ours

METHODS: Final = (
    "DELETE|GET|HEAD|POST|PUT|CONNECT|OPTIONS|TRACE|COPY|LOCK|MKCOL|MOVE|PROPFIND|PROPPATCH|SEARCH|"
    "UNLOCK|BIND|REBIND|UNBIND|ACL|REPORT|MKACTIVITY|CHECKOUT|MERGE|M-SEARCH|NOTIFY|SUBSCRIBE|"
    "UNSUBSCRIBE|PATCH|PURGE|MKCALENDAR|LINK|UNLINK|SOURCE|QUERY"
)
LENGTH: Final = r"(?im:^content-length:)"
ENCODING: Final = r"(?im:^transfer-encoding:)"
UPGRADE: Final = r"(?im:^upgrade:)"
SIZE: Final = r"(?m:^[0-9A-Fa-f]{1,20})"


class Difference(NamedTuple):
    """
    A reason to read differently.

    Attributes:
        reason: Why a node reads as it does.
        pattern: What is found where the two part.
        example: Bytes that show it.
    """

    reason: str
    pattern: str
    example: bytes


def _get(line: str = "GET / HTTP/1.1", *headers: str) -> bytes:
    return "\r\n".join((line, "Host: a", *headers, "", "")).encode("latin-1")


def _chunked(body: str) -> bytes:
    return _get("POST / HTTP/1.1", "Transfer-Encoding: chunked") + body.encode("latin-1")


STRICTER: Final = (
    Difference(
        "llhttp takes the methods that are registered; others have no route",
        rf"\A(?!(?:{METHODS}) )",
        _get("BREW / HTTP/1.1"),
    ),
    Difference(
        "no request here has a target without a path; a proxy may route it elsewhere",
        r"\A\S+ (?!/)",
        _get("GET http://a/ HTTP/1.1"),
    ),
    Difference(
        "a client keeps what follows a '#' to itself; whether it is sent is a matter of taste",
        r"\A\S+ \S*#",
        _get("GET /a#b HTTP/1.1"),
    ),
    Difference(
        "only HTTP/1.0 and HTTP/1.1 are spoken",
        r"\A\S+ \S+ HTTP/(?!1\.[01]\r?\n)",
        _get("GET / HTTP/1.2"),
    ),
    Difference(
        "a line ends with CR LF; readers that disagree on that can be made to see two requests",
        r"(?<!\r)\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
    ),
    Difference(
        "folded headers are obsolete, and readers join them differently (RFC 9112, 5.2)",
        r"\r\n[ \t]",
        _get("GET / HTTP/1.1", "A: b", " c"),
    ),
    Difference(
        "control characters in a header may end it elsewhere (RFC 9110, 5.5)",
        r":[^\r\n]*[\x01-\x08\x0e-\x1f\x7f]",
        _get("GET / HTTP/1.1", "A: \x01"),
    ),
    Difference(
        "a length that is given twice is refused, though RFC 9112, 6.3, lets both be equal",
        rf"{LENGTH}[^\r\n]*,|{LENGTH}(?s:.*){LENGTH}",
        _get("POST / HTTP/1.1", "Content-Length: 1", "Content-Length: 1") + b"a",
    ),
    Difference(
        "a body with a length and in chunks is how requests are smuggled (RFC 9112, 6.1)",
        rf"{LENGTH}(?s:.*){ENCODING}|{ENCODING}(?s:.*){LENGTH}",
        _get("POST / HTTP/1.1", "Content-Length: 1", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    ),
    Difference(
        "a trailer does not say how its body is framed (RFC 9110, 6.5.1)",
        rf"{ENCODING}(?s:.*){ENCODING}",
        _chunked("0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ),
    Difference(
        "llhttp takes no tab after a transfer encoding",
        rf"{ENCODING}[^\r\n]*\t\r",
        _get("POST / HTTP/1.1", "Transfer-Encoding: chunked\t") + b"0\r\n\r\n",
    ),
    Difference(
        "HTTP/1.0 has no transfer encodings (RFC 9112, 6.1)",
        rf"\A\S+ \S+ HTTP/1\.0\r\n(?s:.*){ENCODING}",
        _get("POST / HTTP/1.0", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    ),
    Difference(
        "the parser would take the body of an upgrade for the other protocol",
        rf"(?:{LENGTH}|{ENCODING})(?s:.*){UPGRADE}"
        rf"|(?:{UPGRADE}|\ACONNECT )(?s:.*)(?:{LENGTH}|{ENCODING})",
        _get("GET / HTTP/1.1", "Connection: upgrade", "Upgrade: a", "Content-Length: 0"),
    ),
    Difference(
        "a WebSocket that cannot be opened is refused at once",
        rf"{UPGRADE}(?i: *websocket)",
        _get("GET / HTTP/1.1", "Connection: upgrade", "Upgrade: websocket"),
    ),
    Difference(
        "a length has at most 64 bits",
        rf"{LENGTH}\s*\d{{19,}}",
        _get("POST / HTTP/1.1", "Content-Length: 99999999999999999999"),
    ),
    Difference(
        "a chunk has at most 64 bits",
        r"(?m)^[0-9A-Fa-f]{16,}",
        _chunked("fffffffffffffffff\r\na"),
    ),
    Difference(
        "nothing but an extension follows the size of a chunk",
        SIZE + r"[ \t]+(?:;[^\r\n]*)?\r",
        _chunked("1 \r\na\r\n0\r\n\r\n"),
    ),
    Difference(
        "an extension of a chunk has a name, and a token or a quoted text for a value",
        SIZE + r";(?![!#-'*+\-.^-z|~0-9A-Z]+(?:=[!#-'*+\-.^-z|~0-9A-Z]+)?\r\n)",
        _chunked("1;\x01\r\na\r\n0\r\n\r\n"),
    ),
)
"""A node refuses it, and h11 does not."""

LAXER: Final = (
    Difference(
        "empty lines before a request are ignored, as RFC 9112, 2.2, wants",
        r"\A[\r\n]+",
        b"\r\n" + _get(),
    ),
    Difference(
        "llhttp skips more than one space before a target or a version",
        r"\A\S+ +(?: |\S+  )",
        _get("GET  / HTTP/1.1"),
    ),
    Difference(
        "llhttp takes RTSP for HTTP of the same version; a route answers it over HTTP",
        r"\A\S+ \S+ (?:RTSP|ICE)/",
        _get("GET / RTSP/1.0"),
    ),
    Difference(
        "zeros in front of the size of a chunk change nothing",
        r"(?m:^0[0-9A-Fa-f]{20,})",
        _chunked("00000000000000000000001\r\na\r\n0\r\n\r\n"),
    ),
    Difference(
        "llhttp waits for the rest of the preface of HTTP/2, and refuses it then",
        r"\APRI ",
        b"PRI /a HTTP/1.1\r\n\r\n",
    ),
)
"""h11 refuses it, and a node does not, or not yet."""

ENDS: Final = (
    Difference(
        "a request for another protocol is the last one: the parser reads nothing after it",
        rf"{UPGRADE}|\ACONNECT ",
        _get("GET / HTTP/1.1", "Connection: upgrade", "Upgrade: h2c") + _get(),
    ),
    Difference(
        "llhttp takes Proxy-Connection, which old clients send, for Connection",
        r"(?im:^proxy-connection: *close)",
        _get("GET / HTTP/1.1", "Proxy-Connection: close") + _get(),
    ),
    Difference(
        "llhttp obeys a trailer that ends the connection, so the response says that it is the last",
        r"\r\n0+\r\n(?s:.*)(?im:^(?:proxy-)?connection: *close)",
        _chunked("0\r\nConnection: close\r\n\r\n") + _get(),
    ),
)
"""A node reads nothing after it, and h11 does."""

COMPLETIONS: Final = (
    b"\r\n",
    b"\n",
    b"\r\n\r\n",
    b"\n\r\n",
    b"a\r\n0\r\n\r\n",
    b"0\r\n\r\n",
    b"\r\n0\r\n\r\n",
    b"a",
)
"""What may be missing, where h11 waits for the rest and a node has refused already."""


def excused(data: bytes) -> Difference | str | None:
    """
    Return why a node and h11 read *data* differently; None if there is no reason, and an empty
    text if they read the same.
    """
    a, b = ours(data), h11s(data)
    if (a.requests, a.end) == (b.requests, b.end):
        return ""
    same = _same(a, b)
    rest = _slice(data, b, same)
    ours_end = a.end if len(a.requests) == same else None
    h11s_end = b.end if len(b.requests) == same else None
    if ours_end == REFUSED and h11s_end != REFUSED:
        if h11s_end == WAITS and _is_broken(data, same):
            return "h11 looks at whole lines and heads, llhttp at each byte"
        before = _slice(data, b, same - 1) if same else ""
        return _first(STRICTER, rest) or _first(ENDS[-1:], before)
    if ours_end == CLOSES and same:
        return _first(ENDS, _slice(data, b, same - 1))
    if h11s_end == REFUSED and ours_end != REFUSED:
        return _first(LAXER, rest)
    return None


def _is_broken(data: bytes, number: int) -> bool:
    """Return whether h11 refuses the request with that *number*, which is not complete, too."""
    verdicts = [h11s(data + more) for more in COMPLETIONS]
    is_refused = any(verdict.end == REFUSED for verdict in verdicts)
    return is_refused and all(len(verdict.requests) == number for verdict in verdicts)


def _same(a: Verdict, b: Verdict) -> int:
    """How many requests both read alike."""
    pairs = list(zip(a.requests, b.requests, strict=False))
    return next((number for number, pair in enumerate(pairs) if pair[0] != pair[1]), len(pairs))


def _slice(data: bytes, verdict: Verdict, number: int) -> str:
    """The request with that *number*, as far as h11 took it for one."""
    start, *later = verdict.starts[number:]
    return data[start : later[0] if later else None].decode("latin-1")


def _first(differences: tuple[Difference, ...], text: str) -> Difference | None:
    return next((one for one in differences if re.search(one.pattern, text)), None)
