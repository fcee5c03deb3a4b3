"""The tables of states: every step is taken, by what it says, and leads where it says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fastpaca.errors import Unavailable
from fastpaca.http.states import READS, WRITES, ReadState, ReadStep, WriteState, WriteStep
from tests.http.driver import CHUNKED, GET, Driver, get, post

Step = tuple[str, str]
Act = Callable[[Driver], object]


def received(*pieces: bytes) -> Act:
    return lambda driver: [driver.receive(piece) for piece in pieces]


STEPS: dict[Step, tuple[Act, Act]] = {
    (ReadState.BETWEEN, ReadStep.BEGIN): (received(), received(b"G")),
    (ReadState.BETWEEN, ReadStep.STOP): (received(), lambda driver: driver.refuse(Unavailable())),
    (ReadState.HEAD, ReadStep.HEAD_END): (received(CHUNKED[:9]), received(CHUNKED[9:])),
    (ReadState.HEAD, ReadStep.STOP): (received(b"G"), lambda driver: driver.wait(15)),
    (ReadState.BODY, ReadStep.BODY_END): (received(post(1)), received(b"a")),
    (ReadState.BODY, ReadStep.LAST_END): (received(post(1, "Connection: close")), received(b"a")),
    (ReadState.BODY, ReadStep.STOP): (received(CHUNKED), received(b"x\r\n")),
    (ReadState.DEAF, ReadStep.STOP): (received(get("/", "Connection: close")), Driver.lost),
    (WriteState.QUIET, WriteStep.HAND_OUT): (received(), received(GET)),
    (WriteState.QUIET, WriteStep.CLOSE): (received(), Driver.drain),
    (WriteState.OWING, WriteStep.TAKE_BACK): (
        received(CHUNKED),
        lambda driver: driver.machine.receive(b"x\r\n", driver.now),
    ),
    (WriteState.OWING, WriteStep.BEGIN): (received(GET), Driver.begin),
    (WriteState.OWING, WriteStep.CLOSE): (received(GET), lambda driver: driver.machine.fail()),
    (WriteState.SENDING, WriteStep.END): (
        lambda driver: (driver.receive(GET), driver.begin()),
        Driver.end,
    ),
    (WriteState.SENDING, WriteStep.CLOSE): (
        lambda driver: (driver.receive(GET), driver.begin()),
        lambda driver: driver.machine.fail(),
    ),
    (WriteState.CLOSED, WriteStep.CLOSE): (Driver.drain, Driver.lost),
}
"""What leads to a state, and what moves it on."""


def table() -> dict[Step, str]:
    """Every step of both tables, and where it leads."""
    steps: dict[Step, str] = {}
    for reading, reads in READS.items():
        steps.update({(reading, step): after for step, after in reads.items()})
    for writing, writes in WRITES.items():
        steps.update({(writing, step): after for step, after in writes.items()})
    return steps


def test_every_step_of_the_tables_is_walked() -> None:
    """
    The steps that are tried here are those of the tables: none is missing, and there is no other.
    """
    assert set(STEPS) == set(table())
    assert set(READS) == set(ReadState)
    assert set(WRITES) == set(WriteState)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step[0]}: {step[1]}")
def test_each_step_leads_where_the_table_says(step: Step) -> None:
    """
    What moves a side of a connection moves it to the state that stands in the table.
    """
    reach, move = STEPS[step]
    driver = Driver()
    reach(driver)
    assert state(driver, step) == step[0]
    move(driver)
    assert state(driver, step) == table()[step]


def state(driver: Driver, step: Step) -> str:
    """The state of the side that *step* moves."""
    machine = driver.machine
    return machine._reading if isinstance(step[0], ReadState) else machine._writing
