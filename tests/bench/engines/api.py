"""The API that Docker's daemon and Podman's service have in common, for what the benchmark asks of them."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPConnection

from tests.engines.lab import Lab

from ..workload import NETWORKS
from . import hosts
from .hosts import SANDBOXES

WORKERS = 4
"""How many containers are started, and removed, at a time; this is not measured."""


class Api(HTTPConnection):
    """A connection that stays open. `path` is of the socket, in the host."""

    def __init__(self, here: Lab, path: str) -> None:
        super().__init__("localhost", timeout=hosts.LIMIT)
        self.path = f"/proc/{here.pid}/root{path}"

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)

    def ask(self, method: str, path: str, body: object = None, *, missing: bool = False) -> None:
        """Ask for something that is to be done. A refusal is an AssertionError, "not found" only if not `missing`."""
        self.request(method, path, json.dumps(body) if body is not None else None, {"Content-Type": "application/json"})
        answer = self.getresponse()
        said = answer.read().decode("utf-8", "replace")
        done = answer.status < 300 or (missing and answer.status == HTTPStatus.NOT_FOUND)
        assert done, f"{method} {path}: {answer.status} {said}"


@contextmanager
def containers(here: Lab, path: str, image: str, network: str) -> Iterator[None]:
    """Have a container for each sandbox run while the block does, on that network."""

    def start(name: str) -> None:
        api = Api(here, path)
        wanted = {"Image": image, "Cmd": ["sleep", "100000"], "HostConfig": {"NetworkMode": network}}
        api.ask("POST", f"/containers/create?name={name}", wanted)
        api.ask("POST", f"/containers/{name}/start")
        api.close()

    def remove(name: str) -> None:
        api = Api(here, path)
        api.ask("DELETE", f"/containers/{name}?force=true", missing=True)  # if not all were started
        api.close()

    try:
        with ThreadPoolExecutor(WORKERS) as workers:
            list(workers.map(start, SANDBOXES))
        yield
    finally:
        with ThreadPoolExecutor(WORKERS) as workers:
            list(workers.map(remove, SANDBOXES))  # else their control groups would stay


def attach(api: Api) -> None:
    """Make the networks and attach the containers, one after the other, as all peers do."""
    for one in range(NETWORKS):
        ipam = {"Config": [{"Subnet": f"10.64.{one * 4}.0/22"}]}
        api.ask("POST", "/networks/create", {"Name": f"net{one}", "Driver": "bridge", "IPAM": ipam})
    for place, name in enumerate(SANDBOXES):
        api.ask("POST", f"/networks/net{place % NETWORKS}/connect", {"Container": name})


def detach(api: Api) -> None:
    """Take back what `attach` has done."""
    for place, name in enumerate(SANDBOXES):
        api.ask("POST", f"/networks/net{place % NETWORKS}/disconnect", {"Container": name})
    for one in range(NETWORKS):
        api.ask("DELETE", f"/networks/net{one}")
