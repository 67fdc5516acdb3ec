"""A program with the command line of llama.cpp's `llama-server`, run by xllamacpp.

What pawl gives a binary is parsed strictly here: a flag that this file does not know ends it.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from pathlib import Path

FLAGS = "--model --alias --host --port --parallel --threads --ctx-size --cache-type-k --cache-type-v "
FLAGS += "--slot-save-path --gpu-layers --lora-scaled --spec-type --sleep-idle-seconds --cache-ram"
SWITCHES = "--jinja --kv-unified --no-ui --list-devices"


def install(folder: Path) -> Path:
    """Write the program as an executable `llama-server`."""
    path = folder / "llama-server"
    root = Path(__file__).parents[2]
    path.write_text(
        f"#!{sys.executable} -P\nimport sys\nsys.path.insert(0, {str(root)!r})\n"
        "from tests.support.llama_server import main\nmain()\n"
    )
    path.chmod(0o755)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(prog="llama-server", allow_abbrev=False)
    for flag in FLAGS.split():
        parser.add_argument(flag)
    for switch in SWITCHES.split():
        parser.add_argument(switch, action="store_true")
    args = parser.parse_args()
    if args.list_devices:
        print("Available devices:")
        return
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = args.model
    params.model_alias = {args.alias}
    params.hostnames = [args.host]
    params.port = int(args.port)
    params.api_keys = [os.environ["LLAMA_API_KEY"]]
    params.n_ctx = int(args.ctx_size)
    params.n_parallel = int(args.parallel)
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(args.threads)
    params.kv_unified = args.kv_unified
    params.ui = not args.no_ui
    server = xllamacpp.Server(params)
    print("listening on", server.listening_address, file=sys.stderr)
    threading.Event().wait()
