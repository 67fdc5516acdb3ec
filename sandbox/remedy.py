"""What a person has to type to get a sandbox on this system: always the one command that fits."""

from __future__ import annotations

import os
from pathlib import Path

_MANAGERS: dict[str, str] = {
    "debian": "apt-get install -y {}",
    "ubuntu": "apt-get install -y {}",
    "fedora": "dnf install -y {}",
    "rhel": "dnf install -y {}",
    "centos": "dnf install -y {}",
    "arch": "pacman -S --noconfirm {}",
    "alpine": "apk add {}",
    "suse": "zypper --non-interactive install {}",
    "opensuse-tumbleweed": "zypper --non-interactive install {}",
}
_PROC = Path("/proc")
_APPARMOR = "kernel/apparmor_restrict_unprivileged_userns"
_CLONE = "kernel/unprivileged_userns_clone"
_MOST = "user/max_user_namespaces"
_PROFILE = "abi <abi/4.0>, profile bwrap /usr/bin/bwrap flags=(unconfined) { userns, }"
_LIFTED = (
    "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0; or for bwrap alone, and for good:"
    f" echo '{_PROFILE}' | sudo tee /etc/apparmor.d/bwrap && sudo apparmor_parser -r /etc/apparmor.d/bwrap"
)
_REFUSED = (
    "new namespace failed: Permission denied",
    "uid map: Permission denied",
    "RTM_NEWADDR: Operation not permitted",
)
"""What bwrap says when a security module refuses it a user namespace, or any capability in it."""


def install(package: str, release: str | None = None, *, root: bool | None = None) -> str:
    """The command that installs a system package, by /etc/os-release (its text may be given)."""
    if release is None:
        release = _text(Path("/etc/os-release"))
    fields = dict(line.split("=", 1) for line in release.splitlines() if "=" in line)
    names = f"{fields.get('ID', '')} {fields.get('ID_LIKE', '')}".replace('"', "").split()
    command = next((_MANAGERS[name] for name in names if name in _MANAGERS), "")
    if not command:
        return f"install `{package}` with your system's package manager"
    if root is None:
        root = os.geteuid() == 0
    return ("" if root else "sudo ") + command.format(package)


def for_bubblewrap(reason: str, proc: Path = _PROC) -> str:
    """The remedy when bubblewrap cannot be used because of `reason`. `proc` holds what the kernel says."""
    if "not installed" in reason:
        return install("bubblewrap")
    for name, wrong, command in (
        (_APPARMOR, "1", _LIFTED),
        (_CLONE, "0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
        (_MOST, "0", "sudo sysctl -w user.max_user_namespaces=15000"),
    ):
        if _text(proc / "sys" / name).strip() == wrong:
            return command
    label = _text(proc / "self/attr/apparmor/current").strip()
    if label and not label.rstrip(")").endswith("unconfined"):
        return (
            f"pawl itself runs under the AppArmor profile `{label.split(' (')[0]}`: it must allow bwrap"
            " `userns` and `capability`, or start docker"
        )
    if any(said in reason for said in _REFUSED):
        return (
            "a security module, such as AppArmor, refuses bwrap: `sudo dmesg | grep DENIED` names the profile"
            " that must allow it `userns`; or start docker"
        )
    return "allow user namespaces to this user, or start docker"


def for_docker(reason: str) -> str:
    """The remedy when docker cannot be used because of `reason`."""
    if "no permission" in reason:
        return "sudo usermod -aG docker $USER, then log in again"
    if "DOCKER_HOST" in reason:
        return "unset DOCKER_HOST, or set it to unix:///var/run/docker.sock"
    return "sudo systemctl start docker"


def for_runtime(name: str) -> str:
    """The remedy when docker's daemon does not know a runtime."""
    if name == "runsc":
        return "install gVisor, then: sudo runsc install && sudo systemctl restart docker"
    return f"add `{name}` to the runtimes of the docker daemon, or: pawl config set runtime ''"


def for_another_runtime() -> str:
    """The remedy when a runtime is known but fails."""
    return "pawl config set runtime '' goes back to the daemon's own"


def for_state(folder: Path) -> str:
    """The remedy when pawl's own folder cannot be written."""
    return f"set PAWL_HOME to a folder that can be written, as {folder} cannot"


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
