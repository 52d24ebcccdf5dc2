"""What the lab demands of the platform's lists of a returned site, and what it finds on dark disks by itself."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ncia.core.base.ids import SiteId
from ncia.core.config import load_estate
from ncia.lab import disks
from ncia.lab.ground import reference_estate
from ncia.lab.homecoming import Listed, unlisted
from ncia.lab.layout import Layout

DAEJEON, GWANGJU = SiteId("daejeon"), SiteId("gwangju")
FOLDER = "2026/09/26/2015/30"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def test_a_dark_sites_own_documents_are_those_that_the_other_site_lacks_or_has_otherwise(tmp_path: Path) -> None:
    estate, layout = load_estate(reference_estate()), Layout(tmp_path)
    for system in ("egov", "g2b"):  # a tree and a bucket
        copies = estate.system(system).documents[0].documents
        here, there = (layout.documents(copies[site]) for site in (DAEJEON, GWANGJU))
        for root in (here, there):
            write(root / FOLDER / "both.txt", b"the same")
            write(root / ".ncia" / "canary", str(root).encode())
        write(here / FOLDER / ".half.new", b"never acknowledged")
        write(here / FOLDER / "only.txt", b"stranded")
        write(here / FOLDER / "differs.txt", b"of here")
        write(there / FOLDER / "differs.txt", b"of them")
        write(there / FOLDER / "later.txt", b"taken since")
    found = disks.documents_only_at(layout, estate, DAEJEON)
    stranded = {f"{FOLDER}/only.txt": sha256(b"stranded"), f"{FOLDER}/differs.txt": sha256(b"of here")}
    assert {system: documents for system, documents in found.items() if documents} == {
        "egov": stranded,
        "g2b": stranded,
    }
    assert set(found) == {system.id for system in estate.at_home(DAEJEON)}


def test_a_lost_act_counts_as_listed_by_its_rows_or_by_its_document() -> None:
    listed = Listed(2, frozenset({"act-1"}), frozenset({(f"{FOLDER}/act-2.txt", "aa")}))
    assert unlisted("onnara", {"act-1"}, {f"{FOLDER}/act-2.txt": "aa"}, {"act-1", "act-2"}, listed) == ()


def test_what_is_on_the_dark_disks_and_in_no_list_is_told_of_each_kind() -> None:
    listed = Listed(1, frozenset({"act-1"}), frozenset({(f"{FOLDER}/act-2.txt", "of other bytes")}))
    assert unlisted("onnara", {"act-2"}, {f"{FOLDER}/act-2.txt": "aa"}, {"act-3"}, listed) == (
        "onnara: 1 stranded acts are on its old disks and not in the list",
        "onnara: 1 documents are on its old disks alone and not in the list",
        "onnara: 1 acts that the loss cost are not listed as stranded",
    )
