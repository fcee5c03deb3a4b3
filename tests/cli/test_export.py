"""`fastpaca export` and `fastpaca import`: files, flags, what is refused, how it can be ended."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from fastpaca.cli.main import main
from fastpaca.store.sqlite.store import SqliteStore
from tests.kit.postgres import Server
from tests.kit.stores import opened
from tests.transfer.world import everything, live

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of its own, in which nothing of the environment is set."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("FASTPACA_")]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def lived(here: Path) -> Path:
    """A data directory in which five contexts have lived."""
    asyncio.run(live(SqliteStore(here / "lived"), Random(7), steps=30))
    return here / "lived"


@pytest.fixture
def file(lived: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Their export."""
    assert main(["export", "--data-dir", str(lived), "--output", "contexts.jsonl"]) == 0
    capsys.readouterr()
    return here / "contexts.jsonl"


Said = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Said:
    """Run a command that must fail with one sentence, and give that."""

    def run(*argv: str, code: int = 1) -> str:
        assert main(argv) == code
        out, err = capsys.readouterr()
        assert not out
        assert err.startswith("fastpaca: ")
        assert err.count("\n") == 1
        return err.removeprefix("fastpaca: ").rstrip()

    return run


def test_there_and_back_by_commands(
    file: Path,
    lived: Path,
    fast_server: Server,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """
    From SQLite into PostgreSQL and back, the files are the same behind their headers, the
    comparison finds nothing, and a node answers as before.
    """
    monkeypatch.setenv("FASTPACA_ALLOW_UNSAFE_POSTGRES", "true")
    with fast_server.database() as dsn:
        assert main(["import", str(file), "--store", dsn, "--verify"]) == 0
        assert capsys.readouterr().out == (
            f"Imported 5 contexts; 0 already existed.\nVerified: 5 contexts match {file}, byte"
            " for byte.\n"
        )
        assert main(["export", "--store", dsn, "--output", "there.jsonl"]) == 0
    assert main(["import", "there.jsonl", "--data-dir", "back", "--verify"]) == 0
    assert main(["export", "--data-dir", "back", "--output", "back.jsonl"]) == 0
    there, back = Path("there.jsonl").read_bytes(), Path("back.jsonl").read_bytes()
    assert back == file.read_bytes()
    assert there.split(b"\n", 1)[1] == back.split(b"\n", 1)[1]
    assert asyncio.run(everything(SqliteStore(Path("back")))) == asyncio.run(
        everything(SqliteStore(lived))
    )


def test_export_says_what_it_wrote(lived: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A file is readable by its owner only, and nothing but it is left.
    """
    assert main(["export", "--data-dir", str(lived), "--output", "new.jsonl"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Wrote new.jsonl: 5 contexts with ")
    assert err == ""
    assert stat.S_IMODE(Path("new.jsonl").stat().st_mode) == 0o600
    assert not Path("new.jsonl.part").exists()


def test_standard_output_takes_the_same(lived: Path, file: Path) -> None:
    """
    Without a file, or with -, the lines go to standard output and nothing else does.
    """
    command = [sys.executable, "-m", "fastpaca", "export", "--data-dir", str(lived)]
    for output in ([], ["--output", "-"]):
        done = subprocess.run([*command, *output], capture_output=True, check=True)
        assert done.stdout == file.read_bytes()
        assert done.stderr == b""
    assert not Path("-").exists()


@pytest.mark.parametrize("output", [[], ["--output", "-"]])
def test_closed_pipe_is_told_once(lived: Path, output: list[str]) -> None:
    """
    A reader of standard output that goes away gets one sentence.
    """
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "fastpaca", "export", "--data-dir", str(lived), *output]
    done = subprocess.run(command, check=False, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert done.stderr == b"fastpaca: the export is incomplete: Broken pipe.\n"
    assert done.returncode == 1


def test_what_is_no_file_is_never_replaced(lived: Path, here: Path, refused: Said) -> None:
    """
    A link, such as /dev/stdout, a FIFO and a directory are refused, and it is said what would do.
    """
    (here / "link").symlink_to("elsewhere")
    os.mkfifo(here / "fifo")
    for name, kind in {
        "link": "a symbolic link",
        "fifo": "a FIFO",
        "/dev/null": "a device",
    }.items():
        said = refused("export", "--data-dir", str(lived), "--output", name)
        assert said.endswith(f"{name} is {kind}; name a file, or - for standard output.")
    assert "is a directory" in refused("export", "--data-dir", str(lived), "--output", ".")
    assert sorted(path.name for path in here.iterdir()) == ["fifo", "link", "lived"]


def test_import_does_not_wait_for_a_fifo(here: Path, refused: Said) -> None:
    """
    What cannot be read twice is refused before it is opened.
    """
    os.mkfifo(here / "fifo")
    for name in ("fifo", "/dev/null"):
        assert "cannot be read twice" in refused("import", name)
    assert "it cannot read from -" in refused("import", "-", code=2)


def test_import_twice_changes_nothing(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    What is there already is compared and counted.
    """
    assert main(["import", str(file), "--data-dir", "new"]) == 0
    assert main(["import", str(file), "--data-dir", "new"]) == 0
    assert capsys.readouterr().out == (
        "Imported 5 contexts; 0 already existed.\nImported 0 contexts; 5 already existed.\n"
    )


def test_comparison_names_what_differs(
    file: Path, lived: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    `--verify-only` writes nothing, and ends with code 1 where something is not as in the file.
    """
    assert main(["export", "--data-dir", str(lived), "--prefix", "a", "--output", "a.jsonl"]) == 0
    assert main(["import", "a.jsonl", "--data-dir", "new"]) == 0
    capsys.readouterr()
    assert main(["import", str(file), "--data-dir", "new", "--verify-only"]) == 1
    err = capsys.readouterr().err
    assert "fastpaca: context '😀': the store does not have it.\n" in err
    assert err.endswith(f"fastpaca: 3 contexts differ from {file}.\n")
    assert main(["import", "a.jsonl", "--data-dir", "new", "--verify-only"]) == 0


async def test_data_of_a_running_node_is_refused(file: Path, lived: Path, refused: Said) -> None:
    """
    A data directory that a process holds is neither read nor written.
    """
    async with opened(SqliteStore(lived)):
        for argv in (["export"], ["import", str(file)]):
            said = await asyncio.to_thread(refused, *argv, "--data-dir", str(lived))
            assert "is in use by this process already" in said


def test_export_makes_no_store(here: Path, refused: Said) -> None:
    """
    A mistyped directory is not taken for an empty store, and nothing is made of it.
    """
    assert refused("export", "--data-dir", "mistyped") == (
        "nothing was exported: There is no fastpaca.db in mistyped; name the data directory with"
        " --data-dir, or a database with FASTPACA_STORE."
    )
    assert not list(here.iterdir())


def test_export_brings_no_schema(
    fast_dsn: str, refused: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A database that holds nothing of fastpaca is refused, and left as it is.
    """
    monkeypatch.setenv("FASTPACA_ALLOW_UNSAFE_POSTGRES", "true")
    for _ in range(2):
        assert "nothing was exported: " in refused("export", "--store", fast_dsn)


def test_files_in_the_way_are_left_alone(file: Path, lived: Path, refused: Said) -> None:
    """
    A file that exists is not replaced, and one that is being written is not written twice.
    """
    export = ("export", "--data-dir", str(lived), "--output")
    before = file.read_bytes()
    assert refused(*export, str(file)).endswith(f"{file} exists; name another file, or remove it.")
    assert file.read_bytes() == before
    Path("other.part").write_bytes(b"")
    assert "other.part exists: an export is running" in refused(*export, "other")
    assert "there is nothing to resume" in refused(*export, "new", "--resume")
    assert "does not exist" in refused(*export, "nowhere/new")
    assert "is a directory" in refused(*export, ".")


def test_interrupted_export_is_gone_on_with(
    file: Path, lived: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Wherever a file broke off, an export that is resumed makes it what it would have been.
    """
    text = file.read_bytes()
    for place in (*range(0, len(text), 4999), len(text) - 1, len(text)):
        Path("new.part").write_bytes(text[:place])
        argv = ["export", "--data-dir", str(lived), "--output", "new", "--resume"]
        assert main(argv) == 0
        assert "Continuing after " in capsys.readouterr().err
        assert Path("new").read_bytes() == text
        Path("new").unlink()


def test_damaged_part_is_written_anew(file: Path, lived: Path) -> None:
    """
    What a loss of power has left of a file is kept up to the first damage, and no further.
    """
    text = bytearray(file.read_bytes())
    middle = len(text) // 2
    text[middle : middle + 4096] = bytes(4096)
    Path("new.part").write_bytes(text)
    assert main(["export", "--data-dir", str(lived), "--output", "new", "--resume"]) == 0
    assert Path("new").read_bytes() == file.read_bytes()


def test_another_export_is_not_gone_on_with(file: Path, lived: Path, refused: Said) -> None:
    """
    A part with another prefix is refused, and stays.
    """
    Path("new.part").write_bytes(file.read_bytes()[:3000])
    argv = ("export", "--data-dir", str(lived), "--output", "new", "--resume", "--prefix", "a")
    assert "was started from sqlite with the prefix ''" in refused(*argv)
    assert Path("new.part").stat().st_size == 3000


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: text[:-1], "line 99: it is cut off."),
        (
            lambda text: text[: text.rindex(b"\n", 0, -1) + 1],
            "which is not the end of an export",
        ),
        (
            lambda text: text.replace(b'"user"', b'"used"', 1),
            "which was changed or has lost lines.",
        ),
        (lambda text: text.replace(b'"format":1', b'"format":2', 1), "line 1: it says that"),
        (lambda _: b"", "ends with line 0"),
        (lambda _: b"\0" * 5000, "line 1: it is cut off."),
    ],
)
def test_bad_file_leaves_no_trace(
    file: Path, refused: Said, change: Callable[[bytes], bytes], told: str
) -> None:
    """
    A file that is not as it was written gets a sentence, and nothing of it is imported.
    """
    text = change(file.read_bytes())
    Path("bad").write_bytes(text)
    told = told.replace("line 99", f"line {len(text.splitlines())}")
    assert told in refused("import", "bad", "--data-dir", "new")
    assert not Path("new").exists()


def test_what_is_no_file_is_refused(refused: Said) -> None:
    """
    A file that is missing, a directory, and what cannot be read twice each get a sentence.
    """
    assert refused("import", "missing") == "missing cannot be read: No such file or directory."
    assert refused("import", ".") == ". cannot be read: Is a directory."


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["export", "--store", "memory"], "FASTPACA_STORE is memory, which exists only"),
        (["export", "--store", "mysql://x"], "--store must be sqlite, memory, or the address"),
        (["export", "--resume", "--output", "-"], "--resume continues a file; name it"),
        (["export", "--resume"], "--resume continues a file; name it with --output."),
        (["import", "f", "--verify", "--verify-only"], "--verify imports first and"),
    ],
)
def test_unusable_flags_are_told(argv: list[str], told: str, refused: Said) -> None:
    """
    What cannot be meant ends with code 2 and a sentence.
    """
    assert told in refused(*argv, code=2)
