"""Services: what a manifest may say, which addresses they get, and what the tables say that spread connections."""

from __future__ import annotations

import io
from collections.abc import Sequence
from json import loads
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from reconciler import engine
from reconciler.errors import ManifestError
from reconciler.firewall.ports import published
from reconciler.firewall.services import balancing, spreads, table
from reconciler.host import marks
from reconciler.host.fake import FakeHost
from reconciler.host.fake_links import Space
from reconciler.lowering.services import names
from reconciler.manifest import load
from reconciler.manifest.model import Manifest
from reconciler.networks import Backend, Publication, Service, ServicePort, Target, Topology
from reconciler.pin import pin
from reconciler.plan import Update
from reconciler.report import json, text
from reconciler.report.content import Content
from reconciler.report.details import details
from reconciler.report.entries import fold
from reconciler.report.publishing import differing
from reconciler.report.terminal import View
from reconciler.report.titles import title
from reconciler.resources import NFT, Link, NftTable, State
from reconciler.safety import is_disruptive

SCHEMA = Path(__file__).parents[2] / "schemas" / "plan.schema.json"

SHOP = """\
project: shop
networks:
  front: {ipam: {config: [{subnet: 10.20.0.0/24}, {subnet: "fd00:20::/64"}]}}
  back: {ipam: {config: [{subnet: 10.21.0.0/24}]}}
  loose: {driver: none}
  closed: {internal: true, ipam: {config: [{subnet: 10.22.0.0/24}]}}
  mute: {driver_opts: {icc: false}, ipam: {config: [{subnet: 10.23.0.0/24}]}}
containers:
  client: {networks: [front]}
  web-1: {networks: {front: {ipv4_address: 10.20.0.11, ipv6_address: "fd00:20::11"}, closed: {}, mute: {}}}
  web-2: {networks: {front: {ipv4_address: 10.20.0.12, ipv6_address: "fd00:20::12"}, back: {}}}
  lonely: {networks: [back], ports: ["7000:70"]}
services:
"""


def manifest(*services: str) -> Manifest:
    return load(["-"], {}, io.StringIO(SHOP + "".join(f"  {one}\n" for one in services)))


def settled(*services: str, host: FakeHost | None = None) -> Topology:
    return engine.plan(manifest(*services), host or FakeHost()).topology


def complaints(*services: str) -> list[str]:
    with pytest.raises(ManifestError) as error:
        manifest(*services)
    lines = SHOP.count("\n")
    return [f"{one.position.line - lines}:{one.position.column} {one.what}" for one in error.value.problems]


@pytest.mark.parametrize(
    ("service", "complaint"),
    [
        ("api: {network: fron, containers: [web-1]}", "1:18 there is no network fron"),
        ("api: {network: front, containers: [web-3]}", "1:38 there is no container web-3"),
        ("api: {network: front, containers: [lonely]}", "1:38 container lonely is not on network front, where service"),
        ("api: {network: front, containers: ['db-*']}", "1:38 db-* is the name of no container on network front"),
        ("api: {network: front, containers: []}", "1:37 containers has 0 entries, and must have 1 at least"),
        ("api: {network: loose, containers: ['*']}", "1:18 network loose (driver none) gives containers no addresses"),
        ("api: {network: mute, containers: [web-1]}", "1:18 containers on network mute do not reach each other"),
        ("client: {network: front, containers: [web-1]}", "1:3 a container on network front is called client, too"),
        ("api: {network: front, containers: [web-1], vip: 10.30.0.9}", "1:51 10.30.0.9 is in no subnet of network"),
        (
            "api: {network: front, containers: [web-1], vip: 10.20.0.12}",
            "1:51 10.20.0.12 is that of container web-2 on",
        ),
        ("api: {network: front, containers: [web-1], vip: 10.20.0.0}", "1:51 10.20.0.0 is the network address of"),
        ("api: {network: front, containers: [web-1], vip: nine}", "1:51 vip is 'nine', which is not an address"),
        ("api: {network: back, containers: [lonely], vip: 'fd00::1'}", "1:51 fd00::1 is IPv6, which network back does"),
        (
            "api: {network: front, containers: [web-1], vip: [10.20.0.5, 10.20.0.6]}",
            "1:63 service api has two IPv4 addresses",
        ),
        (
            "api: {network: front, containers: [web-1], endpoint_mode: dnsrr, vip: 10.20.0.5}",
            "1:73 service api has no virtual IP in endpoint_mode dnsrr, so no vip",
        ),
        (
            "api: {network: front, containers: [web-1], weights: {web-2: 3}}",
            "1:63 service api has no container web-2",
        ),
        ("api: {network: front, containers: [web-1], weights: {web-1: 0}}", "1:63 web-1 is 0, and must be between"),
        ("api: {network: front, containers: [web-1], ports: [80, 80]}", "1:58 service api has the port 80/tcp twice"),
        ("api: {network: front, containers: [web-1], ports: ['70000']}", "1:54 port 70000 is out of range"),
        ("api: {network: front, containers: [web-1], ports: ['80/icmp']}", "1:54 ports is '80/icmp', not a port such"),
        (
            "api: {network: front, containers: [web-1], ports: ['7000:80']}",
            "1:54 port 7000/tcp of the host is published by container lonely already",
        ),
        (
            "api: {network: closed, containers: [web-1], ports: ['80:80']}",
            "1:55 service api can't be published: network closed is internal",
        ),
        ("api: {network: front, containers: [web-1], affinty: client}", "1:46 unknown key affinty in a service"),
        ("api: {containers: [web-1]}", "1:8 the service has no network"),
    ],
)
def test_what_is_wrong_with_a_service_is_said_where_it_is(service: str, complaint: str) -> None:
    (found,) = complaints(service)
    assert found.startswith(complaint)


def test_two_services_want_neither_the_same_address_nor_the_same_port() -> None:
    found = complaints(
        "api: {network: front, containers: [web-1], vip: 10.20.0.5, ports: ['8000:80']}",
        "pay: {network: front, containers: [web-2], vip: 10.20.0.5, ports: ['8000:90']}",
    )
    assert found == [
        "2:51 10.20.0.5 is that of service api on network front",
        "2:70 port 8000/tcp of the host is published by service api already",
    ]


def test_a_service_without_a_pinned_address_gets_one_of_each_family_that_is_nobodys() -> None:
    topology = settled("api: {network: front, containers: ['web-*']}")
    (service,) = topology.services
    used = {one.partition("/")[0] for net in topology.networks for end in net.endpoints for one in end.addresses}
    assert [":" in one for one in service.vips] == [False, True]
    assert not {*service.vips, "10.20.0.1", "fd00:20::1"} & used
    assert all(one.startswith(("10.20.0.", "fd00:20:")) for one in service.vips)
    assert [one.container for one in service.backends] == ["web-1", "web-2"]


def test_a_virtual_ip_derives_from_names_and_stays_when_it_was_given_to_it_once() -> None:
    first = settled("api: {network: front, containers: ['web-*']}")
    host = FakeHost()
    pinned = "api: {network: front, containers: ['web-*'], vip: [10.20.0.77, 'fd00:20::77']}"
    engine.converge(manifest(pinned), host)
    assert settled("api: {network: front, containers: [web-1]}").services[0].vips == first.services[0].vips
    kept = settled("api: {network: front, containers: [web-1]}", host=host)
    assert kept.services[0].vips == ("10.20.0.77", "fd00:20::77")


def test_pinning_writes_the_virtual_ips_of_families_that_none_is_pinned_of() -> None:
    one = manifest(
        "api: {network: front, containers: ['web-*'], vip: 10.20.0.5}", "pay: {network: back, containers: [lonely]}"
    )
    topology = engine.plan(one, FakeHost()).topology
    (text,) = pin(one, topology).values()
    vips = {service.name: list(service.vips) for service in topology.services}
    assert f"vip: [10.20.0.5, '{vips['api'][1]}']" in text.replace('"', "'")
    assert f"vip: {vips['pay'][0]}" in text.replace('"', "")
    again = load(["-"], {}, io.StringIO(text))
    assert not pin(again, engine.plan(again, FakeHost()).topology)


def test_names_mean_the_virtual_ip_or_all_who_serve() -> None:
    topology = settled(
        "api: {network: front, containers: ['web-*'], vip: [10.20.0.5, 'fd00:20::5']}",
        "all: {network: front, containers: ['web-*'], endpoint_mode: dnsrr}",
    )
    assert names(topology) == {
        "front": {
            "api": ("10.20.0.5", "fd00:20::5"),
            "all": ("10.20.0.11", "10.20.0.12", "fd00:20::11", "fd00:20::12"),
        }
    }


def test_a_weight_of_a_name_counts_more_than_that_of_a_pattern() -> None:
    (service,) = settled("api: {network: front, containers: ['*'], weights: {'web-*': 2, web-2: 5}}").services
    assert {one.container: one.weight for one in service.backends} == {"client": 1, "web-1": 2, "web-2": 5}


def test_published_ports_lead_to_the_containers_that_serve() -> None:
    topology = settled("api: {network: back, containers: ['*'], ports: ['8000:80', 53/udp], weights: {web-2: 3}}")
    (mine,) = (one for one in topology.publications if one.owner == "api")
    addresses = [address for one in topology.services[0].backends for address in one.addresses]
    targets = (Target(addresses[0], 80), Target(addresses[1], 80, 3))
    assert mine == Publication("api", "tcp", None, 8000, targets)


def test_who_answers_by_another_network_sees_the_hosts_address_instead_of_the_clients() -> None:
    topology = settled("api: {network: front, containers: ['web-*'], ports: ['8000:80']}")
    assert [[target.masquerade for target in one.targets] for one in topology.publications if one.owner == "api"] == [
        [False, True],  # the default route of web-2 is by network back
        [False, False],
    ]


LEFT = """
project: shop
networks: {front: {ipam: {config: [{subnet: 10.20.0.0/24}, {subnet: "fd00:20::/64"}]}}}
containers:
  a: {networks: {front: {ipv4_address: 10.20.0.11, ipv6_address: "fd00:20::11"}}}
  b: {networks: {front: {ipv4_address: 10.20.0.12, ipv6_address: "fd00:20::12"}}}
  c: {networks: {front: {ipv4_address: 10.20.0.13, ipv6_address: "fd00:20::13"}}}
services: {api: {network: front, containers: [MEMBERS], vip: 10.20.0.200, ports: [PORTS]}}
"""


def left(members: str, ports: str = "'8080:80', '8080:80/udp', '132:80/sctp'") -> Manifest:
    return load(["-"], {}, io.StringIO(LEFT.replace("MEMBERS", members).replace("PORTS", ports)))


def leaving(host: FakeHost) -> dict[str, list[str]]:
    """Return who keeps connections of published ports, by protocol and family."""
    found = published(host.kernel.tables.get(("inet", "netapply-shop"), ""))
    return {f"{one.protocol} ipv{one.family}": [end.address for end in one.leaving] for one in found if one.leaving}


def test_who_leaves_a_published_service_and_runs_on_keeps_connections_but_flows_of_udp() -> None:
    host = FakeHost()
    engine.converge(left("a, b, c"), host)
    assert leaving(host) == {}
    as_before = dict(host.kernel.tables)
    engine.converge(left("a"), host)
    kept = {"ipv4": ["10.20.0.12", "10.20.0.13"], "ipv6": ["fd00:20::12", "fd00:20::13"]}
    assert leaving(host) == {f"{protocol} {family}": kept[family] for protocol in ("tcp", "sctp") for family in kept}
    assert not engine.plan(left("a"), host).plan
    engine.converge(left("b"), host)
    assert leaving(host)["tcp ipv4"] == ["10.20.0.11", "10.20.0.13"]
    engine.converge(left("a, b, c"), host)
    assert host.kernel.tables == as_before


def test_who_leaves_and_is_gone_or_whose_port_is_taken_back_keeps_none() -> None:
    host = FakeHost()
    engine.converge(left("a, b, c"), host)
    engine.converge(left("a"), host)
    text = LEFT.replace("  c: {", "  other: {").replace("MEMBERS", "a").replace("PORTS", "'8080:80', '132:80/sctp'")
    other = load(["-"], {}, io.StringIO(text.replace("10.20.0.13", "10.20.0.14").replace("::13", "::14")))
    engine.converge(other, host, engine.Options(force=True))
    assert leaving(host) == {
        "sctp ipv4": ["10.20.0.12"], "sctp ipv6": ["fd00:20::12"],
        "tcp ipv4": ["10.20.0.12"], "tcp ipv6": ["fd00:20::12"],
    }  # fmt: skip
    engine.converge(left("a", "'8081:80'"), host, engine.Options(force=True))
    assert leaving(host) == {}


def test_who_leaves_the_manifest_and_stays_keeps_connections_as_who_left_the_service() -> None:
    host, keeping = FakeHost(), engine.Options(prune=False)
    engine.converge(left("a, b, c"), host)
    text = LEFT.replace("MEMBERS", "a").replace("PORTS", "'8080:80', '8080:80/udp', '132:80/sctp'")
    fewer = [line for line in text.splitlines(keepends=True) if not line.startswith(("  b:", "  c:"))]
    less = load(["-"], {}, io.StringIO("".join(fewer)))
    engine.converge(less, host, keeping)
    kept = {"ipv4": ["10.20.0.12", "10.20.0.13"], "ipv6": ["fd00:20::12", "fd00:20::13"]}
    assert leaving(host) == {f"{protocol} {family}": kept[family] for protocol in ("tcp", "sctp") for family in kept}
    assert not engine.plan(less, host, keeping).plan
    engine.converge(less, host, engine.Options(force=True))
    assert leaving(host) == {}


def test_a_container_with_a_port_of_its_own_that_a_service_had_is_nobody_who_left() -> None:
    host = FakeHost()
    engine.converge(left("a, b, c", "'8080:80'"), host)
    text = LEFT.partition("services:")[0].replace("  a: {", "  a: {ports: ['8080:80'], ")
    engine.converge(load(["-"], {}, io.StringIO(text)), host, engine.Options(force=True))
    assert leaving(host) == {}


def test_that_somebody_leaves_a_published_service_cuts_nothing_and_is_told() -> None:
    host = FakeHost()
    engine.converge(left("a, b", "'8080:80'"), host)
    plan = engine.plan(left("a", "'8080:80'"), host).plan
    assert not any(is_disruptive(change) for change in plan.changes)
    (change,) = (
        one
        for one in plan.changes
        if isinstance(one, Update) and isinstance(one.after, NftTable) and not one.after.sandbox
    )
    assert list(differing(change)) == [
        (
            "change",
            "port 8080/tcp of api → 10.20.0.11:80, 10.20.0.12:80, [fd00:20::11]:80, [fd00:20::12]:80, from now on "
            "→ 10.20.0.11:80, [fd00:20::11]:80; what 10.20.0.12, [fd00:20::12] has goes on",
        )
    ]


def test_affinity_of_a_published_port_is_told_in_words_and_as_json() -> None:
    host = FakeHost()
    engine.converge(left("a, b", "'8080:80'"), host)
    text = LEFT.replace("MEMBERS], ", "a, b], affinity: client, ").replace("PORTS", "'8080:80'")
    proposal = engine.plan(load(["-"], {}, io.StringIO(text)), host)
    printed = loads(json.text(json.plan(Content("shop", proposal.plan))))
    Draft202012Validator(loads(SCHEMA.read_text())).validate(printed)
    assert sorted((one["action"], one["affinity"]) for one in printed["ports"]) == [
        ("add", True), ("add", True), ("remove", False), ("remove", False)
    ]  # fmt: skip
    (change,) = (
        one
        for one in proposal.plan.changes
        if isinstance(one, Update) and isinstance(one.after, NftTable) and not one.after.sandbox
    )
    assert [line.endswith("[fd00:20::12]:80, by the client's address") for _, line in differing(change)] == [True]


def desired(*services: str) -> State:
    return engine.plan(manifest(*services), FakeHost()).desired


def test_every_container_on_the_network_gets_the_table_and_a_mark_and_no_other_does() -> None:
    state = desired("api: {network: front, containers: ['web-*']}")
    tables = {one.sandbox: one.text for one in state.values() if isinstance(one, NftTable)}
    assert tables.keys() == {"", "client", "web-1", "web-2", "netapply"} - {"netapply"}
    assert len({tables[name] for name in ("client", "web-1", "web-2")}) == 1
    marked = {one.path for one in state.values() if isinstance(one, Link) and NFT in one.tags}
    assert marked == {"client/front", "web-1/front", "web-1/closed", "web-1/mute", "web-2/front", "web-2/back"}


def test_a_service_of_names_alone_needs_no_table() -> None:
    state = desired("api: {network: front, containers: ['web-*'], endpoint_mode: dnsrr}")
    assert [one.sandbox for one in state.values() if isinstance(one, NftTable)] == [""]
    assert not any(NFT in one.tags for one in state.values() if isinstance(one, Link))


SERVICE = Service(
    "api",
    "front",
    ("10.20.0.200",),
    (Backend("a", ("10.20.0.1", "fd00::1"), 4), Backend("b", ("10.20.0.2",), 2)),
    (ServicePort(80), ServicePort(53, protocol="udp")),
)


def test_turns_are_as_far_apart_as_weights_allow_and_no_more_than_needed() -> None:
    found = balancing([SERVICE]).chains["service_api"]
    assert found[0] == "dnat ip to numgen inc mod 3 map { 0 : 10.20.0.1, 1 : 10.20.0.2, 2 : 10.20.0.1 }"
    assert "ip6" not in "".join(found)


def test_the_hook_has_the_same_rules_for_one_service_as_for_a_hundred() -> None:
    many = [Service(f"s{one}", "front", (f"10.20.1.{one}",), SERVICE.backends, SERVICE.ports) for one in range(100)]
    assert balancing(many).chains["nat_output"] == balancing([SERVICE]).chains["nat_output"]


def test_a_table_says_again_what_it_was_made_of() -> None:
    made = table("shop", [SERVICE], "client")
    assert made is not None
    read = spreads(made.text.replace("80 :", '"http" :'))["api"]
    assert (read.vips, read.turns, read.affinity) == (("10.20.0.200",), {"10.20.0.1": 2, "10.20.0.2": 1}, False)
    assert sorted(read.ports) == ["53/udp", "http/tcp"]


def reported(before: str | None, after: str) -> str:
    """Return what the plan says of services that leads from a manifest with one, or none, to another one."""
    host = FakeHost()
    engine.converge(manifest(*([before] if before else [])), host)
    wanted = manifest(after)
    proposal = engine.plan(wanted, host)
    names = {"10.20.0.11": "web-1", "10.20.0.12": "web-2", "fd00:20::11": "web-1", "fd00:20::12": "web-2"}
    content = Content("shop", proposal.plan, tuple(wanted.networks), tuple(wanted.containers), names=names)
    return text.plan(content, View(colour=False)).partition("services\n")[2].partition("\n\n")[0]


API = "api: {network: front, containers: ['web-*'], vip: [10.20.0.5, 'fd00:20::5']}"


def test_a_new_service_is_one_line_however_many_containers_can_reach_it() -> None:
    assert reported(None, API).splitlines() == [
        "  + services in containers client, web-1, web-2",
        "      + service api: 10.20.0.5 fd00:20::5 → web-1, web-2",
    ]


def test_who_serves_from_now_on_and_who_did_before_is_said() -> None:
    assert reported(API, API.replace("['web-*']", "[web-2]")).splitlines() == [
        "  ~ services in containers client, web-1, web-2",
        "      service api: 10.20.0.5 fd00:20::5 → web-2 (was web-1, web-2)",
    ]


def test_a_service_in_one_container_too_few_is_said_to_be_missing_there() -> None:
    host = FakeHost()
    engine.converge(manifest(API), host)
    del host.kernel.names["client"].tables["inet", "netapply-shop"]
    (entry,) = fold(engine.plan(manifest(API), host).plan)
    assert title(entry) == "services in container client"
    assert [line for _, line in details(entry)] == [
        "service api: 10.20.0.5 fd00:20::5 → 10.20.0.11, 10.20.0.12, fd00:20::11, fd00:20::12"
    ]


def plan_as_json(before: str | None, after: str) -> Any:
    host = FakeHost()
    engine.converge(manifest(*([before] if before else [])), host)
    proposal = engine.plan(manifest(after), host)
    printed = loads(json.text(json.plan(Content("shop", proposal.plan))))
    Draft202012Validator(loads(SCHEMA.read_text())).validate(printed)
    for change in printed["changes"]:
        if change["kind"] == "nft" and change["container"]:
            texts = [change[side]["text"] for side in ("before", "after") if change[side]]
            assert all(printed["texts"][one["digest"]].startswith("table inet") for one in texts)
    return printed


def test_a_plan_as_json_has_the_text_of_containers_tables_once_and_each_service_once() -> None:
    printed = plan_as_json(None, API)
    assert len(printed["texts"]) == 1
    turns = {"10.20.0.11": 1, "10.20.0.12": 1, "fd00:20::11": 1, "fd00:20::12": 1}
    after = {"vips": ["10.20.0.5", "fd00:20::5"], "ports": [], "turns": turns, "affinity": False}
    (service,) = printed["services"]
    assert (service["action"], service["service"], service["before"]) == ("add", "api", None)
    assert (service["after"], service["containers"]) == (after, ["client", "web-1", "web-2"])


def test_a_service_that_changes_is_told_as_json_with_what_it_was() -> None:
    printed = plan_as_json(API, API.replace("['web-*']", "[web-2], ports: [80]"))
    assert len(printed["texts"]) == 2
    (service,) = printed["services"]
    assert (service["action"], list(service["before"]["turns"]), list(service["after"]["turns"])) == (
        "change",
        ["10.20.0.11", "10.20.0.12", "fd00:20::11", "fd00:20::12"],
        ["10.20.0.12", "fd00:20::12"],
    )
    assert service["after"]["ports"] == ["80/tcp"]
    assert plan_as_json(API, API)["services"] == []


def test_without_pruning_a_container_that_is_no_more_in_the_manifest_keeps_its_table() -> None:
    host = FakeHost()
    engine.converge(manifest(API), host)
    before = host.kernel.names["client"].tables
    less = load(["-"], {}, io.StringIO(SHOP.replace("  client: {networks: [front]}\n", "") + f"  {API}\n"))
    engine.converge(less, host, engine.Options(prune=False))
    assert host.kernel.names["client"].tables == before
    assert not engine.plan(less, host, engine.Options(prune=False)).plan
    engine.converge(less, host, engine.Options(force=True))
    assert "client" not in host.kernel.names


POD = """\
project: shop
networks:
  front: {ipam: {config: [{subnet: 10.20.0.0/24}, {subnet: "fd00:20::/64"}]}}
  back: {ipam: {config: [{subnet: 10.21.0.0/24}]}}
containers:
  api: {sandbox: {netns: pod, create: false}, networks: [front]}
  web: {sandbox: {pid: 4242}, networks: [back]}
  one: {networks: [front]}
  two: {networks: [front, back]}
services:
  pay: {network: front, containers: [one, two], weights: {two: 3}, ports: [80, 53/udp]}
  log: {network: back, containers: [two], affinity: client}
"""
API_OUT = ("  api: {sandbox: {netns: pod, create: false}, networks: [front]}\n", "")
FRONT_OUT = (
    ('  front: {ipam: {config: [{subnet: 10.20.0.0/24}, {subnet: "fd00:20::/64"}]}}\n', ""),
    ("  one: {networks: [front]}\n", ""),
    ("networks: [front, back]", "networks: [back]"),
    ("  pay: {network: front, containers: [one, two], weights: {two: 3}, ports: [80, 53/udp]}\n", ""),
)


@pytest.mark.parametrize(
    "edits",
    [
        (API_OUT,),
        (("networks: [front]}\n  web", "networks: []}\n  web"),),
        (("  web: {sandbox: {pid: 4242}, networks: [back]}\n", ""),),
        (API_OUT, ("{pid: 4242}, networks: [back]", "{pid: 4242}, networks: []")),
        (API_OUT, *FRONT_OUT),
    ],
    ids=["a container", "a network of one", "the other container", "all there is", "a container and its network"],
)
def test_without_pruning_what_stays_in_a_namespace_with_others_keeps_its_services(edits: Sequence[Edit]) -> None:
    host, space = host_with_pod()
    engine.converge(pod(), host)
    before = [dict(spreads(text)) for text in texts(space)]
    assert [sorted(one) for one in before] == [["log", "pay"]]
    keeping = engine.Options(prune=False)
    engine.converge(pod(*edits), host, keeping)
    assert [dict(spreads(text)) for text in texts(space)] == before
    assert not engine.plan(pod(*edits), host, keeping).plan
    engine.converge(pod(*edits), host, engine.Options(force=True))
    assert [dict(spreads(text)) for text in texts(space)] != before


def test_without_pruning_what_stays_follows_its_services_where_the_manifest_has_them() -> None:
    host, space = host_with_pod()
    engine.converge(pod(), host)
    edits = (API_OUT, ("containers: [one, two], weights: {two: 3}", "containers: [one]"))
    engine.converge(pod(*edits), host, engine.Options(prune=False))
    assert [len(spreads(text)["pay"].turns) for text in texts(space)] == [2]
    without = (
        API_OUT,
        ("  pay: {network: front, containers: [one, two], weights: {two: 3}, ports: [80, 53/udp]}\n", ""),
    )
    engine.converge(pod(*without), host, engine.Options(prune=False))
    assert [sorted(spreads(text)) for text in texts(space)] == [["log"]]


Edit = tuple[str, str]


def pod(*edits: Edit) -> Manifest:
    text_ = POD
    for old, new in edits:
        assert old in text_
        text_ = text_.replace(old, new)
    return load(["-"], {}, io.StringIO(text_))


def host_with_pod() -> tuple[FakeHost, Space]:
    """Return a host and a namespace that both `api` and `web` are in."""
    host = FakeHost()
    space = host.kernel.space()
    host.kernel.bind("pod", space)
    host.kernel.pids[4242] = space
    return host, space


def texts(space: Space) -> list[str]:
    return list(space.tables.values())


def test_an_address_of_its_own_is_for_hosts_of_networks_with_services_alone() -> None:
    spanning = """
project: shop
hosts: {one: {address: 192.0.2.1}, two: {address: 192.0.2.2}}
networks: {front: {driver: overlay, ipam: {config: [{subnet: 10.50.0.0/24}]}}}
containers: {a: {host: one, networks: [front]}, b: {host: two, networks: [front]}}
"""
    services = "services: {api: {network: front, containers: [a, b]}}\n"
    host = FakeHost()
    host.kernel.add_address(host.kernel.host.devices["lo"], "192.0.2.1/32")

    def own(text: str) -> list[tuple[str, ...]]:
        topology = engine.plan(load(["-"], {}, io.StringIO(text)), host, engine.Options(here="one")).topology
        (network,) = topology.networks
        assert network.node
        return [network.node.own, *(node.own for node in network.nodes)]

    assert own(spanning) == [(), ()]
    (mine,), (theirs,) = own(spanning + services)
    assert mine != theirs
    assert own(spanning + services.replace("[a, b]}", "[a, b], endpoint_mode: dnsrr}")) == [(), ()]


def test_names_that_leave_no_room_for_the_tag_of_a_table_are_too_long() -> None:
    project, network = "p" * 63, "n" * 60

    def text_of(length: int) -> str:
        return (
            f"project: {project}\nnetworks: {{{network}: }}\n"
            f"containers: {{{'w' * length}: {{networks: [{network}]}}}}\n"
            f"services: {{api: {{network: {network}, containers: ['*']}}}}\n"
        )

    def longest(length: int) -> int:
        desired = engine.plan(load(["-"], {}, io.StringIO(text_of(length))), FakeHost()).desired.values()
        return max(len(marks.alias_of(project, one)) for one in desired if isinstance(one, Link))

    room = 1 + marks.LONGEST - longest(1)
    assert longest(room) == marks.LONGEST
    with pytest.raises(ManifestError, match="256 bytes long, and the kernel keeps 255"):
        load(["-"], {}, io.StringIO(text_of(room + 1)))


def test_names_that_leave_no_room_for_the_setting_of_published_ports_are_too_long() -> None:
    network = "n" * 128
    text_ = (
        f"project: {'p' * 63}\nnetworks: {{{network}: {{protect: true, driver_opts: {{uplink: a23456789012345}}}}}}\n"
        f"containers: {{web: {{networks: [{network}]}}}}\n"
        f"services: {{api: {{network: {network}, containers: [web], ports: [%s]}}}}\n"
    )
    load(["-"], {}, io.StringIO(text_ % "80"))
    with pytest.raises(ManifestError, match="by which ports are published, is 270 bytes long"):
        load(["-"], {}, io.StringIO(text_ % "'8080:80'"))
