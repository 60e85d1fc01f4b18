"""Mistakes that have nothing to do with each other are all told at once, and what is only a consequence is not."""

from __future__ import annotations

import io
from collections.abc import Collection
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.errors import ManifestError
from reconciler.manifest import load


class Line(NamedTuple):
    """A line of a manifest: what is right there, and what else: wrong at `at`, with what is then said."""

    right: str
    wrong: str = ""
    at: str = ""
    said: str = ""


LINES = [
    Line("project: p"),
    Line("networks:"),
    Line("  front:"),
    Line("    internal: false", "    internal: maybe", "maybe", "internal must be true or false, not 'maybe'"),
    Line("    mtu: 1400", "    mtu: 5", "5", "mtu is 5, and must be between 68 and 65535"),
    Line("    allow: [back]", "    allow: [bakc]", "bakc", "there is no network bakc; did you mean back?"),
    Line("    metric: 5", "    metrc: 5", "metrc", "unknown key metrc in a network; did you mean metric?"),
    Line("    driver_opts:"),
    Line("      icc: true", "      icc: 7", "7", "icc must be true or false, not 7"),
    Line("      hairpin: true", "      hairpn: true", "hairpn",
         "unknown key hairpn in driver_opts of bridge; did you mean hairpin?"),
    Line("      snat_address: 192.0.2.1", "      snat_address: nat", "nat",
         "snat_address is 'nat', which is not an address"),
    Line("      host_binding: 192.0.2.1", "      host_binding: eth0", "eth0",
         "host_binding is 'eth0', which is not an address"),
    Line("      name: br-front", "      name: averyveryverylongname", "averyveryverylongname",
         "name is 'averyveryverylongname', not the name of a link, which is 1 to 15 bytes long, without spaces, "
         "/ and :"),
    Line("    ipam:"),
    Line("      config:"),
    Line("        - subnet: 10.0.0.0/24"),
    Line("          gateway: 10.0.0.1", "          gateway: 10.9.0.1", "10.9.0.1",
         "gateway 10.9.0.1 is not in subnet 10.0.0.0/24; choose an address in it"),
    Line("          ip_range: 10.0.0.0/25", "          ip_range: 10.0.0.0/x", "10.0.0.0/x",
         "ip_range is '10.0.0.0/x', not a prefix such as 10.20.0.0/24 or fd00:20::/64"),
    Line("    routes:"),
    Line("      - destination: 10.8.0.0/16", "      - destination: 10.8.0.0/99", "10.8.0.0/99",
         "destination is '10.8.0.0/99', which is not a prefix"),
    Line("      - {destination: 10.7.0.0/16, via: 10.0.0.7}", "      - {destination: 10.7.0.0/16, via: 10.9.0.7}",
         "10.9.0.7", "via 10.9.0.7 is in no subnet of network front (10.0.0.0/24); a next hop must be a neighbour"),
    Line("  back: {ipam: {config: [{subnet: 10.1.0.0/24}]}}", "  back: {ipam: {config: [{subnet: 10.1.0.0}]}}",
         "10.1.0.0", "subnet is '10.1.0.0', not a prefix such as 10.20.0.0/24 or fd00:20::/64"),
    Line("  lan:"),
    Line("    driver: macvlan"),
    Line("    mtu: 1400", "    mtu: {}", "{}", "mtu must be a whole number, not a mapping"),
    Line("    labels: {}", "    allow: [front]", "allow",
         "packets of a macvlan network do not pass the host, so that nothing can be allowed or forbidden there; "
         "remove it"),
    Line("    driver_opts:"),
    Line("      parent: eth7", "      parent: lo", "lo", "no link can stand on lo; name a physical link, or a bridge"),
    Line("      bc_queue_len: 7", "      bc_queue_len: 0", "0", "bc_queue_len is 0, and must be between 1 and 1000000"),
    Line("containers:"),
    Line("  web:"),
    Line("    labels: [tier=web]", "    labels: [=web]", "=web", "labels is '=web', not of the form KEY=VALUE"),
    Line("    ports:"),
    Line("      - 8080:80", "      - 8080:http", "8080:http",
         "'8080:http' is not a published port; write [HOST_IP:][PUBLISHED:]TARGET[/PROTOCOL], an IPv6 address in "
         "brackets"),
    Line("      - 9090:90"),
    Line("      - 8443:443", "      - 9090:443", "9090:443",
         "port 9090/tcp of the host is published by this container already, at -:35:9; choose another, or another "
         "host_ip for both"),
    Line("    networks:"),
    Line("      front:"),
    Line("        ipv4_address: 10.0.0.10", "        ipv4_address: 10.9.0.10", "10.9.0.10",
         "10.9.0.10 is in no subnet of network front (10.0.0.0/24); choose an address in one"),
    Line("        mac_address: 02:00:00:00:00:01", "        mac_address: 01:00:00:00:00:01", "01:00:00:00:00:01",
         "the MAC 01:00:00:00:00:01 is a multicast address; the first octet of a container's is even, such as 02"),
    Line("        interface_name: eth0", "        interface_name: abcdefghijklmnopqrstuvw", "abcdefghijklmnopqrstuvw",
         "the interface name 'abcdefghijklmnopqrstuvw' is 23 bytes long, and the kernel takes 1 to 15; choose a "
         "shorter one"),
    Line("        gw_priority: 1", "        gw_priority: high", "high",
         "gw_priority must be a whole number, not 'high'"),
    Line("        sysctls: {net.ipv4.conf.IFNAME.rp_filter: 2}", "        sysctls: {net.ipv4.conf.eth0.rp_filter: 2}",
         "net.ipv4.conf.eth0.rp_filter",
         "the setting 'net.ipv4.conf.eth0.rp_filter' names an interface; write net.ipv4.conf.IFNAME.rp_filter"),
    Line("      back:"),
    Line("      lan:", "      lna:", "lna", "there is no network lna; did you mean lan?"),
    Line("  api:"),
    Line("    sandbox: {netns: api}", "    sandbox: {netns: web}", "web",
         "containers web and api have the same sandbox, netns:web; give api another, or its networks to web"),
    Line("    networks:"),
    Line("      front: {}", "      front: {driver_opts: {vlan: x}}", "x", "vlan must be a whole number, not 'x'"),
    Line("services:"),
    Line("  all:"),
    Line("    network: front"),
    Line("    containers: [web, api]", "    containers: [web, apo]", "apo",
         "there is no container apo; did you mean api?"),
    Line("    affinity: client", "    affinity: sticky", "sticky", "affinity must be none or client, not 'sticky'"),
    Line("    ports: [80]", "    ports: [80000]", "80000", "ports is 80000, and must be between 1 and 65535"),
]  # fmt: skip
WRONG = [number for number, line in enumerate(LINES) if line.wrong]


def manifest(wrong: Collection[int]) -> str:
    """Return the manifest with those lines wrong."""
    return "".join(f"{line.wrong if number in wrong else line.right}\n" for number, line in enumerate(LINES))


def expected(wrong: Collection[int]) -> list[str]:
    places = {number: LINES[number].wrong.rindex(LINES[number].at) + 1 for number in wrong}
    return [f"-:{number + 1}:{places[number]}: error: {LINES[number].said}" for number in sorted(wrong)]


def told(text: str) -> list[str]:
    """Return all that is said of a manifest, in the order of its places."""
    try:
        load(["-"], {}, io.StringIO(text))
    except ManifestError as failure:
        return [str(problem) for problem in failure.problems]
    return []


def test_the_manifest_without_mistakes_has_none() -> None:
    assert told(manifest(())) == []


@pytest.mark.parametrize("number", WRONG)
def test_a_mistake_is_told_beside_any_other(number: int) -> None:
    for other in (one for one in WRONG if one >= number):
        assert told(manifest({number, other})) == expected({number, other})


def test_all_mistakes_are_told_at_once() -> None:
    assert told(manifest(WRONG)) == expected(WRONG)


@settings(deadline=None)
@given(st.sets(st.sampled_from(WRONG), min_size=3))
def test_any_mistakes_are_told_at_once(wrong: set[int]) -> None:
    assert told(manifest(wrong)) == expected(wrong)


BROKEN = [
    # a value that others refer to, or that decides what holds for others
    "networks: {a: {driver: brigde}}\ncontainers: {c: {networks: {a: {ipv4_address: 10.0.0.1}}, ports: [80]}}",
    "networks: {a: {drivr: macvlan, driver_opts: {parent: eth0, mode: vepa}}}",
    "networks: {a: 5}\ncontainers: {c: {networks: {a: {ipv4_address: 10.0.0.1}}}}",
    "networks: 5\ncontainers: {c: {networks: [a]}}\nservices: {s: {network: a, containers: [c]}}",
    "netwroks: {a: }\ncontainers: {c: {networks: [a]}}",
    "networks: {a: }\nnetworks: {b: }\ncontainers: {c: {networks: [a, b]}}",
    "containers: {c: }\ncontainers: {d: {networks: [a]}}\nnetworks: {a: }\n"
    "services: {s: {network: a, containers: [d]}}",
    "networks: {my net: }\ncontainers: {c: {networks: [my net]}}",
    "networks: {a: {driver: docker-plugin, driver_opts: {plugin: /}}}",
    "networks: {a: {driver: docker-plugin, driver_opts: 5}}",
    "networks: {a: {driver: cni, driver_opts: {conflist: 5}}}",
    "networks: {a: {driver: cni, driver_opts: {config: x}}}",
    "networks: {a: {external: true, driver_opts: {name: a b}}}",
    "networks: {a: {driver: macvlan, driver_opts: {mode: brigde, host_access: true}}}",
    "networks: {a: {driver: macvlan, driver_opts: {mode: passthrough}}}\n"
    "containers: {c: {networks: [a]}, d: {networks: [a]}}",
    "networks: {a: {enable_ipv6: x}}\ncontainers: {c: {networks: {a: {ipv6_address: 'fd00::1'}}}}",
    "networks: {a: {enable_ipv4: false, enable_ipv6: x}}",
    "networks: {a: {ipam: {config: [{subnet: 10.0.0.0/24}, {subnet: x}]}}}\n"
    "containers: {c: {networks: {a: {ipv4_address: 10.1.0.1}}}}",
    "networks: {a: {ipam: {config: [{subnet: 10.0.0.0/24}, {subnet: 10.0.0.300/24}]}}}\n"
    "containers: {c: {networks: {a: {ipv4_address: 10.1.0.1}}}}",
    "networks: {a: {ipam: {config: [{subnet: 10.0.0.0/30}]}}}\n"
    "containers: {c: {networks: [a]}, d: {networks: {a: {ipv4_address: x}}}}",
    "networks: {a: {driver_opts: {gateway_mode: ruoted}}}\ncontainers: {c: {networks: [a], ports: ['80:80']}}",
    "networks: {a: {driver: macvlan, driver_opts: {host_access: {}}}}\n"
    "containers: {c: {networks: [a], ports: ['80:80']}}",
    "networks: {a: {driver_opts: {vlan_filtering: 5}}}\ncontainers: {c: {networks: {a: {driver_opts: {vlan: 5}}}}}",
    "networks: {a: {driver_opts: {vlan_filtering: true}}}\n"
    "containers: {c: {networks: {a: {driver_opts: {vlan: x, trunk: 10}}}}}",
    "networks: {a: {driver: cni, driver_opts: {conflist: {type: x}}}}\n"
    "containers: {c: {networks: {a: {driver_opts: {cni_args: x}}}}}",
    "networks: {a: {driver_opts: {host_binding: eth0}}}\ncontainers: {c: {networks: [a], ports: ['8080:80']}}",
    "networks: {a: {driver: host}}\ncontainers: {c: {networks: [a], sandbox: {ntns: x}}}",
    "networks: {a: }\ncontainers: {c: {networks: 5, ports: [80]}}\nservices: {s: {network: a, containers: [c]}}",
    "networks: {a: }\ncontainers: {c: {networks: [[]], ports: [80]}}",
    "networks: {a: }\ncontainers: {c: 5}\nservices: {s: {network: a, containers: [c]}}",
    "networks: {a: }\ncontainers: 5\nservices: {s: {network: a, containers: [c, d-*]}}",
    "networks: {a: {driver: overlay}}\nhosts: {h: {address: x}}\ncontainers: {c: {networks: [a], host: h}}",
    "networks: {a: {driver: overlay}}\nhosts: {h: 5}\ncontainers: {c: {networks: [a], host: h}}",
    "networks: {a: {driver: overlay}}\nhosts: 5\ncontainers: {c: {networks: [a], host: h}}",
    "networks: {a: {driver: overlay}}\nhosts: {h: {address: 192.0.2.1}}\ncontainers: {c: {networks: [a], host: []}}",
    "networks: {a: {driver: overlay, driver_opts: {mode: L3, direct_routing: true}}}\nhosts: {h: {address: 192.0.2.1}}",
    "networks: {a: , b: }\ncontainers: {c: {networks: [b]}}\nservices: {s: {netwrk: b, containers: [c], ports: [80]}}",
    "networks: {a: }\ncontainers: {c: {networks: [a]}}\nservices: {s: {network: a, containers: 5, weights: {c: 2}}}",
    "networks: {a: {ipam: 5}}\ncontainers: {c: {networks: {a: {ipv4_address: 10.0.0.1}}}}",
]


@pytest.mark.parametrize("text", BROKEN)
def test_what_follows_from_a_mistake_is_not_told(text: str) -> None:
    assert len(told(f"project: p\n{text}\n")) == 1


def test_what_is_wrong_whatever_a_network_is_is_told_although_its_driver_is_not_known() -> None:
    text = "project: p\nnetworks:\n  a: {driver: brigde, ipam: {config: [{subnet: 10.0.0.0/24, gateway: 10.1.0.1}]}}\n"
    text += "containers:\n  c: {networks: {a: {interface_name: a/b}}}\n"
    assert [one.partition(" error: ")[0] for one in told(text)] == ["-:3:15:", "-:3:70:", "-:5:38:"]
