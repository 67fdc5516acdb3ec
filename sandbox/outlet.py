"""How the way out is found inside a sandbox that has one: the proxy's socket, the port that leads to it.

The sandbox's own network stays cut off. A folder of the host's with the proxy's unix socket is shown
read-only; the agent offers a loopback port, for programs do not know how to use a proxy on a unix socket.
"""

from __future__ import annotations

from sandbox.base import Mount, SandboxSpec

SOCKET = "socket"
"""Name of the proxy's socket in its folder."""

_FOLDER = "/run/pawl-network"
PORT = 3128
"""On the loopback of the sandbox; what connects there comes out at the socket."""
_HOST = "Host=127.0.0.1"


def mounts(spec: SandboxSpec) -> tuple[Mount, ...]:
    """What is to be shown read-only so that the proxy can be reached; nothing without one."""
    return (Mount(spec.outlet.folder, _FOLDER),) if spec.outlet else ()


def allowed(spec: SandboxSpec) -> tuple[str, ...]:
    """For `Caps.allowed`."""
    return spec.outlet.allowed if spec.outlet else ()


def environment(spec: SandboxSpec) -> dict[str, str]:
    """The variables by which programs find the proxy."""
    if spec.outlet is None:
        return {}
    address = f"http://127.0.0.1:{PORT}"
    # tests inside call their own servers directly, unless the person allowed one of the host's loopback
    of_host = any(text.startswith(("127.", "[::1]")) for text in spec.outlet.allowed)
    env = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), address)
    env["no_proxy"] = "" if of_host else "localhost,127.0.0.1,::1"
    return env | {name.upper(): value for name, value in env.items()}


def java(spec: SandboxSpec) -> dict[str, str]:
    """The same for Maven and Gradle, added to what the spec sets: Java reads no variable that names one."""
    if spec.outlet is None:
        return {}
    direct = environment(spec)["no_proxy"].replace("::1", "[::1]").replace(",", "|")
    words = [f"-D{scheme}.proxy{what}" for scheme in ("http", "https") for what in (_HOST, f"Port={PORT}")]
    words += [f"-Dhttp.nonProxyHosts={direct}", "-Daether.connector.http.useSystemProperties=true"]
    return {
        name: " ".join([*filter(None, [spec.env.get(name)]), *words])
        for name in ("MAVEN_OPTS", "GRADLE_OPTS")
    }


def relay(spec: SandboxSpec) -> dict[str, object] | None:
    """What the agent is told: the port to listen on, and the socket to carry each connection to."""
    return {"port": PORT, "socket": f"{_FOLDER}/{SOCKET}"} if spec.outlet else None
