# ruff: noqa: E501 (messages are not broken into lines)
"""Every rule for manifests: the exact message, and the place that it points at."""

from __future__ import annotations

import io

import pytest

from reconciler.drivers import built_in
from reconciler.errors import ManifestError
from reconciler.manifest import load
from reconciler.manifest.words import listed

ENVIRON = {"PROJECT": "p"}


def network(front: str, more: str = "") -> str:
    return f"project: p\nnetworks:\n  front: {front}\n{more}"


def subnets(config: str, more: str = "", extra: str = "") -> str:
    return f"project: p\nnetworks:\n  front: {{ipam: {{config: [{config}]}}{extra}}}\n{more}"


def endpoints(*details: str) -> str:
    subnet = "{subnet: 10.0.0.0/24, gateway: 10.0.0.1, aux_addresses: {printer: 10.0.0.9}}"
    lines = (f"  c{number}: {{networks: {{front: {one}}}}}\n" for number, one in enumerate(details))
    return subnets(subnet, "containers:\n" + "".join(lines))


def complaints(text: str) -> list[str]:
    """Return the problems of a manifest as "line:column: what; mend"."""
    with pytest.raises(ManifestError) as caught:
        load(["-"], ENVIRON, io.StringIO(text))
    return [str(problem).removeprefix("-:").replace(": error: ", ": ", 1) for problem in caught.value.problems]


NETWORKS: list[tuple[str, list[str]]] = [
    (
        subnets("{subnet: 10.0.0.0/24}, {subnet: 10.0.0.128/25}"),
        ["3:59: subnet 10.0.0.128/25 overlaps with 10.0.0.0/24 of the same network; choose another"],
    ),
    (
        subnets("{subnet: 10.0.0.0/24}", "  back: {ipam: {config: [{subnet: 10.0.0.0/16}]}}\n"),
        ["4:35: subnet 10.0.0.0/16 overlaps with 10.0.0.0/24 of network front; choose another"],
    ),
    (subnets("{subnet: 10.0.0.1/24}"), ["3:36: subnet 10.0.0.1/24 has bits set past its length; write 10.0.0.0/24"]),
    (subnets("{subnet: 10.0.0.300/24}"), ["3:36: subnet is '10.0.0.300/24', which is not a prefix"]),
    (subnets("{subnet: 'fd00::1/64'}"), ["3:36: subnet fd00::1/64 has bits set past its length; write fd00::/64"]),
    (
        subnets("{subnet: 10.0.0.0/24, ip_range: 10.0.1.0/25}"),
        ["3:59: ip_range 10.0.1.0/25 is not in subnet 10.0.0.0/24; choose a part of it"],
    ),
    (
        subnets("{subnet: 10.0.0.0/24, gateway: 10.0.1.1}"),
        ["3:58: gateway 10.0.1.1 is not in subnet 10.0.0.0/24; choose an address in it"],
    ),
    (
        subnets("{subnet: 10.0.0.0/24, gateway: 10.0.0.0}"),
        ["3:58: gateway 10.0.0.0 is the network address of 10.0.0.0/24; choose another, such as 10.0.0.1"],
    ),
    (
        subnets("{subnet: 10.0.0.0/24, gateway: 10.0.0.255}"),
        ["3:58: gateway 10.0.0.255 is the broadcast address of 10.0.0.0/24; choose another, such as 10.0.0.1"],
    ),
    (
        subnets("{subnet: 'fd00::/64', gateway: 'fd00::'}"),
        ["3:58: gateway fd00:: is the routers' anycast address of fd00::/64; choose another, such as fd00::1"],
    ),
    (
        subnets("{subnet: 'fd00::/64', gateway: 10.0.0.1}"),
        ["3:58: gateway 10.0.0.1 is IPv4, and subnet fd00::/64 is IPv6; choose an address in it"],
    ),
    (
        subnets("{subnet: 'fd00::/64', ip_range: 10.0.0.0/24}"),
        ["3:59: ip_range 10.0.0.0/24 is IPv4, and subnet fd00::/64 is IPv6; choose a part of it"],
    ),
    (
        subnets("{subnet: 10.0.0.0/24, aux_addresses: {printer: 10.0.1.9}}"),
        ["3:74: aux address printer 10.0.1.9 is not in subnet 10.0.0.0/24; choose one in it"],
    ),
    (
        subnets("{subnet: 10.0.0.0/24, gateway: 10.0.0.1, aux_addresses: {printer: 10.0.0.1}}"),
        ["3:93: aux address printer is the gateway, 10.0.0.1; remove it: nobody gets a gateway"],
    ),
    (
        subnets("{subnet: 0.0.0.0/24, gateway: 10.0.0.1}"),
        ["3:57: gateway is given, and subnet 0.0.0.0/24 is a size only; give the subnet too, or neither"],
    ),
    (subnets("{subnet: 0.0.0.0/0}"), ["3:36: subnet 0.0.0.0/0 is every address, not a size; give a length from 8 up"]),
    (
        subnets("{subnet: 224.0.0.0/24}"),
        ["3:36: subnet 224.0.0.0/24 has multicast addresses, which a network can't have; choose another"],
    ),
    (
        subnets("{subnet: 127.0.0.0/24}"),
        ["3:36: subnet 127.0.0.0/24 has loopback addresses, which a network can't have; choose another"],
    ),
    (
        subnets("{subnet: 'fe80::/64'}"),
        ["3:36: subnet fe80::/64 has link-local addresses, which a network can't have; choose another"],
    ),
    (
        subnets("{subnet: 10.0.0.0/24}", extra=", enable_ipv4: false, enable_ipv6: true"),
        ["3:36: subnet 10.0.0.0/24 is IPv4, and network front has enable_ipv4: false; remove one of the two"],
    ),
    (
        subnets("{subnet: 'fd00::/64'}", extra=", enable_ipv6: false"),
        ["3:36: subnet fd00::/64 is IPv6, and network front has enable_ipv6: false; remove one of the two"],
    ),
    (
        subnets("{subnet: 'fd00::/64'}", extra=", mtu: 1000"),
        ["3:57: mtu is 1000, and IPv6 needs 1280 at least; raise it, or set enable_ipv6: false"],
    ),
    (network("{mtu: 67}"), ["3:16: mtu is 67, and must be between 68 and 65535"]),
    (network("{enable_ipv4: false}"), ["3:24: network front has neither IPv4 nor IPv6; enable one"]),
    (network("{allow: [bak]}", "  back:\n"), ["3:19: there is no network bak; did you mean back?"]),
    (
        network("{allow: [front]}"),
        ["3:19: network front allows itself; remove it; driver_opts.icc says who talks within it"],
    ),
    (
        network("{allow: [back]}", "  back: {internal: true}\n"),
        ["3:19: network back is internal, and nothing comes in; remove it, or internal there"],
    ),
    (
        network("{allow: [lan]}", "  lan: {driver: macvlan}\n"),
        [
            "3:19: packets of the macvlan network lan do not pass the host's firewall; remove it: nothing needs to be allowed there"
        ],
    ),
    (
        network("{allow: [back], internal: true}", "  back:\n"),
        ["3:11: network front is internal, and opens no connections to others; remove allow or internal"],
    ),
    (
        network("{allow: [back]}", "  back: {external: true, driver_opts: {name: br0}}\n"),
        [
            "3:19: packets of the external network back do not pass the host's firewall; remove it: nothing needs to be allowed there"
        ],
    ),
    (
        network("{external: true, internal: true, protect: true, driver_opts: {name: br0}}"),
        [
            "3:37: network front is external, so that its internal is not netapply's to say; remove it",
            "3:52: network front is external, so that its protect is not netapply's to say; remove it",
        ],
    ),
    (
        network("{driver: macvlan, driver_opts: {parent: lo}}"),
        ["3:50: no link can stand on lo; name a physical link, or a bridge"],
    ),
    (
        network(
            "{driver: macvlan, driver_opts: {parent: eth0, mode: passthru}}",
            "  lan: {driver: macvlan, driver_opts: {parent: eth0}}\n"
            "containers: {a: {networks: [front]}, b: {networks: [lan]}}\n",
        ),
        [
            "3:62: network front has its parent for itself, and network lan stands on it too; "
            "use mode bridge, or another parent"
        ],
    ),
    (
        network(
            "{ipam: {config: [{subnet: 10.0.0.0/24}]}}",
            "  lan:\n"
            "    driver: macvlan\n"
            "    driver_opts: {parent: p-front}\n"
            "    ipam: {config: [{subnet: 10.0.0.0/24, ip_range: 10.0.0.128/25}]}\n",
        ),
        [
            "7:5: network lan stands on the link of network front, and both can give 10.0.0.128; "
            "give each an ip_range of its own"
        ],
    ),
    (
        network(
            "{ipam: {config: [{subnet: 10.0.0.0/24, ip_range: 10.0.0.0/25}]}}",
            "  lan: {driver: macvlan, driver_opts: {parent: p-front}, ipam: {config: [{subnet: 10.0.0.0/24}]}}\n"
            "containers: {a: {networks: {front: {ipv4_address: 10.0.0.200}}}}\n",
        ),
        [
            "4:58: network lan stands on the link of network front, and both can give 10.0.0.2; "
            "give each an ip_range of its own"
        ],
    ),
    (
        network(
            "{ipam: {config: [{subnet: 10.0.0.0/24, ip_range: 10.0.0.0/25, gateway: 10.0.0.200}]}}",
            "  lan:\n"
            "    driver: macvlan\n"
            "    driver_opts: {parent: p-front}\n"
            "    ipam: {config: [{subnet: 10.0.0.0/24, ip_range: 10.0.0.128/25}]}\n",
        ),
        [
            "7:5: network lan stands on the link of network front, and both can give 10.0.0.200; "
            "give each an ip_range of its own"
        ],
    ),
    (
        network(
            "{driver_opts: {name: br0}}",
            "  ours: {external: true, driver_opts: {name: br0}}\n",
        ),
        ["4:46: network ours is external, and network front makes its link br0; attach its containers to front"],
    ),
    (
        network("{external: true}"),
        ["3:21: an external bridge network needs the name of its bridge; set driver_opts.name"],
    ),
    (
        network("{driver: none, ipam: {config: [{subnet: 10.0.0.0/24}]}, enable_ipv6: true, mtu: 1400}"),
        [
            "3:25: a none network has no addresses, so no ipam; remove it",
            "3:79: a none network has no addresses, so no enable_ipv6; remove it",
            "3:90: a none network has no addresses, so no mtu; remove it",
        ],
    ),
    (
        network("{driver: host, internal: true}"),
        ["3:35: a host network is the host's own and can't be internal; remove it"],
    ),
    (
        network("{driver_opts: {name: br0}}", "  back: {driver_opts: {name: br0}}\n"),
        ["4:30: networks front and back have the same name br0 for their links; choose another"],
    ),
    (
        network("{driver_opts: {name: ééééééééé}}"),
        ["3:31: the interface name 'ééééééééé' is 18 bytes long, and the kernel takes 1 to 15; choose a shorter one"],
    ),
    (
        subnets("{subnet: 10.0.0.0/24}", extra=", routes: [{destination: 10.9.0.1/16, via: 10.0.0.2}]"),
        ["3:75: destination 10.9.0.1/16 has bits set past its length; write 10.9.0.0/16"],
    ),
    (
        subnets("{subnet: 10.0.0.0/24}", extra=", routes: [{destination: 10.9.0.0/16, via: 10.1.0.2}]"),
        ["3:93: via 10.1.0.2 is in no subnet of network front (10.0.0.0/24); a next hop must be a neighbour"],
    ),
    (
        network("{routes: [{destination: 10.9.0.0/16, via: 10.1.0.2}]}"),
        ["3:52: via 10.1.0.2 is in no subnet of network front; a next hop must be a neighbour"],
    ),
    (
        subnets(
            "{subnet: 10.0.0.0/24}", extra=", routes: [{destination: 10.9.0.0/16, via: 10.0.0.2, type: blackhole}]"
        ),
        ["3:93: a blackhole route goes nowhere and has no via; remove it"],
    ),
    (
        subnets("{subnet: 10.0.0.0/24}", extra=", routes: [{destination: 'fd00::/16', via: 10.0.0.2}]"),
        ["3:93: via 10.0.0.2 is IPv4, and destination fd00::/16 is IPv6; both must be of one family"],
    ),
    (
        subnets(
            "{subnet: 10.0.0.0/24}",
            extra=", routes: [{destination: 10.9.0.0/16}, {destination: 10.9.0.0/16, metric: 0}]",
        ),
        ["3:103: there is a route to 10.9.0.0/16 with that metric already; give one of them another metric"],
    ),
    (
        subnets("{subnet: 10.0.0.0/24}", extra=", routes: [{destination: default}]"),
        ["3:75: destination is 'default', not a prefix such as 10.20.0.0/24 or fd00:20::/64"],
    ),
    (
        subnets("{subnet: 10.0.0.0/30}", "containers: {a: {networks: [front]}, b: {networks: [front]}}\n"),
        [
            "3:36: network front has IPv4 addresses for 1 of 2 containers that pin none; widen the subnet or its ip_range"
        ],
    ),
    (
        subnets(
            "{subnet: 10.0.0.0/24, ip_range: 10.0.0.8/31}",
            "containers: {a: {networks: [front]}, b: {networks: [front]}, c: {networks: [front]}}\n",
        ),
        [
            "3:59: network front has IPv4 addresses for 2 of 3 containers that pin none; widen the subnet or its ip_range"
        ],
    ),
    (
        "project: p\ndefault_address_pools: [{base: 10.0.0.0/16, size: 8}, {base: 10.0.1.0/24, size: 26}, {base: 10.0.0.1/8, size: 24}]\n",
        [
            "2:51: size is 8, and subnets of 10.0.0.0/16 have between 16 and 32",
            "2:62: base 10.0.1.0/24 overlaps with the pool 10.0.0.0/16; choose another",
            "2:93: base 10.0.0.0/8 overlaps with the pool 10.0.0.0/16; choose another",
            "2:93: base 10.0.0.1/8 has bits set past its length; write 10.0.0.0/8",
        ],
    ),
]


@pytest.mark.parametrize(("text", "expected"), NETWORKS, ids=[expected[0][:70] for _, expected in NETWORKS])
def test_a_rule_for_networks_says_where_and_what_mends_it(text: str, expected: list[str]) -> None:
    assert complaints(text) == expected


CONTAINERS: list[tuple[str, list[str]]] = [
    (
        endpoints("{ipv4_address: 10.0.1.1}"),
        ["5:41: 10.0.1.1 is in no subnet of network front (10.0.0.0/24); choose an address in one"],
    ),
    (endpoints("{ipv4_address: 10.0.0.1}"), ["5:41: 10.0.0.1 is the gateway of network front; choose another address"]),
    (
        endpoints("{ipv4_address: 10.0.0.9}"),
        ["5:41: 10.0.0.9 is the aux address printer of network front; choose another address"],
    ),
    (
        endpoints("{ipv4_address: 10.0.0.0}"),
        ["5:41: 10.0.0.0 is the network address of network front; choose another address"],
    ),
    (
        endpoints("{ipv4_address: 10.0.0.255}"),
        ["5:41: 10.0.0.255 is the broadcast address of network front; choose another address"],
    ),
    (
        endpoints("{ipv4_address: 10.0.0.5}", "{ipv4_address: [10.0.0.4, 10.0.0.5]}"),
        ["6:52: 10.0.0.5 is that of container c0 on network front; choose another address"],
    ),
    (
        endpoints("{ipv4_address: 'fd00::1'}"),
        ["5:41: ipv4_address is fd00::1, which is IPv6; write it as ipv6_address"],
    ),
    (
        endpoints("{ipv6_address: 10.0.0.1}"),
        ["5:41: ipv6_address is 10.0.0.1, which is IPv4; write it as ipv4_address"],
    ),
    (
        endpoints("{ipv6_address: 'fd00::1'}"),
        ["5:41: fd00::1 is IPv6, which network front does not have; set enable_ipv6: true there, or remove it"],
    ),
    (
        endpoints("{ipv4_address: 10.0.0.5/24}"),
        ["5:41: ipv4_address is '10.0.0.5/24', which is not an address; an address has no prefix length here"],
    ),
    (endpoints("{ipv4_address: 10.0.0.05}"), ["5:41: ipv4_address is '10.0.0.05', which is not an address"]),
    (
        endpoints("{mac_address: '02:42:00:00:00:11'}", "{mac_address: 02-42-00-00-00-11}"),
        ["6:40: containers c0 and c1 have the same MAC 02:42:00:00:00:11 on network front; choose another"],
    ),
    (
        endpoints("{mac_address: '01:42:00:00:00:11'}"),
        [
            "5:40: the MAC 01:42:00:00:00:11 is a multicast address; the first octet of a container's is even, such as 02"
        ],
    ),
    (
        endpoints("{mac_address: 000000000000}"),
        ["5:40: the MAC 00:00:00:00:00:00 is no address at all; the first octet of a container's is even, such as 02"],
    ),
    (endpoints("{mac_address: 02:42}"), ["5:40: mac_address is '02:42', not a MAC address such as 02:42:ac:11:00:02"]),
    (
        endpoints("{interface_name: averyveryverylongname}"),
        [
            "5:43: the interface name 'averyveryverylongname' is 21 bytes long, and the kernel takes 1 to 15; choose a shorter one"
        ],
    ),
    (
        endpoints("{interface_name: a/b}"),
        ["5:43: 'a/b' can't be the name of an interface; it can't be . or .., nor have /, :, % or spaces"],
    ),
    (
        endpoints("{interface_name: lo}"),
        ["5:43: 'lo' can't be the name of an interface; the kernel has that name for something else"],
    ),
    (
        endpoints("{interface_name: ..}"),
        ["5:43: '..' can't be the name of an interface; it can't be . or .., nor have /, :, % or spaces"],
    ),
    (
        endpoints("{interface_name: 'a b'}"),
        ["5:43: 'a b' can't be the name of an interface; it can't be . or .., nor have /, :, % or spaces"],
    ),
    (
        endpoints("{interface_name: ''}"),
        ["5:43: the interface name '' is 0 bytes long, and the kernel takes 1 to 15; remove it"],
    ),
    (
        endpoints("{interface_name: eth%d}"),
        ["5:43: 'eth%d' can't be the name of an interface; it can't be . or .., nor have /, :, % or spaces"],
    ),
    (
        endpoints("{interface_name: all}"),
        ["5:43: 'all' can't be the name of an interface; the kernel has that name for something else"],
    ),
    (endpoints("{priority: 3}"), ["5:27: unknown key priority in a container's network; write gw_priority"]),
    (
        network("{driver_opts: {name: br%d}}"),
        ["3:31: 'br%d' can't be the name of an interface; it can't be . or .., nor have /, :, % or spaces"],
    ),
    (
        network(
            "",
            "  back:\ncontainers: {web: {networks: {front: {interface_name: eth0}, back: {interface_name: eth0}}}}\n",
        ),
        ["5:85: container web has an interface eth0 already, on network front; choose another"],
    ),
    (network("", "containers: {web: {networks: [frnt]}}\n"), ["4:31: there is no network frnt; did you mean front?"]),
    (
        network("", "containers: {web: {networks: {nirvana: {}}}}\n"),
        ["4:31: there is no network nirvana; add it under networks"],
    ),
    (
        network("{driver: none}", "  back:\ncontainers: {web: {networks: [front, back]}}\n"),
        [
            "5:31: container web is on the none network front, and on others; a container on a none network can be on no other"
        ],
    ),
    (
        network("{driver: host}", "containers: {web: {networks: [front], sandbox: {netns: web}}}\n"),
        [
            "4:39: container web is on the host network front and has a namespace of its own; its namespace is the host's: remove sandbox, or set create: false"
        ],
    ),
    (
        network(
            "{driver: host}",
            "containers: {web: {networks: {front: {ipv4_address: 10.0.0.1, mac_address: 02:42:00:00:00:11}}}}\n",
        ),
        [
            "4:53: the host network front gives a container no interface, so no ipv4_address; remove it",
            "4:76: the host network front gives a container no interface, so no mac_address; remove it",
        ],
    ),
    (
        network("", "containers: {web: {sandbox: {netns: api}}, api: }\n"),
        ["4:44: containers web and api have the same sandbox, netns:api; give api another, or its networks to web"],
    ),
    (
        network("", "containers: {web: {sandbox: {pid: 4}}, api: {sandbox: {pid: 4}}}\n"),
        ["4:61: containers web and api have the same sandbox, pid:4; give api another, or its networks to web"],
    ),
    (
        network("", "containers: {web: {sandbox: {netns: a/b}}}\n"),
        ["4:37: netns is 'a/b', not the name of a network namespace (a file in /run/netns)"],
    ),
    (network("", "containers: {web: {sandbox: {pid: 0}}}\n"), ["4:35: pid is 0, and must be between 1 and 4194304"]),
    (
        network("", "containers: {web: {sandbox: {pid: 1, netns: a}}}\n"),
        [
            "4:29: sandbox takes one of netns, docker, podman, containerd, oci, machine or pid, not netns and pid; "
            "write {docker: NAME}, {netns: NAME} or another kind"
        ],
    ),
    (
        network("", "containers: {web: {sandbox: {pid: 1, create: true}}}\n"),
        ["4:38: create goes with netns only; remove it"],
    ),
    (
        network("", "containers: {web: {sandbox: web}}\n"),
        ["4:29: sandbox must be a mapping, not 'web'; write {docker: NAME}, {netns: NAME} or another kind"],
    ),
    (
        network("", "containers: {web: {sandbox: {}}}\n"),
        ["4:29: sandbox is empty; write {docker: NAME}, {netns: NAME} or another kind"],
    ),
    (
        network("", "containers: {web: {sandbox: {runc: web}}}\n"),
        ["4:30: unknown key runc in a sandbox; write {oci: ID, runtime: runc}"],
    ),
    (
        network("", "containers: {web: {sandbox: {docker: ../web}}}\n"),
        ["4:38: docker is '../web', not the name or ID of a container"],
    ),
    (
        network("", "containers: {web: {sandbox: {docker: web, socket: docker.sock}}}\n"),
        ["4:51: socket is 'docker.sock', not the path of a file, which begins with /"],
    ),
    (
        network("", "containers: {web: {sandbox: {oci: web, socket: /run/x.sock}}}\n"),
        ["4:40: a sandbox by oci has no socket; remove it"],
    ),
    (
        network("", "containers: {web: {sandbox: {netns: web, socket: /run/x.sock}}}\n"),
        ["4:42: a sandbox by netns has no socket; remove it"],
    ),
    (
        network("", "containers: {web: {sandbox: {docker: web, runtime: runc}}}\n"),
        ["4:43: runtime goes with oci only; remove it"],
    ),
    (
        network("", "containers: {a: {sandbox: {docker: web}}, b: {sandbox: {docker: web}}}\n"),
        ["4:65: containers a and b have the same sandbox, docker:web; give b another, or its networks to a"],
    ),
    (
        endpoints("{link_local_ips: [10.0.0.1]}"),
        ["5:44: 10.0.0.1 is not a link-local address; such addresses are in 169.254.0.0/16 and fe80::/10"],
    ),
    (
        "project: p\n"
        "networks:\n"
        "  a: {driver: ipvlan, driver_opts: {parent: eth0}}\n"
        "  b: {driver: ipvlan, driver_opts: {parent: eth0}}\n"
        "  c: {}\n"
        "containers:\n"
        "  one: {networks: {a: {link_local_ips: [169.254.1.1]}, c: {link_local_ips: ['fe80::7', 169.254.1.1]}}}\n"
        "  two: {networks: {b: {link_local_ips: [169.254.1.1]}, c: {link_local_ips: ['fe80:0::7']}}}\n",
        [
            "8:41: 169.254.1.1 is that of container one on network a, on one parent; choose another",
            "8:77: fe80::7 is that of container one on network c; choose another",
        ],
    ),
    (
        endpoints("{link_local_ips: ['169.254.0.5', 'fe80::5', 'x']}"),
        ["5:70: link_local_ips is 'x', which is not an address"],
    ),
    (
        endpoints("{sysctls: {net.ipv4.ip_forward: 1}}"),
        [
            "5:37: 'net.ipv4.ip_forward' is not a setting of an interface; those are net.ipv4.conf.IFNAME.*, net.ipv6.conf.IFNAME.*, and neigh for conf"
        ],
    ),
    (
        endpoints("{sysctls: ['net.ipv4.conf.eth0.rp_filter=1']}"),
        ["5:37: the setting 'net.ipv4.conf.eth0.rp_filter' names an interface; write net.ipv4.conf.IFNAME.rp_filter"],
    ),
    (
        endpoints("{sysctls: {net.ipv6.conf.IFNAME.disable_ipv6: 1}}"),
        [
            "5:37: the setting net.ipv6.conf.IFNAME.disable_ipv6 is netapply's own to make;"
            " a network without IPv6 gives no IPv6 addresses"
        ],
    ),
    (endpoints("{sysctls: [rp_filter]}"), ["5:37: sysctls is 'rp_filter', not of the form NAME=VALUE"]),
    (
        endpoints("{sysctls: {net.ipv4.conf.IFNAME.rp_filter: [1]}}"),
        ["5:69: net.ipv4.conf.IFNAME.rp_filter must be a text or a whole number, not a list"],
    ),
    (
        endpoints("{driver_opts: {foo: 1}}"),
        [
            "5:46: the driver bridge has no option 'foo' for an endpoint; the network's own driver_opts are under networks"
        ],
    ),
    (
        "project: p\nnetworks: {"
        + "n" * 128
        + ": }\ncontainers: {"
        + "c" * 128
        + ": {networks: ["
        + "n" * 128
        + "]}}\n",
        [
            "3:156: the mark of the link, 'netapply:p/cccccccccccccccccccccccccccccccccccccccccccccc...' is 268 bytes long, and the kernel keeps 255; choose shorter names"
        ],
    ),
    (
        "project: p\nnetworks: {"
        + "n" * 100
        + ": }\ncontainers: {"
        + "c" * 100
        + ": {networks: {"
        + "n" * 100
        + ": {sysctls: {net.ipv4.conf.IFNAME.rp_filter: 1, net.ipv6.conf.IFNAME.accept_ra: 1}}}}}\n",
        [
            "3:128: the mark of the link, 'netapply:p/cccccccccccccccccccccccccccccccccccccccccccccc...', and the names of its sysctls are 260 bytes long, and the kernel keeps 255; choose shorter names, or set fewer sysctls"
        ],
    ),
]


@pytest.mark.parametrize(("text", "expected"), CONTAINERS, ids=[expected[0][:70] for _, expected in CONTAINERS])
def test_a_rule_for_containers_says_where_and_what_mends_it(text: str, expected: list[str]) -> None:
    assert complaints(text) == expected


WORDS: list[tuple[str, list[str]]] = [
    (
        "project: p\nnetworks: {a/b: , 'a b': , a#b: , '': }\n",
        [
            "2:12: the name is 'a/b', not a name of letters, digits, _ . and - that begins with a letter or digit",
            "2:19: the name is 'a b', not a name of letters, digits, _ . and - that begins with a letter or digit",
            "2:28: the name is 'a#b', not a name of letters, digits, _ . and - that begins with a letter or digit",
            "2:35: the name is '', not a name of letters, digits, _ . and - that begins with a letter or digit",
        ],
    ),
    (
        network("{ipam: {config: [" + "{subnet: 0.0.0.0/24}, " * 65 + "]}}"),
        ["3:26: config has 65 entries, and must have between 0 and 64"],
    ),
    ("networks: {}\n", ["1:1: the manifest has no project; add project: ..."]),
    ("version: 2\nproject: p\n", ["1:10: version must be 1, not 2"]),
    ("version: 1.0\nproject: p\n", ["1:10: version must be 1, not 1.0"]),
    (
        "project: Shop\n",
        [
            "1:10: project is 'Shop', not a project's name: small letters, digits, _ . and -, 63 at most, the first a letter or digit"
        ],
    ),
    ("project:\n", ["1:9: project has no value; give it one, or remove the line"]),
    ("project: [p]\n", ["1:10: project must be a text, not a list"]),
    ("[]\n", ["1:1: a manifest is a mapping with keys such as project, networks and containers; see docs/manifest.md"]),
    (
        "hello\n",
        ["1:1: a manifest is a mapping with keys such as project, networks and containers; see docs/manifest.md"],
    ),
    ("", ["1:1: the manifest has no project; add project: ..."]),
    ("project: p\nnetwork: {}\n", ["2:1: unknown key network in a manifest; did you mean networks?"]),
    ("project: p\nexpose: {}\n", ["2:1: there is no expose in netapply yet; remove it"]),
    (
        "project: p\ncontainers: {a: {services: {}}}\n",
        ["2:18: unknown key services in a container; it belongs in a manifest"],
    ),
    (
        "project: p\nnetworks: {n: {}}\ncontainers: {a: {networks: {n: {bandwidth: {rate: 1mbit}}}}}\n",
        ["3:45: unknown key rate in a bandwidth; it belongs in ingress or egress"],
    ),
    (
        network("{bandwidth: {egress: 1mbit}, coexist: docker}"),
        [
            "3:11: unknown key bandwidth in a network; it belongs in a container's network",
            "3:39: unknown key coexist in a network; it belongs in a manifest",
        ],
    ),
    (
        "project: p\ncontainers: {web: {image: nginx, expose: ['80:80'], command: x}}\n",
        [
            "2:20: there is no image in netapply: it makes networks and runs no containers; remove it",
            "2:34: there is no expose in netapply yet; remove it",
            "2:53: there is no command in netapply: it makes networks and runs no containers; remove it",
        ],
    ),
    (network("{subnet: 10.0.0.0/24}"), ["3:11: unknown key subnet in a network; it belongs in an ipam.config entry"]),
    (network("{drivr: bridge}"), ["3:11: unknown key drivr in a network; did you mean driver?"]),
    (network("{driver: brige}"), ["3:19: there is no driver 'brige'; did you mean bridge?"]),
    (network("{driver: zzz}"), [f"3:19: there is no driver 'zzz'; there are {listed(built_in(), 'and')}"]),
    (network("{driver: [bridge]}"), ["3:19: driver must be a text, not a list"]),
    (network("{driver: }"), ["3:19: driver has no value; give it one, or remove the line"]),
    (
        network("{driver: host, driver_opts: {parent: eth0}}"),
        ["3:39: unknown key parent in driver_opts of host; it takes none"],
    ),
    (
        endpoints("{ipv4_address: 10.0.0.5, ipv4_adress: 10.0.0.6}"),
        ["5:51: unknown key ipv4_adress in a container's network; did you mean ipv4_address?"],
    ),
    (
        network("", "containers: {web: {network_mode: host, name: w}}\n"),
        [
            "4:20: unknown key network_mode in a container; put the container on a network of the driver host or none",
            "4:40: unknown key name in a container; the key above is the name; a bridge's own name is driver_opts.name",
        ],
    ),
    (
        network("{ipam: {driver: default}}"),
        ["3:18: there is no ipam.driver in netapply: it allocates by itself; remove it"],
    ),
    (
        network("{driver_opts: {com.docker.network.bridge.name: br0, mtu: 1400}}"),
        [
            "3:25: unknown key com.docker.network.bridge.name in driver_opts of bridge; write name",
            "3:62: unknown key mtu in driver_opts of bridge; write it beside driver_opts",
        ],
    ),
    (
        network("{driver: macvlan, driver_opts: {mode: brigde}}"),
        ["3:48: mode must be bridge, private, vepa or passthru, not 'brigde'; did you mean bridge?"],
    ),
    (
        network("{driver: macvlan, driver_opts: {bc_queue_len: many}}"),
        ["3:56: bc_queue_len must be a whole number, not 'many'"],
    ),
    (network("{internal: 'true'}"), ["3:21: internal must be true or false, not 'true'; write it without quotes"]),
    (network("{internal: maybe}"), ["3:21: internal must be true or false, not 'maybe'"]),
    (network("{mtu: '1400'}"), ["3:16: mtu must be a whole number, not '1400'; write it without quotes"]),
    (network("{mtu: 1400.5}"), ["3:16: mtu must be a whole number, not '1400.5'"]),
    (network("{ipam: {config: {subnet: 10.0.0.0/24}}}"), ["3:26: config must be a list, not a mapping"]),
    (
        network("{ipam: {config: [{subnt: 10.0.0.0/24}]}}"),
        ["3:28: unknown key subnt in an ipam.config entry; did you mean subnet?"],
    ),
    (
        network("{ipam: {config: [{gateway: 10.0.0.1}]}}"),
        ["3:27: the ipam.config entry has no subnet; add subnet: ..."],
    ),
    (network("{labels: [=a]}"), ["3:20: labels is '=a', not of the form KEY=VALUE"]),
    (network("{labels: {a: [b]}}"), ["3:23: a must be a text, a number or true or false, not a list"]),
    (
        network("", "containers: {web: {networks: [front, front]}}\n"),
        ["4:38: networks names 'front' twice; remove one"],
    ),
    (
        network("", "containers: {web: {networks: front}}\n"),
        ["4:30: networks must be a mapping or a list, not 'front'"],
    ),
    (network("[a]"), ["3:10: front must be a mapping, not a list"]),
]


@pytest.mark.parametrize(("text", "expected"), WORDS, ids=[expected[0][:70] for _, expected in WORDS])
def test_a_wrong_key_or_value_is_said_with_what_was_meant(text: str, expected: list[str]) -> None:
    assert complaints(text) == expected


SYNTAX: list[tuple[str, list[str]]] = [
    ("project: p\nproject: q\n", ["2:1: the key project is given twice, first at -:1:1; remove one"]),
    ("project: p\nnetworks:\n  a:\n  b:\n  a:\n", ["5:3: the key a is given twice, first at -:3:3; remove one"]),
    ("project: ${PROJCT}\n", ["1:10: the variable PROJCT is not set; did you mean PROJECT?"]),
    ("project: ${NOPE}\n", ["1:10: the variable NOPE is not set; set it, or give a default: ${NOPE:-...}"]),
    (
        "project: $PROJECT\n",
        [
            "1:10: '$' is not a variable; write ${NAME} or ${NAME:-default}, within { } and [ ] in quotes; $$ is a dollar sign"
        ],
    ),
    (
        "project: ${}\n",
        [
            "1:10: '${}' is not a variable; write ${NAME} or ${NAME:-default}, within { } and [ ] in quotes; $$ is a dollar sign"
        ],
    ),
    (
        "project: ${PROJECT:-x\n",
        [
            "1:10: '${PROJECT:-x' is not a variable; write ${NAME} or ${NAME:-default}, within { } and [ ] in quotes; $$ is a dollar sign"
        ],
    ),
    ("a: b: c\n", ["1:5: there is a colon too many; put a value that has ': ' in it in quotes"]),
    ("project: p\nnetworks:\n\tfront:\n", ["3:1: a tab is used to indent; YAML wants spaces"]),
    ("project: @p\n", ["1:10: a value can't begin with '@'; put it in quotes"]),
    ("networks: [a\n", ["1:11: the list that opens here is never closed; close it with ]"]),
    ('project: "p\n', ["1:10: the quotes that open here are never closed; close them"]),
    (
        "project\nnetworks: {}\n",
        ["2:9: this can't be a key here; is the line above without its colon, or this one indented too far?"],
    ),
    (
        "project: p\n  networks: {}\n",
        ["2:11: this can't be a key here; is the line above without its colon, or this one indented too far?"],
    ),
    ("---\nproject: p\n---\nproject: q\n", ["3:1: a second document begins here; put each into a file of its own"]),
    ("project: *p\n", ["1:10: there is no anchor &p above"]),
    ("x-a: &a [*a]\nproject: p\n", ["1:10: the anchor &a would contain itself"]),
    (
        "project: !!python/object:os.system p\n",
        ["1:10: the tag !!python/object:os.system is not allowed here; a manifest needs none; remove it"],
    ),
    ("project: !secret p\n", ["1:10: the tag !secret is not allowed here; a manifest needs none; remove it"]),
    ("project: !!int p\n", ["1:10: the value is not what its tag !!int says; remove the tag"]),
    ("x-a: {<<: 3}\nproject: p\n", ["1:11: << takes a mapping or a list of mappings, such as *NAME"]),
    ("? [a]\n: b\nproject: p\n", ["1:3: a key must be a text; a mapping or list can't be one"]),
    ("x: " + "[" * 40 + "]" * 40 + "\n", ["1:36: values are nested more than 32 deep"]),
    ("project: p\x00\n", ["1:11: the character U+0000 is not allowed in YAML; remove it"]),
    ("x-a: &a 1\nproject: p\nnetworks: {a: {labels: {b: *c}}}\n", ["3:28: there is no anchor &c above"]),
]


@pytest.mark.parametrize(("text", "expected"), SYNTAX, ids=[expected[0][:70] for _, expected in SYNTAX])
def test_what_is_not_yaml_or_not_wanted_of_it_is_said_in_plain_words(text: str, expected: list[str]) -> None:
    assert complaints(text) == expected
