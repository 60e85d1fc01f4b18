"""`ip`: a process for each command, as scripts do it, and one batch for each namespace."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from .. import workload
from . import hosts
from .hosts import ENDPOINTS, SANDBOXES, Taken

ROUNDS = 2


def figures(ruleset: str) -> Iterator[tuple[str, Taken]]:
    """Yield both; the nft table is netapply's."""
    for name, batched in (("ip, a process for each command", False), ("ip -batch", True)):
        rounds = []
        for _ in range(ROUNDS):
            with hosts.host() as here:
                hosts.namespaces(here)
                if batched:
                    script = workload.batches(ENDPOINTS, here.folder, ruleset, existing=True)
                else:
                    script = workload.single_commands(ENDPOINTS, here.folder, ruleset)
                rounds.append(hosts.taken(here, partial(hosts.run, here, "sh", str(script.main))))
                hosts.check(here, SANDBOXES[0], SANDBOXES[workload.NETWORKS])
        yield name, hosts.median(rounds)
