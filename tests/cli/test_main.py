"""The command itself: its help, its subcommands, and what it says when something is missing."""

import importlib.metadata
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import fastpaca
from fastpaca.cli.main import main
from fastpaca.settings import SETTINGS


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """
    The command tells the version of the package that is installed.
    """
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"fastpaca {fastpaca.__version__}\n"
    assert importlib.metadata.version("fastpaca") == fastpaca.__version__


def test_help_names_the_subcommands(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Who asks for help learns which commands there are.
    """
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    assert "serve" in text
    assert "backup" in text


def test_help_of_serve_names_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Each setting is in the help with its flag and its variable.
    """
    with pytest.raises(SystemExit, match="0"):
        main(["serve", "--help"])
    text = capsys.readouterr().out
    for setting in SETTINGS:
        assert setting.flag in text
        assert setting.variable in text


@pytest.mark.parametrize("argv", [["frobnicate"], ["serve", "--prot", "1"], ["backup"]])
def test_wrong_use_is_explained(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """
    What cannot be understood ends with code 2 and the usage, and flags are not guessed.
    """
    with pytest.raises(SystemExit, match="2"):
        main(argv)
    assert "usage: fastpaca" in capsys.readouterr().err


def test_command_alone_shows_how_to_begin(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Without arguments the command prints its help to standard error, and how to start a node.
    """
    assert main([]) == 2
    assert "`fastpaca serve` starts a node" in capsys.readouterr().err


def test_mistyped_flag_is_recognised(capsys: pytest.CaptureFixture[str]) -> None:
    """
    A flag that does not exist is named with its command and the flag that may have been meant.
    """
    with pytest.raises(SystemExit, match="2"):
        main(["serve", "--prot", "4000"])
    error = capsys.readouterr().err
    assert "serve has no argument --prot; did you mean --port?" in error
    assert "`fastpaca serve --help`" in error


def test_database_that_is_away_is_named_with_advice(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Where nothing listens, the command says what to check, and ends with code 1.
    """
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # it does not listen, so connections are refused
        address = f"postgresql://nobody@127.0.0.1:{taken.getsockname()[1]}/x"
        assert main(["migrate", "--store", address]) == 1
    error = capsys.readouterr().err
    assert "Connection refused. Check that it runs, and the host and port" in error


def test_module_is_the_command() -> None:
    """
    `python -m fastpaca` is the command, for a system whose path lacks it.
    """
    command = [sys.executable, "-m", "fastpaca", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"fastpaca {fastpaca.__version__}\n"


def test_serve_without_its_packages_says_what_to_install(tmp_path: Path) -> None:
    """
    A client's installation that is asked to serve answers in one sentence, not with a traceback.
    """
    program = """
import sys

SERVER = {"apsw", "httptools", "prometheus_client", "toktok", "uvloop", "websockets"}

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in SERVER:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from fastpaca.cli.main import main
sys.exit(main(["serve", "--port", "0"]))
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "pip install 'fastpaca[server]'" in done.stderr


def test_unusable_setting_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    A setting that cannot be used ends the start with code 2 and one line.
    """
    monkeypatch.chdir(tmp_path)
    assert main(["serve", "--port", "http"]) == 2
    assert capsys.readouterr().err == (
        "fastpaca: --port must be an integer from 0 to 65535; 0 picks a free port.\n"
    )
    assert not list(tmp_path.iterdir())


def test_switch_may_stand_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """
    `--metrics-public` means true, and takes a value as well.
    """
    for argv in (["--metrics-public"], ["--metrics-public=false"]):
        assert main(["serve", *argv, "--port", "http"]) == 2
        assert "--port" in capsys.readouterr().err
    assert main(["serve", "--metrics-public=maybe"]) == 2
    assert "--metrics-public must be true or false" in capsys.readouterr().err
