"""Measure netapply against `ip`, CNI's plugins, Docker and Podman, and write bench-engines.json.

Everybody makes ten bridge networks and attaches to each ten sandboxes that run already: a veth pair, an address and the
default route, masquerading. The daemons run before. docs/performance.md explains what is counted.
"""

from __future__ import annotations

import compileall
import os
import sys
import tempfile
from collections.abc import Generator
from functools import partial
from pathlib import Path

from tests.engines import lab
from tests.isolation import lacks

from .. import table
from ..cases import Row
from . import cni, docker, ip, netapply, podman
from .hosts import Taken

AHEAD = 50

ENGINES = ("busybox", "dockerd", "docker", "containerd", "runc", "iptables", "podman", "crun", "conmon")
NEEDED = (*ENGINES, "/usr/lib/podman/netavark", f"{cni.PLUGINS}/bridge")

EARLIER = {
    "ip -batch": 0.14,
    "CNI bridge": 2.1,
    "CNI bridge+portmap+firewall": 8.3,
    "Docker CLI": 7.6,
    "Docker API": 3.2,
    "Podman CLI": 9.5,
}
"""What was measured before, as ratios to `ip` with a process for each command."""


def main(arguments: list[str]) -> int:
    """Run the benchmark. Returns the exit code."""
    if unknown := set(arguments) - {"--gate"}:
        print(f"usage: python -m tests.bench.engines [--gate], not {' '.join(sorted(unknown))}", file=sys.stderr)
        return 64
    if reason := lacks() or lab.missing(*NEEDED):
        print(f"the benchmark {reason}", file=sys.stderr)
        return 77
    os.chdir(table.ROOT)
    compileall.compile_dir(table.ROOT / "reconciler", quiet=1)
    return table.fill(compared(), "bench-engines.json", "--gate" in arguments)


def compared() -> Generator[Row, None, None]:
    """Measure netapply, and then each peer against what netapply took right before it."""
    ours, ruleset = netapply.plain()
    yield Row("netapply, the whole process", str(ours), ours.wall * 1000, None, "ms")
    inner = netapply.within()
    yield Row("  of it from observing to verified", "", inner * 1000, None, "ms")
    single = None
    with tempfile.TemporaryDirectory() as folder:
        rootfs = lab.rootfs(Path(folder) / "rootfs")
        for peer in (
            partial(ip.figures, ruleset),
            cni.figures,
            partial(docker.figures, rootfs),
            partial(podman.figures, rootfs),
        ):
            if single is not None:
                ours, _ = netapply.plain()
            for name, took in peer():
                single = single or took  # the first is `ip`
                yield _row(name, took, ours, single)


def _row(name: str, took: Taken, ours: Taken, single: Taken) -> Row:
    ratios = f"{took.wall / single.wall:.2f} x ip, by cpu {took.cpu / ours.cpu:.1f} x netapply"
    measured = f"{took}, {ratios}, {ours.wall:.2f} s ({ours.cpu:.2f})"
    target = AHEAD if name.startswith(("Docker", "Podman")) else None
    peers = f"{EARLIER[name]} x ip before" if name in EARLIER else ""
    return Row(name, measured, took.wall / ours.wall, target, "x netapply", peers, at_least=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
