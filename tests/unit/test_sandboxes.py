"""Where containers are, by engines that answer, answer badly, or don't: none may take long, or raise."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from reconciler import sandboxes
from reconciler.host.namespaces import raise_descriptor_limit
from reconciler.networks import SandboxRef
from reconciler.sandboxes import Finder, Found, Pending, docker, engines, now, process, programs

from .engine import Engine, engine, http

PING = {"/_ping": http(b"OK", Api_Version="1.44", Libpod_API_Version="5.2.1")}
LIST = "/v5.2.1/libpod/containers/json?all=true"


@pytest.fixture
def sleeper() -> Iterator[int]:
    """A process that is older than any question."""
    with subprocess.Popen(["sleep", "60"]) as one:
        time.sleep(0.03)
        yield one.pid
        one.kill()


def ref(kind: str, name: str, path: Path) -> SandboxRef:
    return SandboxRef(kind, name, details=(("socket", str(path)),))


def find(*references: SandboxRef) -> list[Found | Pending]:
    answers = Finder().find(references)
    return [answers[one] for one in references]


def inspected(pid: int, status: str = "running") -> dict[str, Any]:
    return {"Id": "a" * 64, "State": {"Status": status, "Pid": pid, "Running": bool(pid)}}


def reason(answer: Found | Pending) -> str:
    assert isinstance(answer, Pending)
    return answer.reason


def test_docker_is_asked_in_its_own_version_for_each_of_a_few_containers(tmp_path: Path, sleeper: int) -> None:
    path = tmp_path / "docker.sock"
    answers = {
        **PING,
        "/v1.44/containers/web/json": inspected(sleeper),
        "/v1.44/containers/db/json": inspected(0, "exited"),
    }
    with engine(path, answers) as one:
        web, db, gone = find(*(ref("docker", name, path) for name in ("web", "db", "gone")))
    assert isinstance(web, Found)
    assert (web.path, web.holds) == (f"/proc/{sleeper}/ns/net", True)
    assert db == Pending("Docker's container db does not run (exited)")
    assert gone == Pending("Docker has no container gone", absent=True)
    assert (len(one.asked), one.connections) == (4, 1)


def test_a_thousand_containers_of_docker_cost_one_list_where_their_processes_are_noted(
    tmp_path: Path, sleeper: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "docker.sock"
    monkeypatch.setattr(docker, "_kept_pid", lambda path, container: sleeper)
    listed = [{"Id": f"{number:064x}", "Names": [f"/c{number}"], "State": "running"} for number in range(1000)]
    with engine(path, {**PING, "/v1.44/containers/json?all=1": listed}) as one:
        answers = find(*(ref("docker", f"c{number}", path) for number in range(1000)))
    assert one.asked == ["/_ping", "/v1.44/containers/json?all=1"]
    assert all(isinstance(answer, Found) for answer in answers)


def test_a_noted_process_counts_only_if_it_is_in_the_containers_control_group(tmp_path: Path, sleeper: int) -> None:
    container = "b" * 64
    folder = tmp_path / "docker/containerd/daemon/io.containerd.runtime.v2.task/moby" / container
    folder.mkdir(parents=True)
    (folder / "init.pid").write_text(str(sleeper))
    path, name = tmp_path / "docker.sock", "/v1.44/containers/c0/json"
    others = [{"Id": f"{number:064x}", "Names": [f"/c{number}"], "State": "exited"} for number in range(1, 9)]
    listed = [{"Id": container, "Names": ["/c0"], "State": "running"}, *others]
    answers = {**PING, "/v1.44/containers/json?all=1": listed, name: inspected(sleeper)}
    with engine(path, answers) as one:
        first, *rest = find(*(ref("docker", f"c{number}", path) for number in range(9)))
    assert isinstance(first, Found)
    assert one.asked[-1] == name, "what is not proved is asked for"
    assert [reason(answer) for answer in rest] == [
        f"Docker's container c{n} does not run (exited)" for n in range(1, 9)
    ]


def test_a_pipe_in_place_of_a_noted_process_is_not_waited_for(tmp_path: Path) -> None:
    """The folder beside a user's socket is the user's."""
    folder = tmp_path / "docker/containerd/daemon/io.containerd.runtime.v2.task/moby" / ("b" * 64)
    folder.mkdir(parents=True)
    os.mkfifo(folder / "init.pid")
    found: list[int] = []
    looking = threading.Thread(
        target=lambda: found.append(docker._kept_pid(str(tmp_path / "docker.sock"), "b" * 64)), daemon=True
    )
    looking.start()
    looking.join(5)
    assert found == [0]


def test_podman_is_asked_once_for_any_number(tmp_path: Path, sleeper: int) -> None:
    path = tmp_path / "podman.sock"
    listed = [
        {"Id": "c" * 64, "Names": ["web"], "State": "running", "Pid": sleeper},
        {"Id": "d" * 64, "Names": ["db"], "State": "exited", "Pid": 0},
    ]
    with engine(path, {**PING, LIST: listed}) as one:
        web, db, gone, short = find(*(ref("podman", name, path) for name in ("web", "db", "gone", "c" * 12)))
    assert isinstance(web, Found)
    assert web == short
    assert reason(db) == "Podman's container db does not run (exited)"
    assert reason(gone) == "Podman has no container gone"
    assert one.asked == ["/_ping", LIST]


GARBAGE: dict[str, Any] = {
    "no HTTP": b"hello\r\n\r\n",
    "nothing": b"",
    "no JSON": http(b"<html>"),
    "nested without end": http(b"[" * 100_000),
    "a number": http(b"42"),
    "null": http(b"null"),
    "a list of numbers": http(b"[1, 2]"),
    "an error": http(b'{"message": "oh"}', "500 Internal Server Error"),
    "a state that is none": http(b'{"State": 3}'),
    "a process that is none": http(b'{"State": {"Pid": "12"}}'),
    "half of it": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{",
    "headers without end": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 5000,
    "a line without end": b"HTTP/1.1 200 OK\r\nA: " + b"b" * 100_000,
}


@pytest.mark.parametrize("kind", ["docker", "podman"])
@pytest.mark.parametrize("answer", GARBAGE.values(), ids=GARBAGE)
def test_garbage_leaves_a_container_pending(
    kind: str, answer: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "ANSWER", 0.3)
    path = tmp_path / "engine.sock"
    with engine(path, {**PING, "/v1.44/containers/web/json": answer, LIST: answer}):
        (found,) = find(ref(kind, "web", path))
    assert isinstance(found, Pending)
    assert found.silent or kind == "podman"
    assert found.reason.isprintable()
    assert len(found.reason) < 400


def test_an_answer_without_end_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "MOST", 1000)
    path = tmp_path / "engine.sock"
    with engine(path, {**PING, LIST: http(b"[" + b" " * 5000 + b"]")}):
        (found,) = find(ref("podman", "web", path))
    assert "its answer has more than" in reason(found)


def test_an_engine_that_says_a_byte_at_a_time_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "ANSWER", 0.3)
    path, ended = tmp_path / "engine.sock", threading.Event()

    class Dripping(Engine):
        def _answer(self, connection: Any, path: str) -> None:
            for letter in f"HTTP/1.1 200 OK {'and so on ' * 20}":
                if ended.wait(0.1):
                    return
                connection.sendall(letter.encode())

    one = Dripping(path, {})
    try:
        started = time.monotonic()
        (found,) = find(ref("docker", "web", path))
        assert "did not answer within" in reason(found)
        assert time.monotonic() - started < 15, "all that it has to say takes 20"
    finally:
        ended.set()
        one.end()


def test_an_engine_that_closes_after_an_answer_is_listened_to_until_then(tmp_path: Path, sleeper: int) -> None:
    path = tmp_path / "docker.sock"
    said = http(json.dumps(inspected(sleeper)).encode(), Connection="close")

    class Slow(Engine):
        def _answer(self, connection: Any, path: str) -> None:
            self.asked.append(path)
            head, end, body = (PING["/_ping"] if path == "/_ping" else said).partition(b"\r\n\r\n")
            connection.sendall(head + end)
            time.sleep(0.2)
            connection.sendall(body)

    one = Slow(path, {})
    try:
        assert [type(found) for found in find(ref("docker", "a", path), ref("docker", "b", path))] == [Found, Found]
    finally:
        one.end()
    assert (len(one.asked), one.connections) == (3, 2)


def test_one_container_that_keeps_docker_waiting_does_not_hold_up_the_others(
    tmp_path: Path, sleeper: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "ANSWER", 1.5)
    path, ended = tmp_path / "docker.sock", threading.Event()

    def slow() -> dict[str, Any]:
        ended.wait(10)
        return inspected(0)

    answers = {**PING, "/v1.44/containers/a/json": slow, "/v1.44/containers/b/json": inspected(sleeper)}
    with engine(path, answers):
        first, second = find(ref("docker", "a", path), ref("docker", "b", path))
        ended.set()
    assert reason(first).endswith("did not answer within 1.5 s")
    assert isinstance(second, Found)


def test_a_silent_engine_is_waited_for_once_in_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "ANSWER", 0.5)
    path, ended = tmp_path / "docker.sock", threading.Event()
    finder, web = Finder(), ref("docker", "web", path)

    def never() -> bytes:
        ended.wait(10)
        return b""

    with engine(path, {"/_ping": never}) as one:
        answers = [finder.find([web])[web] for _ in range(3)]
        ended.set()
    assert answers == [answers[0]] * 3
    assert (one.asked, reason(answers[0])) == (["/_ping"], f"Docker ({path}) did not answer within 0.5 s")


def test_all_engines_together_take_little_longer_than_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "ANSWER", 0.2)
    monkeypatch.setattr(sandboxes, "PATIENCE", 0.5)
    ended, references, servers = threading.Event(), [], []

    def never() -> bytes:
        ended.wait(10)
        return b""

    for number in range(40):
        path = tmp_path / f"{number}.sock"
        servers.append(Engine(path, {"/_ping": never}))
        references.append(ref("docker", "web", path))
    started = time.monotonic()
    answers = find(*references)
    took = time.monotonic() - started
    ended.set()
    for one in servers:
        one.end()
    assert took < 6, "one after the other they take 8"
    assert all(isinstance(answer, Pending) and answer.silent for answer in answers)


def test_an_engine_that_falls_silent_takes_no_container_away(tmp_path: Path, sleeper: int) -> None:
    path, finder = tmp_path / "docker.sock", Finder()
    web = ref("docker", "web", path)
    with engine(path, {**PING, "/v1.44/containers/web/json": inspected(sleeper)}):
        before = finder.find([web])[web]
    path.unlink()
    assert isinstance(before, Found)
    assert finder.find([web])[web] == before
    os.kill(sleeper, 9)
    os.waitpid(sleeper, 0)
    assert "is not there" in reason(finder.find([web])[web])


def test_a_process_that_got_its_number_after_the_question_is_another_one() -> None:
    """The container was restarted between the question and the look, and its number given to somebody else."""
    asked = now()
    time.sleep(0.05)
    with subprocess.Popen(["sleep", "60"]) as younger:
        assert not process(younger.pid, asked).holds
        time.sleep(0.03)
        assert process(younger.pid, now()).holds
        younger.kill()
    assert not process(younger.pid, now()).holds


def test_a_socket_that_nobody_listens_on_is_told_apart_from_none(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    with engine(path, {}):
        pass
    assert reason(*find(ref("docker", "web", path))).endswith("does not run: nobody listens on its socket")
    assert reason(*find(ref("docker", "web", tmp_path / "no.sock"))).endswith("start it, or say where its socket is")


@pytest.mark.parametrize(("kind", "variable"), [("docker", "DOCKER_HOST"), ("podman", "CONTAINER_HOST")])
def test_the_socket_of_the_environment_is_asked(
    kind: str, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "engine.sock"
    monkeypatch.setenv(variable, f"unix://{path}")
    with engine(path, {**PING, LIST: []}) as one:
        assert "has no container web" in reason(*find(SandboxRef(kind, "web")))
    assert one.asked
    monkeypatch.setenv(variable, "tcp://192.0.2.1:2375")
    assert "192.0.2.1:2375, and netapply asks engines of its own host alone" in reason(*find(SandboxRef(kind, "web")))


# --- machines and runtimes that are programs


def test_a_machine_is_where_its_leader_is(tmp_path: Path, sleeper: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.sandboxes.machine.FOLDER", str(tmp_path))
    (tmp_path / "web").write_text(
        f"# This is private data. Do not parse.\nNAME=web\nCLASS=container\nLEADER={sleeper}\n"
    )
    (tmp_path / "vm").write_text(f"NAME=vm\nCLASS=vm\nLEADER={sleeper}\n")
    (tmp_path / "odd").write_text("NAME=odd\n")
    web, vm, odd, gone = find(*(SandboxRef("machine", name) for name in ("web", "vm", "odd", "gone")))
    assert isinstance(web, Found)
    assert web.holds
    assert [reason(one) for one in (vm, odd, gone)] == [
        "machine vm is a virtual machine, which has no network namespace",
        "machine odd has no leader",
        "machine gone does not run",
    ]


def test_a_machine_whose_leader_is_younger_than_the_machine_has_ended(
    tmp_path: Path, sleeper: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its systemd-nspawn was killed, nobody took its file away, and the leader's number is another process's now."""
    monkeypatch.setattr("reconciler.sandboxes.machine.FOLDER", str(tmp_path))
    told = int(time.clock_gettime(time.CLOCK_MONOTONIC) * 1e6)
    for name, leader, ago in (("web", sleeper, 0), ("old", sleeper, 3_600_000_000), ("dead", 2**22 - 1, 0)):
        (tmp_path / name).write_text(f"NAME={name}\nLEADER={leader}\nCLASS=container\nMONOTONIC={told - ago}\n")
    web, old, dead = find(*(SandboxRef("machine", name) for name in ("web", "old", "dead")))
    assert isinstance(web, Found)
    assert web.holds
    assert reason(old) == f"machine old does not run: its leader, process {sleeper}, has ended"
    assert "has ended" in reason(dead)


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sleep 30", "odd did not answer within 0.3 s"),
        ("echo hello", "says nothing of how container web is"),
        ("echo '{}'", "says nothing of how container web is"),
        ('echo \'{"pid": 0, "status": "stopped"}\'', "does not run (stopped)"),
        ("echo 'container does not exist' >&2; exit 1", "has no container web: container does not exist"),
        ("yes | head -c 40000", "odd prints more than"),
    ],
)
def test_a_runtime_that_answers_badly_leaves_a_container_pending(
    text: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "sleep" in text:
        monkeypatch.setattr(programs, "PATIENCE", 0.3)
    monkeypatch.setattr(programs, "MOST", 20000)
    runtime = script(tmp_path / "odd", text)
    started = time.monotonic()
    assert expected in reason(*find(SandboxRef("oci", "web", details=(("runtime", runtime),))))
    assert time.monotonic() - started < 20


def test_of_a_runtime_that_is_given_up_nothing_runs_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "PATIENCE", 2.0)  # in which it has started, however busy the machine is
    runtime = script(tmp_path / "odd", f"sleep 30 &\necho $! > {tmp_path}/started\nwait")
    assert "did not answer" in reason(*find(SandboxRef("oci", "web", details=(("runtime", runtime),))))
    started = Path(f"/proc/{(tmp_path / 'started').read_text().strip()}/cmdline")
    until = time.monotonic() + 10
    while started.exists() and started.read_bytes():  # a killed one has none, until somebody has waited for it
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_runtime_is_asked_however_many_descriptors_are_open(tmp_path: Path, sleeper: int) -> None:
    raise_descriptor_limit()
    runtime = script(tmp_path / "odd", f"""echo '{{"pid": {sleeper}, "status": "running"}}'""")
    with ExitStack() as opened:
        while opened.enter_context(open(os.devnull, "rb")).fileno() < 1200:
            pass
        (found,) = find(SandboxRef("oci", "web", details=(("runtime", runtime),)))
    assert isinstance(found, Found)


def test_a_runtime_that_is_not_there_leaves_a_container_pending() -> None:
    assert "can't be started" in reason(*find(SandboxRef("oci", "web", details=(("runtime", "/no/such/runc"),))))


def test_many_containers_of_a_known_runtime_are_listed_once(tmp_path: Path, sleeper: int) -> None:
    listed = json.dumps([{"id": f"c{number}", "pid": sleeper, "status": "running"} for number in range(5)])
    runtime = script(tmp_path / "runc", f"echo \"$@\" >> {tmp_path}/asked; echo '{listed}'")
    answers = find(*(SandboxRef("oci", f"c{number}", details=(("runtime", runtime),)) for number in range(6)))
    assert (tmp_path / "asked").read_text() == "list --format json\n"
    assert [isinstance(one, Found) for one in answers] == [True] * 5 + [False]
