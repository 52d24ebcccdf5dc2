from __future__ import annotations

import ipaddress

import pytest

from ncia.core.config import load_estate
from ncia.lab.ground import reference_estate
from ncia.lab.layout import end_settings, linked, services_for, silencing


@pytest.fixture(scope="module")
def estate():
    return load_estate(reference_estate())


def test_every_translated_address_lies_in_the_network_of_the_site_that_dials_it(estate):
    for site in estate.sites.values():
        seen = [s.seen_from[site.id] for s in estate.sites.values() if site.id in s.seen_from]
        networks = [ipaddress.ip_network(prefix) for prefix in seen]
        for export in end_settings(estate, site.id).exports:
            host = ipaddress.ip_address(export.listen.rpartition(":")[0])
            assert any(host in network for network in networks), export


def test_no_gate_can_be_dialled_from_another_site(estate):
    gates = {str(copy.gate) for s in estate.systems.values() for copy in s.postgres.copies.values()}
    targets = {export.target for site in estate.sites for export in end_settings(estate, site).exports}
    assert not gates & targets


def test_a_data_centre_reaches_every_database_and_host_of_the_other(estate):
    one, other = estate.centres
    reached = set(services_for(estate, other, one))
    assert {s.postgres.copies[other].server for s in estate.systems.values()} <= reached
    assert {host.ssh for host in estate.hosts.values() if host.site == other} <= reached


def test_witness_and_citizens_reach_neither_databases_nor_hosts(estate):
    servers = {copy.server for s in estate.systems.values() for copy in s.postgres.copies.values()}
    forbidden = servers | {host.ssh for host in estate.hosts.values()}
    for viewer in ("witness", "citizens"):
        for site in estate.centres:
            assert not forbidden & set(services_for(estate, site, viewer)), viewer


def test_the_public_side_comes_first_among_the_links_of_a_site(estate):
    assert [linked(estate, site)[0] for site in estate.centres] == ["citizens", "citizens"]


def test_a_lost_site_is_silenced_towards_the_citizens_before_replication_is(estate):
    ends = [end for end, _ in silencing(estate, "daejeon")]
    assert ends == ["citizens", "daejeon", "gwangju", "witness"]
    assert silencing(estate, "daejeon")[1][1] == ("citizens", "gwangju", "witness")


def test_one_end_of_each_link_dials_and_the_other_waits(estate):
    dials = {(site, line.peer): line.dials for site in estate.sites for line in end_settings(estate, site).lines}
    assert all(dials[a, b] != dials[b, a] for a, b in dials)
