"""
Requests and responses of httpx over one plain keep-alive connection, without its client.

The suite makes several hundred thousand small requests. The client and the pool that httpx brings
cost more than the server that is tested, and one caller with one connection needs none.
"""

from __future__ import annotations

import asyncio
from asyncio import IncompleteReadError, StreamReader, StreamWriter

import httpx

TIMEOUT_SECONDS = 60


class Connection(httpx.AsyncBaseTransport):
    """One connection to *url*, opened when first needed, for one request at a time."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._streams: tuple[StreamReader, StreamWriter] | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """
        Send *request* and read the whole answer.

        Raises:
            httpx.ReadError: The connection broke, or what came is no HTTP.
            httpx.ReadTimeout: No answer came in time.
        """
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return await self._exchange(request)
        except TimeoutError as error:
            raise httpx.ReadTimeout(f"no answer in {TIMEOUT_SECONDS} s") from error
        except (OSError, IncompleteReadError, ValueError) as error:
            raise httpx.ReadError(f"the connection broke: {error!r}") from error

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        reader, writer = await self._open(request.url)
        lines = [b"%s: %s" % header for header in request.headers.raw]
        target = b"%s %s HTTP/1.1" % (request.method.encode(), request.url.raw_path)
        writer.write(b"\r\n".join([target, *lines, b"", await request.aread()]))
        status, headers = _parse_head(await reader.readuntil(b"\r\n\r\n"))
        content = b""
        if status not in (httpx.codes.NO_CONTENT, httpx.codes.NOT_MODIFIED):
            content = await _read_body(reader, headers)
        if headers.get("connection", "").lower() == "close":
            await self.aclose()
        return httpx.Response(status, headers=headers, content=content, request=request)

    async def _open(self, url: httpx.URL) -> tuple[StreamReader, StreamWriter]:
        if self._streams is None or self._streams[1].is_closing():
            self._streams = await asyncio.open_connection(url.host, url.port, limit=2**20)
        return self._streams

    async def aclose(self) -> None:
        """Close the connection, if it is open."""
        if self._streams is not None:
            _, writer = self._streams
            self._streams = None
            writer.close()
            await writer.wait_closed()


def _parse_head(head: bytes) -> tuple[int, httpx.Headers]:
    first, *lines = head[:-4].split(b"\r\n")
    version, status, *_ = first.split(b" ")
    if version != b"HTTP/1.1":
        raise ValueError(f"not HTTP/1.1: {first!r}")
    headers = [line.partition(b":")[::2] for line in lines]
    return int(status), httpx.Headers([(name, value.strip()) for name, value in headers])


async def _read_body(reader: StreamReader, headers: httpx.Headers) -> bytes:
    if "chunked" not in headers.get("transfer-encoding", ""):
        return await reader.readexactly(int(headers["content-length"]))
    chunks = []
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        chunks.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return b"".join(chunks)
