"""Containers of runtimes on the real kernel, by an engine that says what it is told to; tests/engines has real ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from reconciler.host import Scope
from reconciler.host.linux import LinuxHost
from reconciler.networks import SandboxRef
from reconciler.sandboxes import programs
from tests.kernel import cni_lab
from tests.machine import Machine
from tests.unit.engine import engine, http

PING = {"/_ping": http(b"OK", Api_Version="1.44", Libpod_API_Version="5.2.1")}
SOCKET = Path("/run/docker.sock")
NAME = "/v1.44/containers/web/json"

SHOP = """
project: shop
networks: {front: {ipam: {config: [{subnet: 10.20.0.0/24}]}}}
containers:
  web: {sandbox: {docker: web}, networks: {front: {ipv4_address: 10.20.0.10}}}
  db: {networks: [front]}
"""


def inspected(pid: int) -> dict[str, Any]:
    return {"State": {"Status": "running" if pid else "exited", "Pid": pid}}


def observe(host: LinuxHost | None = None) -> Any:
    return (host or LinuxHost()).observe(Scope("shop", {"web": SandboxRef("docker", "web")}))


def old(machine: Machine) -> int:
    """Start a container's process: one that is older than the next question."""
    pid = machine.process()
    time.sleep(0.03)
    return pid


def test_a_container_is_attached_to_by_its_process(host: Machine) -> None:
    pid = old(host)
    with engine(SOCKET, {**PING, NAME: inspected(pid)}):
        host.netapply("-", stdin=SHOP)
        assert host.ping("db", "10.20.0.10")
        assert host.ping(f"/proc/{pid}/ns/net", "10.20.0.1")
        assert "nothing to do" in host.netapply("-", stdin=SHOP).stdout


def test_a_container_that_is_restarted_between_the_question_and_the_look_is_asked_for_again(host: Machine) -> None:
    first, second = host.processes, [old(host), old(host)]
    os.kill(second[0], signal.SIGKILL)
    first[0].wait(10)
    answers = iter([second[0], second[1]])
    with engine(SOCKET, {**PING, NAME: lambda: inspected(next(answers))}) as one:
        found = observe()
    assert not found.facts.pending
    assert one.asked.count(NAME) == 2


def test_a_number_that_somebody_else_got_meanwhile_is_not_taken_for_the_containers(host: Machine) -> None:
    """The process is younger than the question: an engine can't have known it."""
    with engine(SOCKET, {**PING, NAME: lambda: inspected(_late(host))}):
        found = observe()
    assert found.facts.pending == {"web": "docker:web is just starting or ending"}
    assert not found.state.keys() & {("netns", "web")}


def test_a_container_that_starts_again_and_again_stays_where_its_endpoints_are(host: Machine) -> None:
    """Its namespace lives on by another container, as in a pod; no answer holds until it is looked at."""
    first = old(host)
    second = host.start("sleep 60", netns=f"/proc/{first}/ns/net")
    with engine(SOCKET, {**PING, NAME: inspected(first)}):
        host.netapply("-", stdin=SHOP)
    second.kill()
    second.wait(10)
    SOCKET.unlink()
    with engine(SOCKET, {**PING, NAME: inspected(second.pid)}):
        said = host.netapply("-", stdin=SHOP).stdout
    assert "nothing to do" in said
    assert "container web is taken to be where its endpoints are: docker:web is just starting or ending" in said
    assert host.ping("db", "10.20.0.10")


def test_a_number_that_no_process_can_have_leaves_a_container_pending(host: Machine) -> None:
    with engine(SOCKET, {**PING, NAME: inspected(10**4200)}):
        assert observe().facts.pending == {"web": "docker:web is just starting or ending"}


def _late(host: Machine) -> int:
    time.sleep(0.05)
    return host.process()


def test_where_a_container_ends_while_it_is_attached_the_host_is_as_before(host: Machine) -> None:
    pid = old(host)
    Path("/run/shop.yaml").write_text(SHOP)
    killing = (
        "import os, signal\nfrom reconciler import api\nfrom reconciler.host.linux import LinuxHost\n"
        f"def trap(what):\n    if ' ve' in what: os.kill({pid}, signal.SIGKILL)\n"
        "api.apply(api.load('/run/shop.yaml'), LinuxHost(trap))\n"
    )
    with engine(SOCKET, {**PING, NAME: inspected(pid)}):
        done = host.run([sys.executable, "-c", killing], check=False)
    assert "ApplyFailed" in done.stderr
    assert "the host is as it was before" in done.stderr
    assert "shop" not in host.snapshot()
    assert host.names() == []


def test_two_in_one_namespace_converge_whichever_is_named_first(host: Machine) -> None:
    """A route that leads nowhere says of no container that it is that one's; a mark says whose the namespace is."""
    pid = old(host)
    other = host.start("sleep 60", netns=f"/proc/{pid}/ns/net").pid
    back = "back: {ipam: {config: [{subnet: 10.20.1.0/24}]}, routes: [{destination: 192.0.2.0/24, type: blackhole}]}}"
    head = SHOP.partition("containers:")[0].replace("}]}}}", "}]}}, " + back) + "containers:\n"
    for first, second in (("web", "xlog"), ("web", "alog")):
        both = f"  {first}: {{sandbox: {{pid: {pid}}}, networks: [front]}}\n"
        both += f"  {second}: {{sandbox: {{pid: {other}}}, networks: [back]}}\n"
        host.netapply("-", stdin=head + both)
        assert "nothing to do" in host.netapply("-", stdin=head + both).stdout
    own = head + "  db: {networks: [front]}\n"
    host.netapply("-", stdin=own)
    own += f"  guest: {{sandbox: {{pid: {host.start('sleep 60', netns='db').pid}}}, networks: [back]}}\n"
    host.netapply("-", stdin=own)
    assert "nothing to do" in host.netapply("-", stdin=own).stdout
    assert "alias netapply:shop/db;" in host.run("ip link show lo", netns="db").stdout


def test_an_engine_that_goes_away_before_verifying_does_no_harm(host: Machine) -> None:
    pid = old(host)
    answers = iter([inspected(pid)])
    with engine(SOCKET, {**PING, NAME: lambda: next(answers, b"")}):
        said = host.netapply("-", stdin=SHOP).stdout
    assert "endpoint web" in said
    assert host.ping("db", "10.20.0.10")


def test_an_engine_that_starts_later_finds_its_container_attached(host: Machine) -> None:
    pid = old(host)
    with engine(SOCKET, {**PING, NAME: inspected(pid)}):
        host.netapply("-", stdin=SHOP)
    SOCKET.unlink()
    said = host.netapply("-", stdin=SHOP).stdout
    assert "nothing to do" in said
    assert "container web is taken to be where its endpoints are: Docker (/run/docker.sock) is not there" in said
    host.run(f"nsenter --net=/proc/{pid}/ns/net -- ip link set net0 down")
    assert "endpoint web" in host.netapply("-", stdin=SHOP).stdout
    assert host.ping("db", "10.20.0.10")
    assert "- endpoint web" in host.netapply("destroy", "-", stdin=SHOP).stdout


def test_what_a_plugin_made_stays_while_the_engine_does_not_answer(host: Machine) -> None:
    cni_lab.install()
    pid = old(host)
    opts = f"{{conflist: {{plugins: [{{type: lab}}]}}, bin_dirs: [{cni_lab.BIN}]}}"
    shop = f"project: shop\nnetworks: {{front: {{driver: cni, driver_opts: {opts}}}}}\n"
    shop += "containers: {web: {sandbox: {docker: web}, networks: [front]}}\n"
    with engine(SOCKET, {**PING, NAME: inspected(pid)}):
        assert "+ endpoint web: net0" in host.netapply("-", stdin=shop).stdout
    SOCKET.unlink()
    said = host.netapply("-", stdin=shop).stdout
    assert "container web is taken to be where its endpoints are" in said
    assert "nothing to do" in said
    assert "- endpoint web" in host.netapply("destroy", "-", stdin=shop).stdout


def test_a_host_that_boots_converges_without_its_engines(host: Machine) -> None:
    everything = SHOP + "".join(
        f"  {kind}: {{sandbox: {{{kind}: c}}, networks: [front]}}\n"
        for kind in ("podman", "containerd", "oci", "machine")
    )
    said = host.netapply("-", stdin=everything).stdout
    assert said.count("pending: container") == 5
    assert host.ping("db", "10.20.0.1")
    strict = host.netapply("--strict", "-", stdin=everything, code=69).stderr
    assert "container podman: Podman (/run/podman/podman.sock) is not there" in strict
    assert "Traceback" not in strict


# --- whom an engine is believed


@contextmanager
def listening(*prefix: str, answer: str) -> Iterator[None]:
    """An engine in a process of its own, which says that every container is the process of that number."""
    script = (
        "import pathlib, sys, time\n"
        "from tests.unit.engine import engine, http\n"
        f"answers = {{'/_ping': http(b'OK', Api_Version='1.44'), {NAME!r}: {answer}}}\n"
        "with engine(pathlib.Path('/run/open/e.sock'), answers):\n"
        "    print('ready', flush=True); sys.stdin.read()\n"
    )
    Path("/run/open").mkdir(exist_ok=True)
    Path("/run/open").chmod(0o777)
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        [*prefix, sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ
    ) as process:
        assert process.stdout
        assert process.stdin
        assert process.stdout.readline() == b"ready\n"
        yield
        process.stdin.close()
        process.wait(10)
    Path("/run/open/e.sock").unlink()


def asked() -> str:
    reference = SandboxRef("docker", "web", details=(("socket", "/run/open/e.sock"),))
    return LinuxHost().observe(Scope("shop", {"web": reference})).facts.pending.get("web", "")


def test_an_engine_in_another_pid_namespace_is_not_believed(host: Machine) -> None:
    pid = old(host)
    answer = f"{{'State': {{'Pid': {pid}}}}}"
    with listening(answer=answer):
        assert asked() == ""
    with listening("unshare", "--pid", "--fork", answer=answer):
        assert "is in another PID namespace" in asked()


def test_a_users_engine_is_believed_of_that_users_namespaces_alone(host: Machine) -> None:
    """Rootless Docker and Podman. Whoever can listen on a socket could name any process."""
    as_user = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    if host.run([*as_user, "unshare", "--user", "--net", "true"], check=False).returncode:
        pytest.skip("users may not make namespaces here")
    own = host.start([*as_user, "unshare", "--user", "--net", "sleep", "60"]).pid
    _until(lambda: os.readlink(f"/proc/{own}/ns/net") != os.readlink("/proc/self/ns/net"))
    time.sleep(0.03)
    with listening(*as_user, answer=f"{{'State': {{'Pid': {own}}}}}"):
        assert asked() == ""
    for pid in (old(host), 1):
        with listening(*as_user, answer=f"{{'State': {{'Pid': {pid}}}}}"):
            assert "is of user 65534, and gives for web a process in a namespace of somebody else's" in asked()


@pytest.mark.parametrize("kind", ["oci", "containerd"])
def test_what_a_users_files_say_is_believed_of_that_users_namespaces_alone(
    kind: str, host: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runtime tells what is in its folder, and whoever owns that can write any process into it."""
    folder, pid = Path("/run/users"), old(host)
    (folder / "web").mkdir(parents=True)
    (folder / "sock").touch()
    said = {"oci": b'{"pid": %d, "status": "running"}' % pid, "containerd": b"TASK PID STATUS\nweb %d RUNNING\n" % pid}
    monkeypatch.setattr(programs, "output", lambda command, deadline: said[kind])
    details = {"oci": (("runtime", "crun"), ("root", str(folder))), "containerd": (("socket", f"{folder}/sock"),)}
    scope = Scope("shop", {"web": SandboxRef(kind, "web", details=details[kind])})
    assert not LinuxHost().observe(scope).facts.pending
    os.chown(folder, 65534, 65534)
    why = LinuxHost().observe(scope).facts.pending["web"]
    assert "is of user 65534, and gives" in why
    assert "a process in a namespace of somebody else's" in why


def _until(ready: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not ready():
        assert time.monotonic() < until
        time.sleep(0.01)


# --- systemd-nspawn


def test_a_machine_is_attached_to_by_its_leader(host: Machine) -> None:
    pid = old(host)
    shop = SHOP.replace("docker: web", "machine: web")
    assert "pending: container web: machine web does not run" in host.netapply("-", stdin=shop).stdout
    Path("/run/systemd/machines").mkdir(parents=True)
    Path("/run/systemd/machines/web").write_text(f"NAME=web\nCLASS=container\nLEADER={pid}\n")
    host.netapply("-", stdin=shop)
    assert host.ping("db", "10.20.0.10")
    assert "web: machine:web (adopted)" in host.netapply("status", "-", stdin=shop).stdout
