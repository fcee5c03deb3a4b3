"""What is added up of a replay, and how it is told."""

from __future__ import annotations

import pytest

from tests.acceptance.data import NORMALISED, Conversation
from tests.validity.measured import FASTPACA, Cell, Key, Tally
from tests.validity.replay import Replayed, View
from tests.validity.tables import cost_table, missed_goals, ratio_table, rules_of, summary_table

KEY: Key = (FASTPACA, "some", NORMALISED, 8_000)

SMALL: Key = (FASTPACA, "some", NORMALISED, 4_000)

NAIVE: Key = ("newest that fit", "some", NORMALISED, 8_000)


def _cost(*views: View) -> tuple[int, int, int, int]:
    tally = Tally(None, Replayed(Conversation("some", "one", NORMALISED, ()), (), ()))
    for view in views:
        tally.add(len(view.seqs), view)
    cell = tally.cell
    return cell.calls, cell.cuts, cell.used_tokens, cell.rewritten_tokens


def _view(*entries: tuple[int, int]) -> View:
    return View([seq for seq, _ in entries], [{}] * len(entries), [n for _, n in entries])


def test_a_view_that_goes_on_is_no_cut() -> None:
    """
    New messages at the end of a view are not rewritten.
    """
    assert _cost(_view((1, 10)), _view((1, 10), (2, 20), (3, 30))) == (2, 0, 70, 0)


def test_what_was_sent_before_and_stands_after_the_first_change_is_rewritten() -> None:
    """
    Message 1 is read from the cache, 3 is rewritten, and 4 is new in any case.
    """
    before, after = _view((1, 10), (2, 20), (3, 30)), _view((1, 10), (3, 30), (4, 40))
    assert _cost(before, after) == (2, 1, 140, 30)


def test_a_message_that_was_shortened_is_a_change() -> None:
    """
    A message of another length is not the message that was sent.
    """
    assert _cost(_view((1, 10), (2, 20)), _view((1, 10), (2, 15), (3, 5))) == (2, 1, 60, 15)


@pytest.mark.parametrize(
    ("cell", "wanted"),
    [
        (Cell(trimmed=1000), []),
        (Cell(trimmed=1000, refused={"anthropic": 25}, without_task=5), []),
        (Cell(trimmed=1000, refused={"anthropic": 26}), ["anthropic refuses 2.6%"]),
        (Cell(trimmed=1000, refused={"gemini": 1}), ["gemini refuses 0.1%"]),
        (Cell(trimmed=1000, without_task=6), ["the task is missing in 0.6%"]),
        (Cell(trimmed=1000, empty=1), ["1 empty views"]),
    ],
)
def test_a_goal_that_is_missed_is_told(cell: Cell, wanted: list[str]) -> None:
    """
    Each goal of validity is told if it is missed, and only then.
    """
    told = missed_goals({KEY: cell})
    assert len(told) == len(wanted)
    assert all(part in sentence for part, sentence in zip(wanted, told, strict=True))


def test_goals_bind_fastpaca_from_8000_tokens_up() -> None:
    """
    Other cuts have no goals, and below 8,000 tokens only empty views are missed goals.
    """
    bad = Cell(trimmed=10, refused={"anthropic": 10}, without_task=10)
    assert missed_goals({NAIVE: bad, SMALL: bad}) == []
    assert len(missed_goals({SMALL: Cell(trimmed=10, empty=2)})) == 1


def test_one_bad_cell_is_told_where_the_source_as_a_whole_is_good() -> None:
    """
    A budget at which more than 5 % are refused does not vanish in the sum of its source.
    """
    cells = {
        KEY: Cell(trimmed=100, refused={"anthropic": 6}),
        (*KEY[:3], 16_000): Cell(trimmed=1000),
    }
    assert missed_goals(cells) == ["some (normalised): a cell in which anthropic refuses 6.0%"]


def test_costs_are_divided_cell_by_cell_and_pooled() -> None:
    """
    The pooled ratio is that of the sums, of budgets from 8,000 tokens up.
    """
    before = {
        SMALL: Cell(calls=10, cuts=1, rewritten_tokens=1),
        KEY: Cell(calls=10, cuts=4, rewritten_tokens=100),
        (*KEY[:3], 16_000): Cell(calls=10, cuts=4, rewritten_tokens=300),
    }
    after = {
        SMALL: Cell(calls=10, cuts=3, rewritten_tokens=0),
        KEY: Cell(calls=10, cuts=2, rewritten_tokens=50),
        (*KEY[:3], 16_000): Cell(calls=10, cuts=3, rewritten_tokens=50),
    }
    rows = [row.split("|")[2:5] for row in ratio_table(before, after).splitlines()[2:]]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["4,000", "3.00", "0.00"],
        ["8,000", "0.50", "0.50"],
        ["16,000", "0.75", "0.17"],
        ["from 8,000", "0.62", "0.25"],
    ]


def test_a_source_without_calls_has_no_row() -> None:
    """
    Where no model was called there is nothing to divide by.
    """
    assert "some" not in cost_table({KEY: Cell()})
    assert "some" not in summary_table({KEY: Cell(calls=3)})
    row = cost_table({KEY: Cell(calls=4, cuts=1, used_tokens=16_000, rewritten_tokens=80)})
    assert [cell.strip() for cell in row.splitlines()[2].split("|")[2:7]] == [
        *("8,000", "4", "250", "0.50", "20")
    ]


def test_rules_are_counted_by_who_cut() -> None:
    """
    What a naive cut breaks is not laid at fastpaca's door.
    """
    cells = {KEY: Cell(rules={"a": 1}), SMALL: Cell(rules={"a": 1, "b": 5}), NAIVE: Cell()}
    assert list(rules_of(cells, FASTPACA).items()) == [("b", 5), ("a", 2)]
    assert not rules_of(cells, NAIVE[0])
