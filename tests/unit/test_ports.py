"""Published ports: what is read, what is refused, what the table says, and who is told about it."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler import engine
from reconciler.allocation.allocate import allocate
from reconciler.errors import ManifestError, Refused
from reconciler.firewall import Zone, table
from reconciler.firewall.ports import published, publishing, stale_in, with_stale
from reconciler.host import Facts, Filter, Listener, Observation
from reconciler.host.fake import FakeHost
from reconciler.host.translations import led, maybe_led
from reconciler.manifest import load
from reconciler.manifest.model import PortSpec
from reconciler.networks import FREE_PORTS, Publication, Target
from reconciler.pin import pin
from reconciler.plan import Update
from reconciler.report.publishing import differing, lines
from reconciler.resources import Link, NftTable

WEB6, API6 = "fd00:20::9c81:1abd", "fd00:20::f8a7:2033"
"""The addresses that derive from the names."""

FRONT = "front: {ipam: {config: [{subnet: 10.20.0.0/24}, {subnet: 'fd00:20::/64'}]}}"


def text(*ports: str, networks: str = FRONT, more: str = "") -> str:
    listed = "".join(f"\n      - {one}" for one in ports)
    return (
        f"project: shop\nnetworks:\n  {networks}\ncontainers:\n"
        f"  web:\n    networks: [front]\n    ports:{listed or ' []'}\n{more}"
    )


def read(*ports: str) -> list[PortSpec]:
    return list(load(["-"], {}, io.StringIO(text(*ports))).containers["web"].ports)


def said(manifest: str) -> list[str]:
    """Return the errors of a manifest, without places."""
    with pytest.raises(ManifestError) as caught:
        load(["-"], {}, io.StringIO(manifest))
    return [f"{one.what}; {one.mend}" for one in caught.value.problems]


# what is read


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("8080:80", (0, "tcp", None, 8080, 80)),
        ("'8080:80/udp'", (0, "udp", None, 8080, 80)),
        ("53:53", (0, "tcp", None, 53, 53)),
        ("22:22/sctp", (0, "sctp", None, 22, 22)),
        ("3000", (0, "tcp", None, None, 3000)),
        ("'3000/udp'", (0, "udp", None, None, 3000)),
        ("127.0.0.1:8080:80", (0, "tcp", "127.0.0.1", 8080, 80)),
        ("127.0.0.1::80", (0, "tcp", "127.0.0.1", None, 80)),
        ("'[fd00::A]:8080:80'", (0, "tcp", "fd00::a", 8080, 80)),
        ("'[::]:8080:80'", (0, "tcp", "::", 8080, 80)),
        ("{target: 80}", (0, "tcp", None, None, 80)),
        ("{target: 80, published: '8080', protocol: udp, mode: host}", (0, "udp", None, 8080, 80)),
        ("{target: 80, published: 8080, host_ip: 10.0.0.1, name: web}", (0, "tcp", "10.0.0.1", 8080, 80)),
    ],
)
def test_a_port_is_read_in_short_form_and_long(written: str, meant: tuple[object, ...]) -> None:
    assert [tuple(one) for one in read(written)] == [meant]


def test_a_range_is_as_many_ports() -> None:
    assert [(one.published, one.target) for one in read("8000-8002:90-92")] == [(8000, 90), (8001, 91), (8002, 92)]
    assert [(one.published, one.target) for one in read("{target: 90-91, published: 8000-8001}")] == [
        (8000, 90),
        (8001, 91),
    ]
    assert [(one.published, one.target) for one in read("3000-3001")] == [(None, 3000), (None, 3001)]


FORM = "is not a published port; write [HOST_IP:][PUBLISHED:]TARGET[/PROTOCOL], an IPv6 address in brackets"


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("80x", f"'80x' {FORM}"),
        ("'8080:80/icmp'", f"'8080:80/icmp' {FORM}"),
        ("':80'", f"':80' {FORM}"),
        ("'a:b:c'", f"'a:b:c' {FORM}"),
        ("8000-8002:80-81", "the ranges 8000-8002 and 80-81 are of 3 and 2 ports; give both the same length"),
        ("0:80", "0 is no port or range of ports; ports are 1 to 65535, the lower one first"),
        ("8080:65536", "65536 is no port or range of ports; ports are 1 to 65535, the lower one first"),
        ("9-8:9-8", "9-8 is no port or range of ports; ports are 1 to 65535, the lower one first"),
        ("1.2.3:80:80", "host_ip is '1.2.3', which is not an address; give one of the host's own"),
        (
            "'[::1]:80:80'",
            "nothing can be published on ::1: the kernel does not translate what is sent to it; use 127.0.0.1",
        ),
        ("{published: 80}", "the published port has no target; add target: ..."),
        ("{target: 80, host: 1.2.3.4}", "unknown key host in a published port; did you mean host_ip?"),
    ],
)
def test_what_is_wrong_with_a_port_is_said(written: str, words: str) -> None:
    assert said(text(written)) == [words]


# clashes in the manifest


def again(ports: str, host: str = "") -> str:
    return f"  api:\n    networks: [front]\n    ports: [{ports}]\n" + (f"    host: {host}\n" if host else "")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("8080:80", "8080:81"),
        ("127.0.0.1:8080:80", "8080:80"),
        ("8000-8010:80-90", "8005:1"),
        ("0.0.0.0:8080:80", "127.0.0.1:8080:80"),
    ],
)
def test_two_containers_with_one_port_are_told_of_both_places(first: str, second: str) -> None:
    (words,) = said(text(first, more=again(f"'{second}'")))
    assert re.match(r"port \d+/tcp of the host is published by container web already, at -:8:9; choose another", words)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("8080:80", "8080:80/udp"),
        ("127.0.0.1:8080:80", "127.0.0.2:8080:80"),
        ("0.0.0.0:8080:80", "[::]:8080:80"),
        ("8080:80", "8081:80"),
    ],
)
def test_two_containers_with_ports_that_differ_go_together(first: str, second: str) -> None:
    load(["-"], {}, io.StringIO(text(f"'{first}'", more=again(f"'{second}'"))))


def test_on_two_hosts_a_port_can_be_published_twice() -> None:
    more = again("8080:80", "b") + "hosts: {a: {address: 192.0.2.1}, b: {address: 192.0.2.2}}\n"
    one = text("8080:80", more=more).replace("  web:\n", "  web:\n    host: a\n")
    load(["-"], {}, io.StringIO(one))
    assert "is published by container web already" in said(one.replace("host: b", "host: a"))[0]


def test_an_address_of_a_family_that_the_networks_have_not_is_an_error() -> None:
    (words,) = said(text("'[fd00::1]:80:80'", networks="front: {ipam: {config: [{subnet: 10.20.0.0/24}]}}"))
    assert "it has no IPv6 by which the host leads in" in words


@pytest.mark.parametrize(
    ("network", "words", "mend"),
    [
        ("{internal: true}", "is internal", "attach it to another"),
        ("{driver: host}", "is the host's own", "remove ports"),
        ("{driver_opts: {gateway_mode: isolated}}", "is isolated", "gateway_mode nat or routed"),
        ("{driver_opts: {inhibit_gateway: true}}", "has no address on network front", "remove inhibit_gateway"),
        ("{driver: macvlan, driver_opts: {parent: eth0}}", "the host does not reach", "host_access: true"),
        ("{external: true, driver_opts: {name: br0}}", "is external", "that netapply makes"),
        ("{driver: none}", "does not know its addresses", "attach it to a bridge"),
    ],
)
def test_what_can_not_be_published_is_said_with_the_mend(network: str, words: str, mend: str) -> None:
    (found,) = said(text("80:80", networks=f"front: {network}"))
    assert words in found
    assert mend in found.partition(";")[2]


# the table


def ports(number: int) -> list[Publication]:
    return [Publication("web", "tcp", None, 8000 + one, (Target("10.20.0.10", 80),)) for one in range(number)]


ZONE = Zone("front", "shop-front", ("10.20.0.0/24",))


def test_a_thousand_ports_have_the_rules_of_one() -> None:
    assert publishing(ports(1), [ZONE]).chains == publishing(ports(1000), [ZONE]).chains
    assert publishing([], [ZONE]).chains == {}


def test_each_target_of_several_gets_its_turns() -> None:
    several = (Target("10.20.0.10", 80), Target("10.20.0.11", 81, 3))
    part = publishing([Publication("svc", "udp", None, 53, several)], [ZONE])
    assert part.chains["to_udp_53_ipv4"] == [
        "meta l4proto udp dnat ip addr . port to numgen inc mod 4 map { 0 : 10.20.0.10 . 80, 1-3 : 10.20.0.11 . 81 }"
    ]


def test_with_affinity_a_hash_of_the_clients_address_chooses() -> None:
    several = (Target("fd00:20::10", 80), Target("fd00:20::11", 80))
    part = publishing([Publication("svc", "tcp", None, 80, several, affinity=True)], [ZONE])
    assert part.chains["to_tcp_80_ipv6"] == [
        "meta l4proto tcp dnat ip6 addr . port to jhash ip6 saddr mod 2 seed 0x6e6170 "
        "map { 0 : fd00:20::10 . 80, 1 : fd00:20::11 . 80 }"
    ]


def test_only_where_somebody_has_left_there_are_rules_for_it() -> None:
    one = Publication("svc", "tcp", None, 80, (Target("10.20.0.10", 80),))
    none = publishing([one], [ZONE])
    left = publishing([replace(one, leaving=(Target("10.20.0.11", 80),))], [ZONE])
    many = publishing([replace(one, leaving=tuple(Target(f"10.20.0.{end}", 80) for end in range(20, 90)))], [ZONE])
    assert not any("lasting" in rule for rules in none.chains.values() for rule in rules)
    assert len(left.chains["forward"]) == len(none.chains["forward"]) + 2
    assert many.chains == left.chains


_targets = st.lists(
    st.builds(
        Target,
        st.sampled_from(["10.20.0.10", "10.20.0.11", "192.0.2.1"]),
        st.integers(1, 65535),
        st.integers(1, 9),
        st.just(False),
    ),
    min_size=1,
    max_size=3,
)
_publications = st.lists(
    st.builds(
        Publication,
        st.sampled_from(["web", "a-b.c_D", "x" * 127]),
        st.sampled_from(["tcp", "udp", "sctp"]),
        st.sampled_from([None, "127.0.0.1", "192.0.2.7"]),
        st.integers(1, 65535),
        _targets.map(tuple),
        st.booleans(),
        st.lists(
            st.builds(Target, st.just("10.20.0.99"), st.integers(1, 65535), st.just(1), st.just(False)),
            max_size=2,
            unique=True,
        ).map(lambda ends: tuple(sorted(ends))),
    ).map(lambda one: replace(one, leaving=()) if one.host_ip else one),  # services have none by single addresses
    unique_by=lambda one: (one.protocol, one.host_ip, one.port),
    max_size=5,
)


@given(_publications)
def test_what_a_table_publishes_is_read_back_from_it(publications: Sequence[Publication]) -> None:
    made = table("shop", [ZONE], [publishing(publications, [ZONE])])
    assert made is not None
    wanted = {(one.owner, one.protocol, one.host_ip, one.port): one.targets for one in publications}
    found = {(one.owner, one.protocol, one.host_ip, one.port): one.targets for one in published(made.text)}
    single = {key: targets for key, targets in wanted.items() if len(targets) == 1}
    assert found.keys() == wanted.keys()
    assert all(found[key][0][:2] == targets[0][:2] for key, targets in single.items())
    assert all(found[key] == targets for key, targets in wanted.items() if len(targets) > 1)
    chosen = {(one.protocol, one.host_ip, one.port): one for one in published(made.text)}
    for one in publications:
        there = chosen[one.protocol, one.host_ip, one.port]
        assert there.affinity == (one.affinity and len(one.targets) > 1)
        assert there.leaving == one.leaving


def test_who_of_several_targets_sees_the_hosts_address_is_read_back() -> None:
    targets = (Target("10.20.0.10", 80, masquerade=True), Target("10.20.0.1", 80), Target("10.20.0.100", 80))
    made = table("shop", [ZONE], [publishing([Publication("svc", "tcp", None, 80, targets)], [ZONE])])
    assert made is not None
    assert published(made.text)[0].targets == targets


def test_what_is_still_to_be_forgotten_is_in_the_table_while_it_is() -> None:
    made = table("shop", [ZONE], [publishing(ports(2), [ZONE])])
    assert made is not None
    assert stale_in(made.text) == set()
    assert stale_in(with_stale(made.text, made.name, [("udp", 53), ("tcp", 80)])) == {("udp", 53), ("tcp", 80)}
    assert published(with_stale(made.text, made.name, [("udp", 53)])) == published(made.text)


# on a host in memory


def go(host: FakeHost, manifest: str) -> engine.Report:
    return engine.converge(load(["-"], {}, io.StringIO(manifest)), host, engine.Options(force=True))


def there(host: FakeHost) -> list[tuple[str, str | None, int, str, int]]:
    text_ = host.kernel.tables.get(("inet", "netapply-shop"), "")
    return [
        (one.protocol, one.host_ip, one.port, target.address, target.port)
        for one in published(text_)
        for target in one.targets
    ]


def pinned(*ports: str, more: str = "") -> str:
    return text(*ports, more=more).replace("networks: [front]", "networks: {front: {ipv4_address: 10.20.0.10}}", 1)


def test_both_families_lead_to_the_container() -> None:
    host = FakeHost()
    go(host, pinned("8080:80"))
    (four, six) = there(host)
    assert four == ("tcp", None, 8080, "10.20.0.10", 80)
    assert six[3].startswith("fd00:20::")
    assert not go(host, pinned("8080:80")).plan


def test_only_bridges_with_targets_let_127_0_0_1_by() -> None:
    host = FakeHost()
    both = f"{FRONT}\n  back: {{ipam: {{config: [{{subnet: 10.21.0.0/24}}]}}}}"
    manifest = load(["-"], {}, io.StringIO(text("8080:80", networks=both)))
    found = engine.plan(manifest, host).desired.values()
    settings = {one.path: dict(one.sysctls) for one in found if isinstance(one, Link) and one.kind == "bridge"}
    assert settings == {"front": {"ipv4.conf.route_localnet": "1"}, "back": {}}
    (end,) = [one for one in found if isinstance(one, Link) and one.path == "web/front"]
    assert end.port["hairpin"] is True


def test_a_free_port_is_outside_what_the_host_takes_itself_and_stays() -> None:
    host = FakeHost()
    go(host, pinned("3000"))
    first = there(host)[0][2]
    assert 20000 <= first < 32768
    host.listening.append(Listener("tcp", "0.0.0.0", first, "nginx (process 4242)"))
    go(host, pinned("3000", "8080:80"))
    assert first in {one[2] for one in there(host)}, "it is ours already"
    go(host, pinned("8080:80"))
    go(host, pinned("3000", "8080:80"))
    assert first not in {one[2] for one in there(host)}


def test_what_a_container_is_near_to_by_other_networks_is_noted_of_its_addresses_alone() -> None:
    host = FakeHost()
    both = f"{FRONT}\n  back: {{ipam: {{config: [{{subnet: 10.21.0.0/24}}, {{subnet: 'fd00:21::/64'}}]}}}}"
    more = "  api:\n    networks: {front: {ipv4_address: 10.20.0.11}}\n    ports: ['8081:80']\n"
    ends = "{front: {gw_priority: 1, ipv4_address: 10.20.0.10}, back: }"
    written = text("8080:80", networks=both, more=more).replace("[front]", ends, 1)
    go(host, written)
    rules = host.kernel.tables["inet", "netapply-shop"]
    assert re.findall(r"([0-9a-f.:]+) \. ([0-9a-f.:]+/\d+)", rules.partition("set near_ipv4")[2]) == [
        ("10.20.0.10", "10.21.0.0/24"),
        (WEB6, "fd00:21::/64"),
    ]
    assert not go(host, written).plan
    go(host, written.replace(", back: }", "}"))
    assert "near" not in host.kernel.tables["inet", "netapply-shop"]


@given(st.integers(1, 65535))
def test_free_ports_of_one_target_on_one_address_and_on_all_stay_what_they_are(target: int) -> None:
    host, manifest = FakeHost(), pinned(str(target), f"'127.0.0.1::{target}'")
    go(host, manifest)
    assert not go(host, manifest).plan


def test_two_free_ports_differ() -> None:
    host = FakeHost()
    go(host, pinned("3000", "3001", "'3000/udp'"))
    assert len({(one[0], one[2]) for one in there(host)}) == 3


def test_who_listens_on_a_port_is_named_and_nothing_is_touched() -> None:
    host = FakeHost()
    host.listening.append(Listener("tcp", "0.0.0.0", 8080, "nginx (process 4242)"))
    before = host.snapshot()
    with pytest.raises(Refused) as caught:
        go(host, pinned("8080:80"))
    assert caught.value.reasons == (
        "port 8080/tcp of the host, which web is to be published on, is taken: nginx (process 4242) listens on "
        "0.0.0.0:8080; end that, or choose another port or host_ip",
    )
    assert host.snapshot() == before
    go(host, pinned("127.0.0.2:8081:80", "8080:80/udp"))


def test_hosts_that_share_a_manifest_say_by_a_variable_where_a_port_is_published() -> None:
    manifest = load(["-"], {"LAN_ADDRESS": "192.0.2.11"}, io.StringIO(text('"${LAN_ADDRESS}:8080:80"')))
    assert [(one.host_ip, one.published) for one in manifest.containers["web"].ports] == [("192.0.2.11", 8080)]


def test_a_chain_of_others_that_leads_a_port_elsewhere_is_named_and_nothing_is_touched() -> None:
    host = FakeHost()
    host.listening.append(Listener("tcp", "0.0.0.0", 8080, "the firewall chain ip nat DOCKER"))
    before = host.snapshot()
    with pytest.raises(Refused) as caught:
        go(host, pinned("8080:80"))
    assert caught.value.reasons == (
        "port 8080/tcp of the host, which web is to be published on, is taken: the firewall chain ip nat DOCKER leads "
        "0.0.0.0:8080 elsewhere; remove its rule, or choose another port or host_ip",
    )
    assert host.snapshot() == before


LEGACY = """\
-P PREROUTING ACCEPT
-P OUTPUT ACCEPT
-N PORTS
-A PREROUTING -m addrtype --dst-type LOCAL -j PORTS
-A OUTPUT -p tcp -m tcp --dport 8082 -j DNAT --to-destination 10.0.0.2:80
-A PORTS -p tcp -m multiport --dports 8443,9000:9010 -j MANY
-A MANY -p tcp -m tcp --dport 8443 -j DNAT --to-destination 10.0.0.2:443
-A PORTS ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.0.0.2:80
-A PORTS -d 192.0.2.1/32 -p udp -m udp --dport 53 -j REDIRECT --to-ports 5353
-A PORTS -s 192.0.2.0/24 -p tcp -m tcp --dport 8081 -j DNAT --to-destination 10.0.0.2:80
"""


def test_of_the_iptables_of_old_what_is_certain_is_told() -> None:
    chains = [Filter("ip", "nat", one, "nat", -100, "accept", LEGACY, legacy=True) for one in ("PREROUTING", "OUTPUT")]
    wanted = {("tcp", port) for port in (8080, 8081, 8082, 8443, 9005)} | {("udp", 53), ("udp", 8080)}
    who = "the firewall chain legacy ip nat"
    found = [*led(chains, wanted, {"192.0.2.1"}, "eth0")]
    assert found == [
        Listener("tcp", "0.0.0.0", 8080, f"{who} PORTS"),
        Listener("tcp", "0.0.0.0", 8443, f"{who} MANY"),
        Listener("udp", "192.0.2.1", 53, f"{who} PORTS"),
    ]
    assert [one.port for one in led(chains, wanted, {"192.0.2.9"}, "eth0")] == [8080, 8443]


def test_ports_that_rules_of_others_are_about_are_none_to_choose_from() -> None:
    rules = [
        *("tcp dport 20000-20009 dnat to 10.0.0.2", "tcp dport { 22, 30000, 32767-32769 } redirect to :7"),
        *("tcp dport 24000-24999 dnat to 10.0.0.3", "udp dport 24990-25499 redirect to :7", "tcp dport 26000 jump to"),
        "ip saddr 192.0.2.0/24 tcp dport 20000-60000 redirect to :7",  # which is certain of nobody
    ]
    text = "".join(f"\t\t{rule}\n" for rule in ("type nat hook prerouting priority -100; policy accept;", *rules))
    table = f"table ip theirs {{\n\tchain pre {{\n{text}\t}}\n}}\n"
    chain = Filter("ip", "theirs", "pre", "nat", -100, "accept", table)
    about = {*range(20000, 20010), *range(24000, 25500), 26000, 30000, 32767}
    assert maybe_led([chain], {"192.0.2.1"}, "eth0") == about
    own = chain._replace(text=table.replace("chain pre {", 'comment "netapply:other"\n\tchain pre {'))
    out = chain._replace(text=table.replace("prerouting", "output"))
    assert maybe_led([own, out], {"192.0.2.1"}, "eth0") == set()


def test_a_free_port_is_none_that_rules_of_others_may_lead_elsewhere() -> None:
    observation = Observation({}, Facts(led=frozenset({*FREE_PORTS} - {20007, 20008})))
    manifest = load(["-"], {}, io.StringIO(text("80", "81")))
    found = {one.port for one in allocate(manifest, observation).publications}
    assert found == {20007, 20008}


def test_another_project_that_publishes_a_port_is_named() -> None:
    host = FakeHost()
    go(host, pinned("127.0.0.1:8080:80"))
    other = pinned("8080:80").replace("project: shop", "project: other").replace("10.20", "10.30")
    with pytest.raises(Refused) as caught:
        go(host, other.replace("fd00:20", "fd00:30").replace("web", "www"))
    assert "web of project shop is published on 127.0.0.1:8080" in str(caught.value)


def test_an_address_that_the_host_has_not_is_a_note() -> None:
    report = go(FakeHost(), pinned("192.0.2.1:8080:80", "127.0.0.1:8081:80"))
    assert report.notes == (
        "ports are published on 192.0.2.1, which is no address of the host now: nothing comes by it",
    )


def test_a_free_port_is_written_into_the_manifest() -> None:
    host = FakeHost()
    manifest = load(["-"], {}, io.StringIO(pinned("3000", "'127.0.0.1::81/udp'", "{target: 90}", "8080:80")))
    topology = engine.plan(manifest, host).topology
    texts = pin(manifest, topology)
    again_ = load(["-"], {}, io.StringIO(texts["-"])).containers["web"].ports
    chosen = {(one.protocol, one.targets[0].port): one.port for one in topology.publications}
    assert [one.published for one in again_] == [chosen["tcp", 3000], chosen["udp", 81], chosen["tcp", 90], 8080]


# words


def test_ports_are_told_in_lines_with_ranges_together() -> None:
    both = [
        Publication("web", "tcp", None, 8000 + one, (Target(address, 80 + one),))
        for one in range(3)
        for address in ("10.20.0.10", "fd00:20::10")
    ]
    more = [Publication("web", "udp", "127.0.0.1", 53, (Target("10.20.0.10", 53),))]
    assert [str(one) for one in lines([*both, *more])] == [
        "port 127.0.0.1:53/udp of web → 10.20.0.10:53",
        "ports 8000-8002/tcp of web → 10.20.0.10:80-82, [fd00:20::10]:80-82",
    ]


def test_what_changes_of_ports_is_told() -> None:
    host = FakeHost()
    go(host, pinned("8080:80", "8081:81"))
    report = go(host, pinned("8082:82", more="  api:\n    networks: {front: {ipv4_address: 10.20.0.11}}\n"
                             "    ports: ['8080:80']\n"))  # fmt: skip
    (change,) = [one for one in report.plan.changes if isinstance(one, Update) and isinstance(one.after, NftTable)]
    assert list(differing(change)) == [
        ("remove", f"port 8081/tcp of web → 10.20.0.10:81, [{WEB6}]:81"),
        ("add", f"port 8082/tcp of web → 10.20.0.10:82, [{WEB6}]:82"),
        (
            "change",
            f"port 8080/tcp of web → 10.20.0.10:80, [{WEB6}]:80, from now on of api → 10.20.0.11:80, [{API6}]:80",
        ),
    ]


def test_names_that_leave_no_room_for_the_setting_are_too_long() -> None:
    front = "n" * 128
    one = text("80:80", networks=f"{front}: {{protect: true}}").replace("[front]", f"[{front}]")
    load(["-"], {}, io.StringIO(one))
    one = one.replace("project: shop", f"project: {'p' * 63}").replace(
        "true", "true, driver_opts: {uplink: a23456789012345}"
    )
    (words,) = said(one)
    assert "by which ports are published, is 270 bytes long, and the kernel keeps 255; choose shorter names" in words
