"""A PostgreSQL server that is reached over TCP, with TLS, and whose certificate can be changed."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.kit.certificates import Authority, Certificate
from tests.kit.postgres import UNSAFE, Server, run_sql, running_server, until

ATTEMPTS: Final = 5
"""How often a port may be taken by somebody else between finding and using it."""

VERSION: Final = 17
"""The newest of those that are built with TLS: the ones that scripts/servers.sh fetches."""

STATEMENTS: Final = (
    "CREATE ROLE plain LOGIN PASSWORD 'opensesame'",
    "CREATE ROLE known LOGIN",
    "CREATE DATABASE node OWNER plain",
    "GRANT plain TO known",
)

# Who connects over TCP has a password, but for `known`, who has a certificate.
RULES: Final = """
local all all trust
hostssl all known 127.0.0.1/32 cert
hostnossl all known 127.0.0.1/32 reject
host all all 127.0.0.1/32 scram-sha-256
"""


class TlsServer:
    """
    A server, its port, and the authority that signs what its clients trust.

    Attributes:
        authority: Signs the certificate of the server, and those of clients.
        good: The certificate of the server, for localhost and 127.0.0.1.
    """

    def __init__(self, server: Server, port: int, authority: Authority, good: Certificate) -> None:
        self._server = server
        self.port = port
        self.version = VERSION
        self.authority = authority
        self.good = good

    def dsn(self, query: str = "", user: str = "plain:opensesame", host: str = "localhost") -> str:
        """Give the address of its database."""
        return f"postgresql://{user}@{host}:{self.port}/node?{query}"

    @property
    def own_dsn(self) -> str:
        """The address for who may do everything, through the socket."""
        return f"{self._server.dsn()}&port={self.port}"

    async def show(self, certificate: Certificate) -> None:
        """Let the server have another certificate."""
        data = self._server.directory / "data"
        shutil.copy(certificate.certificate, data / "server.crt")
        shutil.copy(certificate.key, data / "server.key")
        self._server.own(data / "server.crt", data / "server.key")
        await self._reload()

    async def set(self, name: str, value: str) -> None:
        """Change a setting."""
        await run_sql(self.own_dsn, f"ALTER SYSTEM SET {name} = {value}")
        await self._reload()

    async def reset(self) -> None:
        """Let it be as it was at first."""
        await run_sql(self.own_dsn, "ALTER SYSTEM RESET ALL")
        await run_sql(self.own_dsn, "ALTER SYSTEM SET ssl_ca_file = 'root.crt'")
        await run_sql(self.own_dsn, "ALTER SYSTEM SET ssl = on")
        await self.show(self.good)

    async def prepare(self) -> None:
        """Turn TLS on, and make the roles and the database that tests connect to."""
        data = self._server.directory / "data"
        shutil.copy(self.authority.certificate, data / "root.crt")
        (data / "pg_hba.conf").write_text(RULES)
        self._server.own(data / "root.crt", data / "pg_hba.conf")
        for statement in STATEMENTS:
            await run_sql(self.own_dsn, statement)
        shutil.copy(self.good.certificate, data / "server.crt")
        shutil.copy(self.good.key, data / "server.key")
        self._server.own(data / "server.crt", data / "server.key")
        await self.reset()

    async def _reload(self) -> None:
        loaded = "SELECT pg_conf_load_time()"
        ((before,),) = await run_sql(self.own_dsn, loaded)
        await run_sql(self.own_dsn, "SELECT pg_reload_conf()")

        async def is_loaded() -> bool:
            return await run_sql(self.own_dsn, loaded) != [(before,)]

        await until(is_loaded)


@contextmanager
def running_tls_server() -> Iterator[TlsServer]:
    """Start a server, and leave nothing of it."""
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="fastpaca-tls-"))
        authority = Authority(Path(directory))
        good = authority.sign("server", "DNS:localhost,IP:127.0.0.1")
        server, port = _started(stack)
        found = TlsServer(server, port, authority, good)
        asyncio.run(found.prepare())
        yield found


def _started(stack: ExitStack) -> tuple[Server, int]:
    for attempts_left in reversed(range(ATTEMPTS)):
        port = str(_free_port())
        starting = running_server(VERSION, listen_addresses="127.0.0.1", port=port, **UNSAFE)
        try:
            return stack.enter_context(starting), int(port)
        except subprocess.CalledProcessError:  # somebody else has taken the port
            if not attempts_left:
                raise
    raise AssertionError


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
