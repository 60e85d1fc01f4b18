"""What `netapply explain` says on hosts that networks span, against connections: to services, and to containers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from json import dumps, loads
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from reconciler.firewall.services import virtual_ips
from tests.cluster import Host, apply, cluster
from tests.machine import PATIENCE, Machine
from tests.strategies import Document

from .balanced import Servers, servers

HOSTS = ("one", "two")
NETWORKS = ("front", "back")
CONTAINERS = ("api", "db", "web", "cache")

NewHost = Callable[[], AbstractContextManager[Machine]]


@st.composite
def _network(draw: st.DrawFn, number: int, modes: st.SearchStrategy[Document]) -> Document:
    return {
        "driver": "overlay",
        "driver_opts": draw(modes),
        "internal": draw(st.integers(0, 3)) == 0,
        "ipam": {"config": [{"subnet": f"10.{60 + number}.0.0/24"}, {"subnet": f"fd00:{60 + number}::/64"}]},
    }


@st.composite
def _service(draw: st.DrawFn, network: str, members: list[str]) -> Document:
    ports = draw(st.sampled_from([[], [80], [81]]))
    serving = draw(st.lists(st.sampled_from(members), min_size=1, unique=True))
    return {"network": network, "containers": serving, "ports": ports}


@st.composite
def spanning(draw: st.DrawFn) -> Document:
    """A manifest of two hosts, with a service on each of two networks that somebody is on; one routes for certain."""
    modes: list[st.SearchStrategy[Document]] = [
        st.just({"mode": "l3"}),
        st.sampled_from([{}, {"mode": "l3"}, {"mode": "l3", "direct_routing": True}]),
    ]
    containers = {
        name: {
            "host": draw(st.sampled_from(HOSTS)),
            "networks": draw(st.lists(st.sampled_from(NETWORKS), unique=True, min_size=1)),
        }
        for name in CONTAINERS
    }
    near = {one: [name for name, its in containers.items() if one in its["networks"]] for one in NETWORKS}
    return {
        "project": "shop",
        "hosts": {"one": {"address": "192.0.2.1"}, "two": {"address": "192.0.2.2"}},
        "networks": {name: draw(_network(number, modes[number])) for number, name in enumerate(NETWORKS)},
        "containers": containers,
        "services": {f"{name}-all": draw(_service(name, some)) for name, some in near.items() if some},
    }


@pytest.mark.thorough
@settings(
    max_examples=10,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(document=spanning())
def test_its_verdicts_on_services_are_what_connections_meet(
    document: Document, new_host: NewHost, tmp_path: Path
) -> None:
    with new_host() as machine:
        hosts = cluster(machine, HOSTS)
        file = tmp_path / "shop.yaml"
        file.write_text(dumps(document))
        apply(hosts, file.read_text())
        places = {name: hosts[one["host"]].container(name) for name, one in document["containers"].items()}
        vips = _virtual_ips(machine, {**places, **{name: one.netns for name, one in hosts.items()}})
        for family in (4, 6):
            with servers(machine, list(places.values()), 80, ipv6=family == 6) as listening:
                for name, one in hosts.items():
                    here = [each for each, its in document["containers"].items() if its["host"] == name]
                    for start in (*here, "host"):
                        client = places.get(start, one.netns)
                        for service, its in document["services"].items():
                            vip = vips[service, family]
                            said = _asked(one, file, start, f"[{vip}]:80" if family == 6 else f"{vip}:80")
                            where = {document["containers"][each]["host"] for each in its["containers"]}
                            _holds(said, listening, client, vip, len(its["containers"]), where == {name})


def _virtual_ips(machine: Machine, places: Mapping[str, str]) -> dict[tuple[str, int], str]:
    """Return the virtual IPs by service and family; all tables say the same."""
    found: dict[tuple[str, int], str] = {}
    for place in places.values():
        for vip, service in virtual_ips(machine.run("nft -s list ruleset", netns=place).stdout):
            assert found.setdefault((service, 6 if ":" in vip else 4), vip) == vip
    return found


def _asked(host: Host, file: Path, start: str, target: str) -> Any:
    return loads(host.netapply("explain", start, target, "-f", file, "--format", "json").stdout)


def _holds(said: Any, listening: Servers, client: str, vip: str, members: int, all_here: bool) -> None:
    """Assert that connections end as was said; `all_here`: those who serve are all on the host that was asked."""
    if said["verdict"] == "no":
        listening = replace(listening, within=PATIENCE)
    found = [listening.connect(client, vip, 80) for _ in range(members)]
    verdicts = {way["verdict"] for way in said["ways"]}
    if said["verdict"] == "yes":
        assert None not in found, said
    elif said["verdict"] == "no":
        assert None in found, said
    if verdicts == {"no"}:
        assert set(found) == {None}, said
    if said["verdict"] == "unknown":
        assert not all_here, said
        assert None not in found, said  # what may be in the way there is nothing of this manifest's
