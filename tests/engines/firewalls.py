"""The real firewalld and ufw in a lab, with files of their own, and somebody outside to talk to."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.machine import Outside

from .lab import Lab, wait

MANIFEST = """
project: shop
dns: true
networks:
  front: {ipam: {config: [{subnet: 10.20.0.0/24}, {subnet: "fd00:20::/64"}]}}
  open: {driver_opts: {gateway_mode: routed}, ipam: {config: [{subnet: 10.21.0.0/24}]}}
  back: {internal: true, ipam: {config: [{subnet: 10.22.0.0/24}]}}
containers:
  web:
    ports: ["8080:80"]
    networks: {front: {ipv4_address: 10.20.0.10, ipv6_address: "fd00:20::10"}}
  db: {networks: {front: {ipv4_address: 10.20.0.11}}}
  api: {networks: {open: {ipv4_address: 10.21.0.10}}}
"""
"""One network whose containers go out, one that outsiders come in to, and one that the host forwards nothing for."""

OUTSIDE = Outside("outside", "uplink", "203.0.113.2", "2001:db8:113::2", "203.0.113.1", "2001:db8:113::1")


ASK = ("ip", "netns", "exec", "web", "env", "RES_OPTIONS=timeout:1 attempts:1", "getent", "hosts")


def own(lab: Lab, *folders: str) -> None:
    """Give a lab copies of its own of folders of the machine's."""
    for one in folders:
        copy = lab.folder / one.replace("/", "_")
        shutil.copytree(one, copy, symlinks=True)
        lab.run(["mount", "--bind", str(copy), one])


def outside(lab: Lab) -> Outside:
    """Make a namespace behind a link of the lab, which knows a way back to the network that is open."""
    name, link, v4, v6, host_v4, host_v6 = OUTSIDE
    lab.run(f"ip netns add {name}")
    lab.run(f"ip link add {link} type veth peer name eth0 netns {name}")
    for at, device, one, other in (([], link, host_v4, host_v6), (["-n", name], "eth0", v4, v6)):
        lab.run(["ip", *at, "link", "set", device, "up"])
        lab.run(["ip", *at, "address", "add", f"{one}/24", "dev", device])
        lab.run(["ip", *at, "address", "add", f"{other}/64", "dev", device, "nodad"])
    lab.run(f"ip route add default via {v4}")
    lab.run(f"ip route add default via {v6}")
    lab.run(f"ip -n {name} route add 10.21.0.0/24 via {host_v4}")
    return OUTSIDE


@dataclass
class Firewalld:
    """A firewalld with a message bus of its own."""

    lab: Lab
    backend: str = "nftables"
    _process: subprocess.Popen[bytes] = field(init=False, repr=False)

    def start(self) -> None:
        own(self.lab, "/etc/firewalld")
        settings = self.lab.folder / "_etc_firewalld/firewalld.conf"
        text = settings.read_text().replace("FirewallBackend=nftables", f"FirewallBackend={self.backend}")
        settings.write_text(text)
        self.lab.run("mkdir -p /run/dbus")
        self.lab.start(["dbus-daemon", "--system", "--nofork", "--nopidfile"], "dbus.log")
        wait(
            "the message bus", lambda: self.lab.run("test -S /run/dbus/system_bus_socket", check=False).returncode == 0
        )
        self._run()

    def _run(self) -> None:
        self._process = self.lab.start(["/usr/sbin/firewalld", "--nofork", "--nopid"], "firewalld.log")
        wait("firewalld", lambda: self.lab.run("firewall-cmd --state", check=False).returncode == 0)

    def restart(self) -> None:
        """Do what its service does: it takes its table away when it ends."""
        self.lab.stop(self._process)
        self._run()

    def files(self) -> str:
        return _files(self.lab.folder / "_etc_firewalld")


@dataclass
class Ufw:
    """An ufw that is on."""

    lab: Lab

    def start(self) -> None:
        own(self.lab, "/etc/ufw", "/etc/default")
        self.lab.run("ufw --force enable")

    def files(self) -> str:
        return _files(self.lab.folder / "_etc_ufw")


def reaches(lab: Lab) -> dict[str, bool]:
    """Try what firewalls may drop, by real connections."""
    return {
        "out": lab.tcp("web", "outside", OUTSIDE.ipv4) is not None,
        "out by IPv6": lab.tcp("web", "outside", OUTSIDE.ipv6) is not None,
        "in to what is open": lab.tcp("outside", "api", "10.21.0.10") is not None,
        "within a network": lab.tcp("web", "db", "10.20.0.11") is not None,
        "published": lab.tcp("outside", "web", OUTSIDE.host_ipv4, 8080, target=80) is not None,
        "names": lab.run([*ASK, "db"], check=False).returncode == 0,
    }


def theirs(lab: Lab) -> str:
    """Return all that is in the firewalls of others, as nft and iptables say it, counters aside."""
    tables = [one["table"] for one in lab.json("nft -j list tables")["nftables"] if "table" in one]
    others = [one for one in tables if not one["name"].startswith("netapply")]
    texts = [lab.run(["nft", "-s", "list", "table", one["family"], one["name"]]).stdout for one in others]
    return "\n".join([*texts, *(lab.run(f"{one}-legacy -S", check=False).stdout for one in ("iptables", "ip6tables"))])


def ours(lab: Lab) -> str:
    """Return netapply's tables as nft says them."""
    names = [one["table"]["name"] for one in lab.json("nft -j list tables")["nftables"] if "table" in one]
    mine = [one for one in names if one.startswith("netapply")]
    return "\n".join(lab.run(["nft", "-s", "list", "table", "inet", one]).stdout for one in sorted(mine))


def mends(lab: Lab, manifest: Path, *subjects: str) -> list[str]:
    """Return the commands that doctor prints for its findings, those about firewalls by default."""
    found = json.loads(lab.netapply("doctor", "--format", "json", manifest))["findings"]
    wanted = [one for one in found if one["subject"] in (subjects or ("firewall",)) and one["severity"] != "ok"]
    assert all(one["is_command"] for one in wanted), wanted
    return list(dict.fromkeys(one["mend"] for one in wanted))


def run_mends(lab: Lab, manifest: Path, *subjects: str) -> None:
    """Run what doctor prints, exactly as it stands there."""
    for command in mends(lab, manifest, *subjects):
        lab.run(["sh", "-c", command])


def verdict(lab: Lab, manifest: Path, start: str, target: str) -> tuple[str, str, str]:
    """Return what explain says: the verdict of the best way, what ends it, and what would change that."""
    said = json.loads(lab.netapply("explain", start, target, "-f", manifest, "--format", "json"))
    way = next(way for way in said["ways"] if way["verdict"] == said["verdict"])
    return said["verdict"], way["hops"][-1]["what"], way["mend"]


def _files(folder: Path) -> str:
    def each() -> Iterator[str]:
        for one in sorted(folder.rglob("*")):
            if one.is_file() and not one.name.endswith((".old", ".pyc")):
                yield f"{one}\n{one.read_text(errors='replace')}"

    return "\n".join(each())
