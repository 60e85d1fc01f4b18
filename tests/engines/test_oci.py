"""Containers of runc and crun without an engine, and of containerd, which Docker brings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import lab as labs
from .conftest import left
from .docker import Docker
from .lab import Lab
from .oci import Runtime

SHOP = """
project: shop
networks: {front: {ipam: {config: [{subnet: 10.20.0.0/24}]}}}
containers:
  web: {sandbox: {oci: shop-web}, networks: {front: {ipv4_address: 10.20.0.10}}}
  db: {networks: {front: {ipv4_address: 10.20.0.11}}}
"""


PUBLISHED = (
    SHOP.replace("{config: [{subnet: 10.20.0.0/24}]}", '{config: [{subnet: 10.20.0.0/24}, {subnet: "fd00:20::/64"}]}')
    .replace("10.20.0.10}}", '10.20.0.10, ipv6_address: "fd00:20::10"}}, ports: ["8080:80"]')
    .replace("10.20.0.11}}", '10.20.0.11, ipv6_address: "fd00:20::11"}}')
)
"""SHOP by both families, and with a port of web's on the host."""


@pytest.fixture(params=["runc", "crun"])
def runtime(request: pytest.FixtureRequest, lab: Lab, rootfs: Path) -> Iterator[Runtime]:
    """A runtime. Its containers may run on after the test, in which nothing of netapply's is left by then."""
    program = str(request.param)
    if reason := labs.missing("runc", program):
        pytest.skip(reason)
    new = Runtime(lab, rootfs, program)
    yield new
    pids = [one["pid"] for one in json.loads(new("list", "--format", "json")) or [] if one["status"] == "running"]
    assert [lab.links(pid) for pid in pids] == [[]] * len(pids)
    assert left(lab, *pids) == []
    assert lab.run("ls /run/netns").stdout == ""


def test_a_container_is_found_by_its_id_alone(runtime: Runtime) -> None:
    lab, name = runtime.lab, f"a-{runtime.program}"
    manifest = lab.manifest(SHOP.replace("shop-web", name))
    assert f"pending: container web: there is no container {name} in /run/runc or /run/crun" in lab.netapply(manifest)
    pid = runtime.run(name)
    lab.netapply(manifest)
    assert lab.links(pid) == ["net0"]
    assert lab.ping(pid, "10.20.0.11")
    assert lab.tcp("db", pid, "10.20.0.10") == "10.20.0.11"
    assert "nothing to do" in lab.netapply(manifest)
    runtime("kill", name, "KILL")
    labs.wait("the end", lambda: '"stopped"' in runtime("state", name).replace(" ", ""))
    said = lab.netapply(manifest)
    assert f"container {name} of {runtime.program} does not run (stopped)" in said
    assert "nothing to do" in said
    runtime("delete", name)
    lab.netapply("destroy", manifest)


def test_a_container_that_is_made_anew_is_attached_and_published_again(runtime: Runtime) -> None:
    lab, name = runtime.lab, f"e-{runtime.program}"
    manifest = lab.manifest(PUBLISHED.replace("oci: shop-web", f"oci: {name}, runtime: {runtime.program}"))
    lab.run("ip address replace 192.0.2.1/32 dev lo")
    lab.run("ip address replace 2001:db8::1/128 dev lo")

    def sources(pid: int) -> list[str]:
        """Who it sees when db asks by the addresses of the host, and by its own ones."""
        addresses = ("192.0.2.1:8080", "[2001:db8::1]:8080", "10.20.0.10", "[fd00:20::10]")
        return [lab.http(pid, one, "ip", "netns", "exec", "db", "/bin/busybox") for one in addresses]

    seen = ["10.20.0.1", "fd00:20::1", "10.20.0.11", "fd00:20::11"]
    pid = runtime.run(name)
    lab.netapply(manifest)
    assert sources(pid) == seen
    runtime("kill", name, "KILL")
    labs.wait("the end", lambda: '"stopped"' in runtime("state", name).replace(" ", ""))
    said = lab.netapply(manifest)
    assert "- port 8080/tcp of web" in said
    assert f"container {name} of {runtime.program} does not run (stopped)" in said
    runtime("delete", name)
    lab.run(["rm", "-r", str(lab.folder / f"bundle-{name}")])
    pid = runtime.run(name)
    said = lab.netapply(manifest)
    assert said.count("+ endpoint") == 1
    assert "+ port 8080/tcp of web" in said
    assert sources(pid) == seen
    assert "nothing to do" in lab.netapply(manifest)
    lab.netapply("destroy", manifest)


def test_a_container_that_was_created_is_attached_before_it_starts(runtime: Runtime) -> None:
    lab, name = runtime.lab, f"b-{runtime.program}"
    runtime.create(name)
    manifest = lab.manifest(SHOP.replace("oci: shop-web", f"oci: {name}, runtime: {runtime.program}"))
    lab.netapply(manifest)
    runtime("start", name)
    assert lab.ping("db", "10.20.0.10")
    lab.netapply("destroy", manifest)
    assert lab.links(runtime.pid(name)) == []


def test_a_runtime_may_keep_its_state_elsewhere(runtime: Runtime) -> None:
    lab, name = runtime.lab, f"c-{runtime.program}"
    elsewhere = Runtime(lab, runtime.rootfs, runtime.program, root="/run/elsewhere")
    elsewhere.run(name)
    manifest = lab.manifest(SHOP.replace("oci: shop-web", f"oci: {name}, root: /run/elsewhere"))
    lab.netapply(manifest)
    assert lab.ping("db", "10.20.0.10")
    assert f"web: oci:{name} (root /run/elsewhere) (adopted)" in lab.netapply("status", manifest)
    lab.netapply("destroy", manifest)


def test_many_containers_are_found_by_one_list(runtime: Runtime) -> None:
    lab, names = runtime.lab, [f"d{number}-{runtime.program}" for number in range(6)]
    for name in names[:5]:
        runtime.run(name)
    text = SHOP + "".join(
        f"  {name}: {{sandbox: {{oci: {name}, runtime: {runtime.program}}}, networks: [front]}}\n" for name in names
    )
    said = lab.netapply(lab.manifest(text))
    assert said.count("+ endpoint") == 6
    assert f"pending: container {names[5]}: {runtime.program} has no container {names[5]}" in said
    lab.netapply("destroy", lab.manifest(text))


def test_a_task_of_containerds_is_found_by_its_id(docker: Docker) -> None:
    lab, socket = docker.lab, "/run/docker/containerd/containerd.sock"
    pid = docker.run("shop-web")
    identity = docker("inspect", "--format", "{{.Id}}", "shop-web").stdout.strip()
    where = f"containerd: {identity}, namespace: moby, socket: {socket}"
    lab.netapply(lab.manifest(SHOP.replace("oci: shop-web", where)))
    assert lab.ping(pid, "10.20.0.11")
    assert "nothing to do" in lab.netapply(lab.manifest(SHOP.replace("oci: shop-web", where)))
    said = lab.netapply(
        "plan", lab.manifest(SHOP.replace("oci: shop-web", f"containerd: {identity}, socket: {socket}"))
    )
    assert "containerd runs no task" in said
    said = lab.netapply("plan", lab.manifest(SHOP.replace("oci: shop-web", "containerd: web")))
    assert "containerd (/run/containerd/containerd.sock) is not there" in said
