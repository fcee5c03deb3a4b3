"""
The parameters that an address of PostgreSQL may have, and what becomes of each.

`PARAMETERS` has all parameters of libpq in PostgreSQL 18, with their environment variables
(postgresql.org/docs/18/libpq-connect.html, section 32.1.2). Each value is honoured, passed over
with a sentence in the log, or refused by name. Parameters that only tune a connection may be passed
over. Those that protect it, or choose the server, are honoured or refused, so that an operator
can't rely on one without effect. The one exception is `channel_binding=require`, which hosted
databases put into their addresses.
"""

from __future__ import annotations

from typing import Final, NamedTuple

SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

TLS_VERSIONS: Final = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")

_SWITCH: Final = ("0", "1")


class Parameter(NamedTuple):
    """
    A parameter of libpq.

    Attributes:
        name: Its name in an address.
        variable: Its environment variable, if there is one.
        values: All possible values; empty if it is a text.
        is_number: Whether it is an integer.
        passed_over: Why it is passed over, unless its value is in *plain*.
        refused: Why it is refused, unless its value is in *plain*.
        plain: Values that need no message, since they are fastpaca's behaviour anyway.
    """

    name: str
    variable: str = ""
    values: tuple[str, ...] = ()
    is_number: bool = False
    passed_over: str = ""
    refused: str = ""
    plain: tuple[str, ...] = ()


def _oauth(name: str) -> Parameter:
    return Parameter(name, refused="is for OAuth, which fastpaca does not support: remove it")


def _scram(name: str) -> Parameter:
    reason = "is a key instead of a password, which fastpaca does not support: use the password"
    return Parameter(name, refused=reason)


PARAMETERS: Final = {
    one.name: one
    for one in (
        Parameter("service", "PGSERVICE"),
        Parameter("user", "PGUSER"),
        Parameter("password", "PGPASSWORD"),
        Parameter("passfile", "PGPASSFILE"),
        Parameter(
            "channel_binding",
            "PGCHANNELBINDING",
            ("disable", "prefer", "require"),
            passed_over="the driver does not bind the password to the connection;"
            " sslmode=verify-full with sslrootcert makes sure that it reaches no other server",
            plain=("disable", "prefer"),
        ),
        Parameter("connect_timeout", "PGCONNECT_TIMEOUT", is_number=True),
        Parameter("dbname", "PGDATABASE"),
        Parameter("host", "PGHOST"),
        Parameter("hostaddr", "PGHOSTADDR"),
        Parameter("port", "PGPORT"),
        Parameter(
            "client_encoding",
            "PGCLIENTENCODING",
            passed_over="text is always sent in UTF-8",
            plain=("UTF8", "utf8", "UTF-8", "utf-8", "UNICODE", "unicode", "auto"),
        ),
        Parameter("options", "PGOPTIONS"),
        Parameter("application_name", "PGAPPNAME"),
        Parameter("fallback_application_name"),
        Parameter("keepalives", is_number=True),
        Parameter("keepalives_idle", is_number=True),
        Parameter("keepalives_interval", is_number=True),
        Parameter("keepalives_count", is_number=True),
        Parameter("tcp_user_timeout", is_number=True),
        Parameter("sslmode", "PGSSLMODE", SSL_MODES),
        Parameter("sslnegotiation", "PGSSLNEGOTIATION", ("postgres", "direct")),
        Parameter(
            "sslcompression",
            "PGSSLCOMPRESSION",
            _SWITCH,
            passed_over="TLS is never compressed",
            plain=("0",),
        ),
        Parameter("sslcert", "PGSSLCERT"),
        Parameter("sslkey", "PGSSLKEY"),
        Parameter(
            "sslcertmode",
            "PGSSLCERTMODE",
            ("disable", "allow", "require"),
            refused="cannot be require, because fastpaca cannot see whether the server asks for a"
            " certificate: remove it, and let the server require one",
            plain=("disable", "allow"),
        ),
        Parameter("sslpassword"),
        Parameter("sslrootcert", "PGSSLROOTCERT"),
        Parameter("sslcrl", "PGSSLCRL"),
        Parameter("sslcrldir", "PGSSLCRLDIR"),
        Parameter("sslsni", "PGSSLSNI", _SWITCH),
        Parameter(
            "requirepeer",
            "PGREQUIREPEER",
            refused="checks who runs the server, which fastpaca cannot see: remove it, and let"
            " no other user write to the directory of the socket",
        ),
        Parameter(
            "require_auth",
            "PGREQUIREAUTH",
            refused="checks how the server authenticates clients, which fastpaca cannot see:"
            " remove it; sslmode=verify-full makes sure that the password reaches no"
            " other server",
        ),
        Parameter(
            "min_protocol_version",
            "PGMINPROTOCOLVERSION",
            ("3.0", "3.2", "latest"),
            refused="must be 3.0, the version that fastpaca uses",
            plain=("3.0",),
        ),
        # 3.0 is below every maximum.
        Parameter("max_protocol_version", "PGMAXPROTOCOLVERSION", ("3.0", "3.2", "latest")),
        Parameter("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION", TLS_VERSIONS),
        Parameter("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION", TLS_VERSIONS),
        Parameter(
            "gssencmode",
            "PGGSSENCMODE",
            ("disable", "prefer", "require"),
            refused="cannot be require, because fastpaca does not encrypt with GSSAPI: remove it,"
            " and use sslmode=verify-full",
            plain=("disable", "prefer"),
        ),
        Parameter("krbsrvname", "PGKRBSRVNAME"),
        Parameter(
            "gsslib", "PGGSSLIB", passed_over="the system's library is used", plain=("gssapi",)
        ),
        Parameter(
            "gssdelegation",
            "PGGSSDELEGATION",
            _SWITCH,
            passed_over="no credentials are delegated to the server",
            plain=("0",),
        ),
        Parameter(
            "replication",
            refused="opens a replication connection, which fastpaca cannot use: remove it",
            plain=("false", "off", "no", "0"),
        ),
        Parameter(
            "target_session_attrs",
            "PGTARGETSESSIONATTRS",
            ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
            refused="must be read-write, primary or any, because a node writes",
            plain=("any", "read-write", "primary"),
        ),
        Parameter(
            "load_balance_hosts",
            "PGLOADBALANCEHOSTS",
            ("disable", "random"),
            passed_over="the host that accepts writes is used",
            plain=("disable",),
        ),
        _scram("scram_client_key"),
        _scram("scram_server_key"),
        _oauth("oauth_issuer"),
        _oauth("oauth_client_id"),
        _oauth("oauth_client_secret"),
        _oauth("oauth_scope"),
        Parameter("sslkeylogfile"),
    )
}
"""All parameters, by name."""
