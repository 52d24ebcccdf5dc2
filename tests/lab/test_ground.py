from __future__ import annotations

import stat

import paramiko
import pytest
import yaml

from ncia.core.base.errors import NciaError
from ncia.core.config import load_estate, load_settings
from ncia.lab import ground
from ncia.lab.birth import passwords_of
from ncia.lab.layout import Layout, check_length
from ncia.lab.secrets import ROLES


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    layout = Layout(tmp_path_factory.mktemp("g", numbered=True))
    return layout, ground.make(layout, ground.reference_estate())


def test_each_site_has_settings_that_load_and_an_estate_of_its_own(made):
    layout, estate = made
    for site in estate.sites:
        settings = load_settings(layout.settings(site))
        assert settings.site == site
        assert load_estate(settings.estate).people == estate.people


def test_no_secret_can_be_read_by_others(made):
    layout, estate = made
    files = [file for site in estate.sites for file in layout.secrets(site).rglob("*")]
    files += [*layout.people.iterdir(), *(layout.home / "relay").rglob("*.pem")]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files if file.is_file()} == {0o600}
    assert stat.S_IMODE(layout.secrets("daejeon").stat().st_mode) == 0o700


def test_each_person_holds_the_private_half_of_the_key_in_the_estate(made):
    layout, estate = made
    for person in estate.people.values():
        key = paramiko.Ed25519Key.from_private_key_file(str(layout.people / person.id))
        assert f"{key.get_name()} {key.get_base64()}" == person.public_key


def test_pgpass_names_both_copies_of_every_system_as_dialled_from_the_site(made):
    layout, estate = made
    for site in estate.centres:
        lines = (layout.secrets(site) / "pgpass").read_text().splitlines()
        told = {(line.split(":")[0], line.split(":")[3]) for line in lines}
        for system in estate.systems.values():
            for copy in system.postgres.copies.values():
                host = estate.seen(copy.server, copy.site, site).host
                assert {(host, role) for role in ROLES} <= told
            assert (system.postgres.copies[site].gate.host, "app") in told


def test_no_two_systems_share_a_password_and_both_sites_know_the_same(made):
    layout, estate = made
    found = [passwords_of(layout, estate, system) for system in estate.systems]
    every = [password for passwords in found for password in passwords.values()]
    assert len(set(every)) == len(estate.systems) * len(ROLES)
    for site in estate.centres:
        text = (layout.secrets(site) / "pgpass").read_text()
        assert all(password in text for password in every)


def test_both_sites_and_the_witness_know_all_who_sign_journals(made):
    layout, estate = made
    signers = {*estate.centres, estate.cosigner}
    told = [yaml.safe_load((layout.site(site) / "state" / "peer_keys.yaml").read_text()) for site in signers]
    assert told[0] == told[1] == told[2]
    assert set(told[0]) == signers


def test_the_relay_authority_signs_for_nobody_after_it_was_made(made):
    layout, _ = made
    keys = [file for file in (layout.home / "relay").rglob("*.pem") if "PRIVATE" in file.read_text()]
    assert {file.name for file in keys} == {"key.pem"}


def test_a_home_too_long_for_unix_sockets_is_refused_with_what_to_try(tmp_path):
    with pytest.raises(NciaError) as raised:
        check_length(tmp_path / ("x" * 60))
    assert (raised.value.code, raised.value.hint) == ("lab.home-too-long", "NCIA_LAB=/a/shorter/folder")
