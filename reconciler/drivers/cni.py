"""cni: whatever a CNI plugin, or a chain of them, makes; addresses and routes are the plugin's to give."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..manifest.model import EndpointSpec, NetworkSpec
from ..naming import digest
from ..networks import Endpoint, Network
from ..resources import Delegated, Option, Resource
from . import Complaint, Traits

SUMMARY = "a CNI plugin or a chain of them makes the network; addresses are the plugin's to give"
TRAITS = Traits(addressed=False, interface=True, has_gateway=lambda options, family: False)

VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
"""Versions of the CNI specification in which plugins are chained and results have one form, but for details."""

BIN_DIRS = ("/opt/cni/bin", "/usr/lib/cni")
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
"""What the specification takes for names of networks, plugins and containers."""

_MORE: Mapping[str, Mapping[str, Any]] = {
    "runtime_config": {
        "type": "object",
        "description": "What plugins with that capability get as runtimeConfig, such as portMappings and bandwidth; a "
        "container's goes before its network's.",
    },
    "cni_args": {
        "type": "object",
        "description": "What plugins get as CNI_ARGS, by name; a container's goes before its network's.",
    },
}
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "conflist": {
        "type": ["object", "array", "string"],
        "examples": [{"type": "bridge", "bridge": "cni0", "ipam": {"type": "host-local", "subnet": "10.22.0.0/16"}}],
        "description": "The network configuration list, or that of a single plugin, or a list of plugins; in YAML or "
        "as JSON text. cniVersion is 1.0.0 and the name PROJECT.NETWORK unless it says so.",
    },
    "config": {
        "type": "string",
        "pattern": r"^/.+\.(conflist|conf|json)$",
        "patternErrorMessage": "not an absolute path of a .conflist, .conf or .json file",
        "description": "Instead of conflist, a file of the host's with it, such as one in /etc/cni/net.d.",
    },
    "bin_dirs": {
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "string",
            "pattern": "^/([^/:]+/)*cni(/[^:]*)?$",  # a manifest says which plugin is run, not which program
            "patternErrorMessage": "not an absolute path with a folder cni in it",
        },
        "default": list(BIN_DIRS),
        "description": "The folders where plugins are. One in each path is called cni, and only root can write there.",
    },
    "timeout": {
        "type": "integer",
        "minimum": 1,
        "maximum": 600,
        "default": 30,
        "description": "Seconds that one call of a plugin may take.",
    },
    **_MORE,
}
ENDPOINT_OPTIONS = _MORE


def check(network: NetworkSpec, endpoints: Sequence[EndpointSpec]) -> Iterator[Complaint]:
    options = network.driver_opts
    for key in ("internal", "external", "allow"):
        if getattr(network, key):
            yield Complaint((key,), f"what a cni network lets through is its plugin's to say, so no {key}", "remove it")
    if ("conflist" in options) == ("config" in options):
        what = "a cni network takes one of conflist and config" + (", not both" if "config" in options else "")
        yield Complaint(("driver_opts",), what, "say what its plugins are, as docs/drivers/cni.md shows")
        return
    capabilities: set[str] | None = None
    if "conflist" in options:
        complaints = list(_faults(conflist(options["conflist"])))
        yield from complaints
        capabilities = None if complaints else _capabilities(conflist(options["conflist"]))
    yield from _extras(options, capabilities)
    for end in endpoints:
        for complaint in (*_extras(end.driver_opts, capabilities), *_not_ours(end)):
            yield complaint._replace(container=end.container)


def conflist(option: Option) -> Any:
    """Return what an option says, as a network configuration list where it is one, or a part of one; else as it is."""
    try:
        value = json.loads(str(option))
    except ValueError:
        return None
    if isinstance(value, list):
        return {"plugins": value}
    if isinstance(value, dict) and "plugins" not in value:
        outer = {key: value[key] for key in ("cniVersion", "name") if key in value}
        return {**outer, "plugins": [{key: one for key, one in value.items() if key not in outer}]}
    return value


def _faults(value: Any) -> Iterator[Complaint]:
    """Yield what is wrong with a network configuration list."""
    where = ("driver_opts", "conflist")
    if not isinstance(value, dict) or not isinstance(value["plugins"], list) or not value["plugins"]:
        yield Complaint(where, "conflist is no network configuration list", "it is a mapping, or JSON, with plugins")
        return
    if (version := value.get("cniVersion", "1.0.0")) not in VERSIONS:
        what = f"cniVersion is {version}, and netapply speaks {', '.join(VERSIONS)}"
        yield Complaint((*where, "cniVersion"), what, "write one of them, in quotes")
    if "name" in value and not (isinstance(value["name"], str) and NAME.fullmatch(value["name"])):
        yield Complaint((*where, "name"), "name is no name of letters, digits, _ . and -", "choose another")
    for number, plugin in enumerate(value["plugins"]):
        path = (*where, "plugins", number)
        kind = plugin.get("type") if isinstance(plugin, dict) else None
        if not isinstance(kind, str) or not NAME.fullmatch(kind):
            yield Complaint(path, "a plugin needs a type, the name of its executable", "add type: bridge")
        elif not isinstance(plugin.get("capabilities", {}), dict):
            yield Complaint((*path, "capabilities"), "capabilities is no mapping", "write portMappings: true")
        elif "prevResult" in plugin:
            yield Complaint((*path, "prevResult"), "prevResult is netapply's to give", "remove it")


def _capabilities(value: Mapping[str, Any]) -> set[str]:
    return {name for plugin in value["plugins"] for name, has in plugin.get("capabilities", {}).items() if has}


def _extras(options: Mapping[str, Option], capabilities: set[str] | None) -> Iterator[Complaint]:
    """Yield what is wrong with what plugins get beside their configuration; None: their capabilities are not known."""
    wanted = _mapping(options, "runtime_config")
    for name in sorted(wanted) if capabilities is not None else ():
        if name not in (capabilities or ()):
            mend = f"give the plugin that it is for `capabilities: {{{name}: true}}`"
            yield Complaint(("driver_opts", "runtime_config", name), f"no plugin has the capability {name}", mend)
    for name, value in _mapping(options, "cni_args").items():
        if isinstance(value, dict | list) or any(sign in f"{name}{value}" for sign in ";=") or not name.isprintable():
            what = f"{name} in cni_args is not of one word without ; and ="
            yield Complaint(("driver_opts", "cni_args", name), what, "give it a plain value")


def _not_ours(end: EndpointSpec) -> Iterator[Complaint]:
    """Yield what an endpoint asks for that only its plugin could do."""
    for key in ("link_local_ips", "sysctls"):
        if getattr(end, key):
            mend = "add the tuning plugin to the chain" if key == "sysctls" else "say it in the plugin's ipam"
            yield Complaint((key,), f"the interface is its plugin's, so no {key}", mend)


def _mapping(options: Mapping[str, Option], name: str) -> dict[str, Any]:
    found = json.loads(str(options.get(name, "{}")))
    return found if isinstance(found, dict) else {}


def lower(network: Network) -> Iterator[Resource]:
    options = network.options
    folders = json.loads(str(options["bin_dirs"])) if "bin_dirs" in options else BIN_DIRS
    tags = (*("protect",) * network.protect, f"timeout={options.get('timeout', 30)}", f"bin_dirs={':'.join(folders)}")
    common: dict[str, Any] = {"name": _network_name(network)}
    if "config" in options:
        common["config"] = options["config"]
    else:
        common["conflist"] = {"cniVersion": "1.0.0", "name": common["name"], **conflist(options["conflist"])}
    for endpoint in network.endpoints:
        yield Delegated(
            path=endpoint.path,
            protocol="cni",
            sandbox=endpoint.sandbox,
            interface=endpoint.interface_name,
            request=json.dumps({**common, **_particular(network, endpoint)}, sort_keys=True, ensure_ascii=False),
            tags=tags,
            addresses=endpoint.addresses,
        )


def _particular(network: Network, endpoint: Endpoint) -> dict[str, Any]:
    """Return the part of a request that is an endpoint's own."""
    args = {**_mapping(network.options, "cni_args"), **_mapping(endpoint.driver_opts, "cni_args")}
    extras = {**_mapping(network.options, "runtime_config"), **_mapping(endpoint.driver_opts, "runtime_config")}
    return {
        "container": _container_id(network.project, endpoint.container),
        "args": {name: str(value) for name, value in args.items()},
        "runtime_config": extras,
        "addresses": list(endpoint.addresses),
        "mac": endpoint.mac,
    }


def _network_name(network: Network) -> str:
    """Return the name of a network that gives itself none. Plugins keep their leases by it, so no two may share one."""
    name = f"{network.project}.{network.name}"
    return name if name.count(".") == 1 else f"{name}-{digest(network.project, network.name).hex()[:8]}"


def _container_id(project: str, container: str) -> str:
    """Return what plugins know a container by: what it is to a reader, and what tells it from every other."""
    return f"{project}.{container}"[:64] + f"-{digest(project, container).hex()[:12]}"
