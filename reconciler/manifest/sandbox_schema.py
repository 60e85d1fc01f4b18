"""The schema of a container's `sandbox`: where its network namespace is."""

from __future__ import annotations

from typing import Any, Final

_NAME = {
    "type": "string",
    "pattern": "^[A-Za-z0-9][A-Za-z0-9_.+-]{0,254}$",
    "patternErrorMessage": "not the name or ID of a container",
}
_PATH = {
    "type": "string",
    "pattern": "^/[^\\x00-\\x1f]{1,4000}$",
    "patternErrorMessage": "not the path of a file, which begins with /",
}

SANDBOX: Final[dict[str, Any]] = {
    "title": "sandbox",
    "description": "Where the container's network namespace is; left out, the one of the container's name, created.",
    "type": "object",
    "errorMessage": "write {docker: NAME}, {netns: NAME} or another kind",
    "additionalProperties": False,
    "minProperties": 1,
    "oneOf": [{"required": [kind]} for kind in ("netns", "docker", "podman", "containerd", "oci", "machine", "pid")],
    "dependentRequired": {
        "create": ["netns"],
        "namespace": ["containerd"],
        "runtime": ["oci"],
        "root": ["oci"],
    },
    "properties": {
        "netns": {
            "type": "string",
            "pattern": "^[A-Za-z0-9_][A-Za-z0-9_.:@%+=,-]{0,254}$",
            "patternErrorMessage": "not the name of a network namespace (a file in /run/netns)",
            "description": "The name of a network namespace, as `ip netns` lists it.",
        },
        "create": {
            "type": "boolean",
            "default": True,
            "description": "Create the namespace where it is missing, and remove it when the container leaves the "
            "manifest; false: it is somebody else's.",
        },
        "pid": {
            "type": "integer",
            "minimum": 1,
            "maximum": 4194304,
            "description": "The number of a process in the namespace.",
        },
        "docker": {**_NAME, "description": "The name or ID of a container of Docker's."},
        "podman": {**_NAME, "description": "The name or ID of a container of Podman's."},
        "containerd": {**_NAME, "description": "The ID of a container that containerd runs."},
        "oci": {**_NAME, "description": "The ID of a container that runc, crun or the like runs."},
        "machine": {
            "type": "string",
            "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
            "patternErrorMessage": "not the name of a machine, as `machinectl` lists it",
            "description": "The name of a container of systemd-nspawn's, as `machinectl` lists it.",
        },
        "socket": {
            **_PATH,
            "description": "The socket of Docker, Podman or containerd; left out, DOCKER_HOST or CONTAINER_HOST, else "
            "/run/docker.sock, /run/podman/podman.sock, /run/containerd/containerd.sock.",
        },
        "namespace": {
            "type": "string",
            "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,75}$",
            "patternErrorMessage": "not the name of one of containerd's namespaces",
            "default": "default",
            "description": "Containerd's namespace: k8s.io for Kubernetes, moby for Docker.",
        },
        "runtime": {
            "type": "string",
            "pattern": "^(/[^\\x00-\\x1f]{1,4000}|[A-Za-z0-9][A-Za-z0-9._-]{0,63})$",
            "patternErrorMessage": "not the name or path of a program such as runc",
            "description": "The program that runs it; left out, runc or crun, whichever has such a container.",
        },
        "root": {
            **_PATH,
            "description": "The runtime's folder (`--root`); left out, /run/runc or /run/crun.",
        },
    },
}
