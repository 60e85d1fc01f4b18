"""The workload, twice: as a manifest for netapply, and as scripts that make the same objects with `ip`.

W(N) is ten bridge networks, N sandboxes with an endpoint each (veth pair, address, default route, `lo` up),
masquerading and isolation.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

NETWORKS = 10
PROJECT = "bench"


class Script(NamedTuple):
    """Files that make a workload with `ip`: `main` is run by sh, the rest are what it reads."""

    main: Path
    folder: Path


def manifest(endpoints: int, sandbox: str = "") -> str:
    """Return the manifest of W(endpoints). `sandbox`: what they are that are there already, "netns" or "docker"."""
    lines = ["version: 1", f"project: {PROJECT}", "networks:"]
    lines += [f"  net{one}: {{ipam: {{config: [{{subnet: 10.64.{one * 4}.0/22}}]}}}}" for one in range(NETWORKS)]
    lines.append("containers:")
    for one in range(endpoints):
        name, create = sandbox_name(one), ", create: false" if sandbox == "netns" else ""
        place = f"sandbox: {{{sandbox}: {name}{create}}}, " if sandbox else ""
        lines.append(f"  {name}: {{{place}networks: [net{one % NETWORKS}]}}")
    return "\n".join(lines) + "\n"


def sandbox_name(one: int) -> str:
    return f"c{one:04}"


def batches(endpoints: int, folder: Path, ruleset: str, existing: bool = False) -> Script:
    """Write W(endpoints) as `ip -batch`: one batch on the host and one in each namespace, the fastest that `ip` can."""
    host = list(_bridges())
    for one in range(endpoints):
        host += [] if existing else [f"netns add {sandbox_name(one)}"]
        host += _outer(one)
        (folder / f"{sandbox_name(one)}.batch").write_text("\n".join(_inner(one)) + "\n")
    (folder / "host.batch").write_text("\n".join(host) + "\n")
    lines = [f"ip -batch {folder}/host.batch"]
    lines += [f"ip -n {name} -batch {folder}/{name}.batch" for name in map(sandbox_name, range(endpoints))]
    return _script(folder, lines, ruleset)


def single_commands(endpoints: int, folder: Path, ruleset: str) -> Script:
    """Write W(endpoints) into existing namespaces as a process for each command, as shell scripts do."""
    lines = [f"ip {line}" for line in _bridges()]
    for one in range(endpoints):
        lines += [f"ip {line}" for line in _outer(one)]
        lines += [f"ip -n {sandbox_name(one)} {line}" for line in _inner(one)]
    return _script(folder, lines, ruleset)


def removal(endpoints: int, folder: Path) -> Script:
    """Write the removal of what `batches` makes, link by link and namespace by namespace, in one batch."""
    lines = [f"link delete ve{one:04}" for one in range(endpoints)]
    lines += [f"link delete br{one}" for one in range(NETWORKS)]
    lines += [f"netns delete {sandbox_name(one)}" for one in range(endpoints)]
    (folder / "removal.batch").write_text("\n".join(lines) + "\n")
    main = folder / "removal.sh"
    main.write_text(f"set -e\nip -batch {folder}/removal.batch\n")
    return Script(main, folder)


def _script(folder: Path, lines: list[str], ruleset: str) -> Script:
    (folder / "rules.nft").write_text(ruleset)
    main = folder / "main.sh"
    forwarding = "echo 1 > /proc/sys/net/ipv4/ip_forward"
    main.write_text("\n".join(["set -e", forwarding, *lines, f"nft -f {folder}/rules.nft"]) + "\n")
    return Script(main, folder)


def _bridges() -> Iterator[str]:
    for one in range(NETWORKS):
        yield f"link add br{one} type bridge"
        yield f"addr add 10.64.{one * 4}.1/22 dev br{one}"
        yield f"link set br{one} up"


def _outer(one: int) -> list[str]:
    link = f"ve{one:04}"
    create = f"link add {link} master br{one % NETWORKS} type veth peer name eth0 netns {sandbox_name(one)}"
    return [create, f"link set {link} addrgenmode none", f"link set {link} up"]


def _inner(one: int) -> list[str]:
    network, place = one % NETWORKS, one // NETWORKS + 2
    return [
        "link set lo up",
        "link set eth0 addrgenmode none",
        "link set eth0 up",
        f"addr add 10.64.{network * 4 + place // 256}.{place % 256}/22 dev eth0",
        f"route add default via 10.64.{network * 4}.1",
    ]
