"""A made-up /etc: the few public files that programs need, and no others.

Kept in a folder named by its content's origin, so that several sandboxes share it and a change of the host's
libraries or certificates makes a new one.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from sandbox.base import Mount

USER = "pawl"
LINKS = Path("/etc/pawl/bin")
"""Folder for the PATH with the names of programs that the host lacks."""

_COPIED = (
    "alternatives",
    "ca-certificates.conf",
    "debian_version",
    "fonts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "maven/logging",
    "maven/m2.conf",
    "mime.types",
    "os-release",
    "pki/ca-trust/extracted/pem",
    "pki/tls/cert.pem",
    "pki/tls/certs",
    "protocols",
    "services",
    "ssl/cert.pem",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
)
_PATTERNS = ("java-*",)


def build(state: Path, uid: int, gid: int, links: Mapping[str, str] | None = None) -> Mount:
    """Make the folder below `state` unless it is there, and return its mount. `links` are made in LINKS."""
    links = links or {}
    sources = [Path("/etc", name) for name in _COPIED]
    sources += [path for pattern in _PATTERNS for path in sorted(Path("/etc").glob(pattern))]
    sources = [path for path in sources if path.exists()]
    written = _written(uid, gid)
    folder = state / f"etc-{_key(sources, written, links)}"
    if not folder.is_dir():
        state.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix="etc-new-", dir=state))
        try:
            make_links(building / LINKS.relative_to("/etc"), links)
            _fill(building, sources, written)
            building.rename(folder)
        except OSError:
            if not folder.is_dir():  # else somebody was faster
                raise
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return Mount(str(folder), "/etc")


def _written(uid: int, gid: int) -> dict[str, str]:
    return {
        "passwd": f"root:x:0:0:root:/root:/bin/sh\n{USER}:x:{uid}:{gid}:{USER}:/tmp/home:/bin/sh\n"
        if uid
        else f"{USER}:x:0:0:{USER}:/tmp/home:/bin/sh\n",
        "group": f"root:x:0:\n{USER}:x:{gid}:\n" if gid else f"{USER}:x:0:\n",
        "hosts": "127.0.0.1 localhost\n::1 localhost ip6-localhost\n",
        "hostname": "sandbox\n",
        "resolv.conf": "",
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
        "gitconfig": "[safe]\n\tdirectory = *\n",
    }


def make_links(folder: Path, links: Mapping[str, str]) -> None:
    """Fill a folder for the PATH with links to programs."""
    folder.mkdir(parents=True)
    for name, target in links.items():
        (folder / name).symlink_to(target)


def _key(sources: list[Path], written: dict[str, str], links: Mapping[str, str]) -> str:
    digest = hashlib.sha256(repr([sorted(written.items()), sorted(links.items())]).encode())
    for source in sources:
        status = source.stat()
        digest.update(f"{source} {status.st_mtime_ns} {status.st_size}\n".encode())
    return digest.hexdigest()[:16]


def _fill(folder: Path, sources: list[Path], written: dict[str, str]) -> None:
    for source in sources:
        target = folder / source.relative_to("/etc")
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink() and not source.resolve().is_relative_to("/etc"):
            target.symlink_to(source.readlink())
        elif source.is_dir():
            shutil.copytree(source, target, symlinks=True, ignore=_unreadable, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, target)
    for name, text in written.items():
        (folder / name).write_text(text, "utf-8")
    for path in [folder, *folder.rglob("*")]:  # whatever the umask is: another user may have to read it
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)


def _unreadable(folder: str, names: list[str]) -> set[str]:
    """What is not for everybody's eyes on the host is not copied either."""
    left_out = set()
    for name in names:
        path = Path(folder, name)
        if not path.is_symlink() and not path.stat().st_mode & 0o004:
            left_out.add(name)
    return left_out
