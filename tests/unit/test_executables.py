"""Executables that are drivers: which files may be run, with what rights, and for how long."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

from reconciler.errors import DriverError, HostLacks
from reconciler.host import executables
from reconciler.host.executables import Conversation, Executable, executable, run
from tests.drivers import executable as put

PYTHON = "#!/usr/bin/env python3\n"
"""The system's: a driver of root's runs as nobody, who may not see a virtual environment."""
root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it is about what root gives up")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that drivers are looked for in, and the only one."""
    path = tmp_path / "drivers"
    path.mkdir(mode=0o755)
    monkeypatch.setattr(executables, "FOLDERS", ())
    monkeypatch.setenv(executables.VARIABLE, str(path))
    return path


def put_and_found(folder: Path, text: str, mode: int = 0o755) -> Executable:
    put(folder, "mine", text, mode)
    found = executable("mine")
    assert found is not None
    return found


def ran(folder: Path, text: str, request: bytes = b"{}", timeout: float = 30) -> bytes:
    return run(put_and_found(folder, text), request, timeout, "lower")


# Which files


def test_a_driver_is_a_file_of_a_plain_name_and_the_first_of_one_name_is_meant(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = tmp_path / "second"
    second.mkdir()
    (folder / "inner").mkdir()
    for name in ("mine", "README.md", "mine.conf", "Mine", "mine~"):
        put(folder, name, "")
    for name in ("mine", "other"):
        put(second, name, "")
    monkeypatch.setenv(executables.VARIABLE, f"{folder}:{second}:{tmp_path}/nowhere")
    found = executables.executables()
    assert {name: [one.path for one in files] for name, files in found.items()} == {
        "mine": [f"{folder}/mine", f"{second}/mine"],
        "other": [f"{second}/other"],
    }
    for name, path in (("mine", folder / "mine"), ("other", second / "other")):
        one = executable(name)
        assert one is not None
        assert one.path == str(path)
    assert [executable(name) for name in ("inner", "none", "../drivers/mine", "README.md", "")] == [None] * 5


def test_the_folders_of_the_system_come_last() -> None:
    assert executables.folders()[-3:] == executables.FOLDERS
    assert all(folder.endswith("netapply/drivers") for folder in executables.FOLDERS)


def refusal(folder: Path, text: str = PYTHON) -> str:
    with pytest.raises(HostLacks) as refused:
        run(put_and_found(folder, text) if not (folder / "mine").exists() else executable("mine"), b"", 30, "lower")  # type: ignore[arg-type]
    assert str(refused.value).startswith(f"driver mine ({folder}/mine) is not run: ")
    return str(refused.value).partition("is not run: ")[2]


@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_what_others_can_write_to_is_not_run(folder: Path, mode: int) -> None:
    put(folder, "mine", PYTHON, mode)
    assert refusal(folder) == f"others than its owner can write to {folder}/mine; chmod go-w {folder}/mine"


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
def test_nothing_in_a_folder_that_others_can_write_to_is_run(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    assert refusal(folder) == f"others than its owner can write to {folder}; chmod go-w {folder}"


def test_nothing_below_a_folder_that_others_can_write_to_is_run(folder: Path) -> None:
    folder.parent.chmod(0o777)
    assert f"can write to {folder.parent};" in refusal(folder)


def test_below_a_sticky_folder_only_the_owner_can_put_something_else_in_place(folder: Path) -> None:
    folder.parent.chmod(0o1777)
    assert ran(folder, f"{PYTHON}print(7)") == b"7\n"


def test_symbolic_links_are_not_followed(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "elsewhere", PYTHON)
    (folder / "mine").symlink_to(tmp_path / "elsewhere")
    assert f"{folder}/mine is a symbolic link" in refusal(folder)
    (folder / "mine").unlink()
    put(folder, "mine", PYTHON)
    link = tmp_path / "link"
    link.symlink_to(folder)
    monkeypatch.setenv(executables.VARIABLE, str(link))
    assert f"{link} is a symbolic link" in refusal(link)


@pytest.mark.parametrize("folders", ["drivers", "{}/../{}", "{}//."])
def test_the_path_of_a_folder_is_absolute_and_plain(
    folder: Path, folders: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder, "mine", PYTHON)
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv(executables.VARIABLE, folders.format(folder, folder.name))
    found = executable("mine")
    assert found is not None
    with pytest.raises(HostLacks, match="its path is not absolute and plain; mend NETAPPLY_DRIVER_PATH"):
        run(found, b"", 30, "lower")


@root
def test_what_belongs_to_somebody_else_is_not_run(folder: Path) -> None:
    os.chown(put(folder, "mine", PYTHON), 12345, 0)
    mend = f"chown root {folder}/mine"
    assert refusal(folder) == f"{folder}/mine belongs to the user 12345, who could change what is run; {mend}"
    os.chown(folder, 12345, 0)
    assert f"{folder} belongs to the user 12345" in refusal(folder)


@pytest.mark.parametrize("mode", [0o644, 0o600])
def test_what_can_not_be_executed_is_said_to_be_so(folder: Path, mode: int) -> None:
    put(folder, "mine", PYTHON, mode)
    assert refusal(folder).endswith(f"; chmod 755 {folder}/mine")


def test_a_fifo_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "mine", 0o755)
    assert "is no regular file" in refusal(folder)


# One run


def test_the_request_goes_in_and_what_is_printed_comes_out_whole(folder: Path) -> None:
    request = os.urandom(1 << 20)
    text = f"{PYTHON}import sys\nsys.stdout.buffer.write(sys.stdin.buffer.read()[::-1] * 3)"
    assert ran(folder, text, request) == request[::-1] * 3


def test_a_driver_need_not_read_what_it_is_asked(folder: Path) -> None:
    assert ran(folder, "#!/bin/sh\nexec 0<&-\necho yes\n", bytes(1 << 20)) == b"yes\n"


def test_a_driver_sees_little_of_where_it_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "1")
    read, write = os.pipe()
    os.set_inheritable(write, True)
    text = f"""{PYTHON}
import json, os
descriptors = sorted(map(int, os.listdir("/proc/self/fd")))
print(json.dumps([dict(os.environ), os.getcwd(), descriptors, os.getsid(0) == os.getpid()]))
"""
    environ, directory, descriptors, leads = json.loads(ran(folder, text))
    os.close(read)
    os.close(write)
    assert environ.keys() - {"LC_CTYPE"} == {"PATH", "HOME", "LANG", "LC_ALL", "NETAPPLY_DRIVER"}
    assert (environ["NETAPPLY_DRIVER"], directory, leads) == (f"{folder}/mine", "/", True)
    assert len(descriptors) == 5, "three pipes, the script itself, and the folder that is being listed"


def test_a_driver_has_no_rights_and_can_gain_none(folder: Path) -> None:
    status = ran(folder, "#!/bin/sh\ncat /proc/self/status\n").decode()
    said = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert {name: int(said[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {
        **dict.fromkeys(("CapEff", "CapPrm", "CapInh", "CapAmb"), 0)
    }
    assert said["NoNewPrivs"] == "1"
    if os.geteuid() == 0:
        users, groups = set(said["Uid"].split()), set(said["Gid"].split())
        assert "0" not in users | groups | set(said["Groups"].split())
    own = Path("/proc/self/status").read_text()
    assert "NoNewPrivs:\t0" in own or os.geteuid() != 0, "netapply itself keeps its rights"


@root
def test_a_driver_of_roots_has_no_network(folder: Path) -> None:
    text = "#!/bin/sh\nls /sys/class/net /proc/self/net/dev_snmp6\nreadlink /proc/self/ns/net\n"
    printed = ran(folder, text).decode().splitlines()
    assert printed[-1] != os.readlink("/proc/self/ns/net")


@root
def test_root_that_can_not_become_nobody_runs_drivers_as_itself_without_rights(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executables, "_is_mapped", lambda user: False)
    status = ran(folder, "#!/bin/sh\ncat /proc/self/status\n").decode()
    said = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert (said["Uid"].split()[1], int(said["CapEff"], 16), said["NoNewPrivs"]) == ("0", 0, "1")


@root
def test_who_is_not_root_runs_drivers_of_root_and_of_their_own_as_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    user = 12345
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        Path(place).chmod(0o755)
        for name, owner in (("of-root", 0), ("of-mine", user), ("of-others", user + 1)):
            folder = Path(place, name)
            folder.mkdir(mode=0o755)
            path = put(folder, name, "#!/bin/sh\ngrep -E '^(Uid|CapEff|NoNewPrivs)' /proc/self/status\n")
            for one in (folder, path):
                os.chown(one, owner, owner)
        monkeypatch.setenv(executables.VARIABLE, ":".join(str(path) for path in Path(place).iterdir()))
        said = as_user(user, lambda: [attempt(name) for name in ("of-root", "of-mine", "of-others")])
    mine = f"Uid:\t{user}\t{user}\t{user}\t{user}\nCapEff:\t{0:016x}\nNoNewPrivs:\t1\n"
    assert said[:2] == [mine, mine]
    assert f"belongs to the user {user + 1}, who could change what is run; chown it to root or yourself" in said[2]


def attempt(name: str) -> str:
    found = executable(name)
    assert found is not None
    try:
        return run(found, b"{}", 30, "lower").decode()
    except HostLacks as refused:
        return str(refused)


def as_user(user: int, act: Callable[[], object]) -> Any:
    """Return what a function returns in a process of some user's."""
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            os.write(write, json.dumps(act()).encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read, encoding="utf-8") as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return json.loads(said)


def failure(folder: Path, text: str, timeout: float = 30) -> str:
    with pytest.raises(DriverError) as failed:
        ran(folder, text, timeout=timeout)
    assert str(failed.value).startswith(f"driver mine ({folder}/mine) ")
    return str(failed.value)


def test_a_driver_that_fails_is_told_with_its_exit_code_and_the_last_of_what_it_said(folder: Path) -> None:
    said = failure(folder, "#!/bin/sh\nyes much | head -n 2000 >&2\nprintf 'no \\033[1m bridge\\n' >&2\nexit 3\n")
    assert "failed at lower: it ended with exit code 3\n" in said
    assert said.splitlines()[-1] == "  its standard error: no  [1m bridge"
    assert len(said) < 15_000


def test_a_driver_that_is_killed_is_told_by_the_signal(folder: Path) -> None:
    assert "it was killed by SIGSEGV" in failure(folder, "#!/bin/sh\nkill -SEGV $$\n")


def test_a_driver_that_takes_too_long_is_ended_with_all_that_it_has_started(folder: Path) -> None:
    started = time.monotonic()
    said = failure(folder, "#!/bin/sh\necho early >&2\nsleep 60 &\necho $! >&2\nsleep 61\n", timeout=2)
    assert time.monotonic() - started < 20
    assert "it had not ended after 2 s\n  its standard error: early\n" in said
    assert ended(int(said.split()[-1]))


def test_a_copy_of_its_standard_input_in_another_child_does_not_end_it_early() -> None:
    """Between fork and exec a child has copies of all descriptors, those for a driver that another thread runs, too."""
    talks = "exec 0<&-; sleep 0.3; echo done"
    process = subprocess.Popen(["sh", "-c", talks], stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True)
    assert process.stdin
    copy = os.dup(process.stdin.fileno())
    talk = Conversation(process, b"{}")
    try:
        talk.hold(time.monotonic() + 30)
    finally:
        talk.end()
        os.close(copy)
    assert (talk.fault(30), bytes(talk.output)) == ("", b"done\n")


def test_what_a_driver_leaves_behind_does_not_hold_it_up(folder: Path) -> None:
    started = time.monotonic()
    left = ran(folder, "#!/bin/sh\nsleep 60 &\necho $!\n")
    assert time.monotonic() - started < 20
    assert ended(int(left))


def ended(pid: int) -> bool:
    """Whether a process ends, within a while: it has been killed, and that takes its time."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    ready, _, _ = select.select([descriptor], [], [], 10)
    os.close(descriptor)
    return bool(ready)


def test_a_driver_that_prints_without_end_is_ended(folder: Path) -> None:
    started = time.monotonic()
    assert "it printed more than 16 MiB" in failure(folder, "#!/bin/sh\nexec yes\n", timeout=60)
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("text", ["no interpreter", "#!/nowhere/at/all\n"])
def test_a_driver_that_can_not_be_started_is_told_with_a_mend(folder: Path, text: str) -> None:
    assert failure(folder, text).endswith(
        "; see whether it begins with #! and a program that exists, and everybody may run"
    )


def test_an_interrupt_ends_the_driver_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> bool:
        raise KeyboardInterrupt

    killed: list[int] = []
    monkeypatch.setattr(executables.Conversation, "_note", interrupt)
    kill = os.killpg

    def note(pid: int, number: int) -> None:
        killed.append(number)
        kill(pid, number)

    monkeypatch.setattr(os, "killpg", note)
    with pytest.raises(KeyboardInterrupt):
        ran(folder, "#!/bin/sh\necho now >&2\nsleep 60\n")
    assert killed == [signal.SIGKILL]
