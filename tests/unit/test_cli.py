"""The command line: what it prints where, and every exit code. The host is the fake one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
from jsonschema import Draft202012Validator

from reconciler import cli, commands, options, output, shortcut
from reconciler.errors import HostLacks, LockHeld, ManifestError, NetapplyError, NotPermitted
from reconciler.host.fake import FakeHost
from reconciler.options import arranged, files_beginning

SCHEMA = Path(__file__).parents[2] / "schemas" / "plan.schema.json"

SHOP = """\
version: 1
project: shop
networks:
  front:
    ipam: {config: [{subnet: 10.20.0.0/24}]}
  back: {internal: true, ipam: {config: [{subnet: 10.21.0.0/24}]}}
containers:
  web: {networks: [front, back]}
  db: {networks: [back]}
"""


class Ran(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """A fresh host that the command acts on."""
    host = FakeHost()
    monkeypatch.setattr(commands, "host_factory", lambda: host)
    return host


@pytest.fixture
def run(host: FakeHost, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command in a folder that has shop.yaml and nothing else."""
    monkeypatch.chdir(tmp_path)
    Path("shop.yaml").write_text(SHOP)

    def run(*args: str) -> Ran:
        code = shortcut.run(args)
        return Ran(code, *capsys.readouterr())

    return run


def process(*args: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run the command as a process of its own, for what concerns its streams and its environment."""
    command = [sys.executable, "-m", "reconciler", *args]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.run(command, check=False, text=True, timeout=60, **{**streams, **more})


def raising(failure: BaseException) -> Callable[[], FakeHost]:
    def factory() -> FakeHost:
        raise failure

    return factory


# What the commands do


def test_a_file_alone_is_applied(run: Run, host: FakeHost) -> None:
    ran = run("shop.yaml")
    assert (ran.code, ran.err) == (0, "")
    assert "+ endpoint web: eth0 10.20.0." in ran.out
    assert "shop: 8 added, 1 changed, 0 removed in " in ran.out
    assert host.writes > 8


def test_a_second_run_prints_one_line_and_writes_nothing(run: Run, host: FakeHost) -> None:
    run("shop.yaml")
    before = host.writes
    assert run("shop.yaml") == (0, "shop: nothing to do (2 networks, 2 containers)\n", "")
    assert host.writes == before


def test_a_quiet_run_that_changes_nothing_prints_nothing(run: Run) -> None:
    assert run("-q", "shop.yaml").out.startswith("network front\n")  # it changes something, and cron is to mail that
    for command in ([], ["plan"], ["apply"], ["apply", "--check"]):
        assert run(*command, "-q", "shop.yaml") == (0, "", "")


@pytest.mark.parametrize("args", [("plan", "shop.yaml"), ("--check", "shop.yaml"), ("apply", "--check", "shop.yaml")])
def test_planning_and_checking_change_nothing(run: Run, host: FakeHost, args: tuple[str, ...]) -> None:
    before = host.snapshot()
    ran = run(*args)
    assert ran.code == 0
    assert "shop: 8 to add, 1 to change, 0 to remove\n" in ran.out
    assert ("checked only: nothing was changed\n" in ran.out) == ("--check" in args)
    assert host.snapshot() == before


def test_planning_does_not_wait_for_another_run(run: Run, host: FakeHost) -> None:
    host.locked = True
    assert run("plan", "shop.yaml").code == 0


@pytest.mark.parametrize("what", [["shop.yaml"], ["--project", "shop"]])
def test_destroying_removes_what_applying_made(run: Run, host: FakeHost, what: list[str]) -> None:
    run("shop.yaml")
    assert "8 to remove\nchecked only" in run("destroy", "--check", *what).out
    ran = run("destroy", *what)
    assert ran.code == 0
    assert "8 removed in " in ran.out
    assert run("destroy", *what) == (0, "shop: nothing to do\n", "")
    assert run("status", "--project", "shop").out == "shop: nothing there\n"


def test_destroying_a_protected_network_is_refused_until_its_protection_is_lifted(run: Run, host: FakeHost) -> None:
    Path("shop.yaml").write_text(SHOP.replace("  back: {", "  back: {protect: true, "))
    run("shop.yaml")
    writes = host.writes
    refused = run("destroy", "--project", "shop")
    assert (refused.code, host.writes) == (3, writes)
    assert "apply the manifest with `protect: false` first" in refused.err
    Path("shop.yaml").write_text(SHOP)
    assert [run("shop.yaml").code, run("destroy", "--project", "shop").code] == [0, 0]


def test_validating_needs_no_host(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "host_factory", raising(AssertionError("the host was asked for")))
    assert run("validate", "shop.yaml") == (0, "shop: valid (2 networks, 2 containers)\n", "")
    assert run("validate", "-q", "shop.yaml") == (0, "", "")
    assert json.loads(run("validate", "--format", "json", "shop.yaml").out)["valid"] is True


def test_status_shows_what_there_is_and_what_has_drifted(run: Run, host: FakeHost) -> None:
    run("shop.yaml")
    assert run("status", "shop.yaml").out.startswith("shop: as the manifest says\n├─ network back: shop-back (bridge)")
    assert run("status", "--detailed-exitcode", "shop.yaml").code == 0
    Path("shop.yaml").write_text(SHOP.replace("  db: {networks: [back]}\n", ""))
    ran = run("status", "--detailed-exitcode", "shop.yaml")
    assert ran.code == 2
    assert "← not in the manifest" in ran.out
    assert "not in the manifest" not in run("status", "--project", "shop").out
    assert json.loads(run("status", "--format", "json", "shop.yaml").out)["drift"]


def test_pruning_can_be_left_for_later(run: Run) -> None:
    run("shop.yaml")
    Path("shop.yaml").write_text(SHOP.replace("  db: {networks: [back]}\n", ""))
    assert "2 to remove" in run("plan", "shop.yaml").out
    assert "nothing to do" in run("plan", "--no-prune", "shop.yaml").out


def test_pinning_shows_a_diff_and_writes_only_when_asked(run: Run) -> None:
    ran = run("pin", "shop.yaml")
    assert ran.code == 0
    assert ran.out.startswith("--- shop.yaml\n+++ shop.yaml\n@@ ")
    assert "+  db: {networks: {back: {ipv4_address: 10.21.0." in ran.out
    assert Path("shop.yaml").read_text() == SHOP
    planned = run("plan", "--format", "json", "shop.yaml")
    Path("shop.yaml").chmod(0o640)
    assert run("pin", "--write", "shop.yaml").out == ran.out
    assert "10.21.0." in Path("shop.yaml").read_text()
    assert Path("shop.yaml").stat().st_mode & 0o777 == 0o640
    assert [path.name for path in Path.cwd().iterdir()] == ["shop.yaml"]
    assert run("pin", "shop.yaml") == (0, "shop: nothing to pin\n", "")
    assert run("pin", "-q", "--write", "shop.yaml") == (0, "", "")
    again = run("plan", "--format", "json", "shop.yaml")
    assert _addresses(again) == _addresses(planned)


def _addresses(ran: Ran) -> list[str]:
    return [change["key"] for change in json.loads(ran.out)["changes"] if change["kind"] == "address"]


def test_pinning_as_json_has_the_whole_texts(run: Run) -> None:
    printed = json.loads(run("pin", "--format", "json", "shop.yaml").out)
    assert printed["written"] is False
    assert printed["files"][0]["file"] == "shop.yaml"
    Path("shop.yaml").write_text(printed["files"][0]["text"])
    assert run("pin", "shop.yaml").out == "shop: nothing to pin\n"


def test_a_file_that_cant_be_written_is_told_and_stays_as_it_was(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    ran = run("pin", "--write", "shop.yaml")
    assert (ran.code, ran.out) == (69, "")
    assert ran.err == "error: the result can't be written: shop.yaml: No space left on device\n"
    assert Path("shop.yaml").read_text() == SHOP
    assert [path.name for path in Path.cwd().iterdir()] == ["shop.yaml"]


def test_the_schema_of_manifests_and_of_one_drivers_options_is_printed(run: Run) -> None:
    whole = json.loads(run("schema").out)
    Draft202012Validator.check_schema(whole)
    assert "networks" in whole["properties"]
    assert "icc" in json.loads(run("schema", "--driver", "bridge").out)["properties"]


def test_drivers_are_listed_and_explained(run: Run) -> None:
    assert {"bridge", "host", "macvlan", "none"} <= {line.split()[0] for line in run("drivers").out.splitlines()}
    assert "  icc: boolean, default true\n" in run("drivers", "bridge").out
    assert "It has no options.\n" in run("drivers", "none").out
    assert json.loads(run("drivers", "--format", "json", "none").out)["drivers"][0]["options"] == {}


def test_the_manifest_may_come_from_standard_input() -> None:
    ran = process("validate", "-", input=SHOP)
    assert (ran.returncode, ran.stdout) == (0, "shop: valid (2 networks, 2 containers)\n")


# Which command is meant


COMMANDS = {"apply", "plan"}
VALUED = {"--format", "--lock-timeout"}


@pytest.mark.parametrize(
    ("args", "meant"),
    [
        ("m.yaml", "apply m.yaml"),
        ("plan m.yaml", "plan m.yaml"),
        ("apply plan", "apply plan"),
        ("./plan", "apply ./plan"),
        ("-- plan", "apply -- plan"),
        ("-", "apply -"),
        ("--check m.yaml plan", "apply --check m.yaml plan"),
        ("-v plan m.yaml", "plan -v m.yaml"),
        ("--format json plan m.yaml", "plan --format json m.yaml"),
        ("--format=json plan m.yaml", "plan --format=json m.yaml"),
        ("--format plan", "apply --format plan"),
        ("--lock-timeout 3 m.yaml", "apply --lock-timeout 3 m.yaml"),
        ("--help", "--help"),
        ("--version", "--version"),
        ("-q --help", "apply -q --help"),
    ],
)
def test_a_commands_name_wins_over_a_file_of_that_name(args: str, meant: str) -> None:
    assert arranged(args.split(), COMMANDS, VALUED) == meant.split()


def test_a_file_that_is_named_like_a_command_can_be_applied(run: Run) -> None:
    Path("plan").mkdir()
    Path("plan/shop.yaml").write_text(SHOP)
    assert "8 added" in run("./plan").out
    assert "nothing to do" in run("--", "plan").out


def test_a_mistyped_command_is_not_taken_for_a_file(run: Run) -> None:
    ran = run("destory", "shop.yaml")
    assert ran.code == 64
    assert ran.err.startswith("error: there is neither a command nor a file destory; did you mean destroy?\n")
    Path("destory").mkdir()
    assert run("destory").code == 65  # a folder without manifests


def test_options_may_come_before_the_command(run: Run) -> None:
    assert json.loads(run("--format", "json", "plan", "shop.yaml").out)["applied"] is False
    assert run("--detailed-exitcode", "plan", "shop.yaml").code == 2


# Exit codes


def test_differences_are_2_only_if_that_is_asked_for_and_they_stay(run: Run) -> None:
    assert run("plan", "shop.yaml").code == 0
    assert run("plan", "--detailed-exitcode", "shop.yaml").code == 2
    assert run("--check", "--detailed-exitcode", "shop.yaml").code == 2
    assert run("--detailed-exitcode", "shop.yaml").code == 0
    assert run("plan", "--detailed-exitcode", "shop.yaml").code == 0
    assert run("destroy", "--check", "--detailed-exitcode", "shop.yaml").code == 2


def test_a_failed_apply_that_was_rolled_back_is_1(run: Run, host: FakeHost) -> None:
    failures = iter([OSError(105, "No buffer space available")])

    def trap(doing: str) -> None:
        if "web/front" in doing and (failure := next(failures, None)):
            raise failure

    host.trap = trap
    before = host.snapshot()
    ran = run("shop.yaml")
    assert (ran.code, ran.out) == (1, "")
    assert "No buffer space available" in ran.err
    assert "the host is as it was before" in ran.err
    assert host.snapshot() == before


def test_a_failed_apply_and_a_failed_rollback_are_4_and_what_is_left_is_told(run: Run, host: FakeHost) -> None:
    def trap(doing: str) -> None:
        if "link" in doing and ("web/front" in doing or doing.startswith("delete")):
            raise OSError(16, "Device or resource busy")

    host.trap = trap
    ran = run("shop.yaml")
    assert ran.code == 4
    assert "left: " in ran.err
    host.trap = None
    assert run("shop.yaml").code == 0  # and the next run heals it


def test_a_foreign_object_in_the_way_is_3_for_apply_and_for_plan(run: Run, host: FakeHost) -> None:
    host.kernel.add_link(host.kernel.host, "shop-front", "bridge")
    before = host.snapshot()
    ran = run("shop.yaml")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.startswith("error: refused: interface name shop-front in the host is taken")
    planned = run("plan", "--detailed-exitcode", "shop.yaml")
    assert planned.code == 3
    assert "\nrefused: interface name shop-front in the host is taken" in planned.out
    assert json.loads(run("plan", "--format", "json", "shop.yaml").out)["refusals"]
    assert host.snapshot() == before


def test_an_emptied_manifest_is_3_unless_forced(run: Run) -> None:
    run("shop.yaml")
    Path("shop.yaml").write_text("version: 1\nproject: shop\nnetworks: {}\ncontainers: {}\n")
    assert run("shop.yaml").code == 3
    assert run("--force", "shop.yaml").code == 0


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["--no-such-option", "shop.yaml"],
        ["plan"],
        ["plan", "--format", "yaml", "shop.yaml"],
        *(["--lock-timeout", time, "shop.yaml"] for time in ("-1", "soon", "nan", "inf", "-inf", "1e9")),
        ["destroy", "--project", "shop", "--lock-timeout", "nan"],
        ["destroy"],
        ["destroy", "shop.yaml", "--project", "shop"],
        ["destroy", "--project", "Shop"],
        ["status"],
        ["drivers", "brigde"],
        ["schema", "--driver", "brigde"],
        ["schema", "shop.yaml"],
        ["pin", "--write", "-"],
    ],
)
def test_a_wrong_command_line_is_64_and_touches_nothing(run: Run, host: FakeHost, args: list[str]) -> None:
    ran = run(*args)
    assert (ran.code, ran.out) == (64, "")
    assert ran.err
    assert "Traceback" not in ran.err
    assert host.writes == 0


@pytest.mark.parametrize("time", ["nan", "inf", "-1"])
def test_a_wait_that_never_ends_is_refused_in_clear_words(run: Run, time: str) -> None:
    said = run("--lock-timeout", time, "shop.yaml").err.splitlines()[0]
    assert said == f"error: Invalid value for '--lock-timeout': it is {time}; give seconds, from 0 to 86400 (a day)"


def test_a_wrong_manifest_is_65_with_every_error_and_its_place(run: Run) -> None:
    Path("shop.yaml").write_text("version: 1\nproject: shop\nnetworks:\n  front: {drivr: bridge}\n  back: {mtu: x}\n")
    ran = run("plan", "shop.yaml")
    assert (ran.code, ran.out) == (65, "")
    first, second = ran.err.splitlines()
    assert first.startswith("shop.yaml:4:11: error: ")
    assert second.startswith("shop.yaml:5:")


def test_a_file_that_is_not_there_is_65(run: Run) -> None:
    assert run("nowhere.yaml").code == 65


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (HostLacks("nft is not installed; install it"), 69),
        (NotPermitted("CAP_NET_ADMIN is needed; use sudo"), 77),
        (LockHeld("another run holds the lock"), 75),
        (KeyboardInterrupt(), 1),
        (ZeroDivisionError("division by zero"), 70),
        (PermissionError(13, "Permission denied"), 70),
        (RecursionError("too deep"), 70),
    ],
)
@pytest.mark.parametrize("command", ["apply", "plan", "status", "destroy"])
def test_every_error_has_its_exit_code_and_no_traceback(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str, failure: BaseException, code: int
) -> None:
    monkeypatch.setattr(commands, "host_factory", raising(failure))
    ran = run(command, "shop.yaml")
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith("error: ")
    assert "Traceback" not in ran.err


def test_every_class_of_error_has_a_code_of_the_table() -> None:
    def below(kind: type[NetapplyError]) -> Iterator[type[NetapplyError]]:
        yield kind
        for one in kind.__subclasses__():
            yield from below(one)

    assert {kind.exit_code for kind in below(NetapplyError)} <= {1, 3, 4, 65, 69, 70, 75, 77}


def test_a_held_lock_is_75(run: Run, host: FakeHost) -> None:
    host.locked = True
    assert run("--lock-timeout", "0", "shop.yaml").code == 75


def test_a_parent_that_the_host_lacks_is_69(run: Run) -> None:
    Path("shop.yaml").write_text(
        "version: 1\nproject: shop\nnetworks:\n  lan:\n    driver: macvlan\n    driver_opts: {parent: eth7}\n"
        "    ipam: {config: [{subnet: 10.9.0.0/24}]}\ncontainers:\n  a: {networks: [lan]}\n"
    )
    ran = run("shop.yaml")
    assert ran.code == 69
    assert "eth7" in ran.err


def test_a_pending_container_is_told_and_an_error_only_if_strict(run: Run) -> None:
    Path("shop.yaml").write_text(SHOP.replace("db: {", "db: {sandbox: {netns: elsewhere, create: false}, "))
    ran = run("shop.yaml")
    assert ran.code == 0
    assert "pending: container db: " in ran.out
    assert run("--strict", "shop.yaml").code == 69


def test_a_bug_shows_its_trace_only_when_asked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "host_factory", raising(KeyError("front")))
    ran = run("plan", "shop.yaml")
    assert ran.err == (
        "error: this is a bug in netapply: KeyError: 'front'\nrun it again with --debug and report what it prints\n"
    )
    assert "Traceback" in run("plan", "--debug", "shop.yaml").err


# Formats and streams


def test_json_of_plan_and_apply_is_valid_by_the_published_schema(run: Run) -> None:
    validator = Draft202012Validator(json.loads(SCHEMA.read_text()))
    planned = json.loads(run("plan", "--format", "json", "shop.yaml").out)
    applied = json.loads(run("--format", "json", "shop.yaml").out)
    again = json.loads(run("--format", "json", "shop.yaml").out)
    removed = json.loads(run("destroy", "--format", "json", "shop.yaml").out)
    for printed in (planned, applied, again, removed):
        validator.validate(printed)
    assert planned["changes"] == applied["changes"]
    assert (planned["applied"], applied["applied"]) == (False, True)
    assert again["changes"] == []
    assert removed["summary"]["remove"] == 8


@pytest.mark.parametrize(
    ("args", "kind", "code"),
    [
        (["plan", "--format", "json", "nowhere.yaml"], "ManifestError", 65),
        (["plan", "--format=json", "--nonsense"], "Usage", 64),
        (["--format", "json", "--lock-timeout", "0", "shop.yaml"], "LockHeld", 75),
    ],
)
def test_errors_are_json_if_that_is_asked_for(run: Run, host: FakeHost, args: list[str], kind: str, code: int) -> None:
    host.locked = True
    ran = run(*args)
    assert (ran.code, ran.out) == (code, "")
    error: Any = json.loads(ran.err)["error"]
    assert (error["kind"], error["exit_code"]) == (kind, code)


def test_a_bug_is_json_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "host_factory", raising(KeyError("front")))
    assert json.loads(run("plan", "--format", "json", "shop.yaml").err)["error"]["kind"] == "Bug"


def test_no_colour_reaches_a_pipe_and_on_a_terminal_it_can_be_turned_off(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b" not in run("plan", "shop.yaml").out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert "\x1b[32m+\x1b[0m" in run("plan", "shop.yaml").out
    assert "\x1b" not in run("plan", "--no-color", "shop.yaml").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in run("plan", "shop.yaml").out


def test_on_a_terminal_an_error_shows_the_line_and_a_caret(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    Path("shop.yaml").write_text("version: 1\nproject: shop\nnetworks:\n  front: {drivr: bridge}\n")
    assert "     4 |   front: {drivr: bridge}\n       |           ^\n" in run("plan", "shop.yaml").err


def test_a_long_apply_shows_its_progress_on_a_terminal_and_leaves_no_trace_of_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = "".join(f"  c{number}: {{networks: [front]}}\n" for number in range(30))
    Path("shop.yaml").write_text(SHOP + names)
    assert run("plan", "shop.yaml").err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    ran = run("shop.yaml")
    assert "█" in ran.err
    assert ran.err.endswith("\r\x1b[K")


def test_a_reader_who_goes_away_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -m reconciler schema; echo $? >&2"
    shell = ["bash", "-c", f"({command}) | true"]
    ran = subprocess.run(shell, check=False, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert ran.stderr == "0\n"


def test_closed_streams_are_no_error(tmp_path: Path) -> None:
    shell = ["bash", "-c", f"{sys.executable} -m reconciler drivers >&- 2>&-"]
    assert subprocess.run(shell, check=False, timeout=60, cwd=tmp_path).returncode == 0


def test_an_interrupt_once_all_is_done_does_not_claim_that_nothing_was(
    run: Run, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(output, "put", interrupted)
    assert run("shop.yaml") == (0, "", "")
    assert host.writes > 0


def test_an_interrupt_while_a_class_is_made_is_one_though_python_wraps_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defining(*args: object) -> None:
        raise RuntimeError("Error calling __set_name__ on 'Field' instance") from KeyboardInterrupt()

    monkeypatch.setattr("reconciler.api.load", defining)
    ran = run("validate", "shop.yaml")
    assert (ran.code, ran.err) == (1, "error: interrupted; nothing was changed\n")


def test_a_full_disk_is_told_without_a_traceback() -> None:
    with open("/dev/full", "w") as full:
        ran = process("drivers", stdout=full)
    assert ran.returncode == 69
    assert ran.stderr.startswith("error: the result can't be written: No space left on device\n")
    assert "Traceback" not in ran.stderr


def test_a_stream_that_knows_only_ascii_gets_ascii(tmp_path: Path) -> None:
    (tmp_path / "ä.yaml").write_text("version: 1\n")
    environ = {**os.environ, "PYTHONIOENCODING": "ascii:strict"}
    ran = process("validate", "ä.yaml", cwd=tmp_path, env=environ)
    assert ran.returncode == 65
    assert ran.stderr.isascii()
    assert "\\xe4.yaml:" in ran.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_before_anything_was_changed_is_1(number: signal.Signals, tmp_path: Path) -> None:
    fifo = tmp_path / "shop.yaml"
    os.mkfifo(fifo)
    command = [sys.executable, "-m", "reconciler", "validate", str(fifo)]
    # what is ignored stays so in children: SIGINT is in what a shell runs in the background, SIGHUP below nohup(1)
    before = signal.signal(number, signal.default_int_handler)
    signal.signal(signal.SIGALRM, _give_up)
    signal.alarm(60)
    # opening returns once the command has opened it too; then it waits for the rest
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running, open(fifo, "w") as manifest:
        manifest.write(SHOP)
        manifest.flush()
        while running.poll() is None:  # one that comes between two reads in C is only seen after the second
            running.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                running.wait(timeout=5)  # long: a second one while the first is being told is another matter
        assert running.stderr is not None
        err = running.stderr.read()
    signal.alarm(0)
    signal.signal(number, before)
    assert running.returncode == 1
    assert err == "error: interrupted; nothing was changed\n"


def _give_up(number: int, frame: object) -> None:
    raise TimeoutError("the command never opened its manifest")


# Help, version, completion


def test_help_names_every_command_and_needs_no_host(run: Run) -> None:
    ran = run("--help")
    assert ran.code == 0
    for command in ("apply", "plan", "destroy", "validate", "status", "schema", "drivers"):
        assert f"\n  {command}" in ran.out
        assert run(command, "--help").code == 0


def test_the_documentation_names_every_command_option_and_exit_code() -> None:
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    command: Any = typer.main.get_command(cli.app)
    for name, one in command.commands.items():
        assert f"| `{name}" in page
        for param in one.params:
            if param.param_type_name == "option":
                assert f"`{param.opts[-1]}" in page, param.opts
    for code in (0, 1, 2, 3, 4, 64, 65, 69, 70, 75, 77):
        assert f"\n| {code} | " in page
        assert f" {code} " in command.epilog


def test_the_version_is_one_line(run: Run) -> None:
    from reconciler import __version__

    assert run("--version", "--help") == (0, f"netapply {__version__}\n", "")
    assert process("--version").stdout == f"netapply {__version__}\n"


def completions(words: str, folder: Path) -> list[str]:
    """What bash is told for a command line whose last word is to be completed."""
    environ = {
        **os.environ,
        "_NETAPPLY_COMPLETE": "complete_bash",
        "COMP_WORDS": f"netapply {words}",
        "COMP_CWORD": str(len(words.split(" "))),
    }
    ran = process(env=environ, cwd=folder)
    assert ran.stderr == ""
    return ran.stdout.split()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("pl", ["plan"]),
        ("sh", ["shop.yaml"]),
        ("plan sh", ["shop.yaml"]),
        ("-q sh", ["shop.yaml"]),
        ("plan --det", ["--detailed-exitcode"]),
        ("--lock", ["--lock-timeout"]),
        ("-v pl", ["plan"]),
        ("-q --lock-timeout 5 pl", ["plan"]),
        ("-v --lock", ["--lock-timeout"]),
        ("--format j", ["json"]),
        ("plan --format j", ["json"]),
        ("schema --driver br", ["bridge"]),
        ("drivers mac", ["macvlan"]),
    ],
)
def test_the_shell_completes_commands_files_options_and_values(words: str, found: list[str], tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").touch()
    assert completions(words, tmp_path) == found


@pytest.mark.parametrize(
    "words", ["plan m.yaml --host ", "m.yaml --host ", "plan -v m.yaml --host ", "pin m.yaml --host "]
)
def test_hosts_are_completed_from_the_manifest_on_the_line(words: str, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("project: p\nhosts: {ant: {address: 192.0.2.1}, bee: {address: 192.0.2.2}}\n")
    assert completions(words, tmp_path) == ["ant", "bee"]
    assert completions(f"{words}b", tmp_path) == ["bee"]


def test_who_asks_and_whom_are_completed_from_the_manifest(tmp_path: Path) -> None:
    text = "project: p\nnetworks: {n: }\ncontainers: {web: {networks: {n: {aliases: [www]}}}}\n"
    (tmp_path / "netapply.yaml").write_text(f"{text}services: {{w: {{network: n, containers: [web]}}}}\n")
    assert completions("explain w", tmp_path) == ["web"]
    assert completions("explain web w", tmp_path) == ["web", "w", "www"]
    assert completions("explain web ou", tmp_path) == ["outside"]


def test_hosts_are_completed_from_no_manifest_that_is_wrong_or_missing(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("project: p\nhosts: {ant: 5}\n")
    assert completions("plan m.yaml --host ", tmp_path) == []
    assert completions("status --host ", tmp_path) == []
    (tmp_path / "netapply.yaml").write_text("project: p\nhosts: {cow: {address: 192.0.2.1}}\n")
    assert completions("status --host ", tmp_path) == ["cow"]


def test_only_manifests_and_folders_are_completed_as_files(tmp_path: Path) -> None:
    for name in ("a.yaml", "a.yml", "a.txt", ".a.yaml"):
        (tmp_path / name).touch()
    (tmp_path / "all").mkdir()
    assert files_beginning(f"{tmp_path}/a") == [f"{tmp_path}/{name}" for name in ("a.yaml", "a.yml", "all/")]
    assert files_beginning(f"{tmp_path}/.") == [f"{tmp_path}/.a.yaml"]
    assert files_beginning(f"{tmp_path}/nowhere/") == []


def test_projects_are_completed_from_the_links_that_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "LINKS", str(tmp_path))
    aliases = ("netapply:shop/front", "netapply:shop/web/front;protect", "netapply:other/front", "somebody's", "")
    for number, alias in enumerate(aliases):
        (tmp_path / f"eth{number}").mkdir()
        (tmp_path / f"eth{number}" / "ifalias").write_text(f"{alias}\n")
    assert options.projects_beginning("") == ["other", "shop"]
    assert options.projects_beginning("s") == ["shop"]


def test_a_manifest_error_is_still_one_when_it_comes_late(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "host_factory", raising(ManifestError([])))
    assert run("plan", "shop.yaml").code == 65
