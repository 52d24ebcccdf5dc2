"""Every process of a lab, as a list: what runs where, in the order in which a site comes up."""

from __future__ import annotations

import sys
from importlib import util

from ncia.core.base.ids import SiteId
from ncia.core.estate import Estate
from ncia.core.estate.model import SiteKind
from ncia.lab import etcd, postgres
from ncia.lab.layout import OBJECTS, RELAY, Layout, endpoints_at, hosts_at, linked
from ncia.lab.namespaces import as_database_user, nice
from ncia.lab.postgres import Cluster
from ncia.lab.processes import Spec

# -P: a site's folder, where each process works, is no place to import from.
PYTHON = (sys.executable, "-P", "-m")
PRODUCT_NICE = {"warden": 0, "gate": 0, "fence-watch": 0, "receiver": 0, "serve": 0, "agent": 0, "witness": 0}
CENTRE = ("warden", "gate", "fence-watch", "receiver", "serve", "agent")
WITNESS = ("witness", "agent")
LAB_MODULES = {  # process → module: the lab's own programs that take a site's settings
    "applications": "ncia.lab.apps",
    "front-door": "ncia.lab.citizens.front_door",
    "load": "ncia.lab.citizens.load",
}
LAB_NICE = {"applications": 0, "front-door": 0, "load": 10}  # the applications lower themselves
NOT_AT_UP = frozenset({"load"})


def relay_spec(layout: Layout, site: SiteId) -> Spec:
    folder = layout.relay(site)
    return Spec(RELAY, site, (*PYTHON, "ncia.lab.relay.end"), folder, folder / "end.out")


def ssh_spec(layout: Layout, site: SiteId, host: str) -> Spec:
    command = (*PYTHON, "ncia.lab.ssh", "--settings", str(layout.settings(site)), "--host", host)
    folder = layout.site(site)
    wrapped = nice(postgres.NICE, as_database_user(command))
    return Spec(site, f"ssh/{host}", tuple(wrapped), folder / "hosts" / host, folder / "log" / f"ssh-{host}.out")


def s3_spec(layout: Layout, site: SiteId) -> Spec:
    folder = layout.site(site)
    command = nice(postgres.NICE, (*PYTHON, "ncia.lab.s3", "--settings", str(layout.settings(site))))
    # One thread at a time, and its memory given back early: it shares the machine with two whole sites.
    small = (("GOMAXPROCS", "1"), ("GOGC", "50"))
    return Spec(site, "s3", tuple(command), folder / OBJECTS, folder / "log" / "s3.out", variables=small)


def product_spec(layout: Layout, site: SiteId, name: str) -> Spec:
    folder = layout.site(site)
    command = nice(PRODUCT_NICE[name], (*PYTHON, "ncia", name, "--settings", str(layout.settings(site))))
    return Spec(site, name, tuple(command), folder, folder / "log" / f"{name}.out")


def lab_spec(layout: Layout, site: SiteId, name: str) -> Spec:
    folder = layout.site(site)
    command = nice(LAB_NICE[name], (*PYTHON, LAB_MODULES[name], "--settings", str(layout.settings(site))))
    return Spec(site, name, tuple(command), folder, folder / "log" / f"{name}.out", at_up=name not in NOT_AT_UP)


def clusters_at(layout: Layout, estate: Estate, site: SiteId) -> tuple[Cluster, ...]:
    return tuple(
        Cluster(layout, estate, system, system.postgres.copies[site])
        for system in estate.systems.values()
        if site in system.postgres.copies
    )


def site_specs(layout: Layout, estate: Estate, site: SiteId) -> tuple[Spec, ...]:
    """The processes of ``site`` in the order in which they start."""
    kind = estate.sites[site].kind
    specs: list[Spec] = []
    if estate.sites[site].services.etcd is not None:
        specs.append(etcd.spec(estate, layout, site))
    specs += [cluster.spec() for cluster in clusters_at(layout, estate, site)]
    specs += [ssh_spec(layout, site, host) for host in hosts_at(estate, site)]
    if endpoints_at(estate, site):
        specs.append(s3_spec(layout, site))
    if kind is SiteKind.CENTRE:
        specs += [product_spec(layout, site, name) for name in CENTRE]
        specs.append(lab_spec(layout, site, "applications"))
    elif kind is SiteKind.WITNESS:
        specs += [product_spec(layout, site, name) for name in WITNESS]
    else:
        specs += [lab_spec(layout, site, "front-door"), lab_spec(layout, site, "load")]
    return tuple(specs)


def relay_specs(layout: Layout, estate: Estate) -> tuple[Spec, ...]:
    return tuple(relay_spec(layout, site) for site in estate.sites if linked(estate, site))


def missing_module(spec: Spec) -> str:
    """The module that ``spec`` needs and that is not installed; empty where it can be started."""
    names = [part for part in spec.command if part.startswith("ncia")]
    module = names[0] if names else ""
    if module == "ncia":
        module = f"ncia.app.{spec.name.replace('-', '_')}"
    try:
        found = not module or util.find_spec(module) is not None
    except ModuleNotFoundError:
        found = False
    return "" if found else module
