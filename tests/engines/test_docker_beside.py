"""Beside Docker's own networks: those of Compose, `docker network connect`, its names and default routes."""

from __future__ import annotations

from .docker import Docker
from .lab import ROOT
from .test_docker import SHOP

BESIDE = SHOP.replace("front: {ipam", "front: {no_default_route: true, ipam")
"""SHOP where another network carries the default route."""


def test_dockers_own_networks_go_on_beside_ours(docker: Docker) -> None:
    """On Docker's default bridge, on one of the kind that Compose makes, and connected to a further one afterwards."""
    lab, manifest = docker.lab, docker.lab.manifest(BESIDE)
    docker("network", "create", "shop_default")
    docker("network", "create", "shop_more")
    try:
        pid = docker.run("shop-web", "--network", "shop_default", "--network-alias", "web")
        peer = docker.run("peer", "--network", "shop_default")
        other = docker.run("other")
        lab.netapply(manifest)
        assert sorted(lab.links(pid)) == ["eth0", "net0"]
        docker("network", "connect", "shop_more", "shop-web")
        assert sorted(lab.links(pid)) == ["eth0", "eth1", "net0"], "Docker gives the names that it would without us"
        assert docker("exec", "peer", "ping", "-c1", "-W2", "web").returncode == 0, "Docker's DNS and its network"
        assert lab.ping("db", "10.20.0.10")
        assert "nothing to do" in lab.netapply(manifest)
        docker("network", "disconnect", "shop_more", "shop-web")
        assert "nothing to do" in lab.netapply(manifest)
        lab.netapply("destroy", manifest)
        assert lab.links(pid) == ["eth0"]
        assert lab.links(peer) == ["eth0"]
        assert lab.links(other) == []
    finally:
        docker.remove_all()
        docker("network", "rm", "shop_default", "shop_more")


def test_a_container_that_leaves_network_none_can_be_connected_by_docker(docker: Docker) -> None:
    """eth0 is the name that Docker gives then: ours must not have it."""
    lab, manifest = docker.lab, docker.lab.manifest(BESIDE)
    pid = docker.run("shop-web")
    lab.netapply(manifest)
    docker("network", "disconnect", "none", "shop-web")
    docker("network", "connect", "bridge", "shop-web")
    assert sorted(lab.links(pid)) == ["eth0", "net0"]
    assert "nothing to do" in lab.netapply(manifest)


def test_a_default_route_of_dockers_is_not_replaced(docker: Docker) -> None:
    docker.run("shop-web", "--network", "bridge")
    said = docker.lab.netapply(docker.lab.manifest(SHOP), code=3)
    assert "no_default_route" in said
    assert docker.lab.links(docker.pid("shop-web")) == ["eth0"]


def test_a_name_of_dockers_own_series_would_be_in_its_way(docker: Docker) -> None:
    """Why the default names are others."""
    lab = docker.lab
    docker("network", "create", "one")
    docker("network", "create", "two")
    try:
        docker.run("shop-web", "--network", "one")
        named = SHOP.replace("ipv4_address: 10.20.0.10,", "interface_name: eth1, ipv4_address: 10.20.0.10,")
        lab.netapply(lab.manifest(named.replace("front: {ipam", "front: {no_default_route: true, ipam")))
        refused = docker("network", "connect", "two", "shop-web", check=False)
        assert refused.returncode != 0
        assert "file exists" in refused.stderr
    finally:
        docker.remove_all()
        docker("network", "rm", "one", "two")


VOTES = ("voting-vote-1", "voting-vote-2", "voting-vote-3")


def test_the_voting_app_of_the_examples_runs_on_dockers_containers(docker: Docker) -> None:
    lab, example = docker.lab, ROOT / "manifests/docker.yaml"
    names = (*VOTES, *(f"voting-{name}-1" for name in ("result", "worker", "redis", "db")))
    pids = {name: docker.run(name) for name in names}
    try:
        lab.netapply(example)
        for name in names:
            both = name in VOTES or "result" in name
            assert sorted(lab.links(pids[name])) == (["net0", "net1"] if both else ["net0"])
        for name in VOTES:
            docker("exec", "-d", name, "httpd", "-p", "80", "-h", "/etc")
        page = "wget -q -O - http://{}/hostname"
        told = {lab.run(f"/bin/busybox {page.format('127.0.0.1:8080')}").stdout for _ in range(6)}
        assert len(told) == 3, "the published port, of which Docker knows nothing, leads to each of the three in turn"
        told = {docker("exec", "voting-result-1", *page.format("vote").split()).stdout for _ in range(6)}
        assert len(told) == 3, "so does the service's name"
        assert docker("exec", "voting-worker-1", *page.format("vote").split(), check=False).returncode != 0
        docker("restart", "-t", "0", "voting-db-1")
        said = lab.netapply(example)
        assert said.count("+ endpoint") == 1
        answer = docker("exec", "voting-worker-1", "nslookup", "db").stdout
        assert "10.20.1." in answer.partition("Name:")[2]
        assert "nothing to do" in lab.netapply(example)
    finally:
        lab.netapply("destroy", example)
    assert [lab.links(pid) for name, pid in pids.items() if "db" not in name] == [[]] * 6
