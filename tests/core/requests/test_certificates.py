"""The estate's certificates: what each may say, and until when."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from ncia.core.base.errors import NciaError, Refusal
from ncia.core.base.ids import SiteId
from ncia.core.requests import pki
from ncia.core.requests.certificates import (
    PROCESS_VALID,
    RENEW_BEFORE_END,
    SITE_VALID,
    Authority,
    ProcessName,
    facts_of,
    new_process,
    new_root,
    new_site,
    shown_by,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EAST, WEST = SiteId("east"), SiteId("west")
ROOT = new_root("sample", NOW)
SITE = new_site(ROOT, EAST, NOW)


def holds(leaf: Authority, site: Authority, name: str, at: datetime = NOW, root: Authority = ROOT) -> bool:
    """Whether a stranger to our code, who trusts the root, takes ``leaf`` for ``name``."""
    verifier = PolicyBuilder().store(Store([root.certificate])).time(at).build_server_verifier(x509.DNSName(name))
    try:
        verifier.verify(leaf.certificate, [site.certificate])
    except VerificationError:
        return False
    return True


def test_a_process_is_believed_under_its_own_name_while_it_is_valid() -> None:
    leaf = new_process(SITE, ProcessName("serve", EAST), NOW)
    assert holds(leaf, SITE, "serve.east.ncia")
    assert not holds(leaf, SITE, "agent.east.ncia")
    assert not holds(leaf, SITE, "serve.east.ncia", NOW + PROCESS_VALID + timedelta(seconds=1))
    assert not holds(leaf, SITE, "serve.east.ncia", root=new_root("another", NOW))


def test_a_clock_that_is_hours_behind_shuts_no_wire() -> None:
    leaf = new_process(SITE, ProcessName("serve", EAST), NOW)
    assert holds(leaf, SITE, "serve.east.ncia", NOW - timedelta(hours=12))


def test_one_sites_authority_cannot_speak_as_the_other_site() -> None:
    assert not holds(new_process(SITE, ProcessName("serve", WEST), NOW), SITE, "serve.west.ncia")


def test_a_sites_authority_makes_no_further_authorities() -> None:
    below = new_site(SITE, EAST, NOW)
    leaf = new_process(below, ProcessName("serve", EAST), NOW)
    verifier = PolicyBuilder().store(Store([ROOT.certificate])).time(NOW)
    with pytest.raises(VerificationError):
        verifier.build_server_verifier(x509.DNSName("serve.east.ncia")).verify(
            leaf.certificate, [below.certificate, SITE.certificate]
        )


def test_no_process_outlives_its_authority_and_an_expired_one_issues_nothing() -> None:
    late = NOW + SITE_VALID - timedelta(days=1)
    leaf = new_process(SITE, ProcessName("serve", EAST), late)
    assert leaf.certificate.not_valid_after_utc == SITE.certificate.not_valid_after_utc
    with pytest.raises(NciaError, match="authority expired"):
        new_process(SITE, ProcessName("serve", EAST), NOW + SITE_VALID)


@pytest.mark.parametrize(
    ("after", "state"),
    [
        (timedelta(0), "good"),
        (PROCESS_VALID - RENEW_BEFORE_END, "due"),
        (PROCESS_VALID, "expired"),
        (-timedelta(days=2), "early"),
    ],
)
def test_a_certificate_is_due_before_it_expires(after: timedelta, state: str) -> None:
    assert facts_of(new_process(SITE, ProcessName("serve", EAST), NOW).certificate).state(NOW + after) == state


def test_an_authority_is_not_due_but_good_until_it_expires() -> None:
    assert facts_of(SITE.certificate).state(NOW + SITE_VALID - timedelta(days=1)) == "good"


@pytest.mark.parametrize(
    ("peer", "told"),
    [
        (None, None),
        ({}, None),
        ({"subjectAltName": (("DNS", "serve.east.example"),), "serialNumber": "0A"}, None),
        ({"subjectAltName": (("URI", "serve.east.ncia"),), "serialNumber": "0A"}, None),
        ({"subjectAltName": (("DNS", "a.b.serve.east.ncia"),), "serialNumber": "0A"}, None),
        ({"subjectAltName": (("DNS", "serve.east.ncia"),), "serialNumber": "0A"}, (ProcessName("serve", EAST), "a")),
    ],
)
def test_only_a_name_of_ours_says_who_a_peer_is(peer: object, told: object) -> None:
    assert shown_by(peer) == told


# --- where they lie --------------------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path) -> pki.SitePki:
    pki.init(tmp_path / "root", "sample", NOW)
    found = pki.SitePki(tmp_path / "secrets" / "pki", EAST)
    pki.issue_site(tmp_path / "root", found, ("serve", "agent"), NOW)
    return found


def test_whatever_is_secret_is_the_owners_only_and_nothing_half_written_stays(site: pki.SitePki) -> None:
    files = list(site.folder.iterdir())
    assert {file.name for file in files} == {"root.pem", "site.pem", "serve.pem", "agent.pem"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert "PRIVATE KEY" not in (site.folder / "root.pem").read_text()


def test_what_is_due_is_renewed_with_a_new_key_and_the_rest_stays(site: pki.SitePki) -> None:
    assert site.renew(NOW) == ()
    later = NOW + PROCESS_VALID - RENEW_BEFORE_END
    site.issue("agent", later)
    before = site.file("serve").read_bytes()
    (renewed,) = site.renew(later)
    assert (renewed.name, renewed.not_after) == ("serve.east.ncia", later + PROCESS_VALID)
    assert site.file("serve").read_bytes().split(b"END PRIVATE KEY")[0] != before.split(b"END PRIVATE KEY")[0]
    assert len(site.renew(later, every=True)) == 2


def test_a_root_is_made_once(site: pki.SitePki, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="holds a root already"):
        pki.init(tmp_path / "root", "sample", NOW)


@pytest.mark.parametrize(
    "content", [None, "", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]
)
def test_a_file_that_cannot_be_read_is_named(site: pki.SitePki, content: str | None) -> None:
    site.file("serve").unlink() if content is None else site.file("serve").write_text(content)
    with pytest.raises(NciaError, match=r"serve\.pem"):
        site.facts("serve")


def test_a_key_of_another_certificate_is_told(site: pki.SitePki, tmp_path: Path) -> None:
    other = tmp_path / "other"
    pki.init(other, "sample", NOW)
    (other / pki.ROOT_KEY).replace(tmp_path / "root" / pki.ROOT_KEY)
    with pytest.raises(NciaError, match=r"not the key of root\.pem"):
        pki.issue_site(tmp_path / "root", site, ("serve",), NOW)


def test_keys_are_p256() -> None:
    assert isinstance(SITE.key.curve, ec.SECP256R1)


def test_near_its_authoritys_end_a_certificate_is_not_made_anew_again_and_again(tmp_path: Path) -> None:
    """Each new one would end at the same moment."""
    here = pki.SitePki(tmp_path / "pki", EAST)
    pki.init(tmp_path / "root", "sample", NOW)
    pki.issue_site(tmp_path / "root", here, ["serve"], NOW)
    near = NOW + SITE_VALID - timedelta(days=5)
    assert [each.not_after for each in here.renew(near)] == [NOW + SITE_VALID]
    assert here.renew(near + timedelta(minutes=1)) == ()
    with pytest.raises(NciaError, match="the site's authority expired"):
        here.renew(NOW + SITE_VALID + timedelta(seconds=1))
