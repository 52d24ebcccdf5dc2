from collections.abc import Iterator

import pytest

from tests.monitors.clusters import Pair, pair


@pytest.fixture(scope="session")
def servers() -> Iterator[Pair]:
    with pair() as running:
        yield running
