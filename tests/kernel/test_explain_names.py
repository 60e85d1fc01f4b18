"""What `netapply explain` says of names is what a look-up and a connection meet, over random manifests and files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from reconciler import engine
from reconciler.explain import Answer, Situation, Unknown, aimed, concerned, explain, placed, sender, situation
from reconciler.host.linux import LinuxHost
from tests.machine import REACHED_WITHIN, Machine
from tests.strategies import Document, manifest

from .calls import connected
from .test_dns import IN_A_PROCESS, in_a_process

NewHost = Callable[[], AbstractContextManager[Machine]]

NETWORKS = ("front", "back", "lab")
LAB = 2
"""The network of the service, if there is one: on one with icc false there can be none."""

CONTAINERS = ("api", "db", "web")
ALIASES = ("www", "store", "a.example.org", "b.example.org", "x.y", "WWW.back")
DOMAINS = ("front", "back", "example.org", "example.net", ".")
NAMES = (*ALIASES, "a", "b", "x", "Store", "www.", "pay", "pay.lab", "api.front", "db.back", "box", "nobody")
"""What is asked for: some of it is nobody's name, or only with a domain of a search list."""

ADDRESSES = ("10.60.0.10", "10.61.0.11", "10.62.0.12", "fd00:60::10", "10.60.0.99", "127.0.0.1")
"""What hosts files may say: containers' addresses, perhaps, and what nobody has."""


@st.composite
def _network(draw: st.DrawFn, number: int) -> Document:
    families = draw(st.sampled_from(((4,), (4, 6))))
    subnets = {4: f"10.{60 + number}.0.0/24", 6: f"fd00:{60 + number}::/64"}
    return {
        "ipam": {"config": [{"subnet": subnets[family]} for family in families]},
        "internal": draw(st.booleans()),
        "driver_opts": {"icc": number == LAB or draw(st.integers(0, 4)) > 0},
    }


@st.composite
def named(draw: st.DrawFn) -> Document:
    """A manifest whose containers have names that others find, some of them with a domain of a search list only."""
    networks = {name: draw(_network(number)) for number, name in enumerate(NETWORKS)}
    containers: Document = {}
    for number, name in enumerate(CONTAINERS):
        on = draw(st.lists(st.sampled_from(NETWORKS), unique=True, min_size=1, max_size=2))
        ends = {
            network: {
                "ipv4_address": f"10.{60 + NETWORKS.index(network)}.0.{10 + number}",
                "aliases": draw(st.lists(st.sampled_from(ALIASES), unique=True, max_size=2)),
            }
            for network in on
        }
        # one at least: else it is the domain of the machine that the test runs on
        dns: Document = {"search": draw(st.lists(st.sampled_from(DOMAINS), unique=True, min_size=1, max_size=3))}
        if (ndots := draw(st.sampled_from((None, 0, 2)))) is not None:
            dns["options"] = [f"ndots:{ndots}"]
        containers[name] = {"networks": ends, "dns": dns}
    serving = [name for name in CONTAINERS if NETWORKS[LAB] in containers[name]["networks"]]
    services = {"pay": {"network": NETWORKS[LAB], "containers": serving}} if serving else {}
    return {"project": "shop", "dns": True, "networks": networks, "containers": containers, "services": services}


Hosts = Mapping[str, Sequence[tuple[str, str]]]
"""The lines of hosts files: addresses and names, by container."""


def files() -> st.SearchStrategy[Hosts]:
    """What hosts files say of names that are asked for."""
    line = st.tuples(st.sampled_from(ADDRESSES), st.sampled_from(("box", "www", "BOX b", "store # www")))
    return st.dictionaries(st.sampled_from(CONTAINERS), st.lists(line, max_size=2), max_size=2)


LOOK_UP = 'for name; do getent --no-addrconfig ahosts "$name" | while read one more; do echo "$name $one"; done; done'


def looked_up(machine: Machine, container: str, names: Sequence[str]) -> dict[str, set[str]]:
    """Return what a program in a container finds, by name (getaddrinfo(3))."""
    found: dict[str, set[str]] = {name: set() for name in names}
    for line in machine.run(["ip", "netns", "exec", container, "sh", "-c", LOOK_UP, "-", *names]).stdout.splitlines():
        name, address = line.split()
        found[name].add(address)
    return found


def _asked(start: str, name: str, known: Situation, host: LinuxHost) -> Answer | None:
    """Ask as the command does; None where nobody has the name."""
    one = sender(start, known.topology)
    known = replace(known, told=host.told(placed(one, known)))
    try:
        other = aimed(f"{name}:80", one, known)
    except Unknown:
        return None
    return explain(one, other, replace(known, sockets=host.listeners(concerned(one, other, known))))


def _write(hosts: Hosts) -> None:
    for container, lines in hosts.items():
        path = Path("/etc/netns", container, "hosts")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{address} {names}\n" for address, names in lines))


def _verify(machine: Machine, document: Document, hosts: Hosts) -> None:
    """Hold what is said of each name against what a program finds by it, and who answers there."""
    _write(hosts)
    wanted, host = manifest(document), LinuxHost()
    engine.converge(wanted, host)
    with ExitStack() as stack:
        for name in CONTAINERS:
            stack.enter_context(machine.socket(name, "::", 80))
        known = situation(engine.plan(wanted, host), wanted)
        vips = {vip for service in known.topology.services for vip in service.vips}
        told: dict[tuple[str, str], str] = {}
        for start in CONTAINERS:
            inner = all(document["networks"][one]["internal"] for one in document["containers"][start]["networks"])
            answers = {name: _asked(start, name, known, host) for name in NAMES}
            # of the others servers are asked that are not there
            sure = [name for name, one in answers.items() if (one.verdict != "unknown" if one else inner)]
            met = looked_up(machine, start, sure)
            for name in sure:
                answer, found = answers[name], met[name]
                ways = {way.address: way.verdict for way in answer.ways if way.address} if answer else {}
                if answer and found & vips:
                    ways = dict.fromkeys(found, answer.verdict)
                assert (start, name, found) == (start, name, {*ways})
                told |= {(start, address): verdict for address, verdict in ways.items()}
        host.close()
        for verdict, within in (("yes", REACHED_WITHIN), ("no", 0.4)):
            calls = [call for call, way in told.items() if way == verdict]
            both = zip(calls, connected([(*call, 80) for call in calls], within), strict=True)
            assert [call for call, answer_came in both if answer_came != (verdict == "yes")] == []


@settings(max_examples=4, phases=(Phase.explicit, Phase.generate))
@given(document=named(), hosts=files())
def test_its_verdicts_on_names_are_what_look_ups_and_connections_meet(
    document: Document, hosts: Hosts, new_host: NewHost
) -> None:
    with new_host() as machine:
        _verify(machine, document, hosts)


@pytest.mark.thorough
@settings(max_examples=40, phases=(Phase.explicit, Phase.generate))
@given(document=named(), hosts=files())
def test_so_they_are_over_many_manifests(document: Document, hosts: Hosts, new_host: NewHost) -> None:
    with new_host() as machine:
        _verify(machine, document, hosts)


SHOP: Document = {
    "project": "shop",
    "dns": True,
    "networks": {"back": {"internal": True, "ipam": {"config": [{"subnet": "10.61.0.0/24"}]}}},
    "containers": {
        "web": {"networks": {"back": {"aliases": ["a.example.org"]}}, "dns": {"search": ["example.org"]}},
        "db": {"networks": {"back": {"ipv4_address": "10.61.0.30"}}, "dns": {"search": ["example.net", "example.org"]}},
    },
}


def test_the_command_follows_the_files_of_who_asks(host: Machine, tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(json.dumps(SHOP))
    _write({"web": [("10.61.0.30", "store")]})
    host.netapply(path)
    said = host.netapply("explain", "web", "store", "-f", path).stdout
    assert "finds that store is 10.61.0.30 by /etc/netns/web/hosts" in said
    assert looked_up(host, "web", ["store"]) == {"store": {"10.61.0.30"}}
    assert "web reaches a\n" in host.netapply("explain", "web", "a", "-f", path).stdout
    assert "there is no container a" in host.netapply("explain", "db", "a", "-f", path, code=64).stderr
    assert [len(looked_up(host, one, ["a"])["a"]) for one in ("web", "db")] == [1, 0], "refused, and no more is tried"
    resolv = Path("/etc/netns/db/resolv.conf")
    resolv.write_text(resolv.read_text().replace("example.net ", ""))  # it is what is there that counts
    assert "db reaches a\n" in host.netapply("explain", "db", "a", "-f", path).stdout
    assert len(looked_up(host, "db", ["a"])["a"]) == 1


def test_a_container_of_a_runtime_has_a_hosts_file_of_its_own(host: Machine, tmp_path: Path) -> None:
    names, path = tmp_path / "hosts", tmp_path / "shop.yaml"
    names.write_text("10.20.0.10 box\n")
    resolv = Path("/run/containers", "0f" * 32, "resolv.conf")
    resolv.parent.mkdir(parents=True)
    resolv.write_text("search front\n")
    pid, text = in_a_process(host, f"mount --bind {names} /etc/hosts && mount --bind {resolv} /etc/resolv.conf")
    path.write_text(text)
    host.netapply(path)
    said = host.netapply("explain", "app", "box", "-f", path).stdout
    assert "finds that box is 10.20.0.10 by its /etc/hosts" in said
    assert "box" in host.run(f"nsenter --target {pid} --mount --net getent hosts box").stdout
    host.netapply("explain", "web", "box", "-f", path, code=64)
    names.write_text("")
    host.netapply("explain", "app", "box", "-f", path, code=64)


def test_the_domain_of_the_host_name_is_tried_where_a_resolv_conf_names_none(host: Machine, tmp_path: Path) -> None:
    name, path = tmp_path / "hostname", tmp_path / "shop.yaml"
    name.write_text("box.example.org\n")
    resolv = Path("/run/containers", "0f" * 32, "resolv.conf")
    resolv.parent.mkdir(parents=True)
    resolv.touch()
    mounts = f"mount --bind {name} /etc/hostname && mount --bind {resolv} /etc/resolv.conf"
    own = f"hostname box.example.org && {mounts} && echo ready && exec sleep 600"
    process = host.start(["unshare", "--net", "--mount", "--uts", "sh", "-c", own])
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    text = IN_A_PROCESS.replace("PID", str(process.pid))
    path.write_text(text.replace("10.20.0.10", "10.20.0.10, aliases: [a.example.org]"))
    host.netapply(path)
    said = host.netapply("explain", "app", "a", "-f", path).stdout
    assert "finds that a, as a.example.org, is 10.20.0.10 by network front's names" in said
    assert host.run(f"nsenter --target {process.pid} --mount --net --uts getent hosts a").stdout.startswith(
        "10.20.0.10"
    )


def test_one_that_leads_elsewhere_is_not_followed_there(host: Machine, tmp_path: Path) -> None:
    (etc := tmp_path / "etc").mkdir()
    (etc / "hosts").symlink_to("/etc/hostname")
    path = tmp_path / "shop.yaml"
    _, text = in_a_process(host, f"mount --bind {etc} /etc")
    path.write_text(text)
    host.netapply(path)
    said = host.netapply("explain", "app", "web.front", "-f", path).stdout
    assert "app may or may not reach web.front" in said
    assert "has a hosts file that can't be read from here" in said
