"""What tests of examples share: a node and a model for those of a module, and a browser."""

from collections.abc import Iterator

import pytest

from fastpaca import Fastpaca
from tests.examples.browser import Browser, opened
from tests.examples.world import World, a_world
from tests.kit.process import started


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Where examples live; tests tell their conversations apart by the ids."""
    directory = tmp_path_factory.mktemp("examples")
    with started(directory) as node, a_world(directory, node) as found:
        yield found


@pytest.fixture
def world(home: World) -> World:
    """Where examples live, with a model that has not been asked anything."""
    home.model.reset()
    return home


@pytest.fixture(scope="module")
def program() -> Iterator[Browser]:
    """A browser."""
    with opened() as found:
        yield found


@pytest.fixture
def browser(program: Browser) -> Iterator[Browser]:
    """A browser without a tab: as many as are open, so many connections a server has to it."""
    yield program
    program.close_pages()


@pytest.fixture
def fastpaca(world: World) -> Iterator[Fastpaca]:
    """A client of the node that examples keep their conversations on."""
    with Fastpaca(world.node.address) as client:
        yield client
