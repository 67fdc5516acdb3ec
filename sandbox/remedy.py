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
_APPARMOR = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
_CLONE = Path("/proc/sys/kernel/unprivileged_userns_clone")
_MOST = Path("/proc/sys/user/max_user_namespaces")


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


def for_bubblewrap(reason: str) -> str:
    """The remedy when bubblewrap cannot be used because of `reason`."""
    if "not installed" in reason:
        return install("bubblewrap")
    for path, wanted, command in (
        (_APPARMOR, "0", "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"),
        (_CLONE, "1", "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
    ):
        value = _text(path).strip()
        if value and value != wanted:
            return command
    if _text(_MOST).strip() == "0":
        return "sudo sysctl -w user.max_user_namespaces=15000"
    return "allow user namespaces to this user, or start docker"


def for_docker(reason: str) -> str:
    """The remedy when docker cannot be used because of `reason`."""
    if "no permission" in reason:
        return "sudo usermod -aG docker $USER, then log in again"
    return "sudo systemctl start docker"


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
