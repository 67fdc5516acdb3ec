"""The process that serves a model: llama.cpp's server, run by xllamacpp. Started as a script by `local.py`.

stdin: one line of JSON (`_Spec` of local.py), then kept open; its end is the order to stop. So the server
never outlives pawl: on Linux the kernel kills it when its parent dies, elsewhere the end of stdin does.
stdout: one line of JSON once it answers: `{"address": "http://127.0.0.1:port", "devices": ["..."]}`.
stderr: the server's log. Exit code 1 when the model cannot be loaded.

It runs by its path and imports nothing of pawl, so that no folder of the user can stand in for a module.
"""

import ctypes
import json
import os
import signal
import sys
import threading
from typing import Any

_PR_SET_PDEATHSIG = 1


def main() -> None:
    _die_with_parent()
    spec = json.loads(sys.stdin.buffer.readline() or b"null")
    if spec is None:
        return
    threading.Thread(target=_wait_for_end, daemon=True).start()
    # Whatever the library prints belongs to the log; the answer keeps stdout for itself.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # Its own threads neither end on a signal nor let the interpreter shut down.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        server, devices = _start(spec)
    except Exception as error:
        print(f"cannot serve {spec['model']}: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    print(json.dumps({"address": server.listening_address, "devices": devices}), file=answer, flush=True)
    threading.Event().wait()


def _start(spec: dict[str, Any]) -> tuple[Any, list[str]]:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = spec["model"]
    params.model_alias = {spec["alias"]}
    params.hostnames = [spec["host"]]
    params.port = spec["port"]
    params.api_keys = [spec["api_key"]]
    params.n_ctx = spec["context_tokens"]
    params.n_parallel = spec["slots"]
    params.cpuparams.n_threads = spec["threads"]
    params.cpuparams_batch.n_threads = spec["threads"]
    params.slot_save_path = spec["slot_files"]
    params.kv_unified = True
    params.use_jinja = True
    params.ui = False
    # The server's own store of idle conversations can mix them up (ggml-org/llama.cpp#27148).
    params.cache_ram_mib = 0
    params.cache_idle_slots = False
    server = xllamacpp.Server(params)
    devices = [found["name"] for found in xllamacpp.get_device_info() if "GPU" in str(found["type"])]
    return server, devices


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _wait_for_end() -> None:
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
