"""Docker, by its command and by its API.

Its containers run on no network. To those it attaches nothing, so that they are taken off "none" before, which is not
measured; their namespaces are then as empty as everybody else's.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.engines.docker import DOCKER, SOCKET, Docker
from tests.engines.lab import IMAGE

from ..workload import NETWORKS
from . import hosts, netapply
from .api import Api, attach, containers, detach
from .hosts import SANDBOXES, Taken


def figures(rootfs: Path) -> Iterator[tuple[str, Taken]]:
    """Yield netapply's for Docker's containers, the command's and the API's."""
    with hosts.host() as here:
        docker = Docker(here)
        docker.start()
        docker.load(rootfs)
        api = Api(here, SOCKET)
        with containers(here, SOCKET, IMAGE, "none"):
            pair = docker.pid(SANDBOXES[0]), docker.pid(SANDBOXES[NETWORKS])
            yield "netapply, containers of Docker", netapply.of_docker(here, *pair)
            for name in SANDBOXES:
                api.ask("POST", "/networks/none/disconnect", {"Container": name})
            script = here.manifest(_script(), "attach.sh")
            took = hosts.taken(here, partial(hosts.run, here, "sh", str(script)))
            hosts.check(here, *pair)
            yield "Docker CLI", took
            detach(api)
            assert hosts.ports(here) == 0, "Docker left links"
            took = hosts.taken(here, partial(attach, api))
            hosts.check(here, *pair)
            yield "Docker API", took


def _script() -> str:
    command = f"{DOCKER} -H unix://{SOCKET} network"
    lines = [f"{command} create --subnet 10.64.{one * 4}.0/22 net{one}" for one in range(NETWORKS)]
    lines += [f"{command} connect net{place % NETWORKS} {name}" for place, name in enumerate(SANDBOXES)]
    return "\n".join(["set -e", *lines]) + "\n"
