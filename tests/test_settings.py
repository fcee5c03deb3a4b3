"""What an operator may set, and what is told to one who sets something else."""

import argparse
from pathlib import Path
from typing import Any

import pytest

from fastpaca import settings
from fastpaca.settings import SETTINGS, RateLimit, Settings, SettingsError, load

SECRET = "correct-horse-battery-staple"


def load_one(variable: str, text: str) -> Settings:
    return load(environ={variable: text})


def refusal(variable: str, text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load_one(variable, text)
    return str(caught.value)


def test_everything_has_a_default() -> None:
    """
    A node starts with nothing set, on loopback, with the store in the working directory.
    """
    node = load(environ={})
    assert node == Settings()
    assert (node.host, node.port, node.store) == ("127.0.0.1", 4000, "sqlite")
    assert node.data_dir == Path("fastpaca-data")
    assert (node.api_keys, node.cors_origins, node.rate_limit) == ((), (), None)
    assert (node.body_bytes_max, node.hot_bytes) == (16 * 1024**2, 256 * 1024**2)
    assert node.body_memory_bytes == 256 * 1024**2
    assert (node.token_estimator, node.log_level) == ("tiktoken:gpt-4o", "info")
    assert node.metrics_public is False
    assert node.node_name


def test_every_setting_has_names_of_its_own() -> None:
    """
    Every name is used once, and flags are named like their variables.
    """
    assert len({s.variable for s in SETTINGS}) == len({s.flag for s in SETTINGS}) == len(SETTINGS)
    assert len({s.name for s in SETTINGS}) == len(SETTINGS)
    flags = {s.variable: s.flag for s in SETTINGS}
    assert flags["PORT"] == "--port"
    assert flags["FASTPACA_API_KEY"] == "--api-key"
    assert flags["FASTPACA_MAX_BODY_BYTES"] == "--max-body-bytes"


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("FASTPACA_HOST", "0.0.0.0", "host", "0.0.0.0"),
        ("FASTPACA_HOST", "::", "host", "::"),
        ("FASTPACA_HOST", "[::1]", "host", "::1"),
        ("FASTPACA_HOST", "fe80::1%eth0", "host", "fe80::1%eth0"),
        ("FASTPACA_HOST", "node-1.example.com", "host", "node-1.example.com"),
        ("FASTPACA_HOST", " localhost ", "host", "localhost"),
        ("PORT", "0", "port", 0),
        ("PORT", "65535", "port", 65535),
        ("FASTPACA_DATA_DIR", "/var/lib/fast paca", "data_dir", Path("/var/lib/fast paca")),
        ("FASTPACA_DATA_DIR", "~/data", "data_dir", Path.home() / "data"),
        ("FASTPACA_STORE", "sqlite", "store", "sqlite"),
        ("FASTPACA_STORE", "Memory", "store", "memory"),
        ("FASTPACA_API_KEY", "one", "api_keys", ("one",)),
        ("FASTPACA_API_KEY", "new, old,new,", "api_keys", ("new", "old")),
        ("FASTPACA_CORS_ORIGINS", "https://a.example", "cors_origins", ("https://a.example",)),
        (
            "FASTPACA_CORS_ORIGINS",
            "HTTPS://A.example:443/, http://localhost:3000,https://a.example,http://[::1]:80",
            "cors_origins",
            ("https://a.example", "http://localhost:3000", "http://[::1]"),
        ),
        (
            "FASTPACA_CORS_ORIGINS",
            "tauri://localhost,chrome-extension://abcdef",
            "cors_origins",
            ("tauri://localhost", "chrome-extension://abcdef"),
        ),
        ("FASTPACA_TOKEN_ESTIMATOR", "chars", "token_estimator", "chars"),
        ("FASTPACA_TOKEN_ESTIMATOR", "tiktoken:cl100k_base", "token_estimator", None),
        ("FASTPACA_TOKEN_ESTIMATOR", "tiktoken:ft:gpt-4o:org::id", "token_estimator", None),
        ("FASTPACA_RATE_LIMIT", "100/second", "rate_limit", RateLimit(100, 1)),
        ("FASTPACA_RATE_LIMIT", "6000 / Minute", "rate_limit", RateLimit(6000, 60)),
        ("FASTPACA_RATE_LIMIT", "1/hour", "rate_limit", RateLimit(1, 3600)),
        ("FASTPACA_RATE_LIMIT", "off", "rate_limit", None),
        ("FASTPACA_MAX_BODY_BYTES", "1", "body_bytes_max", 1),
        ("FASTPACA_MAX_BODY_BYTES", "512MiB", "body_bytes_max", 512 * 1024**2),
        ("FASTPACA_MAX_BODY_BYTES", "300 kB", "body_bytes_max", 300_000),
        ("FASTPACA_BODY_MEMORY_BYTES", "64MiB", "body_memory_bytes", 64 * 1024**2),
        ("FASTPACA_HOT_BYTES", "2gib", "hot_bytes", 2 * 1024**3),
        ("FASTPACA_HOT_BYTES", "1GB", "hot_bytes", 10**9),
        ("FASTPACA_METRICS_PUBLIC", "TRUE", "metrics_public", True),
        ("FASTPACA_NODE_NAME", "rack 3, node é", "node_name", "rack 3, node é"),
        ("FASTPACA_LOG_LEVEL", "DEBUG", "log_level", "debug"),
        ("FASTPACA_ARCHIVE_FLUSH_INTERVAL_MS", "250", "archive_flush_interval_ms", 250),
        ("FASTPACA_ARCHIVER_BATCH_SIZE", "100000", "archiver_batch_size", 100_000),
        ("FASTPACA_TAIL_KEEP", "0", "tail_keep", 0),
        ("FASTPACA_KEEPALIVE_SECONDS", "5", "keepalive_seconds", 5),
        ("FASTPACA_HOST", "unix:/run/fast paca/s", "host", "unix:/run/fast paca/s"),
        ("FASTPACA_HOST", "unix:~/s", "socket_path", Path.home() / "s"),
        ("FASTPACA_HOST", "127.0.0.1", "socket_path", None),
    ],
)
def test_usable_values_are_read(variable: str, text: str, name: str, value: Any) -> None:
    """
    A value in any of its documented forms is read as what it means.
    """
    read = getattr(load_one(variable, text), name)
    assert read == (text if value is None and name == "token_estimator" else value)


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("FASTPACA_HOST", "http://localhost"),
        ("FASTPACA_HOST", "127.0.0.1:4000"),
        ("FASTPACA_HOST", "256.0.0.1"),
        ("FASTPACA_HOST", "127.1"),
        ("FASTPACA_HOST", "[::1"),
        ("FASTPACA_HOST", "two words"),
        ("FASTPACA_HOST", "-dash.example"),
        ("FASTPACA_HOST", "a" * 64),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("PORT", "4_000"),
        ("PORT", "４０００"),
        ("PORT", "http"),
        ("FASTPACA_DATA_DIR", "nul\0"),
        ("FASTPACA_DATA_DIR", "~nobody-of-this-name/data"),
        ("FASTPACA_STORE", "rocksdb"),
        ("FASTPACA_STORE", f"postgresql+asyncpg://me:{SECRET}@db/fastpaca"),
        ("FASTPACA_STORE", f"mysql://me:{SECRET}@db/fastpaca"),
        ("DB_POOL_SIZE", "1"),
        ("DB_POOL_SIZE", "many"),
        ("MIGRATE_ON_BOOT", "perhaps"),
        ("FASTPACA_STREAM_MAX_CONNECTIONS", "-1"),
        ("FASTPACA_API_KEY", ""),
        ("FASTPACA_API_KEY", " , "),
        ("FASTPACA_API_KEY", f"{SECRET} two words"),
        ("FASTPACA_API_KEY", f"{SECRET}é"),
        ("FASTPACA_CORS_ORIGINS", "*"),
        ("FASTPACA_CORS_ORIGINS", "https://*.example.com"),
        ("FASTPACA_CORS_ORIGINS", "null"),
        ("FASTPACA_CORS_ORIGINS", "app.example.com"),
        ("FASTPACA_CORS_ORIGINS", "https://a.example/path"),
        ("FASTPACA_CORS_ORIGINS", "https://a.example?q"),
        ("FASTPACA_CORS_ORIGINS", f"https://me:{SECRET}@a.example"),
        ("FASTPACA_CORS_ORIGINS", "https://a.example:port"),
        ("FASTPACA_CORS_ORIGINS", "https://[a.example"),
        ("FASTPACA_CORS_ORIGINS", "https://"),
        ("FASTPACA_TOKEN_ESTIMATOR", "gpt-4o"),
        ("FASTPACA_TOKEN_ESTIMATOR", "tiktoken:"),
        ("FASTPACA_TOKEN_ESTIMATOR", "tiktoken:two words"),
        ("FASTPACA_RATE_LIMIT", "100"),
        ("FASTPACA_RATE_LIMIT", "0/second"),
        ("FASTPACA_RATE_LIMIT", "1.5/second"),
        ("FASTPACA_RATE_LIMIT", "100/day"),
        ("FASTPACA_MAX_BODY_BYTES", "0"),
        ("FASTPACA_MAX_BODY_BYTES", "513MiB"),
        ("FASTPACA_MAX_BODY_BYTES", "16 MiBytes"),
        ("FASTPACA_MAX_BODY_BYTES", "1.5MiB"),
        ("FASTPACA_MAX_BODY_BYTES", "-1"),
        ("FASTPACA_MAX_BODY_BYTES", "9" * 5000),
        ("FASTPACA_HOT_BYTES", "lots"),
        ("FASTPACA_METRICS_PUBLIC", "maybe"),
        ("FASTPACA_NODE_NAME", "a\nb"),
        ("FASTPACA_NODE_NAME", "a" * 256),
        ("FASTPACA_LOG_LEVEL", "loud"),
        ("FASTPACA_ARCHIVER_ENABLED", "perhaps"),
        ("FASTPACA_ARCHIVE_FLUSH_INTERVAL_MS", "0"),
        ("FASTPACA_ARCHIVE_FLUSH_INTERVAL_MS", "5s"),
        ("FASTPACA_ARCHIVER_BATCH_SIZE", "0"),
        ("FASTPACA_TAIL_KEEP", "-1"),
    ],
)
def test_unusable_value_stops_the_start_with_a_sentence(variable: str, text: str) -> None:
    """
    The sentence names the variable, says what would be right, and repeats nothing that was given.
    """
    sentence = refusal(variable, text)
    assert sentence.startswith(f"{variable} ")
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert SECRET not in sentence
    assert any(words in sentence for words in ("must be", "must contain", "use ", "set one",
                                               "unknown user"))  # fmt: skip


@pytest.mark.parametrize("dsn", [f"postgresql://me:{SECRET}@db/x", "postgres://a,b/x?host=/tmp"])
def test_postgres_is_named_by_its_address(dsn: str) -> None:
    """
    The address is taken as it is, and shown nowhere.
    """
    found = load_one("FASTPACA_STORE", dsn)
    assert (found.store, found.is_postgres) == (dsn, True)
    assert SECRET not in repr(found)


def test_flag_wins_over_variable() -> None:
    """
    A flag wins over its variable, and a flag that is not given leaves the variable in force.
    """
    environ = {"PORT": "5000", "FASTPACA_STORE": "memory"}
    node = load({"port": "6000", "store": None}, environ)
    assert (node.port, node.store) == (6000, "memory")


def test_refused_flag_is_named_as_the_flag() -> None:
    """
    The sentence names what the operator wrote: the flag, if it came from there.
    """
    with pytest.raises(SettingsError, match=r"^--max-body-bytes must be"):
        load({"body_bytes_max": "much"}, {"FASTPACA_MAX_BODY_BYTES": "16MiB"})
    with pytest.raises(SettingsError, match=r"^--port must be"):
        load({"port": ""}, {})


def test_namespace_of_the_command_line_is_accepted() -> None:
    """
    What a parser has besides settings is passed over.
    """
    namespace = argparse.Namespace(port="0", run=print)
    assert load(vars(namespace), {}).port == 0


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_empty_variable_counts_as_not_set(setting: settings.Setting) -> None:
    """
    An empty variable leaves the default, apart from the key, whose loss would open the node.
    """
    if setting.name == "api_keys":
        assert "contains no key" in refusal(setting.variable, "")
    elif setting.fills == "api_keys":
        assert "path of a file" in refusal(setting.variable, "")
    else:
        assert load_one(setting.variable, " ") == Settings()


@pytest.mark.parametrize(
    "variable",
    ["FASTPACA_RAFT_DATA_DIR", "FASTPACA_CLUSTER_SEED"],
)
def test_variable_of_the_original_says_what_to_use_instead(variable: str) -> None:
    """
    A variable that used to mean something is never passed over in silence.
    """
    assert "FASTPACA_DATA_DIR" in refusal(variable, "/data")


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("FASTPACA_API_KEYS", "FASTPACA_API_KEY"),
        ("FASTPACA_DATADIR", "FASTPACA_DATA_DIR"),
        ("FASTPACA_PORT", "PORT"),
        ("FASTPACA_DATABASE_URL", "DATABASE_URL"),
        ("FASTPACA_host", "FASTPACA_HOST"),
        ("FASTPACA_CORS_ORIGIN", "FASTPACA_CORS_ORIGINS"),
    ],
)
def test_unknown_variable_stops_with_the_nearest_name(variable: str, nearest: str) -> None:
    """
    A mistyped variable would otherwise do nothing, which for a key means an open node.
    """
    assert refusal(variable, SECRET) == (
        f"{variable} is an unknown variable; did you mean {nearest}?"
    )


def service_links(service: str, address: str) -> dict[str, str]:
    """What Kubernetes puts into the environment of pods for a service with two ports."""
    url_host = f"[{address}]" if ":" in address else address
    prefix = service.upper().replace("-", "_")
    links = {
        "SERVICE_HOST": address,
        "SERVICE_PORT": "4000",
        "SERVICE_PORT_HTTP": "4000",
        "SERVICE_PORT_METRICS_V2": "9000",
        "PORT": f"tcp://{url_host}:4000",
    }
    for port, protocol in ((4000, "tcp"), (9000, "udp")):
        one = f"PORT_{port}_{protocol.upper()}"
        links[one] = f"{protocol}://{url_host}:{port}"
        links |= {f"{one}_PROTO": protocol, f"{one}_PORT": str(port), f"{one}_ADDR": address}
    return {f"{prefix}_{name}": value for name, value in links.items()}


@pytest.mark.parametrize("service", ["fastpaca", "fastpaca-x", "fastpaca-proxy-2"])
@pytest.mark.parametrize("address", ["10.96.0.17", "fd00:10:96::11"])
def test_variables_of_kubernetes_are_passed_over(service: str, address: str) -> None:
    """
    A service whose name begins as ours do sets variables in every pod beside it, and means nothing.
    """
    assert load(environ=service_links(service, address)) == Settings()


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("FASTPACA_PORT", "4000"),
        ("FASTPACA_PORT", "http://10.96.0.17:4000"),
        ("FASTPACA_SERVICE_HOST", "node.example.com"),
        ("FASTPACA_SERVICE_PORT", "4000"),
        ("FASTPACA_SERVICE_HOSTS", "10.96.0.17"),
        ("FASTPACA_PORTS", "tcp://10.96.0.17:4000"),
        ("FASTPACA_PORT_4000", "tcp://10.96.0.17:4000"),
        ("FASTPACA_PORT_4000_TCP_PROTO", "http"),
    ],
)
def test_variables_that_only_resemble_those_of_kubernetes_stop_the_start(
    variable: str, text: str
) -> None:
    """
    What is called otherwise, or holds something else, was meant as a setting.
    """
    assert "is an unknown variable" in refusal(variable, text)


ARCHIVE = {"FASTPACA_ARCHIVER_ENABLED": "true", "DATABASE_URL": f"postgres://me:{SECRET}@db/x"}


def test_archive_is_read() -> None:
    """
    The address of the archive is taken from either variable, ours before others', and not shown.
    """
    node = load(environ=ARCHIVE)
    assert node.archiver_enabled
    assert node.archive_url == ARCHIVE["DATABASE_URL"]
    assert SECRET not in repr(node)
    ours = load(environ={**ARCHIVE, "FASTPACA_POSTGRES_URL": f"postgresql://me:{SECRET}@ours/x"})
    assert ours.archive_url.endswith("@ours/x")
    assert SECRET not in repr(ours)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"DATABASE_URL": ""}, "FASTPACA_ARCHIVER_ENABLED needs the address"),
        ({"DATABASE_URL": f"mysql://me:{SECRET}@db/x"}, "DATABASE_URL must be the address"),
        ({"FASTPACA_POSTGRES_URL": f"{SECRET}"}, "FASTPACA_POSTGRES_URL must be the address"),
        ({"FASTPACA_STORE": "memory"}, "FASTPACA_ARCHIVER_ENABLED works only"),
        ({"FASTPACA_STORE": f"postgresql://me:{SECRET}@db/x"}, "FASTPACA_ARCHIVER_ENABLED works"),
    ],
)
def test_archive_that_cannot_be_used_stops_the_start(
    changed: dict[str, str], sentence: str
) -> None:
    """
    Who relies on an archive must not run without one unknowingly.
    """
    with pytest.raises(SettingsError, match=f"^{sentence}") as caught:
        load(environ={**ARCHIVE, **changed})
    assert SECRET not in str(caught.value)


def test_address_for_another_program_stops_nothing() -> None:
    """
    DATABASE_URL stands in many environments; without an archive nobody looks at it.
    """
    node = load_one("DATABASE_URL", f"mysql://me:{SECRET}@db/x")
    assert not node.archiver_enabled
    assert SECRET not in repr(node)


def test_foreign_variables_are_nobody_s_business() -> None:
    """
    Variables without the prefix belong to others.
    """
    assert load(environ={"HOST": "x", "LOG_LEVEL": "x", "fastpaca_x": "x"}) == Settings()


def test_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Without a mapping, the environment of the process is read.
    """
    monkeypatch.setenv("PORT", "4321")
    monkeypatch.setenv("FASTPACA_API_KEY", "new,old")
    assert load().port == 4321
    assert settings.load_api_key() == "new"


def test_command_without_a_key_sends_none() -> None:
    """
    The key that a command sends is the node's newest, or none.
    """
    assert settings.load_api_key({}) is None
    assert settings.load_api_key({"FASTPACA_API_KEY": "new,old"}) == "new"
    with pytest.raises(SettingsError, match="FASTPACA_API_KEY must contain only"):
        settings.load_api_key({"FASTPACA_API_KEY": "two words"})


def test_keys_do_not_show() -> None:
    """
    Settings can be logged.
    """
    assert SECRET not in repr(load_one("FASTPACA_API_KEY", SECRET))


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("LocalHost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.0.1", False),
        ("my-machine", False),
        ("localhost.example.com", False),
        ("unix:/run/fastpaca/socket", True),
    ],
)
def test_loopback_is_what_only_this_machine_reaches(host: str, is_loopback: bool) -> None:
    """
    Anything that might be reached from elsewhere is not loopback.
    """
    assert Settings(host=host).is_loopback is is_loopback


# --- values in files --------------------------------------------------------------------------

IN_FILES = [setting for setting in SETTINGS if setting.fills is not None]
WITH_ARCHIVE = {"FASTPACA_ARCHIVER_ENABLED": "true"}
"""Without an archive nobody looks at its address."""

VALUES = {
    "api_keys": ("new,old", ("new", "old")),
    "store": (f"postgresql://a:{SECRET}@host/x", f"postgresql://a:{SECRET}@host/x"),
    "database_url": (f"postgres://a:{SECRET}@host/x", f"postgres://a:{SECRET}@host/x"),
}


def environment(setting: settings.Setting, text: object) -> dict[str, str]:
    return {setting.variable: str(text)} | (WITH_ARCHIVE if setting.fills == "database_url" else {})


@pytest.mark.parametrize("setting", IN_FILES, ids=lambda setting: setting.name)
@pytest.mark.parametrize("end", ["", "\n", "\r\n", " \n\n"])
def test_a_value_may_stand_in_a_file(setting: settings.Setting, end: str, tmp_path: Path) -> None:
    """
    The text of the file is the value, in a variable or a flag, but for what an editor adds.
    """
    assert setting.fills is not None
    text, value = VALUES[setting.fills]
    (tmp_path / "secret").write_bytes(f"{text}{end}".encode())
    variables = environment(setting, tmp_path / "secret")
    assert getattr(load(environ=variables), setting.fills) == value
    flags = {setting.name: variables.pop(setting.variable)}
    assert getattr(load(flags, variables), setting.fills) == value


@pytest.mark.parametrize("setting", IN_FILES, ids=lambda setting: setting.name)
def test_a_file_that_is_of_no_use_is_a_sentence(setting: settings.Setting, tmp_path: Path) -> None:
    """
    What is wrong is said of the variable, and neither the text nor the path is repeated: a secret
    may have landed in place of the path.
    """
    for name, content in {
        "empty": b"",
        "blank": b" \n",
        "binary": b"\xff\xfe" + SECRET.encode(),
        "large": SECRET.encode() * 10_000,
        "wrong": b"\x01 " + SECRET.encode(),
    }.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "directory").mkdir()
    for name, why in {
        "empty": "names an empty file",
        "blank": "names an empty file",
        "binary": "is not UTF-8",
        "large": "larger than 65536 bytes",
        "directory": "unreadable file: is a directory",
        f"missing-{SECRET}": "unreadable file: no such file or directory",
        "wrong": "must ",
    }.items():
        with pytest.raises(SettingsError) as caught:
            load(environ=environment(setting, tmp_path / name))
        said = str(caught.value)
        assert why in said, name
        assert SECRET not in said
        if name != "wrong" or setting.fills != "database_url":
            assert setting.variable in said


@pytest.mark.parametrize("setting", IN_FILES, ids=lambda setting: setting.name)
def test_a_value_and_its_file_exclude_each_other(setting: settings.Setting, tmp_path: Path) -> None:
    """
    Which of the two was meant is not guessed; but a flag wins over a variable, as everywhere.
    """
    direct = next(found for found in SETTINGS if found.name == setting.fills)
    text, value = VALUES[direct.name]
    (tmp_path / "secret").write_text(text)
    variables = environment(setting, tmp_path / "secret")
    both = f"^{direct.variable} and {setting.variable} are both set"
    with pytest.raises(SettingsError, match=both):
        load(environ={**variables, direct.variable: text})
    path = variables.pop(setting.variable)
    with pytest.raises(SettingsError, match=f"^{direct.flag} and {setting.flag} are both set"):
        load({direct.name: text, setting.name: path}, variables)
    found = load({setting.name: path}, {**variables, direct.variable: "postgres://other"})
    assert getattr(found, direct.name) == value


def test_the_file_of_an_archive_that_is_not_there_is_not_looked_for() -> None:
    """
    `DATABASE_URL_FILE` stands in many environments for the sake of another program.
    """
    assert load_one("DATABASE_URL_FILE", "/nowhere") == Settings()


def test_commands_read_files_as_a_node_does(tmp_path: Path) -> None:
    """
    A command finds its store and its key where the node finds them.
    """
    (tmp_path / "store").write_text("postgres://host/x\n")
    (tmp_path / "keys").write_text("new, old\n")
    assert settings.load_store(None, {"FASTPACA_STORE_FILE": f"{tmp_path}/store"}) == (
        "postgres://host/x"
    )
    assert settings.load_store("sqlite", {"FASTPACA_STORE_FILE": f"{tmp_path}/store"}) == "sqlite"
    assert settings.load_api_key({"FASTPACA_API_KEY_FILE": f"{tmp_path}/keys"}) == "new"
    assert settings.load_api_key({"FASTPACA_API_KEY": "", "FASTPACA_API_KEY_FILE": ""}) is None
    with pytest.raises(SettingsError, match="no such file"):
        settings.load_api_key({"FASTPACA_API_KEY_FILE": "/nowhere"})


@pytest.mark.parametrize("text", ["unix:", "unix:/", "unix:/" + "x" * 110, "unix:.", "unix:a\0b"])
def test_a_socket_needs_a_path(text: str) -> None:
    """
    A path that no socket can have is refused before anything is made.
    """
    assert "path of a socket" in refusal("FASTPACA_HOST", text)


@pytest.mark.parametrize(
    ("host", "keys", "checks_host"),
    [
        ("127.0.0.1", (), True),
        ("127.0.0.1", ("key",), False),
        ("0.0.0.0", (), False),
        ("unix:/run/s", (), False),
    ],
)
def test_the_host_of_requests_is_checked_where_pages_could_reach_the_node(
    host: str, keys: tuple[str, ...], checks_host: bool
) -> None:
    """
    That is on loopback without a key; a browser opens no Unix socket.
    """
    assert Settings(host=host, api_keys=keys).checks_host is checks_host
