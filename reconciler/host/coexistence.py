"""Firewalls of others: their base chains, and what is netapply's in Docker's chain for the host's admin.

nftables is asked by netlink (linux/netfilter/nf_tables.h) which chains there are, which changes nothing; programs are
run only where there is something for them. `iptables` itself writes into its tables, so that it can read them.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from ..errors import HostLacks, NotPermitted, OperationFailed
from ..resources import ALIAS, Accepts
from . import Filter, nft, sysctl
from .namespaces import RIGHTS
from .netlink import Socket, attributes

TIMEOUT = 20
"""Seconds that iptables may take, of which it waits a few for whoever else is at it."""

_NETFILTER = 12
_GETCHAIN = 10 << 8 | 4
_TABLE, _NAME, _HOOK, _POLICY, _TYPE = 1, 3, 4, 5, 7  # NFTA_CHAIN_*
_HOOKNUM, _PRIORITY = 1, 2  # NFTA_HOOK_*
_FAMILIES = {1: "inet", 2: "ip", 10: "ip6"}  # NFPROTO_*
_HOOKS = {0: "prerouting", 1: "input", 2: "forward", 3: "output", 4: "postrouting", 5: "ingress"}  # NF_INET_*
_BELOW = {5: ("netdev", {0: "ingress", 1: "egress"}), 7: ("bridge", _HOOKS)}  # NFPROTO_*, NF_NETDEV_*, NF_BR_*
_PROGRAMS = {4: "iptables", 6: "ip6tables"}


class ChainRow(NamedTuple):
    """A chain of nftables; `hook` is "" and `policy` "accept" for one that is no base chain.

    `translates`: it is of the type nat.
    """

    family: str
    table: str
    name: str
    hook: str = ""
    priority: int = 0
    policy: str = "accept"
    translates: bool = False

    @property
    def passed(self) -> str:
        """The hook as `Filter` has it."""
        if self.family in ("netdev", "bridge"):
            return f"{self.family} {self.hook}"
        return "nat" if self.translates and self.hook in ("prerouting", "output") else self.hook


def chain_row(body: bytes) -> ChainRow:
    """Decode a message about a chain."""
    found = dict(attributes(body, 4))
    table, name = (found.get(number, b"").rstrip(b"\0").decode(errors="replace") for number in (_TABLE, _NAME))
    below, hooks = _BELOW.get(body[0], (str(body[0]), {}))
    row = ChainRow(_FAMILIES.get(body[0], below), table, name)
    if _HOOK not in found:
        return row
    hook = dict(attributes(found[_HOOK]))
    number = int.from_bytes(hook.get(_HOOKNUM, b""), "big")
    priority = struct.unpack(">i", hook.get(_PRIORITY, bytes(4)))[0]
    dropped = found.get(_POLICY, b"\0\0\0\1") == bytes(4)
    known = _HOOKS if row.family in _FAMILIES.values() else hooks
    return row._replace(
        hook=known.get(number, "other"),
        priority=priority,
        policy="drop" if dropped else "accept",
        translates=found.get(_TYPE, b"").rstrip(b"\0") == b"nat",
    )


def chains() -> list[ChainRow]:
    """Return the chains of nftables in the calling thread's namespace; none where the kernel has no nftables."""
    try:
        with Socket(_NETFILTER, looking=True) as door:
            return [chain_row(body) for body in door.dump(_GETCHAIN, bytes(4))]
    except OperationFailed as failure:
        if failure.errno in (errno.EPERM, errno.EACCES):
            raise NotPermitted(f"nftables: not permitted; {RIGHTS}") from failure
        return []
    except OSError:
        return []


def filters(hooks: Collection[str]) -> tuple[Filter, ...]:
    """Return the base chains of others of those hooks (see `Filter`), with the texts of their tables."""
    found: list[Filter] = []
    texts: dict[tuple[str, str], str] = {}
    for row in chains():
        if row.passed in hooks and (row.passed == "nat" or not row.table.startswith("netapply")):
            if (row.family, row.table) not in texts:
                texts[row.family, row.table] = ""
                with suppress(HostLacks, OperationFailed):
                    texts[row.family, row.table] = nft.read(row.family, row.table) or ""
            text = texts[row.family, row.table]
            found.append(Filter(row.family, row.table, row.name, row.passed, row.priority, row.policy, text))
    return (*found, *_legacy(hooks))


def bridged() -> frozenset[int]:
    """Return the families (4, 6) of which packets that a bridge passes on go through firewalls, too: br_netfilter."""
    names = {4: "net.bridge.bridge-nf-call-iptables", 6: "net.bridge.bridge-nf-call-ip6tables"}
    found = set[int]()
    for family, name in names.items():
        with suppress(OperationFailed):  # there is none of it
            if sysctl.read(name) == "1":
                found.add(family)
    return frozenset(found)


_LEGACY = (
    ("filter", 0, {"INPUT": "input", "FORWARD": "forward", "OUTPUT": "output"}),
    ("nat", -100, {"PREROUTING": "nat", "OUTPUT": "nat"}),
    ("mangle", -150, {"PREROUTING": "prerouting", "OUTPUT": "output", "POSTROUTING": "postrouting"}),
    ("raw", -300, {"PREROUTING": "prerouting"}),
)
"""Tables of the iptables of old: the priority of their chains, and which of them are looked at, with their hooks."""


def _legacy(hooks: Collection[str]) -> Iterator[Filter]:
    """Yield the chains of the iptables of old, which no nftables knows of, if there are any."""
    for family, program in _PROGRAMS.items():
        for table, priority, known in _LEGACY:
            wanted = {chain: hook for chain, hook in known.items() if hook in hooks}
            if not wanted or not _is_legacy(family, table):
                continue
            status, said = _run((f"{program}-legacy", program), ["-w", "5", "-t", table, "-S"])
            policies = {line.split()[1]: line.split()[2] for line in said.splitlines() if line.startswith("-P ")}
            for chain, hook in wanted.items():
                if not status and chain in policies:
                    kind, policy = "ip" if family == 4 else "ip6", policies[chain].lower()
                    yield Filter(kind, table, chain, hook, priority, policy, said, legacy=True)


def _is_legacy(family: int, table: str = "filter") -> bool:
    try:
        with open(f"/proc/thread-self/net/ip{'6' * (family == 6)}_tables_names", encoding="ascii") as file:
            return table in file.read().split()
    except OSError:
        return False


# --- Docker's chain


def docker(project: str) -> Mapping[int, tuple[str, ...]]:
    """Return the project's rules in DOCKER-USER, by the families in which Docker has made that chain.

    Raises OperationFailed and HostLacks where iptables can't say, so that nobody takes rules of ours for gone.
    """
    made = {row.family for row in chains() if row.table == "filter" and row.name == Accepts.CHAIN}
    found: dict[int, tuple[str, ...]] = {}
    for family, kind in ((4, "ip"), (6, "ip6")):
        if kind in made or _is_legacy(family):
            lines = _listed(family, project, legacy=kind not in made)
            if lines is not None:
                found[family] = tuple(sorted(map(_plain, lines)))
    return found


def accept(project: str, accepts: Accepts) -> None:
    """Have those rules of the project in DOCKER-USER and no other, in one transaction."""
    kind = "ip" if accepts.family == 4 else "ip6"
    legacy = not any((row.family, row.table, row.name) == (kind, "filter", Accepts.CHAIN) for row in chains())
    lines = _listed(accepts.family, project, legacy)
    if lines is None:
        raise OperationFailed(f"there is no chain {accepts.name} (ENOENT)", errno.ENOENT)
    mark = f'"{ALIAS}{project}"'  # a project's name has nothing in it that must be quoted
    edits = [line.replace("-A", "-D", 1) for line in lines]
    for rule in reversed(accepts.rules):
        match, _, verdict = rule.partition(" -j ")
        edits.append(f"-I {Accepts.CHAIN} 1 {match} -m comment --comment {mark} -j {verdict}")
    program = _PROGRAMS[accepts.family]
    text = "\n".join(["*filter", *edits, "COMMIT", ""])
    status, said = _run(_either(program, legacy, "-restore"), ["-w", "5", "--noflush"], text)
    if status:
        raise OperationFailed(f"{accepts.name}: {_last_line(said)}")


def _listed(family: int, project: str, legacy: bool) -> list[str] | None:
    """Return the lines of those rules that have the project's mark, None where there is no such chain."""
    status, said = _run(_either(_PROGRAMS[family], legacy), ["-w", "5", "-S", Accepts.CHAIN])
    if legacy and status == _ABSENT:
        return None
    if status == _MISSING:
        raise HostLacks(said)
    if status:
        raise OperationFailed(f"the chain {Accepts.CHAIN} can't be read: {_last_line(said)}")
    mark = f"{ALIAS}{project}"
    return [line for line in said.splitlines() if line.startswith("-A ") and _comment(line) == mark]


_ABSENT = 1
"""How the iptables of old ends for a chain that is not there; 4 where another one is at it for too long."""


_MISSING = 127
"""What a shell says of a program that is not there."""


def _last_line(said: str) -> str:
    return said.strip().splitlines()[-1] if said.strip() else "refused"


def _either(program: str, legacy: bool, end: str = "") -> Sequence[str]:
    """Return the names by which the iptables that has the table is known, the surest first."""
    return (f"{program}-{'legacy' if legacy else 'nft'}{end}", f"{program}{end}")


def _words(line: str) -> list[str]:
    import shlex  # only where there is something of ours

    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def _comment(line: str) -> str:
    words = _words(line)
    return words[words.index("--comment") + 1] if "--comment" in words[:-1] else ""


def _plain(line: str) -> str:
    """Return a rule without the chain and the comment."""
    words = _words(line)[2:]
    if "--comment" in words:
        at = words.index("--comment")
        del words[at - 2 : at + 2]  # -m comment --comment TEXT
    return " ".join(words)


def _run(programs: Sequence[str], arguments: Sequence[str], text: str = "") -> tuple[int, str]:
    """Run the first of the programs that there is; return its exit status, and what it printed."""
    import subprocess

    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    for program in programs:
        try:
            done = subprocess.run(
                [program, *arguments],
                input=text.encode(),
                capture_output=True,
                timeout=TIMEOUT,
                env={"PATH": path, "LC_ALL": "C"},
                check=False,
            )
        except FileNotFoundError:
            continue
        except subprocess.TimeoutExpired as late:
            raise OperationFailed(f"{program} did not end within {TIMEOUT} seconds", errno.ETIMEDOUT) from late
        return done.returncode, os.fsdecode(done.stdout) + os.fsdecode(done.stderr)
    return _MISSING, f"there is no {programs[-1]}; install it (Debian's iptables)"
