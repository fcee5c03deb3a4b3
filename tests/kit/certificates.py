"""Certificates of every kind, good and bad, made with the program `openssl`."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple


class Certificate(NamedTuple):
    """A certificate and its private key, in PEM files that only their owner may read."""

    certificate: Path
    key: Path


class Authority:
    """
    An authority that signs certificates, in files in *directory*.

    Attributes:
        certificate: The file that says who it is.
    """

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self._directory = directory
        self._name = name
        self.certificate, self._key = self._file("crt"), self._file("key")
        _openssl("req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                 "-days", "30", "-subj", f"/CN={name}", "-addext", "keyUsage=keyCertSign,cRLSign",
                 "-keyout", self._key, "-out", self.certificate)  # fmt: skip

    def _file(self, suffix: str, name: str = "") -> Path:
        return self._directory / f"{self._name}{name and '-'}{name}.{suffix}"

    def sign(self, name: str, alternatives: str = "", days: int = 30) -> Certificate:
        """
        Make a certificate for *name* that is valid for so many *days*, from today on.

        *alternatives* lists other names as OpenSSL has them, such as `DNS:localhost`.
        """
        made = Certificate(self._file("crt", name), self._file("key", name))
        request, extensions = self._file("csr", name), self._file("ext", name)
        _openssl("req", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                 "-subj", f"/CN={name}", "-keyout", made.key, "-out", request)  # fmt: skip
        extensions.write_text(f"subjectAltName={alternatives}\n" if alternatives else "")
        _openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key,
                 "-CAcreateserial", "-days", days, "-extfile", extensions,
                 "-out", made.certificate)  # fmt: skip
        made.key.chmod(0o600)
        return made

    def revoke(self, *revoked: Certificate) -> Path:
        """Write a list of the certificates that are revoked, and give its file."""
        index, config, found = self._file("db"), self._file("cnf"), self._file("crl")
        index.touch()
        config.write_text(f"[ca]\ndefault_ca=x\n[x]\ndatabase={index}\ndefault_md=sha256\n")
        ours = ("-config", config, "-cert", self.certificate, "-keyfile", self._key)
        for one in revoked:
            _openssl("ca", *ours, "-revoke", one.certificate)
        _openssl("ca", *ours, "-gencrl", "-crldays", "30", "-out", found)
        return found


def encrypted(key: Path, passphrase: str) -> Path:
    """Write *key* once more, so that it takes a passphrase to read it."""
    found = key.with_suffix(".encrypted")
    _openssl("pkcs8", "-topk8", "-in", key, "-passout", f"pass:{passphrase}", "-out", found)
    found.chmod(0o600)
    return found


def hashed(directory: Path) -> None:
    """Name the files in *directory* as OpenSSL looks for them."""
    _openssl("rehash", directory)


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
