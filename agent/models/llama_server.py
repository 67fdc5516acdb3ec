"""The process that serves a model: llama.cpp's server, run by xllamacpp. Started as a script by `local.py`.

stdin: one line of JSON (`ServerSpec` of serving.py), then kept open; its end is the order to stop. So it
never outlives pawl: on Linux the kernel kills it when its parent dies, elsewhere the end of stdin does.
stdout: one line of JSON once it answers: `{"address": "http://127.0.0.1:port", "devices": ["..."]}`.
stderr: the server's log. Exit code 1 when the model cannot be loaded.

With a `binary` in the order, that llama-server does the work as a child of this process and ends with it.

It runs by its path and imports nothing of pawl, so that no folder of the user can stand in for a module.
"""

import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any

_PR_SET_PDEATHSIG = 1
_POLL_S = 0.1
_HELP_S = 60


def main() -> None:
    _die_with_parent()
    spec = json.loads(sys.stdin.buffer.readline() or b"null")
    if spec is None:
        return
    # Whatever the library prints belongs to the log; the answer keeps stdout for itself.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if spec["binary"]:
        _run_binary(spec, answer)
        return
    threading.Thread(target=_wait_for_end, args=(lambda: os._exit(0),), daemon=True).start()
    # Its own threads neither end on a signal nor let the interpreter shut down.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        server, devices = _start(spec)
    except Exception as error:
        print(f"cannot serve {spec['model']}: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    _tell(answer, server.listening_address, devices)
    threading.Event().wait()


def _start(spec: dict[str, Any]) -> tuple[Any, list[str]]:
    import xllamacpp

    devices = [found["name"] for found in xllamacpp.get_device_info() if "GPU" in str(found["type"])]
    gpu = bool(devices) and spec["gpu_layers"] != 0
    params = xllamacpp.CommonParams()
    params.model.path = spec["model"]
    params.model_alias = {spec["alias"]}
    params.hostnames = [spec["host"]]
    params.port = spec["port"]
    params.api_keys = [spec["api_key"]]
    params.n_ctx = spec["gpu_context_tokens" if gpu else "context_tokens"]
    params.n_gpu_layers = spec["gpu_layers"]
    params.n_parallel = spec["slots"]
    params.cpuparams.n_threads = spec["threads"]
    params.cpuparams_batch.n_threads = spec["threads"]
    kv_type = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{spec['kv_type'].upper()}")
    params.cache_type_k = params.cache_type_v = kv_type
    params.lora_adapters = [
        xllamacpp.CommonAdapterLoraInfo(lora["path"], lora["scale"]) for lora in spec["loras"]
    ]
    if spec["speculate"]:
        kind = xllamacpp.common_speculative_type.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE
        params.speculative.types = [kind]
    params.sleep_idle_seconds = spec["idle_s"]
    params.slot_save_path = spec["slot_files"]
    params.kv_unified = True
    params.use_jinja = True
    params.ui = False
    # The server's own store of idle conversations can mix them up (ggml-org/llama.cpp#27148).
    params.cache_ram_mib = 0
    params.cache_idle_slots = False
    server = xllamacpp.Server(params)
    return server, devices if gpu else []


def _run_binary(spec: dict[str, Any], answer: Any) -> None:
    """Serve with the llama-server of the order until it ends or stdin does; exit with its code."""
    devices = _binary_devices(spec["binary"])
    gpu = bool(devices) and spec["gpu_layers"] != 0
    port = spec["port"] or _free_port(spec["host"])
    child = subprocess.Popen(
        _binary_command(spec, port, gpu, _asked(spec["binary"], "--help")),
        stdin=subprocess.DEVNULL,
        # a key on the command line could be read by everybody on this machine
        env={**os.environ, "LLAMA_API_KEY": spec["api_key"]},
        preexec_fn=_die_with_parent,
    )

    def end(*_: object) -> None:
        child.kill()
        os._exit(0)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_wait_for_end, args=(end,), daemon=True).start()
    address = f"http://{spec['host']}:{port}"
    while child.poll() is None and not _is_well(address):
        time.sleep(_POLL_S)
    if child.poll() is None:
        _tell(answer, address, devices if gpu else [])
    code = child.wait()
    print(f"cannot serve {spec['model']}: {spec['binary']} ended with {code}", file=sys.stderr, flush=True)
    os._exit(1)


def _binary_command(spec: dict[str, Any], port: int, gpu: bool, known: str) -> list[str]:
    """The command line. What only newer servers know is left out for those whose help does not name it."""
    command = [spec["binary"], "--model", spec["model"], "--alias", spec["alias"], "--host", spec["host"]]
    command += ["--port", str(port), "--parallel", str(spec["slots"]), "--threads", str(spec["threads"])]
    command += ["--ctx-size", str(spec["gpu_context_tokens" if gpu else "context_tokens"])]
    command += ["--cache-type-k", spec["kv_type"], "--cache-type-v", spec["kv_type"], "--jinja"]
    command += ["--slot-save-path", spec["slot_files"]]
    if spec["gpu_layers"] >= 0:
        command += ["--gpu-layers", str(spec["gpu_layers"])]
    for lora in spec["loras"]:
        command += ["--lora-scaled", f"{lora['path']}:{lora['scale']}"]
    if spec["speculate"]:
        command += ["--spec-type", "ngram-simple"]
    if spec["idle_s"] > 0:
        command += ["--sleep-idle-seconds", str(spec["idle_s"])]
    for optional in (["--kv-unified"], ["--cache-ram", "0"], ["--no-cache-idle-slots"], ["--no-ui"]):
        if re.search(rf"(?<![\w-]){optional[0]}(?![\w-])", known):
            command += optional
    return command


def _binary_devices(binary: str) -> list[str]:
    """Names of the GPUs that the binary can use; its list has lines such as `  CUDA0: name (24 MiB, ...)`."""
    return re.findall(r"^\s+(\w+): .+ MiB", _asked(binary, "--list-devices"), re.MULTILINE)


def _asked(binary: str, flag: str) -> str:
    done = subprocess.run([binary, flag], capture_output=True, text=True, timeout=_HELP_S, check=False)
    return done.stdout + done.stderr


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as found:
        port: int = found.getsockname()[1]
        return port


def _is_well(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _tell(answer: Any, address: str, devices: list[str]) -> None:
    print(json.dumps({"address": address, "devices": devices}), file=answer, flush=True)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _wait_for_end(end: Callable[[], object]) -> None:
    while sys.stdin.buffer.read(4096):
        pass
    end()


if __name__ == "__main__":
    main()
