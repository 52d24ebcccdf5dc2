"""Stores of documents as a site reaches them: which adapter, whose key, dialled how."""

from __future__ import annotations

from pathlib import Path

import pytest

from ncia.app.documents import DocumentStores
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.config import load_estate
from ncia.lab import secrets
from ncia.lab.ground import reference_estate
from ncia.lab.layout import Layout

DAEJEON, GWANGJU = SiteId("daejeon"), SiteId("gwangju")


@pytest.fixture
def stores(tmp_path: Path) -> DocumentStores:
    estate = load_estate(reference_estate())
    layout = Layout(tmp_path)
    secrets.write_site(secrets.Keys.make(estate), estate, layout, DAEJEON)
    return DocumentStores(estate, DAEJEON, layout.secrets(DAEJEON))


def test_a_tree_and_a_bucket_are_told_apart_and_named_for_a_person(stores: DocumentStores) -> None:
    estate = load_estate(reference_estate())
    tree, bucket = (estate.system(name).documents[0].documents[GWANGJU] for name in ("egov", "g2b"))
    assert stores.of(tree).where == "gj-store1:/egov/documents"
    assert stores.of(bucket).where == "s3@gwangju/g2b-bids"


def test_a_store_without_a_line_in_the_keys_is_told_before_anything_is_dialled(tmp_path: Path) -> None:
    estate = load_estate(reference_estate())
    (tmp_path / "s3_keys").write_text("127.10.0.6:9000 AK secret\n")
    stores = DocumentStores(estate, DAEJEON, tmp_path)
    copies = estate.system("g2b").documents[0].documents
    assert stores.of(copies[DAEJEON]).where == "s3@daejeon/g2b-bids"
    with pytest.raises(NciaError) as told:
        stores.of(copies[GWANGJU])
    assert told.value.why == f"{tmp_path}/s3_keys has no line for it"
    assert told.value.what == "use the object store at 127.10.16.6:9000"  # as Daejeon dials Gwangju's


def test_the_other_site_is_dialled_through_the_wan_and_its_host_key_is_known(
    stores: DocumentStores,
) -> None:
    estate = load_estate(reference_estate())
    tree = stores.of(estate.system("egov").documents[0].documents[GWANGJU])
    login = tree._host.login
    assert (login.host, login.port, login.user) == ("127.10.16.22", 2222, "files")
    assert f"[{login.host}]:{login.port} ssh-ed25519" in login.known_hosts[0].read_text()
