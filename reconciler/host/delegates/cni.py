"""CNI: plugins are programs, chained as libcni does it. ADD in order, DEL in reverse, each with what ADD ended with.

The CNI specification 1.1.0, https://www.cni.dev/docs/spec/, and its conventions.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ...errors import HostLacks, OperationFailed
from ...resources import Delegated
from .. import rtnetlink
from ..namespaces import Place
from ..steps import Send, Task
from . import programs, records, trust
from .jobs import PLUGIN_SAYS, Job
from .programs import Refusal
from .records import Record

_CHAINS, _CHECKS, _COLLECTS = (0, 3, 0), (0, 4, 0), (1, 1, 0)
"""The versions of the specification that came with chains of plugins, with CHECK and a previous result for DEL, with
GC."""

_TRY_AGAIN = 11
"""The code of an error that says nothing of what was made."""

_LARGEST = 1 << 20


def ready(wanted: Delegated) -> Delegated:
    """See `jobs.Speaker.ready`: a file that the request names is read, so that what is in it is compared."""
    record = records.of(wanted, 0)
    request = record.asked
    if "config" in request:
        request["conflist"] = {"name": request["name"], **_file(request.pop("config"))}
    listed = request["conflist"]
    folders = _folders(record)
    for folder in filter(os.path.isdir, folders):
        trust.demand(folder, f"the folder of CNI plugins {folder}")
    for kind in dict.fromkeys(plugin["type"] for plugin in listed["plugins"]):
        path = programs.found(kind, folders)
        known = programs.versions(kind, path, os.stat(path).st_mtime_ns)
        if listed["cniVersion"] not in known:
            what = (
                f"CNI plugin {kind} ({path}) knows {', '.join(known)} of the specification, not {listed['cniVersion']}"
            )
            raise HostLacks(f"{what}; set the network's cniVersion, or install another version")
    return replace(wanted, request=json.dumps(request, sort_keys=True, ensure_ascii=False))


def _file(path: str) -> dict[str, Any]:
    """Return the network configuration list in a file of the host's. Raises HostLacks."""
    what = f"network configuration {path}"
    trust.demand(path, what)
    try:
        with open(path, "rb") as file:
            found = json.loads(file.read(_LARGEST))
        plugins = found.get("plugins", [found])
        if not plugins or not all(isinstance(plugin["type"], str) and "/" not in plugin["type"] for plugin in plugins):
            raise KeyError("type")
        if _version({"cniVersion": "0.3.1", **found}) < _CHAINS:
            raise ValueError(f"cniVersion {found['cniVersion']}")
    except (OSError, ValueError, TypeError, KeyError) as failure:
        raise HostLacks(f"{what} is none ({failure!r}); it is JSON with plugins, each of which has a type") from failure
    if "plugins" in found:
        return {"cniVersion": "0.3.1", **found}
    outer = {key: found[key] for key in ("cniVersion", "name") if key in found}
    return {"cniVersion": "0.3.1", **outer, "plugins": [found]}


def make(job: Job) -> None:
    """See `jobs.Speaker.make`.

    No plugin may be asked to ADD twice without a DEL between (and host-local refuses). What a lost record told, nobody
    knows: leases outlive a reboot, records do not. So what is new to netapply is taken away first, which is nothing
    where there is nothing, and leftovers of containers that are gone for good are collected.
    """
    request = job.record.asked
    _collect(job, request)
    for plugin in reversed(request["conflist"]["plugins"]):
        job.trap(f"DEL {plugin['type']}")
        with suppress(Refusal):
            _call("DEL", job, request, plugin, None)
    result: Any = None
    for plugin in request["conflist"]["plugins"]:
        job.trap(f"ADD {plugin['type']}")
        result = _result(plugin["type"], _call("ADD", job, request, plugin, result))
        job.record = job.record._replace(result={"cni": result, "interface": _makes(result, job.record)})
    job.record = job.record._replace(addresses=_addresses(result, job.record))
    _demand_pinned(job, request, result)
    _mark(job)
    job.trap("CHECK")
    usual = _usual_complaints(job.record, job.place)
    job.record = job.record._replace(result={**(job.record.result or {}), "usual": usual})


def unmake(job: Job) -> None:
    """See `jobs.Speaker.unmake`. All plugins are tried, also after one that failed."""
    request, failures = job.record.asked, []
    result = (job.record.result or {}).get("cni") if _version(request["conflist"]) >= _CHECKS else None
    for plugin in reversed(request["conflist"]["plugins"]):
        job.trap(f"DEL {plugin['type']}")
        try:
            _call("DEL", job, request, plugin, result)
        except OperationFailed as failure:
            failures.append(failure)
    if failures:
        raise OperationFailed("\n".join(map(str, failures)))


def trouble(record: Record, place: Place | None) -> str:
    """See `jobs.Speaker.trouble`: what plugins say to CHECK, but for what they said right after ADD, too.

    Some do: portmap of the plugins 1.1 looks for IPv4's rules among IPv6's.
    """
    usual = (record.result or {}).get("usual", {})
    for number, complaint in _complaints(record, place.path) if place else ():
        if usual.get(str(number)) not in (complaint, ""):
            return f"{PLUGIN_SAYS}{complaint}"
    return ""


def _usual_complaints(record: Record, netns: str) -> dict[str, str]:
    """Return what plugins complain of though all is well, by their numbers; "" where it is not the same each time."""
    first = dict(_complaints(record, netns))
    second = dict(_complaints(record, netns)) if first else {}
    return {str(number): words if second.get(number) == words else "" for number, words in first.items()}


def _complaints(record: Record, netns: str) -> Iterator[tuple[int, str]]:
    """Yield what plugins say to CHECK, with their numbers. An error that will pass is no sign of damage."""
    request, result = record.asked, (record.result or {}).get("cni")
    listed = request["conflist"]
    if _version(listed) < _CHECKS or listed.get("disableCheck"):
        return
    environ = _environ(record, netns, request)
    for number, plugin in enumerate(listed["plugins"]):
        told = _told(listed, plugin, request, result)
        try:
            programs.call("CHECK", plugin["type"], told, environ, _folders(record), record.timeout)
        except Refusal as refusal:
            if refusal.code != _TRY_AGAIN:
                yield number, str(refusal)
        except (OperationFailed, HostLacks):
            continue


def _call(command: str, job: Job, request: Mapping[str, Any], plugin: Mapping[str, Any], result: Any) -> bytes:
    record = job.record
    told = _told(request["conflist"], plugin, request, result)
    environ = _environ(record, job.place, request)
    with records.held(job.host, job.project) as held:
        return programs.call(command, plugin["type"], told, environ, _folders(record), record.timeout, (held,))


def _told(
    listed: Mapping[str, Any], plugin: Mapping[str, Any], request: Mapping[str, Any], result: Any
) -> dict[str, Any]:
    """Return the configuration of one plugin: its own, and what the runtime adds."""
    capabilities = {name for name, has in plugin.get("capabilities", {}).items() if has}
    pinned = {key: request[source] for key, source in (("ips", "addresses"), ("mac", "mac")) if request[source]}
    extras = {name: value for name, value in {**request["runtime_config"], **pinned}.items() if name in capabilities}
    told = {**plugin, "name": listed["name"], "cniVersion": listed["cniVersion"]}
    if extras:
        told["runtimeConfig"] = {**plugin.get("runtimeConfig", {}), **extras}
    if pinned:
        args = plugin.get("args", {})
        told["args"] = {**args, "cni": {**args.get("cni", {}), **pinned}}
    if result is not None:
        told["prevResult"] = result
    return told


def _environ(record: Record, netns: str, request: Mapping[str, Any]) -> dict[str, str]:
    mac = {"MAC": request["mac"]} if request["mac"] else {}
    args = {**mac, **request["args"]}
    if args:
        args = {"IgnoreUnknown": "1", **args}
    return {
        "CNI_CONTAINERID": request["container"],
        "CNI_NETNS": netns,
        "CNI_IFNAME": record.interface,
        "CNI_ARGS": ";".join(f"{name}={value}" for name, value in args.items()),
    }


def _folders(record: Record) -> Sequence[str]:
    return record.tag("bin_dirs").split(":")


def _version(listed: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(int(part) for part in str(listed["cniVersion"]).split("."))


def _result(kind: str, output: bytes) -> dict[str, Any]:
    try:
        result = json.loads(output)
    except ValueError:
        result = None
    if not isinstance(result, dict):
        raise OperationFailed(f"CNI plugin {kind} answered ADD with no result, but with {output[:60]!r}")
    return result


def _makes(result: Mapping[str, Any], record: Record) -> bool:
    """Whether a result says that the container has the interface."""
    return any(one.get("name") == record.interface and one.get("sandbox") for one in _entries(result, "interfaces"))


def _entries(result: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = result.get(key)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _addresses(result: Mapping[str, Any], record: Record) -> tuple[str, ...]:
    """Return the addresses that a result gives the container on its interface."""
    interfaces = _entries(result, "interfaces")

    def is_its(entry: Mapping[str, Any]) -> bool:
        at = entry.get("interface")
        if not isinstance(at, int) or not 0 <= at < len(interfaces):
            return True
        return bool(interfaces[at].get("sandbox")) and interfaces[at].get("name") == record.interface

    return tuple(str(one["address"]) for one in _entries(result, "ips") if "address" in one and is_its(one))


def _demand_pinned(job: Job, request: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    """Raise OperationFailed if the container did not get an address or the MAC that the manifest pins."""
    got = {one.partition("/")[0] for one in job.record.addresses}
    macs = {str(one.get("mac", "")).lower() for one in _entries(result, "interfaces") if one.get("sandbox")}
    missing = [one for one in request["addresses"] if one not in got]
    missing += [request["mac"]] if request["mac"] and request["mac"] not in macs else []
    if missing:
        what = f"the CNI plugins of {job.record.path} did not give it {', '.join(missing)}"
        raise OperationFailed(f"{what}; not all plugins can: remove it, or use one that has the capability ips or mac")


def _mark(job: Job) -> None:
    """Note on the interface whom its plugin made it for."""
    if not (job.record.result or {}).get("interface") or not job.sandbox:
        return
    job.run(_marking(job, job.sandbox))


def _marking(job: Job, sandbox: str) -> Task:
    body = rtnetlink.link(name=job.record.interface, alias=job.mark)
    what = f"link {job.record.interface} of {sandbox}"
    yield [Send(sandbox, rtnetlink.set_link(body), what, (errno.ENODEV,))]


def _collect(job: Job, request: Mapping[str, Any]) -> None:
    """Have plugins release what they keep for attachments that are no more, once for each network in a run.

    Only on a network to which netapply gave the name: what other runtimes attached to theirs is not known here.
    """
    listed = request["conflist"]
    if _version(listed) < _COLLECTS or listed.get("disableGC") or listed["name"] != request["name"]:
        return
    if listed["name"] in job.inventory.collected:
        return
    job.inventory.collected.add(listed["name"])
    told = {"cni.dev/valid-attachments": list(_valid(job, listed["name"]))}
    for plugin in listed["plugins"]:
        job.trap(f"GC {plugin['type']}")
        config = {**plugin, "name": listed["name"], "cniVersion": listed["cniVersion"], **told}
        with suppress(Refusal), records.held(job.host, job.project) as held:
            programs.call("GC", plugin["type"], config, {}, _folders(job.record), job.record.timeout, (held,))


def _valid(job: Job, name: str) -> Iterator[dict[str, str]]:
    """Yield the attachments of a network that are known, on every host that shares the records."""
    for record in records.of_all_hosts(job.project):
        if record.protocol == "cni" and (request := record.asked)["conflist"]["name"] == name:
            yield {"containerID": request["container"], "ifname": record.interface}
