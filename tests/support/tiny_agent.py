"""An agent of a few lines, as an external program: asks the model once and writes what it says to a file."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

prompt, base_url, model, how = sys.argv[1:5]
body = {"model": model, "messages": [{"role": "user", "content": prompt}]}
request = urllib.request.Request(
    f"{base_url}/chat/completions",
    json.dumps(body).encode(),
    {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"},
)
try:
    with urllib.request.urlopen(request) as answer:
        said = json.load(answer)["choices"][0]["message"]["content"]
except urllib.error.HTTPError as error:
    if how == "stay":
        time.sleep(60)
    sys.exit(f"the model: {error}")
if how.startswith("http"):
    try:
        socket.create_connection(("127.0.0.1", int(how.rpartition(":")[2])), 2).close()
    except OSError:
        print("no way out")
    try:
        proxy = urllib.request.ProxyHandler({"http": base_url})
        urllib.request.build_opener(proxy).open("http://elsewhere.invalid/")
    except urllib.error.HTTPError as error:
        print(error.code, json.load(error)["error"]["message"])
if how != "nothing":
    Path("calendar_rules.py").write_text(said)
if how == "commit":
    who = ("-c", "user.name=a", "-c", "user.email=a@localhost")
    subprocess.run(["git", *who, "commit", "-qam", "mine"], check=True)
sys.exit(how == "crash")
