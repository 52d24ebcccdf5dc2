"""What an incident says to the person who is woken by it: one plain sentence, and the command to run next. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ncia.core.alerts import intrusions
from ncia.core.alerts.away import away_from, unfollowed
from ncia.core.alerts.evidence import Evidence
from ncia.core.alerts.graph import parts
from ncia.core.alerts.reach import Fault, saying
from ncia.core.base.ids import SiteId, SystemId
from ncia.core.estate.model import Estate, SiteKind

EVIDENCE_LENGTH_MAX = 200
NAMES_MAX = 3


@dataclass(frozen=True)
class Scene:
    """All that a sentence is made from."""

    estate: Estate
    evidence: Evidence
    fault: Fault
    systems: tuple[SystemId, ...]
    members: tuple[str, ...]

    @property
    def name(self) -> str:
        return parts(self.fault.root)[1]

    @property
    def site(self) -> str:
        return parts(self.fault.root)[2]

    @property
    def since(self) -> str:
        """The time of day at the site that tells it."""
        try:
            zone = ZoneInfo(self.estate.sites[self.evidence.site].timezone)
        except (ZoneInfoNotFoundError, ValueError):
            zone = ZoneInfo("UTC")
        return self.fault.since.astimezone(zone).strftime("%H:%M:%S %Z")

    def place(self, site: str) -> str:
        found = next((s for s in self.estate.sites.values() if s.id == site), None)
        if found is None:
            return site
        return f"the {found.name.lower()}" if found.kind is not SiteKind.CENTRE else found.name

    def system(self, system: str) -> str:
        found = self.estate.systems.get(SystemId(system))
        return f"{found.name} ({system})" if found else system


def sentence_of(
    estate: Estate, evidence: Evidence, fault: Fault, systems: tuple[SystemId, ...], members: tuple[str, ...]
) -> tuple[str, str]:
    """The sentence, and the command to run next (empty where there is none)."""
    scene = Scene(estate, evidence, fault, systems, members)
    sentence, run_next = TABLE[fault.cause](scene)
    return sentence[0].upper() + sentence[1:], run_next


Told = tuple[str, str]


def site_lost(scene: Scene) -> Told:
    viewers = [scene.place(v) for v in scene.fault.seen_by]
    both = "both see" if len(viewers) == 2 else "all see" if len(viewers) > 2 else "sees"
    seen = f"{_and(viewers)} {both} nothing of it since {scene.since}"
    if scene.estate.sites[SiteId(scene.name)].kind is not SiteKind.CENTRE:
        return f"{scene.place(scene.name)} is lost: {seen}; the sites have no third vote to spare.", ""
    told = f"{scene.place(scene.name)} is lost: {seen}{_lease(scene)}; {_felt(scene)}."
    moved = not any(at == scene.name for at in scene.evidence.active.values())
    return told, "" if moved else f"ncia recover plan {scene.name}"


def isolated(scene: Scene) -> Told:
    others = [scene.place(s.id) for s in scene.estate.sites.values() if _is_other(scene, s.id)]
    told = (
        f"{scene.place(scene.name)} is cut off: from here neither {_and(others, 'nor')} is seen since {scene.since}, "
        "and etcd has no majority here; its lease runs out and it stops serving."
    )
    return told, "ncia status (at the other site)"


def link_lost(scene: Scene) -> Told:
    ends = [scene.place(end) for end in _ends(scene)]
    told = f"the link between {_and(ends)} is lost since {scene.since}: both sites live"
    if scene.fault.evidence.startswith(("no entry", "its entries")):
        told = f"the link between {_and(ends)} is lost since {scene.since}: {scene.fault.evidence}"
    return f"{told}; {_felt(scene)}. Nothing needs to be moved to another site.", ""


def link_slow(scene: Scene) -> Told:
    ends = [scene.place(end) for end in _ends(scene)]
    why = "every replica over it is behind its promise"
    return f"the link between {_and(ends)} does not carry the load since {scene.since}: {why}.", ""


def front_door_down(scene: Scene) -> Told:
    told = f"the citizens' front door answers for no system since {scene.since}, while the systems themselves answer"
    return f"{told}; {_felt(scene)}.", ""


def no_quorum(scene: Scene) -> Told:
    told = f"etcd has no quorum since {scene.since}: nothing can be promoted, and leases cannot be renewed"
    return f"{told}; {_felt(scene)}.", "ncia status"


def lease_lost(scene: Scene) -> Told:
    told = f"{scene.place(scene.name)} has lost its lease since {scene.since}, and takes no writes; {_felt(scene)}."
    return told, "ncia warden (at that site)"


def etcd_member_down(scene: Scene) -> Told:
    told = f"the etcd member of {scene.place(scene.name)} is down since {scene.since} ({_why(scene)})"
    return f"{told}; one more, and nothing can be promoted.", ""


def controller_down(scene: Scene) -> Told:
    told = f"the controller of {scene.place(scene.name)} does not answer since {scene.since} ({_why(scene)})"
    return f"{told}; citizens are served.", "ncia serve (at that site)"


def agent_silent(scene: Scene) -> Told:
    told = f"the agent at {scene.place(scene.name)} is silent since {scene.since}: what only it sees is unknown."
    return told, "ncia agent (at that site)"


def host_down(scene: Scene) -> Told:
    return f"every database on host {scene.name} is down since {scene.since} ({_why(scene)}); {_felt(scene)}.", ""


def database_down(scene: Scene) -> Told:
    what = f"the database of {scene.system(scene.name)} at {scene.place(scene.site)}"
    if _is_active(scene):
        return f"{what} is down since {scene.since} ({_why(scene)}); {_felt(scene)}.", ""
    told = f"{what}, its standby, is down since {scene.since} ({_why(scene)}): it has no copy that is up to date."
    return told, ""


def slot_unread(scene: Scene) -> Told:
    what = f"the database of {scene.system(scene.name)} at {scene.place(scene.site)} keeps WAL for nobody"
    return f"{what} since {scene.since} ({_why(scene)}): its disk fills up.", ""


def gate_down(scene: Scene) -> Told:
    if not scene.site:
        told = f"the gate of {scene.place(scene.name)} lets nobody through since {scene.since}; {_felt(scene)}."
        return told, "ncia gate (at that site)"
    what = f"the gate of {scene.system(scene.name)} at {scene.place(scene.site)}"
    return f"{what} does not accept since {scene.since} ({_why(scene)}); {_felt(scene)}.", ""


def system_down(scene: Scene) -> Told:
    what = f"{scene.system(scene.name)} at {scene.place(scene.site)}"
    if not _is_active(scene):
        return f"the standby of {what} does not answer since {scene.since} ({_why(scene)}); nobody feels it now.", ""
    return f"{what} is down since {scene.since} ({_why(scene)}); {_felt(scene)}.", ""


def entry_down(scene: Scene) -> Told:
    what = f"citizens do not reach {scene.system(scene.name)} since {scene.since}"
    return f"{what}, though the system answers at its site ({_why(scene)}); {_felt(scene)}.", ""


def canary_stopped(scene: Scene) -> Told:
    what = f"{scene.system(scene.name)} at {scene.place(scene.site)} takes no canary since {scene.since}"
    return f"{what} ({_why(scene)}): its loss is not measured.", ""


def replica_behind(scene: Scene) -> Told:
    what = f"the replica of {scene.system(scene.name)} at {scene.place(scene.site)}"
    return f"{what} is behind its promise since {scene.since} ({_why(scene)}).", "ncia status"


def receiver_gone(scene: Scene) -> Told:
    whose = f"{scene.system(scene.name)} at {scene.place(scene.site)}"
    if not scene.site:
        whose = f"every system at {scene.place(scene.name)}"
    told = f"the WAL receiver of {whose} keeps no commits since {scene.since} ({_why(scene)})"
    return f"{told}: the standby alone does; nothing is lost, and no citizen feels it.", "ncia receiver (at that site)"


def missed_run(scene: Scene) -> Told:
    told = f"the backup of {scene.name} due at {scene.since} did not happen ({_why(scene)})."
    return told, f"ncia backup run {scene.name}"


def proof_failed(scene: Scene) -> Told:
    told = f"the backup of {scene.name} is not proven: restoring or reading it at {scene.since} failed ({_why(scene)})."
    places = (site for site in scene.estate.sites if scene.fault.evidence.startswith(f"in the place at {site}:"))
    where = next((f" (at {site})" for site in places), "")
    return told, f"ncia backup prove {scene.name}{where}"


def copy_not_kept(scene: Scene) -> Told:
    told = f"the newest copy of {scene.name} is not in its agency's repository since {scene.since} ({_why(scene)})"
    return f"{told}: it lies in a store alone.", f"ncia backup keep {scene.name}"


def program_drift(scene: Scene) -> Told:
    told = f"the program of {scene.name} differs between the sites since {scene.since}: {_why(scene)}"
    return f"{told}. A move to the other site is refused until it is the same, or accepted.", ""


def snapshot_gone(scene: Scene) -> Told:
    what = f"the repository of {scene.name} at {scene.place(scene.site)}"
    told = f"{what} is not what was kept there, seen since {scene.since}: {_why(scene)}"
    owned = [system for system in scene.estate.systems.values() if system.agency == scene.name]
    documents = [each.id for system in owned for each in system.documents]
    dataset = next(iter([*documents, *(each.id for system in owned for each in system.datasets)]), "")
    told += f"; snapshots that neither site has are for the retention officer: ncia backup write-off {scene.name}"
    return f"{told}.", f"ncia backup mend {dataset} (at that site)" if dataset else "ncia backup list"


def forget_held(scene: Scene) -> Told:
    what = f"the repository of {scene.name} at {scene.place(scene.site)}"
    told = f"{what} forgets nothing since {scene.since}: by its rules {_why(scene)}"
    return (
        f"{told}; the retention officer is to look, and say how many may go.",
        f"ncia backup forget {scene.name} (at that site)",
    )


def log_unvouched(scene: Scene) -> Told:
    whose = scene.place(scene.evidence.site)
    told = f"{scene.place(scene.name)} does not vouch for the log of {whose} since {scene.since} ({_why(scene)})"
    return f"{told}: what was written since then could be lost or forged without its contradiction.", "ncia status"


def certificate_ending(scene: Scene) -> Told:
    told = f"the certificate of {scene.name} at {scene.place(scene.site)} is not renewed: {_why(scene)}."
    return told, "ncia pki renew (at that site)" if scene.name not in ("authority", "root") else "ncia pki show"


def clock_wrong(scene: Scene) -> Told:
    other = _other_clock(scene)
    means = "lags, due times and the ends of sessions and approvals are judged wrongly; leases and epochs are not"
    if other is not None:
        told = f"the clock of {scene.place(other)} is {_why(scene)} {scene.place(scene.evidence.site)}'s"
        return f"{told} since {scene.since}, and no third one is heard to say which is wrong: {means}.", ""
    others = "those of the two other sites" if scene.name == scene.evidence.site else "the two others"
    told = f"the clock of {scene.place(scene.name)} is wrong since {scene.since}: it is {_why(scene)} {others}"
    return f"{told}; {means}.", "chronyc tracking (at that site)"


def attack(scene: Scene) -> Told:
    told = intrusions.sentence(scene.evidence.findings, scene.fault.root)
    felt = f"; {_felt(scene)}" if scene.systems else ""
    return f"{told}{felt}.", f"ncia findings {scene.name}"


def store_down(scene: Scene) -> Told:
    what = f"the store {scene.name} at {scene.place(scene.site)} does not accept since {scene.since} ({_why(scene)})"
    return f"{what}: acts with documents are refused where they need it, and nothing is mirrored from or to it.", ""


def mark_stopped(scene: Scene) -> Told:
    what = f"the documents {scene.name} at {scene.place(scene.site)} take no canary since {scene.since}"
    return f"{what} ({_why(scene)}): their loss is not measured.", ""


def mirror_behind(scene: Scene) -> Told:
    what = f"the mirror of {scene.name} at {scene.place(scene.site)} does not follow since {scene.since}"
    return f"{what} ({_why(scene)}).", "ncia status"


def away_from_home(scene: Scene) -> Told:
    site = SiteId(scene.name)
    moved = away_from(scene.estate, scene.evidence, site)
    alone = unfollowed(scene.estate, scene.evidence, site)
    there = _and(sorted({scene.place(scene.evidence.active[s.id]) for s in moved}))
    names = f" ({', '.join(s.id for s in moved)})" if len(moved) <= NAMES_MAX else ""
    what = f"{len(moved)} of its systems{names} are" if len(moved) != 1 else f"its system {moved[0].id} is"
    copies = "their copies there follow" if not alone else f"{len(alone)} of them without a copy there that follows"
    told = f"{scene.place(site)} is back, but {what} away from home, active at {there}; {copies}."
    return told, f"ncia recover plan --runbook site_failback {site}"


TABLE: dict[str, Callable[[Scene], Told]] = {
    "site-lost": site_lost,
    "isolated": isolated,
    "link-lost": link_lost,
    "link-slow": link_slow,
    "front-door-down": front_door_down,
    "no-quorum": no_quorum,
    "lease-lost": lease_lost,
    "etcd-member-down": etcd_member_down,
    "controller-down": controller_down,
    "agent-silent": agent_silent,
    "host-down": host_down,
    "database-down": database_down,
    "slot-unread": slot_unread,
    "gate-down": gate_down,
    "system-down": system_down,
    "entry-down": entry_down,
    "canary-stopped": canary_stopped,
    "replica-behind": replica_behind,
    "receiver-gone": receiver_gone,
    "away-from-home": away_from_home,
    "missed-run": missed_run,
    "proof-failed": proof_failed,
    "copy-not-kept": copy_not_kept,
    "program-drift": program_drift,
    "snapshot-gone": snapshot_gone,
    "forget-held": forget_held,
    "log-unvouched": log_unvouched,
    "certificate-ending": certificate_ending,
    "clock-wrong": clock_wrong,
    "attack": attack,
    "intrusion": attack,
    "store-down": store_down,
    "mark-stopped": mark_stopped,
    "mirror-behind": mirror_behind,
}


def _felt(scene: Scene) -> str:
    count = len(scene.systems)
    if count == 0:
        return "no citizen feels it"
    names = ", ".join(scene.systems) if count <= 3 else ""
    if scene.fault.cause in ("link-lost", "link-slow") and scene.fault.root.startswith("link:"):
        told = "1 system refuses" if count == 1 else f"{count} systems refuse"
        return f"{told} some acts of citizens" + (f" ({names})" if names else "")
    told = "1 system is" if count == 1 else f"{count} systems are"
    return f"{told} down for citizens" + (f" ({names})" if names else "")


def _lease(scene: Scene) -> str:
    """Whether etcd's majority has seen the lost site's lease expire: only then may it be recovered elsewhere."""
    subject = f"lease:{scene.name}"
    if saying(scene.evidence, subject, "down"):
        return "; its lease is gone"
    if saying(scene.evidence, subject, "up"):
        return "; its lease is running out"
    return "; nothing is known of its lease"


def _is_active(scene: Scene) -> bool:
    system = SystemId(scene.name)
    return scene.evidence.active.get(system, scene.estate.systems[system].home) == scene.site


def _is_other(scene: Scene, site: str) -> bool:
    return site != scene.name and any(f"site:{site}" in v.sights for v in scene.evidence.vantages.values())


def _ends(scene: Scene) -> tuple[str, ...]:
    found = next(((each.a, each.b) for each in scene.estate.links if each.id == scene.name), None)
    return found or (scene.name,)


def _other_clock(scene: Scene) -> str | None:
    """The other site of a pair of clocks; a site's id may hold a hyphen itself."""
    own = scene.evidence.site
    ids = [site.id for site in scene.estate.sites.values()]
    return None if scene.name in ids else next((s for s in ids if scene.name in (f"{s}-{own}", f"{own}-{s}")), None)


def _why(scene: Scene) -> str:
    return scene.fault.evidence[:EVIDENCE_LENGTH_MAX] or "no more is known"


def _and(names: Sequence[str], word: str = "and") -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}" if names else "nobody"
