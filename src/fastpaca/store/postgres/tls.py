"""
TLS to a PostgreSQL server: what an address requires, and what a failure means.

The modes are those of libpq (postgresql.org/docs/18/libpq-ssl.html): `verify-ca` and `verify-full`
check the certificate of the server, and so does `require` if there is a file of roots. A file that
the address names must exist and be valid; a default file, in ~/.postgresql, may be missing or
unreadable.
"""

from __future__ import annotations

import ssl
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import asyncpg

from fastpaca.store.postgres.errors import TlsFailed

SYSTEM: Final = "system"
"""The value of `sslrootcert` for the roots that the system trusts."""

PROTOCOL: Final = "postgresql"
"""The name of the protocol in the handshake (ALPN)."""

_VERIFYING: Final = ("verify-ca", "verify-full")

_ABSENT: Final = (FileNotFoundError, NotADirectoryError, PermissionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """
    What an address says about TLS, as in libpq; an empty path means the default file.

    Attributes:
        directory: The directory of default files, ~/.postgresql; None if there is no home.
    """

    mode: str
    is_direct: bool
    sends_name: bool
    sends_certificate: bool
    certificate: str
    key: str
    passphrase: str = field(repr=False)
    roots: str
    revoked: str
    revoked_directory: str
    version_min: str
    version_max: str
    key_log: str
    directory: Path | None

    @classmethod
    def of(cls, values: Mapping[str, str], home: Path | None) -> Tls:
        """Return it from parameters, each of which is valid by itself."""
        roots = values.get("sslrootcert", "")
        return cls(
            mode=values.get("sslmode") or ("verify-full" if roots == SYSTEM else "prefer"),
            is_direct=values.get("sslnegotiation") == "direct",
            sends_name=values.get("sslsni") != "0",
            sends_certificate=values.get("sslcertmode") != "disable",
            certificate=values.get("sslcert", ""),
            key=values.get("sslkey", ""),
            passphrase=values.get("sslpassword", ""),
            roots=roots,
            revoked=values.get("sslcrl", ""),
            revoked_directory=values.get("sslcrldir", ""),
            version_min=values.get("ssl_min_protocol_version", "TLSv1.2"),
            version_max=values.get("ssl_max_protocol_version", ""),
            key_log=values.get("sslkeylogfile", ""),
            directory=home / ".postgresql" if home else None,
        )

    def contradiction(self) -> str | None:
        """Return a clause that says which parameters contradict each other, or None."""
        if self.roots == SYSTEM and self.mode != "verify-full":
            return "sslrootcert=system requires sslmode=verify-full"
        if self.is_direct and self.mode in ("disable", "allow", "prefer"):
            return "sslnegotiation=direct requires sslmode=require, verify-ca or verify-full"
        if not self.sends_name and self.mode == "verify-full":
            return "sslsni=0 does not work with sslmode=verify-full; remove sslsni"
        if self.version_max and self.version_max < self.version_min:
            return "ssl_min_protocol_version is above ssl_max_protocol_version"
        return None

    def contexts(self, host: str) -> list[ssl.SSLContext | None]:
        """
        Return the ways to try to connect to *host*, in order; None means without TLS.

        This reads files, and may take a while.

        Raises:
            TlsFailed: A file cannot be used.
        """
        if self.mode == "disable":
            return [None]
        if self.mode == "allow":
            return [None, self._context(host)]
        if self.mode == "prefer":
            return [self._context(host), None]
        return [self._context(host)]

    def _context(self, host: str) -> ssl.SSLContext:
        context = _Context(ssl.PROTOCOL_TLS_CLIENT)
        context.host = host if self.sends_name else None
        context.check_hostname = self.mode == "verify-full"
        context.minimum_version = _version(self.version_min)
        if self.version_max:
            context.maximum_version = _version(self.version_max)
        context.set_alpn_protocols([PROTOCOL])
        self._trust(context)
        if self.sends_certificate:
            self._identify(context)
        if self.key_log:
            with _file("sslkeylogfile", self.key_log):
                context.keylog_filename = self.key_log
        return context

    # --- the server's certificate ---

    def _trust(self, context: ssl.SSLContext) -> None:
        if self.roots == SYSTEM:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        elif not self._load_roots(context):
            if self.mode in _VERIFYING:
                raise TlsFailed(self._no_roots())
            context.verify_mode = ssl.CERT_NONE
            return
        self._load_revoked(context)

    def _load_roots(self, context: ssl.SSLContext) -> bool:
        """Load the certificates of authorities, and return whether there are any."""
        roots = self.roots or self._usual("root.crt")
        if not roots:
            return False
        with _file("sslrootcert", roots):
            context.load_verify_locations(cafile=roots)
        return True

    def _no_roots(self) -> str:
        usual = f"{self.directory}/root.crt" if self.directory else "a home directory"
        return (
            f"sslmode={self.mode} needs the certificate of the authority that signed the server's"
            f" certificate, and there is no readable {usual}; name the file in sslrootcert, or set"
            " sslrootcert=system to trust the authorities that this machine trusts"
        )

    def _load_revoked(self, context: ssl.SSLContext) -> None:
        usual = None if self.revoked or self.revoked_directory else self._usual("root.crl")
        file = self.revoked or usual
        if file:
            with _file("sslcrl", file):
                context.load_verify_locations(cafile=file)
        if self.revoked_directory:
            if not Path(self.revoked_directory).is_dir():
                raise TlsFailed(f"sslcrldir {self.revoked_directory} is not a directory")
            context.load_verify_locations(capath=self.revoked_directory)
        if file or self.revoked_directory:
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN

    # --- the client's certificate ---

    def _identify(self, context: ssl.SSLContext) -> None:
        certificate = self.certificate or self._usual("postgresql.crt")
        if not certificate:
            return
        key = self.key or self._usual("postgresql.key")
        if not key:
            raise TlsFailed(f"sslcert {certificate} needs its key; name the file in sslkey")
        with _file("sslcert", certificate):
            text = Path(certificate).read_bytes()
            if b"CERTIFICATE-----" not in text:
                raise TlsFailed(f"sslcert {certificate} is not a certificate in PEM form")
        is_encrypted = self._check_key(Path(key))
        try:
            context.load_cert_chain(certificate, key, password=lambda: self.passphrase)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                reason = f"is not the key of sslcert {certificate}"
            elif is_encrypted:
                said = "does not open it" if self.passphrase else "is missing"
                reason = f"is encrypted, and sslpassword {said}"
            else:
                reason = f"cannot be used with sslcert {certificate} ({error.reason})"
            raise TlsFailed(f"sslkey {key} {reason}") from None

    def _check_key(self, key: Path) -> bool:
        """Refuse a *key* that others can read, as libpq does; return whether it is encrypted."""
        with _file("sslkey", key):
            state = key.stat()
            text = key.read_bytes()
        forbidden = stat.S_IRWXO | stat.S_IXGRP | stat.S_IWGRP
        if state.st_uid != 0:
            forbidden |= stat.S_IRGRP
        if not stat.S_ISREG(state.st_mode):
            raise TlsFailed(f"sslkey {key} is not a regular file")
        if state.st_mode & forbidden:
            raise TlsFailed(
                f"sslkey {key} can be used by other users; set its permissions to 0600 or less, or"
                " to 0640 or less if it belongs to root"
            )
        if b"PRIVATE KEY-----" not in text:
            raise TlsFailed(f"sslkey {key} is not a private key in PEM form")
        return b"ENCRYPTED" in text

    def _usual(self, name: str) -> Path | None:
        """Return the path of a default file; None if it is missing or can't be read."""
        if self.directory is None:
            return None
        try:
            with (self.directory / name).open("rb"):
                return self.directory / name
        except _ABSENT:
            return None

    # --- errors ---

    def explained(self, error: BaseException, host: str) -> str | None:
        """Return a clause that explains the *error* of connecting to *host*; None if not of TLS."""
        if isinstance(error, ssl.SSLCertVerificationError):
            return self._distrust(error, host)
        if isinstance(error, ssl.SSLError):
            return self._refusal(error, host)
        if isinstance(error, ConnectionError) and "rejected SSL upgrade" in str(error):
            return (
                f"{host} offers no TLS, but sslmode={self.mode} requires it; turn on ssl on the"
                " server, or set sslmode=disable if the network is trusted"
            )
        sent = self._sent()
        if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError) and (
            "client certificate" in str(error)
        ):
            what = f"it does not trust sslcert {sent}" if sent else "none was sent"
            return f"{host} asks for a certificate, and {what}; name one that it trusts in sslcert"
        # With TLS 1.3, a server refuses a certificate after the handshake, by disconnecting.
        if isinstance(error, asyncpg.ConnectionDoesNotExistError) and sent:
            return (
                f"{host} closed the connection after it received sslcert {sent}; make sure that it"
                " trusts it"
            )
        return None

    def _sent(self) -> str:
        """Return the certificate to send to a server that asks for one, or an empty string."""
        if not self.sends_certificate:
            return ""
        return self.certificate or str(self._usual("postgresql.crt") or "")

    def _distrust(self, error: ssl.SSLCertVerificationError, host: str) -> str:
        roots = self.roots or f"{self.directory}/root.crt"
        who = "that this machine trusts" if roots == SYSTEM else f"in sslrootcert {roots}"
        reasons = {
            # X509_V_ERR_…, of openssl/x509_vfy.h
            9: "is not valid yet; check the clocks of both machines",
            10: "has expired, or that of its authority has; renew it",
            23: f"was revoked, as {self.revoked or self.revoked_directory or 'root.crl'} says",
            62: f"is for another name; use the name in it instead of {host}",
            64: f"is for another address; use the name in it instead of {host}",
        }
        unknown = f"is not signed by an authority {who}; name the one that signed it"
        reasons |= dict.fromkeys((2, 18, 19, 20, 21), unknown)
        lists = f"cannot be checked against the revocation lists ({error.verify_message})"
        reasons |= dict.fromkeys((3, 8, 12), f"{lists}; check sslcrl and sslcrldir")
        reason = reasons.get(error.verify_code, f"is not trusted: {error.verify_message}")
        return f"the certificate of {host} {reason}"

    def _refusal(self, error: ssl.SSLError, host: str) -> str:
        reason = error.reason or str(error)
        if "VERSION" in reason or "UNSUPPORTED_PROTOCOL" in reason:
            return (
                f"{host} and this node have no TLS version in common; check"
                " ssl_min_protocol_version and ssl_max_protocol_version, here and on the server"
            )
        if "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason):
            what = f"sslcert {self._sent()}" if self._sent() else "a client without a certificate"
            return f"{host} refuses {what} ({reason}); name one that it trusts in sslcert"
        return f"TLS with {host} failed: {reason}"


class _Context(ssl.SSLContext):
    """A context that checks the name of the server, even if it connects to an address."""

    host: str | None = None

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,  # noqa: ARG002  # the address it connects to
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        return super().wrap_bio(incoming, outgoing, server_side, self.host, session)


def _version(text: str) -> ssl.TLSVersion:
    return ssl.TLSVersion[text.replace(".", "_")]


@contextmanager
def _file(name: str, path: object) -> Iterator[None]:
    """Convert errors of reading the file at *path*, which the parameter *name* names."""
    try:
        yield
    except TlsFailed:
        raise
    except ssl.SSLError:
        raise TlsFailed(f"{name} {path} contains nothing usable in PEM form") from None
    except OSError as error:
        raise TlsFailed(f"{name} {path} cannot be read: {error.strerror}") from None
