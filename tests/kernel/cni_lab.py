"""CNI plugins for tests, of which everything is known: what they were asked, what they made, and how they are to fail.

`lab` makes a veth pair and a lease, and refuses a second ADD as host-local does; `meta` passes on what it got, as a
chained plugin does. All they do is written to /run/lab: `calls` has a line for each call, `leases` a file for each
attachment. A file `fault-COMMAND-PLUGIN` is shell that is run in the plugin's place.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HOME = Path("/run/lab")
BIN = HOME / "cni"

SCRIPT = r"""#!/bin/sh
config=$(cat)
me=${0##*/}
netns=${CNI_NETNS#/run/netns/}
fail() { echo "{\"cniVersion\":\"1.0.0\",\"code\":${2:-100},\"msg\":\"$1\"}"; exit 1; }
[ "$CNI_COMMAND" = VERSION ] || echo "$CNI_COMMAND $me ${CNI_CONTAINERID%-*} $CNI_IFNAME $netns" >> /run/lab/calls
printf '%s\n' "$config" > "/run/lab/told-$CNI_COMMAND-$me"
env | sort > "/run/lab/env-$CNI_COMMAND-$me"
[ -e "/run/lab/fault-$CNI_COMMAND-$me" ] && . "/run/lab/fault-$CNI_COMMAND-$me"
[ "$CNI_COMMAND" = VERSION ] && { echo '{"supportedVersions":["0.3.1","0.4.0","1.0.0","1.1.0"]}'; exit 0; }
lease=/run/lab/leases/$CNI_CONTAINERID-$CNI_IFNAME
hash=$(printf %s "$CNI_CONTAINERID" | cksum | cut -d ' ' -f 1)
outer=lv$hash
address=10.77.0.$((hash % 250 + 2))
case $CNI_COMMAND-$me in
ADD-lab)
    [ -e "$lease" ] && fail "$address has been allocated, duplicate allocation is not allowed"
    echo "$netns" > "$lease"
    mac=$(printf '02:77:%02x:%02x:%02x' $((hash % 256)) $((hash / 256 % 256)) $((hash / 65536 % 256)))
    ip link add "$outer" address "$mac:01" type veth peer name "$CNI_IFNAME" address "$mac:02" netns "$netns" 2>&1 ||
        fail "no link"
    ip link set "$outer" up
    ip -n "$netns" addr add "$address/24" dev "$CNI_IFNAME"
    ip -n "$netns" link set "$CNI_IFNAME" up
    echo "{\"cniVersion\":\"1.0.0\",\"interfaces\":[{\"name\":\"$outer\"},{\"name\":\"$CNI_IFNAME\"," \
        "\"mac\":\"$mac:02\",\"sandbox\":\"$CNI_NETNS\"}],\"ips\":[{\"address\":\"$address/24\",\"interface\":1}]}"
    ;;
ADD-meta)
    printf '%s' "$config" | sed 's/.*"prevResult": //; s/}$//'
    ;;
DEL-lab)
    rm -f "$lease"
    [ -n "$netns" ] && ip -n "$netns" link del "$CNI_IFNAME" 2> /dev/null
    exit 0
    ;;
CHECK-lab)
    [ -e "$lease" ] || fail "the lease is gone"
    ip -n "$netns" -br addr show dev "$CNI_IFNAME" | grep -q " $address/24" || fail "the address is gone"
    ;;
GC-lab)
    for one in /run/lab/leases/*; do
        id=${one##*/}
        case $config in *"\"${id%-*}\""*) ;; *) rm -f "$one" ;; esac
    done
    ;;
esac
"""


def install(folder: Path = BIN) -> None:
    """Put the plugins into a folder that only root can write to."""
    (HOME / "leases").mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    (HOME / "calls").touch()
    for name in ("lab", "meta"):
        (folder / name).write_text(SCRIPT)
        (folder / name).chmod(0o755)


def calls() -> list[str]:
    """Return the calls since the last time, but for CHECKs, which looking makes."""
    lines = (HOME / "calls").read_text().splitlines()
    (HOME / "calls").write_text("")
    return [line for line in lines if not line.startswith("CHECK")]


def fault(command: str, plugin: str, shell: str | None) -> None:
    """Have a plugin do that instead at a command; None: do as it should again."""
    path = HOME / f"fault-{command}-{plugin}"
    if shell is None:
        path.unlink()
    else:
        path.write_text(shell)


def leases() -> list[str]:
    """Return what is attached, by the plugin's own account: "shop.web eth0"."""
    return sorted(f"{path.name.rpartition('-')[0][:-13]} {path.name.rpartition('-')[2]}" for path in entries())


def entries() -> list[Path]:
    return sorted((HOME / "leases").iterdir())


def told(command: str, plugin: str) -> Any:
    """Return the configuration that a plugin was given last at a command."""
    return json.loads((HOME / f"told-{command}-{plugin}").read_text())


def environment(command: str, plugin: str) -> dict[str, str]:
    """Return the environment that a plugin had last at a command."""
    lines = (HOME / f"env-{command}-{plugin}").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def manifest(
    *containers: str, conflist: dict[str, Any] | None = None, options: dict[str, Any] | None = None, **endpoint: Any
) -> str:
    """Return a manifest, as JSON, of a network with the lab's plugins and those containers on it."""
    listed = {"plugins": [{"type": "lab"}, {"type": "meta"}], **(conflist or {})}
    opts = {"conflist": listed, "bin_dirs": [str(BIN)], "timeout": 20, **(options or {})}
    return json.dumps(
        {
            "project": "shop",
            "networks": {"front": {"driver": "cni", "driver_opts": opts}} if containers else {},
            "containers": {name: {"networks": {"front": endpoint}} for name in containers},
        }
    )
