"""A network plugin of Docker's for tests: strict about the protocol, and real about what it makes.

`python -m tests.kernel.docker_plugin NAME` is one that runs until it is killed, and prints a line when it is ready.

A network is a bridge with the gateways' addresses, an endpoint a veth pair with one end in the bridge. Every request is
compared with libnetwork's drivers/remote/api: what is missing, unknown, of another type or out of turn is a violation,
which the test is told at the end. Errors that a plugin may well have are answers like others.
"""

from __future__ import annotations

import json
import re
import signal
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

ID = re.compile("[0-9a-f]{64}")
SOCKET = Path("/run/docker/plugins/lab.sock")

POOL = {"AddressSpace": str, "Pool": str}
INTERFACE = {"Address": str, "AddressIPv6": str, "MacAddress": str}
REQUESTS: Mapping[str, Mapping[str, type]] = {
    "CreateNetwork": {"NetworkID": str, "Options": dict, "IPv4Data": list, "IPv6Data": list},
    "DeleteNetwork": {"NetworkID": str},
    "CreateEndpoint": {"NetworkID": str, "EndpointID": str, "Interface": dict, "Options": dict},
    "EndpointOperInfo": {"NetworkID": str, "EndpointID": str},
    "DeleteEndpoint": {"NetworkID": str, "EndpointID": str},
    "Join": {"NetworkID": str, "EndpointID": str, "SandboxKey": str, "Options": dict},
    "Leave": {"NetworkID": str, "EndpointID": str},
}


class Refused(Exception):
    """What a plugin says in Err."""


class Plugin:
    """The plugin's own state. `calls` are the methods in order, `faults` what to do instead by method."""

    def __init__(self) -> None:
        self.networks: dict[str, dict[str, Any]] = {}
        self.endpoints: dict[str, dict[str, Any]] = {}
        self.joined: set[str] = set()
        self.calls: list[str] = []
        self.asked: list[tuple[str, Any]] = []
        self.violations: list[str] = []
        self.faults: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self.more_in_join: dict[str, Any] = {}
        self.activated = False

    def answer(self, path: str, body: Any) -> dict[str, Any]:
        """Return the answer to a request. Raises Refused."""
        subsystem, _, method = path.lstrip("/").partition(".")
        self.calls.append(method)
        self.asked.append((method, body))
        if path == "/Plugin.Activate":
            self.activated = True
            return {"Implements": ["NetworkDriver"]}
        self.demand(self.activated, f"{path} comes before Plugin.Activate")
        self.demand(subsystem == "NetworkDriver", f"{path} is no method")
        if method == "GetCapabilities":
            return {"Scope": "local"}
        self.check(method, body)
        made: dict[str, Any] = getattr(self, f"do_{method}")(body)
        return made

    def demand(self, holds: bool, what: str) -> None:
        if not holds:
            self.violations.append(what)

    def check(self, method: str, body: Any) -> None:
        fields = REQUESTS.get(method)
        if fields is None or not isinstance(body, dict):
            self.violations.append(f"{method} is not in the protocol, or not an object")
            raise Refused("what?")
        self.fields(method, body, fields)
        for key in ("NetworkID", "EndpointID"):
            if key in fields:
                self.demand(bool(ID.fullmatch(str(body.get(key)))), f"{method}: {key} is {body.get(key)!r}")
        for pool in (*body.get("IPv4Data", ()), *body.get("IPv6Data", ())):
            self.fields(f"{method} pool", {k: v for k, v in pool.items() if k != "Gateway"}, POOL)
        if method == "CreateEndpoint":
            self.fields("Interface", body["Interface"], INTERFACE)

    def fields(self, what: str, body: dict[str, Any], fields: Mapping[str, type]) -> None:
        self.demand(body.keys() == fields.keys(), f"{what} has the keys {sorted(body)}, not {sorted(fields)}")
        for key, kind in fields.items():
            self.demand(isinstance(body.get(key), kind), f"{what}: {key} is {body.get(key)!r}")

    # What it does

    def do_CreateNetwork(self, body: Any) -> dict[str, Any]:  # noqa: N802
        if body["NetworkID"] in self.networks:
            raise Refused("network exists")
        bridge = f"lab{body['NetworkID'][:8]}"
        ip(f"link add {bridge} address {mac(body['NetworkID'], 0)} type bridge")
        gateways = [pool["Gateway"] for pool in (*body["IPv4Data"], *body["IPv6Data"]) if "Gateway" in pool]
        for gateway in gateways:
            ip(f"addr add {gateway} dev {bridge}{' nodad' if ':' in gateway else ''}")
        ip(f"link set {bridge} up")
        self.networks[body["NetworkID"]] = {**body, "bridge": bridge, "gateways": gateways}
        return {}

    def do_DeleteNetwork(self, body: Any) -> dict[str, Any]:  # noqa: N802
        network = self.networks.get(body["NetworkID"])
        if network is None:
            raise Refused("no such network")
        on_it = [one for one in self.endpoints.values() if one["NetworkID"] == body["NetworkID"]]
        self.demand(not on_it, "DeleteNetwork while there are endpoints")
        ip(f"link del {network['bridge']}")
        del self.networks[body["NetworkID"]]
        return {}

    def do_CreateEndpoint(self, body: Any) -> dict[str, Any]:  # noqa: N802
        network = self.networks.get(body["NetworkID"])
        if network is None:
            raise Refused("no such network")
        if body["EndpointID"] in self.endpoints:
            raise Refused("endpoint exists")
        outer, inner = f"lo{body['EndpointID'][:8]}", f"li{body['EndpointID'][:8]}"
        macs = [mac(body["EndpointID"], number) for number in (1, 2)]
        ip(f"link add {outer} address {macs[0]} type veth peer name {inner} address {macs[1]}")
        ip(f"link set {outer} master {network['bridge']} up")
        self.endpoints[body["EndpointID"]] = {**body, "outer": outer, "inner": inner}
        return {}

    def do_EndpointOperInfo(self, body: Any) -> dict[str, Any]:  # noqa: N802
        self.endpoint(body)
        return {"Value": {}}

    def do_Join(self, body: Any) -> dict[str, Any]:  # noqa: N802
        endpoint = self.endpoint(body)
        self.demand(body["EndpointID"] not in self.joined, "Join twice")
        self.demand(Path(body["SandboxKey"]).exists(), f"there is no sandbox {body['SandboxKey']}")
        self.joined.add(body["EndpointID"])
        gateways = [one.partition("/")[0] for one in self.networks[body["NetworkID"]]["gateways"]]
        return {
            "InterfaceName": {"SrcName": endpoint["inner"], "DstPrefix": "eth"},
            "Gateway": next((one for one in gateways if ":" not in one), ""),
            "GatewayIPv6": next((one for one in gateways if ":" in one), ""),
            **self.more_in_join,
        }

    def do_Leave(self, body: Any) -> dict[str, Any]:  # noqa: N802
        self.endpoint(body)
        if body["EndpointID"] not in self.joined:
            raise Refused("not joined")
        self.joined.discard(body["EndpointID"])
        return {}

    def do_DeleteEndpoint(self, body: Any) -> dict[str, Any]:  # noqa: N802
        endpoint = self.endpoint(body)
        self.demand(body["EndpointID"] not in self.joined, "DeleteEndpoint before Leave")
        del self.endpoints[body["EndpointID"]]
        if Path("/sys/class/net", endpoint["outer"]).exists():
            self.demand(Path("/sys/class/net", endpoint["inner"]).exists(), "the link did not come back")
            ip(f"link del {endpoint['outer']}")
        return {}

    def endpoint(self, body: Any) -> dict[str, Any]:
        if body["EndpointID"] not in self.endpoints:
            raise Refused("no such endpoint")
        return self.endpoints[body["EndpointID"]]


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    plugin: Plugin


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        plugin = self.server.plugin
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        accepted = self.headers.get("Accept", "")
        plugin.demand(accepted.startswith("application/vnd.docker.plugins.v1"), f"Accept is {accepted!r}")
        fault = plugin.faults.get(self.path.rpartition(".")[2])
        if fault:
            plugin.calls.append(self.path.rpartition(".")[2])
            fault(self)
            return
        try:
            told = plugin.answer(self.path, json.loads(body) if body else None)
        except Refused as refused:
            told = {"Err": str(refused)}
        reply(self, json.dumps(told).encode())

    def address_string(self) -> str:
        return "netapply"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        pass


def reply(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(body)
    handler.close_connection = True


@contextmanager
def plugin(path: Path = SOCKET) -> Iterator[Plugin]:
    """Run a plugin on the host that the caller is on. Afterwards no request of all may have broken the protocol."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _Server(str(path), _Handler) as server:
        server.plugin = Plugin()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.plugin
        finally:
            server.shutdown()
            thread.join()
            path.unlink()
    assert server.plugin.violations == []


def mac(identity: str, number: int) -> str:
    return f"02:50:{identity[:2]}:{identity[2:4]}:{identity[4:6]}:0{number}"


def ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True, capture_output=True, text=True, timeout=20)


if __name__ == "__main__":
    with plugin(SOCKET.with_name(f"{sys.argv[1]}.sock")):
        print("ready", flush=True)
        signal.pause()
