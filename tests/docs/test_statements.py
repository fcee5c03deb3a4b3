"""The page about distributed tables lists the statements that there are."""

from tests.docs.statements import PAGE, with_table


def test_statements_are_listed_as_they_are() -> None:
    """The table is that of the statements; `python -m tests.docs.statements` writes it."""
    page = PAGE.read_text()
    assert page == with_table(page)
