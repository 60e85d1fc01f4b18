"""Files with private keys: made for root alone, refused to anybody else's, and never told of what is in them."""

from __future__ import annotations

import os
import stat
import traceback
from base64 import b64decode, b64encode
from pathlib import Path

import pytest

from reconciler.errors import HostLacks, NetapplyError, NotPermitted, OperationFailed
from reconciler.host import keyfiles
from reconciler.x25519 import clamped, public_key

SECRET = b64encode(bytes(range(32))).decode()

roots = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, whose the file must be")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "wireguard.key"
    path.write_text(SECRET + "\n")
    path.chmod(0o600)
    return path


@roots
def test_a_key_is_made_once_for_root_alone_with_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "etc" / "wireguard.key"
    before = os.umask(0)
    try:
        assert keyfiles.create(str(path))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    content = path.read_bytes()
    private = b64decode(content)
    assert (len(content), clamped(private)) == (45, private)
    assert not keyfiles.create(str(path))
    assert path.read_bytes() == content
    assert [one.name for one in path.parent.iterdir()] == ["wireguard.key"]
    assert keyfiles.public_key(str(path)) == b64encode(public_key(private)).decode()


def test_no_key_is_made_where_a_link_leads_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "wireguard.key"
    path.symlink_to(tmp_path / "nothing")
    assert not keyfiles.create(str(path))
    assert not (tmp_path / "nothing").exists()


def test_a_folder_that_can_not_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "etc").write_text("")
    with pytest.raises(OperationFailed, match=r"etc/wireguard\.key can't be made"):
        keyfiles.create(str(tmp_path / "etc" / "wireguard.key"))


@roots
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610, 0o666])
def test_a_key_that_others_may_read_is_refused_with_the_mend(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(HostLacks, match=rf"mode {mode:04o}\); chmod 600 {file}"):
        keyfiles.private_key(str(file))


@roots
def test_a_key_of_another_user_is_refused_with_the_mend(file: Path) -> None:
    os.chown(file, 12345, 0)
    with pytest.raises(HostLacks, match=f"belongs to the user 12345, and must be root's; chown root {file}"):
        keyfiles.private_key(str(file))


def test_a_key_that_is_missing_is_told_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(HostLacks, match=r"no private key in .*; `netapply keys` makes one"):
        keyfiles.private_key(str(tmp_path / "nothing"))
    with pytest.raises(HostLacks, match="is no file that a private key can be in"):
        keyfiles.private_key(str(tmp_path))


def test_a_pipe_is_no_key_and_nobody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(HostLacks, match="is no file"):
        keyfiles.private_key(str(tmp_path / "pipe"))


def test_a_caller_who_may_not_read_it_is_told_who_may(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*arguments: object, **more: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(NotPermitted, match="run netapply as root"):
        keyfiles.private_key(str(file))


@roots
@pytest.mark.parametrize(
    "content", [SECRET[:-4], f"{SECRET}{SECRET}", SECRET.replace("=", "!"), f"\ufeff{SECRET}", "", f"{SECRET}\n" * 50]
)
def test_what_is_no_key_is_refused_and_not_shown(file: Path, content: str) -> None:
    file.write_text(content)
    with pytest.raises(HostLacks) as told:
        keyfiles.public_key(str(file))
    assert "holds no private key" in str(told.value)
    assert not leaks(told.value)


@roots
def test_no_error_about_a_key_shows_it_or_has_the_failure_behind_it(file: Path) -> None:
    file.chmod(0o644)
    with pytest.raises(HostLacks) as told:
        keyfiles.public_key(str(file))
    assert not leaks(told.value)


def leaks(error: NetapplyError) -> bool:
    """Whether an error shows any of the secret, with all that --debug prints, and with what stands behind it."""
    shown = "".join(traceback.format_exception(error)) + repr(error) + repr(error.__cause__)
    shown += repr(error.__context__) if not error.__suppress_context__ else ""
    return SECRET[:12] in shown
