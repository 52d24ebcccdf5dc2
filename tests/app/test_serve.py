"""A controller is put together from its site's folder alone: neither peer, etcd nor any host need be there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from ncia.api.policy import POLICY
from ncia.api.routes import build
from ncia.app.journals import own_journal
from ncia.app.serve import Controller
from ncia.app.tls import Identity
from ncia.core.base.clock import SystemClock
from ncia.core.base.ids import SiteId
from ncia.core.config import load_estate, load_settings
from ncia.lab import ground
from ncia.lab.layout import Layout

DAEJEON, GWANGJU = SiteId("daejeon"), SiteId("gwangju")


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    layout = Layout(tmp_path_factory.mktemp("c"))
    ground.make(layout, ground.reference_estate())
    settings = load_settings(layout.settings(DAEJEON))
    estate = load_estate(settings.estate)
    with ExitStack() as closing:
        journal = own_journal(settings, estate, SystemClock())
        closing.callback(journal.close)
        yield Controller(settings, estate, journal, Identity(settings, "serve"), closing)


def test_every_part_is_called_at_its_own_pace_and_once_each(controller: Controller) -> None:
    rounds = controller.rounds()
    assert [name for name, times in Counter(each.name for each in rounds).items() if times > 1] == []
    assert {f"vouch {GWANGJU}", "vouch witness", "watch", "recover", "protect"} <= {each.name for each in rounds}
    assert {each.name for each in rounds if not 0 < each.seconds <= 60} == set()


def test_it_offers_every_route_and_knows_its_estate_before_anything_has_answered(controller: Controller) -> None:
    paths = build(controller.platform("")).openapi()["paths"]
    routes = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert routes == set(POLICY) - {"GET /v1/openapi.json", "POST /v1/journal/swear"}
    status = controller.status()
    assert status.site == DAEJEON
    assert {system.id for system in status.systems} == set(controller.estate.systems)
    assert {system.verdict for system in status.systems} == {"unknown"}
