"""Several hosts at once: namespaces on one bridge inside an isolated host, each with a /run of its own.

The isolated host itself plays the network between them and the world outside.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from .machine import COLD, NETAPPLY, PATIENCE, Completed, Machine

NAMES = ("one", "two", "three")

WORLD_IPV4, WORLD_IPV6 = "198.51.100.9", "2001:db8:9::9"
"""Addresses that are outside for every host (RFC 5737, RFC 3849)."""

_HOLD = (
    "mount -t tmpfs tmpfs /run && mkdir /run/netns && mkdir -p /etc/netns && mount -t tmpfs tmpfs /etc/netns"
    " && mount -t sysfs sysfs /sys && ip link set lo up && echo ready"
)


@dataclass
class Host:
    """One of the hosts: `pid` is a process that lives in it, `number` the last part of its addresses.

    `near`: it is on the bridge, and not behind a router.
    """

    machine: Machine
    name: str
    number: int
    pid: int
    near: bool = True

    @property
    def ipv4(self) -> str:
        return f"{'192.0.2' if self.near else '203.0.113'}.{self.number}"

    @property
    def ipv6(self) -> str:
        return f"2001:db8:{2 if self.near else 3}::{self.number}"

    def address_of(self, family: int) -> str:
        return self.ipv4 if family == 4 else self.ipv6

    @property
    def netns(self) -> str:
        """The host's own namespace, for the methods of Machine."""
        return f"/proc/{self.pid}/ns/net"

    def container(self, name: str) -> str:
        """Return a container's namespace, for the methods of Machine."""
        return f"/proc/{self.pid}/root/run/netns/{name}"

    def containers(self) -> list[str]:
        """Return the names in the host's /run/netns, sorted."""
        return sorted(entry.name for entry in Path(f"/proc/{self.pid}/root/run/netns").iterdir())

    def run(self, command: str | Sequence[str], *, check: bool = True, stdin: str | None = None) -> Completed:
        """Run a command on the host."""
        enter = ["nsenter", f"--net={self.netns}", f"--mount=/proc/{self.pid}/ns/mnt", "--"]
        words = command.split() if isinstance(command, str) else command
        environ = {"NO_COLOR": "1", **self.machine.environ}
        return self.machine.run([*enter, *words], check=check, stdin=stdin, timeout=60, env=environ)

    def netapply(self, *arguments: str | Path, stdin: str | None = None, code: int | None = 0) -> Completed:
        """Run netapply on the host. Its exit code must be `code`; None takes any."""
        words, environ = [*map(str, arguments)], {"NO_COLOR": "1", **self.machine.environ}
        if COLD:
            done = self.run([*NETAPPLY, *words], stdin=stdin, check=False)
        else:
            from . import warm

            done = warm.netapply(words, stdin=stdin, timeout=60 * PATIENCE, environ=environ, beside=self.pid)
        if code is not None and done.returncode != code:
            raise AssertionError(f"on {self.name}: {done.returncode}, not {code}\n{done.stdout}{done.stderr}")
        return done

    def address(self, container: str, family: int = 4, start: str = "") -> str:
        """Return the address of a container that begins so."""
        found = self.machine.addresses(self.container(container), family)
        return next(one for one in found if one.startswith(start))


def cluster(machine: Machine, names: Sequence[str] = NAMES, mtu: int = 1500) -> dict[str, Host]:
    """Make the hosts, each with eth0 on the bridge `lan` and a default route out, and return them by name."""
    lines = ["link add lan type bridge mcast_snooping 0", f"link set lan mtu {mtu} up addrgenmode none"]
    addresses = ("192.0.2.254/24", "2001:db8:2::fe/64", f"{WORLD_IPV4}/32", f"{WORLD_IPV6}/128")
    lines += [f"addr add {address} dev lan{' nodad' if ':' in address else ''}" for address in addresses]
    machine.run("ip -batch -", stdin="\n".join(lines))
    return {name: add_host(machine, name, number, mtu) for number, name in enumerate(names, 1)}


def add_host(machine: Machine, name: str, number: int, mtu: int = 1500) -> Host:
    """Make one more host on the bridge `lan`."""
    host = Host(machine, name, number, _inhabited(machine))
    machine.run(f"ip link add port-{name} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {host.pid}")
    machine.run(f"ip link set port-{name} master lan up addrgenmode none")
    _connect(host, "192.0.2.254", "2001:db8:2::fe")
    return host


def add_host_behind(machine: Machine, name: str, number: int) -> Host:
    """Make one more host on a link of its own, and have the isolated host be the router between that and `lan`."""
    host = Host(machine, name, number, _inhabited(machine), near=False)
    machine.run(f"ip link add port-{name} type veth peer name eth0 netns {host.pid}")
    lines = [f"link set port-{name} up addrgenmode none", f"addr add 203.0.113.254/24 dev port-{name}"]
    machine.run("ip -batch -", stdin="\n".join([*lines, f"addr add 2001:db8:3::fe/64 dev port-{name} nodad"]))
    for link in ("lan", f"port-{name}"):  # by which a router asks for its neighbours
        machine.run(f"ip addr add fe80::fe/64 dev {link} nodad")
    for setting in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
        machine.sysctl(setting, "1")
    _connect(host, "203.0.113.254", "2001:db8:3::fe")
    return host


def _inhabited(machine: Machine) -> int:
    """Return a process in new network and mount namespaces, with a /run of its own."""
    process = machine.start(["unshare", "--net", "--mount", "sh", "-c", f"{_HOLD} && exec sleep 600"])
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process.pid


def _connect(host: Host, *routers: str) -> None:
    """Give a host's eth0 its addresses, and the host its ways out."""
    lines = ["link set eth0 up addrgenmode none"]
    lines += [f"addr add {host.ipv4}/24 dev eth0", f"addr add {host.ipv6}/64 dev eth0 nodad"]
    host.run("ip -batch -", stdin="\n".join([*lines, *(f"route add default via {router}" for router in routers)]))


class Frame(NamedTuple):
    """An Ethernet frame that a host sent to another one in a VXLAN packet."""

    destination: str
    source: str
    kind: int
    payload: bytes

    @property
    def is_for_all(self) -> bool:
        """Whether it is a broadcast or a multicast."""
        return bool(int(self.destination[:2], 16) & 1)

    @property
    def asks_for_neighbours(self) -> bool:
        """Whether it is ARP, or a neighbour solicitation or advertisement (RFC 826, RFC 4861)."""
        return self.kind == 0x0806 or (self.kind == 0x86DD and self.payload[6] == 58 and self.payload[40] in (135, 136))


@contextmanager
def captured(port: int = 4789) -> Iterator[list[Frame]]:
    """Collect what the hosts send to each other inside VXLAN packets while the block runs."""
    frames: list[Frame] = []
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003)) as tap:
        tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        tap.setblocking(False)
        yield frames
        try:
            while True:
                frames += _inner(tap.recv(65536), port)
        except BlockingIOError:
            pass


def _inner(packet: bytes, port: int) -> list[Frame]:
    kind = struct.unpack_from("!H", packet, 12)[0]
    if kind == 0x0800 and packet[23] == 17:
        start = 14 + (packet[14] & 0xF) * 4
    elif kind == 0x86DD and packet[20] == 17:
        start = 54
    else:
        return []
    if struct.unpack_from("!H", packet, start + 2)[0] != port:
        return []
    frame = packet[start + 16 :]  # UDP and VXLAN headers, eight bytes each
    return [Frame(frame[:6].hex(":"), frame[6:12].hex(":"), struct.unpack_from("!H", frame, 12)[0], frame[14:])]


def apply(hosts: dict[str, Host], text: str, *options: str) -> None:
    """Apply a manifest on all hosts, and once more to no effect."""
    for host in hosts.values():
        host.netapply("-", *options, stdin=text)
    for host in hosts.values():
        assert "nothing to do" in host.netapply("-", *options, stdin=text).stdout
