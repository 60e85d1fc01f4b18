"""A host for tests: commands, namespaces, an outside world and traffic, all inside `tests.isolation.isolated`.

Everything that waits is bounded. A namespace is named as in /run/netns, or by a path ("/proc/42/ns/net"); "" is the
host's own.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from .flow import Flow, flow
from .isolation import inside, isolated, kill_inhabitants, loopback_up

Completed = subprocess.CompletedProcess[str]

IN_VM = "NETAPPLY_VM" in os.environ
"""Whether this is the emulated machine of `make test-vm`, where Python takes twenty times as long."""

PATIENCE = 5 if IN_VM else 1
"""What every time that a test gives is multiplied by: for commands, and for packets until they count as lost."""

REACHED_WITHIN = 3.0
"""Seconds within which what can reach must reach (an IPv6 address may still be in duplicate detection)."""

NETAPPLY = (sys.executable, "-m", "reconciler")

COLD = not IN_VM and bool(os.environ.get("THOROUGH"))
"""Whether each `netapply` of a test is a process from its start on, and not a fork that has all modules loaded."""


class Outside(NamedTuple):
    """A namespace behind a link of the host. `host_*` are the host's own addresses on that link."""

    name: str
    link: str
    ipv4: str
    ipv6: str
    host_ipv4: str
    host_ipv6: str

    def address(self, family: int) -> str:
        return self.ipv4 if family == 4 else self.ipv6

    def host_address(self, family: int) -> str:
        return self.host_ipv4 if family == 4 else self.host_ipv6


@dataclass
class Machine:
    """An isolated host, in which the calling thread is. `environ` is added to the environment of `netapply`."""

    processes: list[subprocess.Popen[str]] = field(default_factory=list)
    outsides: int = 0
    environ: dict[str, str] = field(default_factory=dict)

    # commands

    def run(
        self,
        command: str | Sequence[str],
        *,
        netns: str = "",
        check: bool = True,
        timeout: float = 30,
        stdin: str | None = None,
        env: dict[str, str] | None = None,
    ) -> Completed:
        """Run a command in a namespace. With `check`, a failure is an AssertionError that shows what it printed."""
        arguments = [*_enter(netns), *(shlex.split(command) if isinstance(command, str) else command)]
        done = subprocess.run(
            arguments,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout * PATIENCE,
            env={**os.environ, **env} if env else None,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{shlex.join(arguments)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def start(self, command: str | Sequence[str], *, netns: str = "") -> subprocess.Popen[str]:
        """Start a command that goes on in the background; it is killed with the host at the latest."""
        arguments = [*_enter(netns), *(shlex.split(command) if isinstance(command, str) else command)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)
        self.processes.append(process)
        return process

    def netapply(
        self, *arguments: str | Path, stdin: str | None = None, code: int | None = 0, timeout: float = 60
    ) -> Completed:
        """Run netapply. Its exit code must be `code`; None takes any. `stdin` is a manifest for the file "-"."""
        words, environ = [*map(str, arguments)], {"NO_COLOR": "1", **self.environ}
        if COLD:
            done = self.run([*NETAPPLY, *words], stdin=stdin, check=False, timeout=timeout, env=environ)
        else:
            from . import warm

            done = warm.netapply(words, stdin=stdin, timeout=timeout * PATIENCE, environ=environ)
        if code is not None and done.returncode != code:
            raise AssertionError(
                f"netapply {shlex.join(map(str, arguments))} ended with {done.returncode}, not {code}\n"
                f"{done.stdout}{done.stderr}"
            )
        return done

    def json(self, command: str, *, netns: str = "") -> Any:
        """Run a command that prints JSON, such as "ip -j link", and return it parsed."""
        return json.loads(self.run(command, netns=netns).stdout or "[]")

    # namespaces

    def netns(self, name: str) -> str:
        """Create a namespace that netapply did not make, with `lo` up."""
        self.run(["ip", "netns", "add", name])
        with inside(name):
            loopback_up()
        return name

    def names(self) -> list[str]:
        """Return what is in /run/netns, sorted."""
        return sorted(entry.name for entry in Path("/run/netns").iterdir())

    def process(self) -> int:
        """Start a process in a new namespace without a name, for `sandbox: {pid: N}`; returns its PID."""
        with inside(None):
            return self.start(["sleep", "600"]).pid

    def outside(
        self,
        name: str = "outside",
        link: str = "uplink",
        *,
        default_route: bool = True,
        routes: Iterable[str] = (),
        mtu: int = 1500,
    ) -> Outside:
        """Create a namespace behind a link of the host. It knows no way back to the host's networks but `routes`.

        The first is 203.0.113.2 and 2001:db8:113::2 (RFC 5737, RFC 3849), and the host has .1; the next 203.0.114...
        """
        number = 113 + self.outsides
        self.outsides += 1
        v4, v6 = f"203.0.{number}", f"2001:db8:{number}::"
        self.netns(name)
        self.run(f"ip link add {link} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {name}")
        for netns, interface in (("", link), (name, "eth0")):
            # until a link-local address is known to be nobody else's, a router can't ask for neighbours from it
            self.sysctl(f"net.ipv6.conf.{interface}.accept_dad", "0", netns=netns)
        for netns, interface, host in ((name, "eth0", 2), ("", link, 1)):
            lines = [f"link set {interface} up", f"addr add {v4}.{host}/24 dev {interface}"]
            lines.append(f"addr add {v6}{host}/64 dev {interface} nodad")
            self._ip_batch(lines, netns)
        for netns, interface in ((name, "eth0"), ("", link)):
            _await_link_local(netns, interface)
        if default_route:
            self._ip_batch([f"route add default via {v4}.2", f"route add default via {v6}2"])
        self._ip_batch([f"route add {route} via {f'{v6}1' if ':' in route else f'{v4}.1'}" for route in routes], name)
        return Outside(name, link, f"{v4}.2", f"{v6}2", f"{v4}.1", f"{v6}1")

    def _ip_batch(self, lines: Sequence[str], netns: str = "") -> None:
        if lines:
            self.run("ip -batch -", netns=netns, stdin="".join(f"{line}\n" for line in lines))

    # the kernel's settings and state

    def sysctl(self, name: str, value: str | None = None, *, netns: str = "") -> str:
        """Return a setting under /proc/sys ("net.ipv4.ip_forward"), after setting it if a value is given."""
        path = Path("/proc/sys", *name.split("."))
        with inside(netns):
            if value is not None:
                path.write_text(value)
            return path.read_text().strip()

    def bridge_nf(self, on: bool) -> None:
        """Pass bridged packets to the firewall (the kernel's default in a new namespace), or don't."""
        for name in ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables"):
            if Path("/proc/sys/net/bridge", name).exists():
                self.sysctl(f"net.bridge.{name}", str(int(on)))

    def addresses(self, netns: str, family: int = 4) -> list[str]:
        """Return the global addresses in a namespace, without prefix lengths, in the order of its links."""
        links = self.json("ip -j addr show scope global", netns=netns)
        inet = "inet" if family == 4 else "inet6"
        return [one["local"] for link in links for one in link.get("addr_info", []) if one.get("family") == inet]

    def snapshot(self, netns: str = "") -> str:
        """Return all that there is in a namespace as text, without what changes by itself."""
        return snapshot(netns)

    # traffic

    def ping(
        self,
        netns: str,
        address: str,
        *,
        within: float = REACHED_WITHIN,
        size: int | None = None,
        fragment: bool = True,
        source: str | None = None,
    ) -> bool:
        """Whether an address answers within so many seconds. `size` is the whole IP packet's, in bytes."""
        return self.pings([(netns, address)], within=within, size=size, fragment=fragment, source=source)[0]

    def pings(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        within: float = REACHED_WITHIN,
        size: int | None = None,
        fragment: bool = True,
        source: str | None = None,
    ) -> list[bool]:
        """Ping from namespaces to addresses, all at once, and say of each whether it answered."""
        within *= PATIENCE
        running = []
        for netns, address in pairs:
            headers = 48 if ":" in address else 28  # IP and ICMP
            options = [] if size is None else ["-s", str(size - headers)]
            options += [] if fragment else ["-M", "do"]
            options += ["-I", source] if source else []
            command = ["ping", "-n", "-q", "-c", "1", "-i", "0.2", "-w", str(int(within) + 1), *options, address]
            running.append(self.start(command, netns=netns))
        # where many are to reach, a busy machine takes seconds to begin with the last; each then ends by itself (-w)
        starting = 20 * PATIENCE if within >= REACHED_WITHIN * PATIENCE else 0
        deadline = time.monotonic() + within + starting
        return [_answered(process, deadline) for process in running]

    def flow(self, netns: str, address: str) -> AbstractContextManager[Flow]:
        """Ping every 4 ms while the block runs (a minute at most): `with host.flow(...) as flow`, then `flow.lost`."""
        return flow(netns, address)

    def socket(self, netns: str, address: str, port: int = 0, kind: int = socket.SOCK_STREAM) -> socket.socket:
        """Return a socket in a namespace, bound to an address, listening if it is TCP. It waits a second at most."""
        with inside(netns):
            handle = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
        handle.settimeout(PATIENCE)
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        handle.bind((address, port))
        if kind == socket.SOCK_STREAM:
            handle.listen()
        return handle

    def tcp(
        self, client: str, server: str, address: str, port: int = 8000, *, target: int = 0, within: float = 3.0
    ) -> str | None:
        """Connect from one namespace to an address of another; returns the client's address as the server sees it.

        `target`: the port that the server listens on, if it is another. None: refused, or no connection within so many
        seconds.
        """
        anywhere = "::" if ":" in address else "0.0.0.0"
        with self.socket(server, anywhere, target or port) as listener, inside(client):
            try:
                with socket.create_connection((address, port), timeout=within * PATIENCE) as connection:
                    accepted, peer = listener.accept()
                    with accepted:
                        accepted.sendall(b"hello")
                        return str(peer[0]) if connection.recv(5) == b"hello" else None
            except OSError:
                return None

    def udp(
        self, client: str, server: str, address: str, port: int = 8000, *, target: int = 0, within: float = 3.0
    ) -> str | None:
        """Send a datagram and take the answer, as `tcp` does; None if it is lost."""
        anywhere = "::" if ":" in address else "0.0.0.0"
        with (
            self.socket(server, anywhere, target or port, socket.SOCK_DGRAM) as listener,
            self.socket(client, anywhere, 0, socket.SOCK_DGRAM) as sender,
        ):
            listener.settimeout(within * PATIENCE)
            sender.settimeout(within * PATIENCE)
            try:
                sender.connect((address, port))
                sender.send(b"hello")
                message, peer = listener.recvfrom(16)
                listener.sendto(message, peer)
                return str(peer[0]) if sender.recv(16) == b"hello" else None
            except OSError:
                return None


def snapshot(netns: str = "") -> str:
    """Return links, addresses, routes, rules, the nft ruleset and the named namespaces as one text.

    Operational state is left out: whether there is a carrier depends on who is at the other end.
    """
    commands = ("ip -br link", "ip -br addr", "ip -4 route", "ip -6 route", "ip rule", "nft -s list ruleset")
    lines: list[str] = []
    for command in commands:
        arguments = [*_enter(netns), *command.split()]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=30, check=True)
        for line in done.stdout.splitlines():
            words = [word for word in line.split(" ") if word and word != "linkdown"]
            words[1:2] = [] if "-br" in command else words[1:2]
            lines.append(" ".join(words).replace("NO-CARRIER,", "").replace(",LOWER_UP", ""))
    directory = Path("/run/netns")
    return "\n".join([*lines, *(sorted(entry.name for entry in directory.iterdir()) if directory.exists() else [])])


@contextmanager
def machine() -> Iterator[Machine]:
    """Run the block in a new isolated host."""
    with isolated():
        new = Machine()
        try:
            yield new
        finally:
            for process in new.processes:
                _clear(process)
                process.kill()
                process.communicate(timeout=10)


def _clear(process: subprocess.Popen[str]) -> None:
    """Kill what else lives in the mount namespace of a process that has its own: a host within the host."""
    if process.poll() is not None:  # its PID may be another's by now, whose neighbours are nobody's to kill
        return
    # while it is open no other namespace gets its number, though the last who lives in it is killed
    with suppress(OSError), open(f"/proc/{process.pid}/ns/mnt") as held:
        theirs = os.readlink(f"/proc/self/fd/{held.fileno()}")
        if theirs != os.readlink("/proc/thread-self/ns/mnt"):
            kill_inhabitants(theirs)


def _await_link_local(netns: str, link: str) -> None:
    """Wait for the link-local address that the kernel gives a link that is up, in its own time."""
    deadline = time.monotonic() + REACHED_WITHIN * PATIENCE
    with inside(netns):
        while not any(
            line.startswith("fe80") and line.split()[5] == link
            for line in Path("/proc/thread-self/net/if_inet6").read_text().splitlines()
        ):
            assert time.monotonic() < deadline, f"{link} gets no link-local address"
            time.sleep(0.005)


def _answered(process: subprocess.Popen[str], deadline: float) -> bool:
    """Whether a ping got its answer in time; one that did not even try is an AssertionError."""
    try:
        output = process.communicate(timeout=max(0.01, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate(timeout=10)
        return False
    if process.returncode > 1 and "connect: " not in output[1]:  # the kernel's answer: unreachable, prohibited...
        raise AssertionError(f"{shlex.join(map(str, process.args))} ended with {process.returncode}: {output[1]}")  # type: ignore[arg-type]
    return process.returncode == 0


def _enter(netns: str) -> list[str]:
    return ["nsenter", f"--net={Path('/run/netns', netns)}", "--"] if netns else []
