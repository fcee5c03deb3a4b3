"""Whatever a user can set, call or meet has its place on a page, and pages name nothing else."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fastpaca import errors
from fastpaca.api.errors import status_of
from fastpaca.api.openapi.document import openapi_bytes
from fastpaca.cli.main import _parser
from fastpaca.context.config import STRATEGIES
from fastpaca.settings import FOREIGN_VARIABLES, SETTINGS, Setting
from fastpaca.store.postgres.parameters import PARAMETERS
from fastpaca.telemetry import ArchiveMetrics, DatabaseMetrics, Metrics
from tests.docs.pages import ROOT, page, pages

# --- settings ---


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.variable)
def test_setting_has_its_row(setting: Setting) -> None:
    """
    The page names each setting with its variable, flag and default, and says what it means.
    """
    rows = {row[0]: row for row in page("configuration").rows("Settings")}
    _, flag, default, meaning = rows[f"`{setting.variable}`"]
    assert flag == f"`{setting.flag}`"
    assert default in {f"`{setting.default}`", "none", "the host name"}
    assert setting.default or default in {"none", "the host name"}
    assert meaning


def test_no_setting_is_made_up() -> None:
    """
    A variable that a page names is one that the node knows, or the example of those of Kubernetes.
    """
    known = set(FOREIGN_VARIABLES) | {s.variable for s in SETTINGS} | {"FASTPACA_PORT"}
    for found in pages():
        assert set(re.findall(r"\bFASTPACA_[A-Z_]+\b", found.text)) <= known, found.name
    assert len(page("configuration").rows("Settings")) == len(SETTINGS)


def test_variables_that_stop_the_start_are_named() -> None:
    """
    Who meets a variable that stops the start can read why.
    """
    section = page("configuration").section("What prevents a node from starting")
    for variable in FOREIGN_VARIABLES:
        assert f"`{variable}`" in section


def test_parameters_of_addresses_have_their_row() -> None:
    """
    The page says of each parameter of libpq, and of no others, what becomes of it.
    """
    rows = page("scaling").rows("The address")
    named = [name for row in rows for name in re.findall("`([a-z_]+)`", row[0])]
    named.remove("system")  # the value of a parameter
    assert sorted(named) == sorted(PARAMETERS)


# --- commands ---


def test_commands_and_their_flags_are_named() -> None:
    """
    Each subcommand, and each flag that is no setting, has its row.
    """
    rows = {row[0].strip("`"): row[1] for row in page("configuration").rows("Commands")}
    for name, parser in _commands().items():
        assert any(f"fastpaca {name}" in command for command in rows), name
        for flag in _flags(parser) - {setting.flag for setting in SETTINGS if name == "serve"}:
            assert flag in rows, f"{name} {flag}"


def _commands() -> dict[str, argparse.ArgumentParser]:
    actions = _parser()._actions
    return dict(next(a.choices for a in actions if isinstance(a, argparse._SubParsersAction)))


def _flags(parser: argparse.ArgumentParser) -> set[str]:
    flags = {option for action in parser._actions for option in action.option_strings}
    return flags - {"-h", "--help"}


# --- errors ---


def test_errors_have_their_row() -> None:
    """
    The page names each error with its status and code, and no other.
    """
    shown = [(int(row[0]), row[1].strip("`")) for row in page("rest-api").rows("Errors")]
    known = {(status_of(error), error.code) for error in _errors(errors.FastpacaError)}
    assert len(shown) == len(set(shown))
    assert set(shown) == known


def _errors(kind: type[errors.FastpacaError]) -> Iterator[errors.FastpacaError]:
    """Give an error of each class that a node can answer; statuses go by class."""
    if kind.__module__ == errors.__name__ and kind.code:  # else it is a client's own
        yield kind.__new__(kind)
    for narrower in kind.__subclasses__():
        yield from _errors(narrower)


# --- policies ---


def test_policies_are_named_everywhere() -> None:
    """
    The page has a section for each policy, and the OpenAPI document and the types of the TypeScript
    SDK name the same policies.
    """
    headings = [line for line in page("policies").headings if line in STRATEGIES]
    assert headings == list(STRATEGIES)
    kinds = json.loads(openapi_bytes())["components"]["schemas"]["Policy"]["oneOf"]
    assert [kind["title"] for kind in kinds] == list(STRATEGIES)
    for kind in kinds:
        keys = set(kind["properties"]["config"]["properties"])
        assert keys == set(STRATEGIES[kind["title"]]._fields)
    types = (ROOT / "sdk/typescript/src/types.ts").read_text(encoding="utf-8")
    named = re.search(r"strategy: ((?:'\w+' \| )+)\(string", types)
    assert named is not None
    assert re.findall(r"'(\w+)'", named[1]) == list(STRATEGIES)


# --- routes ---


def test_routes_are_those_of_the_description(client: httpx.Client) -> None:
    """
    The page and `/openapi.json` name the same methods and paths, and each has its section.
    """
    described = {
        (method.upper(), path)
        for path, methods in client.get("/openapi.json").json()["paths"].items()
        for method in methods
        if method in {"get", "put", "post", "patch", "delete"}
    }
    rest = page("rest-api")
    listed = {(row[0].strip("`"), _path(row[1])) for row in rest.rows("Routes")}
    assert listed == described
    for method, path in listed:
        assert f"{method} {path}" in rest.headings


def test_routes_are_answered(client: httpx.Client) -> None:
    """
    No route that the page names is unknown to a node.
    """
    for method, path in (
        (row[0].strip("`"), _path(row[1])) for row in page("rest-api").rows("Routes")
    ):
        answer = client.options(re.sub(r"\{\w+\}", "x", path))
        assert method in answer.headers["allow"].split(", "), path


def _path(cell: str) -> str:
    found = re.search(r"`(/[^`]*)`", cell)
    assert found, cell
    return found[1]


# --- fields ---

Fields = dict[str, object]


def _answers(client: httpx.Client) -> dict[str, Fields]:
    """Give an answer of each kind whose fields the page lists in a table."""
    url = "/v1/contexts/fields"
    context = client.put(url).json()
    body = {"message": {"role": "user", "parts": []}}
    client.post(f"{url}/messages", json=body).raise_for_status()
    for text in ("Hi", "Hello"):
        said = {"message": {"role": "user", "content": text}}
        client.put(f"{url}/messages/m", json=said).raise_for_status()
    revision = client.get(f"{url}/messages/m").json()
    del revision["id"]  # as it was sent
    view = client.get(f"{url}/context?explain=true").json()
    client.post(f"{url}/compact", json={"replacement": []}).raise_for_status()
    client.post(f"{url}/rewind", json={"to_version": 1}).raise_for_status()
    _, rewind = client.get(f"{url}/compactions").json()["compactions"]
    return {
        "Contexts": context,
        "Messages": revision,
        "GET /v1/contexts/{id}/context": view,
        "GET /v1/contexts/{id}/compactions": rewind,
    }


def test_fields_are_those_of_answers(client: httpx.Client) -> None:
    """
    The tables of fields name all that a node answers, and nothing else.
    """
    for heading, answer in _answers(client).items():
        tables = page("rest-api").tables(heading)
        named = [sorted(row[0].strip("`") for row in table) for table in tables]
        assert sorted(answer) in named, heading


# --- metrics ---


def test_metrics_have_their_row() -> None:
    """
    The page names each series with its labels, and no other.
    """
    shown = {row[0].strip("`"): row[1] for row in page("monitoring").rows("Metrics")}
    metrics = Metrics()
    metrics.request_times.note("/v1/contexts", "GET", 200, 0.1)
    known: dict[str, str] = {}
    for family in (*metrics.appends.collect(), *metrics.request_times.collect()):
        labels = [name for sample in family.samples[:1] for name in sample.labels if name != "le"]
        name = family.name + ("_total" if family.type == "counter" else "")
        known[name] = ", ".join(f"`{label}`" for label in labels) or "none"
    for series in vars(metrics).values():
        if hasattr(series, "_labelnames"):
            name = series._name + ("_total" if series._type == "counter" else "")
            known[name] = ", ".join(f"`{label}`" for label in series._labelnames) or "none"
    for family in (*metrics.process.collect(), *DatabaseMetrics(Path("fastpaca.db")).collect()):
        known |= {sample.name: "none" for sample in family.samples}
    metrics.note_build("0.1.0")
    for sample in (sample for family in metrics.registry.collect() for sample in family.samples):
        if sample.name.endswith("_info"):
            known[sample.name] = ", ".join(f"`{label}`" for label in sample.labels) or "none"
    if sys.platform != "linux":  # there the series of the process are not to be had
        shown = {name: row for name, row in shown.items() if not name.startswith("process_")}
    assert shown == known


def test_metrics_of_the_archive_have_their_row() -> None:
    """
    The page of the archive names each of its series, and no other.
    """
    shown = [row[0].strip("`") for row in page("archive").rows("Metrics")]
    known = [
        family.name + ("_total" if family.type == "counter" else "")
        for family in ArchiveMetrics(lambda: 0).collect()
    ]
    assert sorted(shown) == sorted(known)
