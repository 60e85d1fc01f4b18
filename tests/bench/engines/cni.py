"""CNI's plugins, run by hand as a runtime runs them: one process for each plugin and endpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial

from ..workload import NETWORKS
from . import hosts
from .hosts import SANDBOXES, Taken

PLUGINS = "/usr/lib/cni"

VERSION = "1.0.0"

CHAIN = ("bridge", "portmap", "firewall")


def figures() -> Iterator[tuple[str, Taken]]:
    """Yield the bridge plugin's by itself, and that of the usual chain. Both masquerade; no port is published."""
    for plugins in (CHAIN[:1], CHAIN):
        with hosts.host() as here:
            hosts.namespaces(here)
            script = here.manifest(_script(plugins), "attach.sh")
            took = hosts.taken(here, partial(hosts.run, here, "sh", str(script)))
            hosts.check(here, SANDBOXES[0], SANDBOXES[NETWORKS])
        yield f"CNI {'+'.join(plugins)}", took


def _script(plugins: Sequence[str]) -> str:
    """Return a script that adds all endpoints: each plugin gets the result of the one before."""
    lines = [
        "set -e",
        f"export CNI_COMMAND=ADD CNI_IFNAME=eth0 CNI_PATH={PLUGINS}",
        "add() {",
        "export CNI_CONTAINERID=$1 CNI_NETNS=/run/netns/$1",
        "result=",
    ]
    for plugin in plugins:
        before = ', "prevResult": \'"$result"\'' if plugin != "bridge" else ""
        configuration = json.dumps(_configuration(plugin)).replace('"NAME"', "\"'$2'\"").replace("NUMBER", "'$3'")
        lines.append(f"result=$(echo '{configuration[:-1]}{before}}}' | {PLUGINS}/{plugin})")
    lines.append("}")
    for place, name in enumerate(SANDBOXES):
        network = place % NETWORKS
        lines.append(f"add {name} net{network} {network * 4}")
    return "\n".join(lines) + "\n"


def _configuration(plugin: str) -> dict[str, object]:
    """Return a plugin's configuration; NAME is the network's, NUMBER that of its subnet."""
    common: dict[str, object] = {"cniVersion": VERSION, "name": "NAME", "type": plugin}
    if plugin == "portmap":
        return {**common, "capabilities": {"portMappings": True}, "runtimeConfig": {"portMappings": []}}
    if plugin == "firewall":
        return {**common, "backend": "iptables"}
    ranges = [[{"subnet": "10.64.NUMBER.0/22"}]]
    ipam = {"type": "host-local", "dataDir": "/run/cni", "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}]}
    return {**common, "bridge": "NAME", "isGateway": True, "ipMasq": True, "ipam": ipam}
