"""netapply: into namespaces by name, and into Docker's containers, for which it asks the engine."""

from __future__ import annotations

import json
import sys
from functools import partial

from tests.engines.lab import Lab

from .. import workload
from ..measure import NETAPPLY
from . import hosts
from .hosts import ENDPOINTS, SANDBOXES, Taken

ROUNDS = 3


def plain() -> tuple[Taken, str]:
    """Return what the whole process takes, and the nft table that it makes."""
    rounds, ruleset = [], ""
    for _ in range(ROUNDS):
        with hosts.host() as here:
            hosts.namespaces(here)
            file = str(here.manifest(workload.manifest(ENDPOINTS, sandbox="netns")))
            rounds.append(hosts.taken(here, partial(hosts.run, here, NETAPPLY, file)))
            hosts.check(here, SANDBOXES[0], SANDBOXES[workload.NETWORKS])
            ruleset = here.run(f"nft list table inet netapply-{workload.PROJECT}").stdout
    return hosts.median(rounds), ruleset


def within() -> float:
    """Return the seconds from observing to verified."""
    with hosts.host() as here:
        hosts.namespaces(here)
        file = str(here.manifest(workload.manifest(ENDPOINTS, sandbox="netns")))
        said = hosts.run(here, sys.executable, "-m", "tests.bench.phases", file)
        hosts.check(here, SANDBOXES[0], SANDBOXES[workload.NETWORKS])
    return float(json.loads(said)["elapsed"])


def of_docker(here: Lab, first: int, second: int) -> Taken:
    """Return what it takes with Docker's containers of these names, and leave them as they were."""
    rounds = []
    file = str(here.manifest(workload.manifest(ENDPOINTS, sandbox="docker")))
    for _ in range(ROUNDS):
        rounds.append(hosts.taken(here, partial(hosts.run, here, NETAPPLY, file)))
        hosts.check(here, first, second)
        hosts.run(here, NETAPPLY, "destroy", file)
        assert hosts.ports(here) == 0, "destroy left links"
    return hosts.median(rounds)
