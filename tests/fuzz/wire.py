"""Requests as bytes on a wire: most of them valid, many broken in one place or two."""

from __future__ import annotations

from hypothesis import strategies as st

METHODS = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]
ODD_METHODS = ["BREW", "get", "CONNECT", "G@T", "", "GET ", "\tGET", "PRI", "M-SEARCH", "QUERY"]
TARGETS = ["/", "/v1/contexts/a%20b", "/a?b=c&d", "/?a?b", "//a", "/a;b=c/../d"]
ODD_TARGETS = [
    *("*", "http://a/", "a", "", "/#", "/a#b?c", "/a b", "/\t", "/\0", "/\x7f", "/\xe4", "a:1"),
    *('/"<>\\^`{|}', "/?\x01", "?a", "/a?"),
]
VERSIONS = ["HTTP/1.1"]
ODD_VERSIONS = [
    *("HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "HTTP/11", "http/1.1", "HTTP/1.1 ", ""),
    *("ICE/1.0", "HTTP/1.10", "HTTP/3.0", "RTSP/1.0"),
]
HEADERS = [
    *("A: b", "A: c", "X-B:c", "Empty:", "Accept: */*", "Tabs:\ta\tb\t", "Spaces:   a  b  "),
    *(
        "Connection: keep-alive",
        "Expect: 100-continue",
        "Bytes: \xe4\xff",
        "User-Agent: a/1 (b; c)",
    ),
]
ODD_HEADERS = [
    *("Host: b", "Host:", "A : b", " A: b", "A", ": b", "A: \0", "A: b\rc", "A: \x01", "A: \x7f"),
    *("A: b\r\n c", "A:\x0bb", "\xe4: b", "A(: b", "A\t: b", "Connection: close", "A: b\x0c"),
    *("Connection: Close, a", "Connection: a,close", "Connection:", "Upgrade: h2c"),
    *("Connection: upgrade\r\nUpgrade: h2c", "Connection: Upgrade\r\nUpgrade: websocket"),
    *("Content-Length: 1", "Content-Length: 0", "Content-Length: 1, 1", "Content-Length: +1"),
    *("Content-Length: -1", "Content-Length: 0x1", "Content-Length:", "Content-Length: 01"),
    *("Content-Length: 1_0", "Content-Length: 99999999999999999999", "Content-Length: 1 1"),
    *("Content-Length: 1a", "Content-Length:\t1\t", "content-LENGTH: 1", "Content-Length : 1"),
    *("Transfer-Encoding: chunked", "transfer-encoding: Chunked", "Transfer-Encoding: xchunked"),
    *("Transfer-Encoding: chunked, chunked", "Transfer-Encoding: gzip, chunked"),
    *("Transfer-Encoding:", "Transfer-Encoding: identity", "Transfer-Encoding: chunked "),
    *("Transfer-Encoding: chunked;a=b", "Transfer-Encoding: \tchunked", "Transfer-Encoding: gzip"),
    *("Keep-Alive: 5", "Proxy-Connection: close", "Expect: a", "TE: trailers", "Trailer: A"),
]
CHUNKS = ["1\r\na\r\n", "3\r\nabc\r\n", "0A\r\n0123456789\r\n", "2;a=b\r\nab\r\n", "2;a\r\nab\r\n"]
ODD_CHUNKS = [
    *(
        "1\na\n",
        "x\r\na\r\n",
        "-1\r\na\r\n",
        "+1\r\na\r\n",
        "0x1\r\na\r\n",
        "1 \r\na\r\n",
        " 1\r\na\r\n",
    ),
    *("1\r\nab\r\n", "2\r\na\r\n", "1\r\na", "1;\r\na\r\n", "1;a=\r\na\r\n", '1;a="b;c"\r\na\r\n'),
    *("1;\x01\r\na\r\n", "1; a = b\r\na\r\n", "1\t\r\na\r\n", "00000000000000000000001\r\na\r\n"),
    *(
        "fffffffffffffffff\r\na\r\n",
        "1;\xe4\r\na\r\n",
        "1\r\na\n",
        "1\r\na\r\r\n",
        "\r\n",
        "1;a;b=c\r\na\r\n",
    ),
    *(
        "0;a\r\n\r\n",
        "1_0\r\na\r\n",
        "1\r\r\na\r\n",
        "1;a\rb\r\na\r\n",
        "1;a\nb\r\na\r\n",
        "1,a\r\na\r\n",
    ),
]
LASTS = ["0\r\n\r\n", "0\r\nA: b\r\n\r\n", "000\r\n\r\n", "0;a=b\r\n\r\n"]
ODD_LASTS = [
    *(
        "0\r\n",
        "0\r\nA\r\n\r\n",
        "0\r\nA : b\r\n\r\n",
        "0\n\n",
        "0\r\n\n",
        "0\r\nA: b\n\n",
        "",
        "0\r\r\n\r\n",
    ),
    *(
        "0\r\nContent-Length: 5\r\n\r\n",
        "0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "0\r\nA: \x01\r\n\r\n",
    ),
    *("0\r\n A: b\r\n\r\n", "0 \r\n\r\n", "0\r\nHost: b\r\n\r\n", "0\r\nConnection: close\r\n\r\n"),
]
PROBE = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"

RARELY = 12


@st.composite
def either(draw: st.DrawFn, usual: list[str], odd: list[str]) -> str:
    """Mostly something usual."""
    return draw(st.sampled_from(odd if draw(st.integers(0, RARELY)) == 0 else usual))


@st.composite
def heads_and_bodies(draw: st.DrawFn) -> bytes:
    """One request, with a body that fits it, in most cases."""
    line = f"{draw(either(METHODS, ODD_METHODS))} {draw(either(TARGETS, ODD_TARGETS))}"
    lines = [f"{line} {draw(either(VERSIONS, ODD_VERSIONS))}"]
    lines += draw(st.lists(either(HEADERS, ODD_HEADERS), max_size=4))
    if draw(st.integers(0, RARELY)):
        lines.insert(draw(st.integers(1, len(lines))), "Host: a")
    body = ""
    kind = draw(st.integers(0, 2))
    if kind == 1:
        body = draw(st.sampled_from(["", "a", "abc", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"]))
        lines.append(f"Content-Length: {len(body)}")
    elif kind == 2:
        lines.append("Transfer-Encoding: chunked")
        body = "".join(draw(st.lists(either(CHUNKS, ODD_CHUNKS), max_size=3)))
        body += draw(either(LASTS, ODD_LASTS))
    end = "\r\n" if draw(st.integers(0, 2 * RARELY)) else "\n"
    head = end.join((*lines, "", ""))
    before = draw(either([""], ["\r\n", "\n", "\r\n\r\n", " "]))
    return (before + head + body).encode("latin-1")


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One request or two, often a last one that shows where they end, and often a byte changed."""
    data = draw(heads_and_bodies())
    if draw(st.booleans()):
        data += draw(heads_and_bodies())
    if draw(st.booleans()):
        data += PROBE
    if draw(st.integers(0, 3)) == 0:
        place = draw(st.integers(0, len(data) - 1))
        size = draw(st.integers(0, 1))
        byte = draw(
            st.sampled_from([b"", b"\r", b"\n", b" ", b"\t", b":", b"\0", b"a", b"0", b"\xff"])
        )
        data = data[:place] + byte + data[place + size :]
    return data
