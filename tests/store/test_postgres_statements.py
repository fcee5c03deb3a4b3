"""Each statement of the PostgreSQL store goes to the servers of the keys that it names."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from fastpaca.store.postgres import statements
from fastpaca.store.postgres.primary import TAKES_WRITES
from fastpaca.store.postgres.rows import pieces
from fastpaca.store.postgres.statements import INSERT_MESSAGES, PARAMETERS_MAX, Rows, Statement
from tests.docs.statements import ALL
from tests.store.routing import NotUnderstood, unrouted

FOLDER = Path(statements.__file__).parent

ELSEWHERE = {"schema.py"}
"""What is no statement of the store: migrations, and what distributes the tables."""

texts = [
    pytest.param(statement, text, id=f"{statement.name} {number}")
    for statement in ALL
    for number, text in enumerate(
        [statement.sql]
        if isinstance(statement, Statement)
        else [statement.values(1), statement.values(4)]
    )
]


@pytest.mark.parametrize(("statement", "text"), texts)
def test_a_statement_says_where_it_goes(statement: Statement | Rows, text: str) -> None:
    """Each table has its key bound to a parameter, unless the statement says why it has not."""
    assert bool(unrouted(text)) is bool(statement.everywhere)


def test_few_statements_go_everywhere() -> None:
    """The list of those that may is short, and does not grow unnoticed."""
    assert [statement.name for statement in ALL if statement.everywhere] == [
        "contexts",
        "abandoned",
        "erase answers",
        "to erase",
        "old answers",
        "forget answers",
    ]


def test_there_are_no_other_statements() -> None:
    """No module of the store has SQL of its own, and no two statements have one name."""
    verb = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE)\b(?s:.*)\bfastpaca\.\w")
    for path in sorted(FOLDER.glob("*.py")):
        tree = ast.parse(path.read_text())
        found = [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        has_sql = any(verb.search(text) for text in found)
        assert has_sql is (path.name in {"statements.py", *ELSEWHERE}), path.name
    assert len({statement.name for statement in ALL}) == len(ALL)


def test_reads_ask_the_primary() -> None:
    """No statement that reads trusts a server that takes no writes."""
    for statement in ALL:
        if isinstance(statement, Statement) and statement.sql.split()[0] == "SELECT":
            assert TAKES_WRITES in statement.sql, statement.name


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ("SELECT 1 FROM fastpaca.contexts WHERE context_id = $1", []),
        ("SELECT 1 FROM fastpaca.contexts WHERE context_id = ANY($1)", []),
        ("SELECT 1 FROM fastpaca.contexts WHERE context_id = ANY($1::bytea[]) LIMIT 1", []),
        ("SELECT 1 FROM fastpaca.contexts AS c WHERE c.context_id = $1 AND (a OR b)", []),
        ("SELECT 1 FROM fastpaca.contexts", ["contexts"]),
        ("SELECT 1 FROM fastpaca.contexts WHERE id = $1", ["contexts"]),
        ("SELECT 1 FROM fastpaca.contexts WHERE context_id = 'x'", ["contexts"]),
        ("SELECT 1 FROM fastpaca.contexts WHERE context_id > $1", ["contexts"]),
        ("SELECT 1 FROM fastpaca.contexts WHERE context_id = $1 || $2", ["contexts"]),
        ("SELECT 1 FROM fastpaca.contexts WHERE context_id = ANY($1 || $2)", ["contexts"]),
        ("SELECT 1 FROM fastpaca.contexts WHERE context_id = $1 OR true", ["contexts"]),
        ("SELECT 1 FROM fastpaca.contexts WHERE NOT context_id = $1", ["contexts"]),
        ("SELECT 1 FROM fastpaca.contexts WHERE (context_id = $1 OR true)", ["contexts"]),
        ("SELECT 1 FROM fastpaca.answers WHERE context_id = $1", ["answers"]),
        ("SELECT 1 FROM fastpaca.answers WHERE key_hash = $1", []),
        (
            (
                "SELECT 1 FROM fastpaca.contexts AS c JOIN fastpaca.messages AS m"
                " ON m.context_id = c.context_id WHERE c.context_id = $1"
            ),
            ["messages"],
        ),
        (
            (
                "SELECT 1 FROM fastpaca.contexts AS c LEFT JOIN fastpaca.messages AS m"
                " ON m.context_id = $1 AND c.context_id = $1"
            ),
            ["contexts"],
        ),
        (
            (
                "SELECT 1 FROM fastpaca.contexts AS c LEFT JOIN LATERAL (SELECT 1 FROM"
                " fastpaca.messages AS m WHERE m.context_id = c.context_id) AS k ON true"
                " WHERE c.context_id = $1"
            ),
            ["messages"],
        ),
        (
            (
                "UPDATE fastpaca.contexts AS c SET a = 1 FROM unnest($1) AS n (context_id)"
                " WHERE c.context_id = n.context_id"
            ),
            ["contexts"],
        ),
        (
            (
                "DELETE FROM fastpaca.messages WHERE context_id = $1 AND seq < ("
                "SELECT min(seq) FROM fastpaca.messages)"
            ),
            ["messages"],
        ),
        ("INSERT INTO fastpaca.messages (context_id, seq) VALUES ($1, $2), ($3, $4)", []),
        ("INSERT INTO fastpaca.messages (seq, context_id) VALUES ($1, 'x')", ["messages"]),
    ],
)
def test_the_lint_sees_what_goes_everywhere(sql: str, tables: list[str]) -> None:
    """A key that is not bound where the table stands is found, whatever stands beside it."""
    assert unrouted(sql) == tables


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 FROM fastpaca.contexts AS c, fastpaca.messages AS m WHERE c.context_id = $1",
        "SELECT 1 FROM fastpaca.contexts, fastpaca.messages WHERE context_id = $1",
        "SELECT 1 FROM fastpaca.contexts WHERE context_id = $1 UNION SELECT 2",
        "SELECT 1 FROM fastpaca.contexts AS c JOIN fastpaca.messages AS m USING (context_id)",
        "SELECT 1 FROM fastpaca.others WHERE context_id = $1",
        "INSERT INTO fastpaca.messages (context_id) SELECT * FROM unnest($1)",
        "INSERT INTO fastpaca.messages (context_id) VALUES ($1), ($2) , SELECT 1",
        "SELECT 1 FROM fastpaca.contexts WHERE context_id = $1; SELECT 2",
        "SELECT 1 FROM fastpaca.contexts WHERE (context_id = $1",
        "SELECT 1) FROM fastpaca.contexts",
        "MERGE INTO fastpaca.contexts WHERE context_id = $1",
        "TABLE fastpaca.contexts WHERE context_id = $1",
    ],
)
def test_the_lint_refuses_what_it_does_not_know(sql: str) -> None:
    """Nothing passes because it was not understood."""
    with pytest.raises(NotUnderstood):
        unrouted(sql)


def test_rows_are_written_out_in_few_forms() -> None:
    """However many rows there are, few statements have to be prepared, and none is too long."""
    rows: list[tuple[object, ...]] = [
        (b"id", seq, 1, b"body", b"counts", 1, "", b"", None, b"hash") for seq in range(1, 1001)
    ]
    forms = set()
    for count in (1, 2, 3, 5, 100, 256, 257, 1000):
        found: list[object] = []
        for text, values in pieces(INSERT_MESSAGES, rows[:count]):
            assert text.count("$") == len(values) <= PARAMETERS_MAX
            assert len(text) < 15 * 1024
            forms.add(text)
            found += values
        written = list(zip(*[iter(found)] * INSERT_MESSAGES.columns, strict=True))
        assert list(dict.fromkeys(row[:2] for row in written)) == [r[:2] for r in rows[:count]]
        assert [row for row in written if row[3]] == rows[:count]
    assert len(forms) <= 9
    assert all(statement.rows_max >= 128 for statement in ALL if isinstance(statement, Rows))
