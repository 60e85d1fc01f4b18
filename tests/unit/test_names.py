"""Names: what a manifest says of them, who shares a resolver, what is written, and what the firewall leads where."""

from __future__ import annotations

import errno
import os
from functools import partial
from json import loads
from pathlib import Path
from typing import Literal

import pytest
from jsonschema import validate

from reconciler import engine
from reconciler.errors import ApplyFailed, ManifestError
from reconciler.host import Unwritten
from reconciler.host.dns import mounted
from reconciler.host.fake import FakeHost
from reconciler.host.fake_names import File
from reconciler.manifest import load
from reconciler.manifest.model import DnsSpec, Manifest
from reconciler.report import json, status, text
from reconciler.report.content import Content
from reconciler.report.terminal import View
from reconciler.resources import DnsHosts, DnsServer, Key, NftTable, ResolvConf
from tests.golden import compare
from tests.strategies import new_host

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden" / "names"
golden = partial(compare, GOLDEN)

SHOP = """
project: shop
dns: true
networks:
  front: {ipam: {config: [{subnet: 10.20.0.0/24}, {subnet: "fd00:20::/64"}]}}
  back: {internal: true, ipam: {config: [{subnet: 10.21.0.0/24}]}}
  apart: {driver_opts: {gateway_mode: isolated}, ipam: {config: [{subnet: 10.22.0.0/24}]}}
containers:
  web: {networks: {front: {ipv4_address: 10.20.0.10, ipv6_address: "fd00:20::10", aliases: [www]}}}
  api: {networks: {back: {ipv4_address: 10.21.0.20}, front: {ipv4_address: 10.20.0.20, ipv6_address: "fd00:20::20"}}}
  db: {networks: {back: {ipv4_address: 10.21.0.30}}}
  far: {networks: {apart: {ipv4_address: 10.22.0.40}}}
"""


def manifest(tmp_path: Path, text: str) -> Manifest:
    path = tmp_path / "shop.yaml"
    path.write_text(text)
    return load([str(path)])


def desired(tmp_path: Path, text: str, host: FakeHost | None = None) -> engine.Proposal:
    return engine.plan(manifest(tmp_path, text), host or new_host())


def complaints(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        manifest(tmp_path, text)
    return [f"{one.position.line}:{one.position.column}: {one.what}; {one.mend}" for one in caught.value.problems]


@pytest.mark.parametrize(
    ("words", "container", "on"),
    [
        ("", "{networks: [front]}", False),
        ("dns: true", "{networks: [front]}", True),
        ("", "{networks: {front: {aliases: [www]}}}", True),
        ("", "{networks: [front], dns: 192.0.2.53}", True),
        ("dns: false", "{networks: {front: {aliases: [www]}}, dns: 192.0.2.53}", False),
    ],
)
def test_names_are_on_where_a_manifest_says_so_or_uses_a_word_for_them(
    words: str, container: str, on: bool, tmp_path: Path
) -> None:
    proposal = desired(tmp_path, f"project: shop\n{words}\nnetworks: {{front: }}\ncontainers: {{web: {container}}}\n")
    assert any(key.kind in ("names", "resolver", "resolvconf") for key in proposal.desired) is on
    assert any("resolver" in one.text for one in proposal.desired.values() if isinstance(one, NftTable)) is on


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("192.0.2.53", DnsSpec(("192.0.2.53",))),
        ("[192.0.2.53, '2001:DB8::53']", DnsSpec(("192.0.2.53", "2001:db8::53"))),
        ("{servers: 192.0.2.53, options: ['ndots:2']}", DnsSpec(("192.0.2.53",), (), ("ndots:2",))),
        ("{search: [a.example, b.example]}", DnsSpec((), ("a.example", "b.example"))),
        ("{}", DnsSpec()),
    ],
)  # fmt: skip
def test_a_container_says_servers_alone_or_more(said: str, meant: DnsSpec, tmp_path: Path) -> None:
    assert manifest(tmp_path, f"project: p\ncontainers: {{web: {{dns: {said}}}}}\n").containers["web"].dns == meant


@pytest.mark.parametrize(
    ("container", "what"),
    [
        (
            "{dns: 127.0.0.53}",
            "2:25: the DNS server 127.0.0.53 is a loopback address; leave it out: whom the host asks",
        ),
        ("{dns: ['::1']}", "2:26: the DNS server ::1 is a loopback address; leave it out: whom the host asks is asked"),
        ("{dns: {servers: dns.example}}", "2:35: the DNS server 'dns.example' is not an address; write an address"),
        ('{dns: {search: "a\\nnameserver 192.0.2.66"}}', "2:34: search is 'a\\nnameserver 192.0.2.66', not"),
        ("{dns_search: example}", "2:20: unknown key dns_search in a container; write it as dns: {search: ...}"),
        ("{networks: {front: {aliases: ['a b']}}}", "2:49: aliases is 'a b', not a name of letters, digits, _ and -"),
    ],
)
def test_what_is_wrong_is_said_where_it_is(container: str, what: str, tmp_path: Path) -> None:
    found = complaints(tmp_path, f"project: p\ncontainers: {{web: {container}}}\nnetworks: {{front: }}\n")
    assert found[0].startswith(what)


def on_the_host(proposal: engine.Proposal) -> list[DnsServer]:
    return [one for one in proposal.desired.values() if isinstance(one, DnsServer) and not one.sandbox]


def test_each_set_of_networks_has_a_resolver_where_the_host_is_on_one(tmp_path: Path) -> None:
    servers = on_the_host(desired(tmp_path, SHOP))
    assert {(one.networks, one.listen, one.upstream) for one in servers} == {
        (("front",), ("10.20.0.1", "fd00:20::1"), DnsServer.HOSTS_OWN),
        (("back", "front"), ("10.21.0.1", "10.20.0.1", "fd00:20::1"), DnsServer.HOSTS_OWN),
        (("back",), ("10.21.0.1",), ()),
    }
    assert len({one.port for one in servers}) == 3
    assert {one.local for one in servers} == {("apart", "back", "front")}


def test_the_names_of_a_network_are_its_containers_and_their_aliases(tmp_path: Path) -> None:
    state = desired(tmp_path, SHOP).desired
    assert state[Key("names", "front")] == DnsHosts(
        "front",
        (
            "10.20.0.20 api api.front",
            "fd00:20::20 api api.front",
            "10.20.0.10 web web.front www www.front",
            "fd00:20::10 web web.front www www.front",
        ),
    )
    assert state[Key("names", "apart")] == DnsHosts("apart", ("10.22.0.40 far far.apart",))


def test_a_container_asks_the_first_of_its_networks_that_the_host_is_on(tmp_path: Path) -> None:
    files = {one.sandbox: one.lines for one in desired(tmp_path, SHOP).desired.values() if isinstance(one, ResolvConf)}
    assert files == {
        "web": ("nameserver 10.20.0.1", "nameserver fd00:20::1"),
        "api": ("nameserver 10.21.0.1",),
        "db": ("nameserver 10.21.0.1",),
        "far": ("nameserver 127.0.0.11",),
    }


def test_the_firewall_leads_each_address_to_its_own_resolver(tmp_path: Path) -> None:
    state = desired(tmp_path, SHOP).desired
    ports = {one.networks: one.port for one in state.values() if isinstance(one, DnsServer) and not one.sandbox}
    text = next(one.text for one in state.values() if isinstance(one, NftTable) and one.name == "netapply-shop")
    for source, gateway, networks in (
        ("10.20.0.10", "10.20.0.1", ("front",)),
        ("10.20.0.20", "10.20.0.1", ("back", "front")),
        ("10.21.0.20", "10.21.0.1", ("back", "front")),
        ("10.21.0.30", "10.21.0.1", ("back",)),
        ("fd00:20::20", "fd00:20::1", ("back", "front")),
    ):
        assert f"{source} : {gateway} . {ports[networks]}" in text
    assert "10.22.0.40" not in text


def test_a_port_stays_once_chosen_and_one_that_is_taken_is_passed_over(tmp_path: Path) -> None:
    host = new_host()
    first = {one.name: one.port for one in on_the_host(desired(tmp_path, SHOP))}
    host.names.foreign_ports = set(first.values())
    engine.converge(manifest(tmp_path, SHOP), host)
    chosen = {key: one.port for key, one in host.names.servers.items() if not one.sandbox}
    assert not set(chosen.values()) & set(first.values())
    host.names.foreign_ports = set()
    assert not engine.plan(manifest(tmp_path, SHOP), host).plan


def test_a_port_that_the_manifest_publishes_is_not_a_resolvers(tmp_path: Path) -> None:
    port = next(one.port for one in desired(tmp_path, SHOP).desired.values() if isinstance(one, DnsServer))
    published = SHOP.replace("  db: {", f"  db: {{ports: ['{port}:80'], ").replace("back: {internal: true, ", "back: {")
    servers = [one for one in desired(tmp_path, published).desired.values() if isinstance(one, DnsServer)]
    assert servers
    assert port not in {one.port for one in servers}


def test_a_file_of_somebody_elses_is_a_conflict(tmp_path: Path) -> None:
    host = new_host()
    host.names.files["db"] = File("", "", ("nameserver 192.0.2.53",))
    assert desired(tmp_path, SHOP, host).refusals == (
        "the resolv.conf of container db is taken: somebody else made it",
    )


def test_a_name_that_is_none_is_told_and_its_aliases_serve(tmp_path: Path) -> None:
    long = "x" * 64
    containers = f"{{{long}: {{networks: {{front: {{aliases: [short]}}}}}}}}"
    text = f"project: p\ndns: true\nnetworks: {{front: }}\ncontainers: {containers}\n"
    proposal = desired(tmp_path, text)
    assert any(f"container {long} can't be found by its name" in note for note in proposal.plan.notes)
    names = proposal.desired[Key("names", "front")]
    assert isinstance(names, DnsHosts)
    assert [record.split(" ")[1:] for record in names.records] == [["short", "short.front"]]


def test_killed_and_unread_is_drift(tmp_path: Path) -> None:
    host, shop = new_host(), manifest(tmp_path, SHOP)
    engine.converge(shop, host)
    host.names.running.clear()
    key = ("shop", "front")
    host.names.hosts[key] = DnsHosts("front", host.names.hosts[key].records, healthy=False)
    assert {change.key.kind for change in engine.plan(shop, host).plan.changes} == {"names", "resolver"}
    engine.converge(shop, host)
    assert not engine.plan(shop, host).plan


def test_without_pruning_names_are_those_of_the_manifest_alone(tmp_path: Path) -> None:
    host = new_host()
    engine.converge(manifest(tmp_path, SHOP), host)
    less = SHOP.partition("  db:")[0]
    engine.converge(manifest(tmp_path, less), host, engine.Options(prune=False))
    assert not engine.plan(manifest(tmp_path, less), host, engine.Options(prune=False)).plan
    assert "db" not in " ".join(host.names.hosts["shop", "back"].records)


def test_what_was_broken_before_does_not_keep_a_failed_run_from_going_back(tmp_path: Path) -> None:
    shop = manifest(tmp_path, SHOP)
    more = manifest(tmp_path, SHOP + "  new: {networks: {front: {ipv4_address: 10.20.0.50}}}\n")
    for at in range(100):
        host = new_host()
        engine.converge(shop, host)
        host.names.running.clear()
        for key, names in host.names.hosts.items():
            host.names.hosts[key] = DnsHosts(names.network, names.records, healthy=False)
        trap = Failing(at)
        host.trap = trap
        try:
            engine.converge(more, host)
        except ApplyFailed:
            host.trap = None
            assert "new" not in host.kernel.names
            engine.converge(shop, host)
            assert not engine.plan(shop, host).plan
        else:
            assert at > 10
            return


class Failing:
    """A trap: the n-th operation fails, from 0."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, what: str) -> None:
        self.left -= 1
        if self.left == -1:
            raise OSError(errno.EBUSY, what)


# What is told


def content(wanted: Manifest, host: FakeHost) -> Content:
    return Content("shop", engine.plan(wanted, host).plan, tuple(wanted.networks), tuple(wanted.containers))


def test_plans_and_what_is_there_are_told_as_in_the_golden_files(tmp_path: Path) -> None:
    host, shop = new_host(), manifest(tmp_path, SHOP)
    golden("from-clean.txt", text.plan(content(shop, host), View()))
    engine.converge(shop, host)
    del host.names.running["shop", "front"]
    host.names.files["db"] = host.names.files["db"]._replace(lines=("nameserver 192.0.2.1",))
    changed = manifest(tmp_path, SHOP.replace("aliases: [www]", "aliases: [shop.example]"))
    golden("drift.txt", text.plan(content(changed, host), View()))
    found = engine.plan(changed, host).observation.state
    golden("status.txt", status.tree("shop", found, content(changed, host), View()))
    golden("off.txt", text.plan(content(manifest(tmp_path, SHOP.replace("dns: true", "dns: false")), host), View()))


def test_a_plan_as_json_is_of_the_published_form(tmp_path: Path) -> None:
    host, shop = new_host(), manifest(tmp_path, SHOP)
    schema = loads((ROOT / "schemas" / "plan.schema.json").read_text())
    for _ in range(2):
        validate(loads(json.text(json.plan(content(shop, host)))), schema)
        engine.converge(shop, host)
        host.names.running.clear()


def test_a_run_that_ends_before_a_shorter_resolv_conf_is_cut_leaves_blank_lines_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(descriptor: int, length: int) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 192.0.2.1\nnameserver 192.0.2.2\n")
    monkeypatch.setattr(os, "ftruncate", killed)
    with path.open("r+") as file, pytest.raises(KeyboardInterrupt):
        mounted._replace(file.fileno(), ["nameserver 192.0.2.3"])
    assert path.read_text().split() == ["nameserver", "192.0.2.3"]


# Where the host has no address

LAN = """
project: shop
dns: true
networks:
  lan: {driver: macvlan, driver_opts: {parent: eth0}, ipam: {config: [{subnet: 10.23.0.0/24}]}}
  apart: {driver_opts: {gateway_mode: isolated}, ipam: {config: [{subnet: 10.22.0.0/24}]}}
  front: {ipam: {config: [{subnet: 10.20.0.0/24}]}}
containers:
  one: {networks: {lan: {ipv4_address: 10.23.0.10, aliases: [www]}}}
  two: {networks: {lan: {ipv4_address: 10.23.0.11}, apart: {ipv4_address: 10.22.0.11}}}
  both: {networks: {lan: {ipv4_address: 10.23.0.12}, front: {ipv4_address: 10.20.0.12}}}
"""


def inside(proposal: engine.Proposal) -> dict[str, DnsServer]:
    return {one.sandbox: one for one in proposal.desired.values() if isinstance(one, DnsServer) and one.sandbox}


def test_who_is_on_no_network_of_the_hosts_has_a_resolver_of_its_own(tmp_path: Path) -> None:
    host = new_host()
    host.nameservers = ("127.0.0.1", "192.0.2.53", "2001:db8::53")
    proposal = desired(tmp_path, LAN, host)
    servers = inside(proposal)
    assert {name: one.networks for name, one in servers.items()} == {"one": ("lan",), "two": ("apart", "lan")}
    for one in servers.values():
        assert (one.listen, one.port, one.upstream) == (("127.0.0.11",), 53, ("192.0.2.53", "2001:db8::53"))
    assert [one.networks for one in on_the_host(proposal)] == [("front", "lan")]
    assert proposal.plan.notes == ()


def test_a_containers_own_servers_come_first_and_internal_networks_have_none(tmp_path: Path) -> None:
    host = new_host()
    host.nameservers = ("192.0.2.53",)
    text = LAN.replace("  one: {", "  one: {dns: 192.0.2.77, ").replace("  lan: {", "  lan: {internal: true, ")
    text = text.replace("  apart: {", "  apart: {internal: true, ")
    assert {name: one.upstream for name, one in inside(desired(tmp_path, text, host)).items()} == {
        "one": (),
        "two": (),
    }
    text = text.replace("internal: true, ", "")
    assert inside(desired(tmp_path, text, host))["one"].upstream == ("192.0.2.77",)


def test_where_nobody_can_be_asked_that_is_told_once(tmp_path: Path) -> None:
    host = new_host()
    host.nameservers = ("127.0.0.53",)
    (note,) = desired(tmp_path, LAN, host).plan.notes
    assert note.startswith("no names but those of containers are found from one, two: ")


def test_dockers_own_resolver_stays_alone(tmp_path: Path) -> None:
    host = new_host()
    host.nameservers = ("192.0.2.53",)
    host.resolved = {"one": "Docker's own resolver is in there", "both": "Docker's own resolver is in there"}
    proposal = desired(tmp_path, LAN, host)
    assert inside(proposal).keys() == {"two"}
    (note,) = proposal.plan.notes
    assert note.startswith("no names are found from one: Docker's own resolver is in there")
    assert Key("resolvconf", "one") not in proposal.desired


@pytest.mark.parametrize(
    ("why", "mend"),
    [
        ("docker", "asks 10.20.0.1: run the container with `--dns 10.20.0.1`"),
        ("podman", "Podman's own resolver (192.0.2.1) stays there; put the container on a network without one"),
        ("shared", "write `nameserver 10.20.0.1` into the /etc/resolv.conf of each"),
        ("theirs", "write `nameserver 10.20.0.1` into it"),
        ("none", "make one with `nameserver 10.20.0.1`"),
    ],
)
def test_who_can_not_be_told_whom_to_ask_is_named_once_for_each_reason_with_the_mend(
    tmp_path: Path, why: Literal["docker", "podman", "shared", "theirs", "none"], mend: str
) -> None:
    text = "project: shop\ndns: true\nnetworks: {front: {ipam: {config: [{subnet: 10.20.0.0/24}]}}}\n"
    text += "containers: {one: {networks: [front]}, two: {networks: [front]}, three: {networks: [front]}}\n"
    host = new_host()
    host.unwritten = dict.fromkeys(("one", "two"), Unwritten(why, ("192.0.2.1",)))
    (note,) = desired(tmp_path, text, host).plan.notes
    assert " from one, two" in note
    assert mend in note
    assert note.endswith("; or write `dns: false`")
    (first, second) = desired(tmp_path, text.replace("two: {", "two: {dns: {search: example.org}, "), host).plan.notes
    assert "`dns: {search}`" not in first
    assert "`dns: {search}` is told to nobody there" in second
    host.unwritten = {"one": Unwritten("theirs", ("10.20.0.1",))}
    assert not desired(tmp_path, text, host).plan.notes


def test_a_container_that_says_so_is_left_alone_and_found(tmp_path: Path) -> None:
    proposal = desired(tmp_path, LAN.replace("  one: {", "  one: {dns: false, "))
    assert inside(proposal).keys() == {"two"}
    assert Key("resolvconf", "one") not in proposal.desired
    names = proposal.desired[Key("names", "lan")]
    assert isinstance(names, DnsHosts)
    assert "10.23.0.10 one one.lan www www.lan" in names.records


def test_a_container_that_is_left_alone_switches_nothing_on(tmp_path: Path) -> None:
    text = "project: shop\nnetworks: {front: }\ncontainers: {web: {dns: false, networks: [front]}}\n"
    assert not manifest(tmp_path, text).named


def test_a_resolver_that_was_killed_is_drift_and_goes_with_its_container(tmp_path: Path) -> None:
    host, wanted = new_host(), manifest(tmp_path, LAN)
    engine.converge(wanted, host)
    assert not engine.plan(wanted, host).plan
    del host.names.running["shop", "in one"]
    assert [change.key for change in engine.plan(wanted, host).plan.changes] == [Key("resolver", "in one")]
    engine.converge(wanted, host)
    kinds = [change.key.kind for change in engine.plan_destruction("shop", host).plan.changes]
    assert kinds.index("link") < kinds.index("resolver", kinds.index("link")) < kinds.index("netns")
    engine.destroy("shop", host)
    assert (host.names.servers, host.names.running, host.names.files) == ({}, {}, {})


def test_the_plan_of_resolvers_in_containers_is_as_in_the_golden_file(tmp_path: Path) -> None:
    host = new_host()
    host.nameservers = ("192.0.2.53",)
    golden("inside.txt", text.plan(content(manifest(tmp_path, LAN), host), View()))
    engine.converge(manifest(tmp_path, LAN), host)
    host.nameservers = ("192.0.2.54",)
    less = LAN.replace(", apart: {ipv4_address: 10.22.0.11}", "")
    golden("inside-drift.txt", text.plan(content(manifest(tmp_path, less), host), View()))
