"""The object store of a site: its own key, handed over where no process list shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.config import load_estate, load_settings
from ncia.core.estate.model import Address
from ncia.lab import secrets
from ncia.lab.ground import make_site, reference_estate
from ncia.lab.layout import Layout, endpoints_at
from ncia.lab.s3 import command, environment, key_of

DAEJEON, GWANGJU = SiteId("daejeon"), SiteId("gwangju")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Both sites' grounds, with keys."""
    estate, made = load_estate(reference_estate()), Layout(tmp_path)
    keys = secrets.Keys.make(estate)
    for site in (DAEJEON, GWANGJU):
        make_site(made, estate, site)
        secrets.write_site(keys, estate, made, site)
    return made


def test_each_site_has_one_store_with_a_key_of_its_own_that_the_other_site_knows_too(layout: Layout) -> None:
    estate = load_estate(reference_estate())
    found = {}
    for site in (DAEJEON, GWANGJU):
        (endpoint,) = endpoints_at(estate, site)
        peer = estate.peer_of(site)
        own = key_of(load_settings(layout.settings(site)), endpoint)
        assert own == key_of(load_settings(layout.settings(peer)), estate.seen(endpoint, site, peer))
        found[site] = own
    assert found[DAEJEON] != found[GWANGJU]


def test_a_store_without_a_key_is_told_so(layout: Layout) -> None:
    with pytest.raises(NciaError, match="no line for it"):
        key_of(load_settings(layout.settings(DAEJEON)), Address("127.10.0.7", 9000))


def test_the_secret_is_in_the_environment_and_not_on_the_command_line() -> None:
    told = environment("AK", "s3cret")
    assert told["RCLONE_AUTH_KEY"] == '"AK,s3cret"'
    assert not any("s3cret" in word for word in command(Address("127.10.0.6", 9000)))


def test_the_ground_has_a_folder_for_every_tree_and_bucket(layout: Layout) -> None:
    estate = load_estate(reference_estate())
    copies = [copy for d in estate.datasets.values() for copy in d.documents.values()]
    assert len(copies) == 16
    assert all(layout.documents(copy).is_dir() for copy in copies)
