"""The tables of fields in the reference of the REST API are made of the OpenAPI document."""

from __future__ import annotations

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "fields.py"


def test_tables_of_fields_are_generated_anew() -> None:
    """
    `docs/rest-api.md` has the fields, types, defaults and meanings of the OpenAPI document.
    """
    spec = importlib.util.spec_from_file_location("fields_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    page = script.PAGE.read_text(encoding="utf-8")
    assert len(script.TABLE.findall(page)) > 10
    assert page == script.text(), "run make fix: docs/rest-api.md is out of date"
