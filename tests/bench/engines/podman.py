"""Podman, by its command.

It attaches nothing to a container that was started on no network, nor takes one off that. Its containers therefore have
a first network already, an internal one. That is not measured.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.engines.lab import IMAGE
from tests.engines.podman import Podman

from ..workload import NETWORKS
from . import hosts
from .api import containers
from .hosts import ENDPOINTS, SANDBOXES, Taken


def figures(rootfs: Path) -> Iterator[tuple[str, Taken]]:
    """Yield the command's."""
    with hosts.host() as here:
        podman = Podman(here)
        podman.start()
        podman.load(rootfs)
        podman("network", "create", "--internal", "first")
        with containers(here, podman.socket, f"localhost/{IMAGE}", "first"):
            pair = podman.pid(SANDBOXES[0]), podman.pid(SANDBOXES[NETWORKS])
            script = here.manifest(_script(podman), "attach.sh")
            took = hosts.taken(here, partial(hosts.run, here, "sh", str(script)))
            hosts.check(here, *pair, others=ENDPOINTS)
            yield "Podman CLI", took


def _script(podman: Podman) -> str:
    command = f"{shlex.join(podman.words())} network"
    lines = [f"{command} create --subnet 10.64.{one * 4}.0/22 net{one}" for one in range(NETWORKS)]
    lines += [f"{command} connect net{place % NETWORKS} {name}" for place, name in enumerate(SANDBOXES)]
    return "\n".join(["set -e", *lines]) + "\n"
