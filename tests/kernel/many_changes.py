"""Two manifests whose difference has every kind of change, and a look at a host that owes nothing to netapply."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests import canaries

BEFORE = """
version: 1
project: shop
hosts: {here: {address: 203.0.113.1}, there: {address: 203.0.113.2}}
networks:
  front:
    internal: true
    driver_opts: {name: frontbr}
    mtu: 1400
    ipam: {config: [{subnet: 10.20.0.0/24}, {subnet: "fd00:20::/64"}]}
  back: {internal: true, ipam: {config: [{subnet: 10.21.0.0/24}]}}
  old: {internal: true, ipam: {config: [{subnet: 10.22.0.0/24}, {subnet: "fd00:22::/64"}]}}
  lan:
    driver: macvlan
    driver_opts: {parent: uplink, host_access: 10.23.0.250}
    ipam: {config: [{subnet: 10.23.0.0/24}]}
  span: {driver: overlay, internal: true, ipam: {config: [{subnet: 10.25.0.0/24}, {subnet: "fd00:25::/64"}]}}
containers:
  own: {host: here, networks: [span]}
  moved: {host: there, networks: {span: {ipv4_address: 10.25.0.11, ipv6_address: "fd00:25::11"}}}
  left: {host: there, networks: {span: {ipv4_address: 10.25.0.12}}}
  web:
    networks:
      front:
        ipv4_address: 10.20.0.10
        ipv6_address: "fd00:20::10"
        mac_address: "02:00:00:00:00:10"
        bandwidth: {ingress: 10mbit}
      back: {sysctls: {net.ipv4.conf.IFNAME.rp_filter: 2, net.ipv4.conf.IFNAME.log_martians: 1}}
  db: {networks: {back: {ipv4_address: 10.21.0.20}}}
  gone: {networks: {old: {}, front: {bandwidth: {egress: 5mbit}}}}
  mac: {networks: {lan: {ipv4_address: 10.23.0.20}}, ports: ["8080:80/udp", "8081:80", "127.0.0.1:8085:85"]}
  theirs:
    sandbox: {netns: theirs, create: false}
    networks: {front: {bandwidth: {ingress: 1mbit, egress: 2mbit}}, old: {}}
services:
  store: {network: front, containers: [web, gone], ports: [80, 53/udp]}
  spread: {network: span, containers: ["*"]}
"""

AFTER = """
version: 1
project: shop
hosts: {here: {address: 203.0.113.1}, there: {address: 203.0.113.3}, far: {address: 203.0.113.4}}
networks:
  front:
    driver_opts: {name: shopfront, hairpin: true}
    mtu: 1450
    ipam: {config: [{subnet: 10.20.0.0/24, gateway: 10.20.0.254}, {subnet: "fd00:20::/64"}]}
    routes: [{destination: 192.0.2.0/24, type: blackhole}, {destination: 198.51.100.0/24, via: 10.20.0.7}]
  back: {driver_opts: {icc: false}, protect: true, ipam: {config: [{subnet: 10.21.0.0/24}]}}
  fresh:
    driver_opts: {uplink: card, trusted_interfaces: [uplink], snat_address: 203.0.113.1}
    ipam: {config: [{subnet: 10.24.0.0/24}, {subnet: "fd00:24::/64"}]}
  lan: {driver: macvlan, driver_opts: {parent: uplink, mode: private}, ipam: {config: [{subnet: 10.23.0.0/24}]}}
  edge:
    driver: macvlan
    driver_opts: {parent: uplink, host_access: true}
    ipam: {config: [{subnet: 10.27.0.0/24}, {subnet: "fd00:27::/64"}]}
  span:
    driver: overlay
    internal: true
    driver_opts: {flood: true}
    ipam: {config: [{subnet: 10.25.0.0/24, gateway: 10.25.0.254}, {subnet: "fd00:25::/64"}]}
  wide: {driver: overlay, internal: true, driver_opts: {mode: l3}, ipam: {config: [{subnet: 10.26.0.0/16}]}}
containers:
  own: {host: here, networks: [span, wide]}
  moved: {host: far, networks: {span: {ipv4_address: 10.25.0.21, ipv6_address: "fd00:25::11"}}}
  came: {host: there, networks: {span: {ipv4_address: 10.25.0.12}}}
  web:
    networks:
      front:
        ipv4_address: 10.20.0.11
        ipv6_address: "fd00:20::11"
        mac_address: "02:00:00:00:00:11"
        bandwidth: {ingress: 20mbit, egress: 30mbit}
        interface_name: front0
      back: {sysctls: {net.ipv4.conf.IFNAME.rp_filter: 0, net.ipv6.conf.IFNAME.accept_ra: 0}}
  db: {networks: {lan: {ipv4_address: 10.23.0.21, interface_name: lan0}, fresh: {interface_name: fresh0}}}
  new: {networks: {fresh: {}, front: {}}, ports: ["8080-8081:80-81/udp", "8081:80"]}
  mac: {networks: {lan: {ipv4_address: 10.23.0.20, mac_address: "02:00:00:00:00:33"}, edge: {}}, ports: ["8083:83"]}
  theirs: {sandbox: {netns: theirs, create: false}, networks: {front: {}}}
services:
  spread: {network: span, containers: [own, moved], vip: 10.25.0.200, affinity: client}
  fresh: {network: fresh, containers: [db, new], ports: ["8099:99"], weights: {db: 2}}
"""

FOREIGN = """
link add uplink type veth peer name uplink-far
link set uplink up
link set uplink-far up
link add card type veth peer name card-far
link add canary type bridge
addr add 203.0.113.1/24 dev canary
link set canary up
link add canary-port type veth peer name canary-peer
link set canary-port master canary
route add 198.18.0.0/15 via 203.0.113.7
netns add theirs
netns add bystander
-n theirs link set lo up
-n theirs link add hers type veth peer name hers-peer
-n theirs addr add 10.99.0.1/24 dev hers
"""

ACCEPTING = ("uplink", "uplink-far", "canary", "canary-peer", "card-far")
"""The foreign links that accept router advertisements."""

FOREIGN_RULES = "table ip canary { chain c { type filter hook input priority 5; ip saddr 192.0.2.66 counter drop; }; }"


def make_foreign() -> None:
    """Make links, namespaces, addresses, routes and rules that netapply must not touch, in the current namespace."""
    for line in FOREIGN.strip().splitlines():
        subprocess.run(["ip", *line.split()], check=True, timeout=10)
    canaries.make("uplink")
    subprocess.run(["nft", FOREIGN_RULES], check=True, timeout=10)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("0")


def snapshot(accepting: Sequence[str] = ACCEPTING) -> dict[str, Any]:
    """Return all that `ip`, `nft` and /proc say of the host and its namespaces, but for numbers that need not last.

    Those of the links in tests/canaries.py do: they are never made anew.
    """
    result: dict[str, Any] = {"nft": _output("nft", "list", "ruleset"), "canaries": canaries.state()}
    names = sorted(path.name for path in Path("/run/netns").iterdir())
    for name in names:
        result[f"nft in {name}"] = _output("nsenter", f"--net=/run/netns/{name}", "nft", "list", "ruleset")
    for name in ("", *names):
        at = ["-n", name] if name else []
        result[name or "host"] = {
            what: sorted(
                map(_lasting, filter(_is_made, json.loads(_output("ip", *at, "-j", *words) or "[]"))), key=repr
            )
            for what, words in {
                "links": ("-d", "addr", "show"),
                "routes": ("-4", "route", "show"),
                "routes6": ("-6", "route", "show"),
                "neighbours": ("neigh", "show", "nud", "permanent"),
            }.items()
        }
    result["queues"] = sorted(map(_lasting, json.loads(_output("tc", "-j", "qdisc", "show") or "[]")), key=repr)
    result["filters"] = [
        f"{one} {line}"
        for one in sorted(link["ifname"] for link in json.loads(_output("ip", "-j", "link")))
        for line in _output("tc", "filter", "show", "dev", one, "ingress").splitlines()
        if "pref" in line or "Redirect" in line
    ]
    settings = [f"net/ipv6/conf/{link}/accept_ra" for link in accepting]
    entries = json.loads(_output("bridge", "-j", "fdb", "show") or "[]")
    said = [one for one in entries if "dst" in one or one.get("state") == "static"]  # the rest is learnt
    result["fdb"] = sorted(map(_lasting, said), key=repr)
    for setting in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", *settings):
        result[setting] = Path("/proc/sys", setting).read_text().strip()
    return result


_NUMBERS = {"ifindex", "link_index", "link_netnsid", "valid_life_time", "preferred_life_time", "stats", "operstate"}
_VOLATILE = {*_NUMBERS, "flags", "iif", "id", "no", "designated_port", "state"}  # a port's: whether it has a carrier


def _is_made(item: dict[str, Any]) -> bool:
    """Whether somebody made it; the kernel makes link-local routes and addresses by itself, in its own time."""
    return not str(item.get("local", item.get("dst", ""))).startswith("fe80:")


def _lasting(value: Any) -> Any:
    """Return the value without what differs between two objects made alike."""
    if isinstance(value, dict):
        kept = {
            key: _lasting(item) for key, item in value.items() if key not in _VOLATILE and not key.endswith("_timer")
        }
        kept["up"] = "UP" in value.get("flags", [])
        if "addr_info" in kept:
            kept["addr_info"] = sorted(filter(_is_made, kept["addr_info"]), key=repr)
        return kept
    return [_lasting(item) for item in value] if isinstance(value, list) else value


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout


def forget_forwarding() -> None:
    """Undo by hand what is never undone, so that the next round starts where the first one did."""
    Path("/proc/sys/net/ipv4/ip_forward").write_text("0")
    Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("0")
    for link in ACCEPTING:
        Path("/proc/sys/net/ipv6/conf", link, "accept_ra").write_text("1")
    subprocess.run(["nft", "delete", "table", "inet", "netapply"], check=False, capture_output=True, timeout=10)


def chosen(words: Sequence[str]) -> list[int]:
    """Return the operations to look at closely: the first, a middle and the last of each kind; all with THOROUGH=1.

    A kind is what is done to what, "set link" or "write nft". The last of all is among them.
    """
    if os.environ.get("THOROUGH"):
        return list(range(len(words)))
    kinds: dict[tuple[str, ...], list[int]] = {}
    for number, one in enumerate(words):
        kinds.setdefault(tuple(one.split()[:2]), []).append(number)
    return sorted({some[at] for some in kinds.values() for at in (0, len(some) // 2, -1)} | {len(words) - 1})


def changes(before: object, after: object, at: str = "") -> Iterator[str]:
    """Yield a line for each difference between two snapshots."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            yield from changes(before.get(key), after.get(key), f"{at}/{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from changes(one, other, f"{at}/{number}")
    elif before != after:
        yield f"{at}: {before} -> {after}"
