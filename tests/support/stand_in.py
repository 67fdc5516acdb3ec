#!/usr/bin/env python3
"""Stands in for the command lines of five agents: it reads what they document, asks once, and writes a file.

    NAME ARGUMENTS <STATEMENT      NAME is what the link to this file is called

It knows of each where the address of the model, its name and the key are said, so it finds no server unless
these are said right. It is no proof that the real programs take the flags: for that they are run by hand.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tomllib
import urllib.error
import urllib.request
from pathlib import Path

name, words = Path(sys.argv[0]).name, sys.argv[1:]
statement = sys.stdin.read()
flags = argparse.ArgumentParser()
flags.add_argument("-m", "--model", required=True)
env = os.environ


def codex() -> tuple[str, str, str]:
    flags.add_argument("-c", action="append")
    flags.add_argument("--color")
    for flag in ("--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "--ephemeral"):
        flags.add_argument(flag, action="store_true", required=True)
    flags.add_argument("what", choices=["exec"])
    flags.add_argument("stdin", choices=["-"])
    config: dict[str, object] = {}
    for pair in flags.parse_args(words).c:
        key, _, value = pair.partition("=")
        try:
            config[key] = tomllib.loads(f"it = {value}")["it"]
        except tomllib.TOMLDecodeError:
            config[key] = value
    assert config["check_for_update_on_startup"] is config["analytics.enabled"] is False
    provider = config[f"model_providers.{config['model_provider']}"]
    assert isinstance(provider, dict) and provider["wire_api"] == "responses"
    return provider["base_url"] + "/responses", env[provider["env_key"]], flags.parse_args(words).model


def opencode() -> tuple[str, str, str]:
    flags.add_argument("what", choices=["run"])
    flags.add_argument("--pure", action="store_true", required=True)
    flags.add_argument("--title")
    config = json.loads(env["OPENCODE_CONFIG_CONTENT"])
    assert not config["autoupdate"] and config["share"] == "disabled"
    assert env["OPENCODE_DISABLE_MODELS_FETCH"] == "1"
    provider, _, model = flags.parse_args(words).model.partition("/")
    options = config["provider"][provider]["options"]
    assert model in config["provider"][provider]["models"]
    return options["baseURL"] + "/chat/completions", options["apiKey"], model


def pi() -> tuple[str, str, str]:
    flags.add_argument("-p", action="store_true", required=True)
    flags.add_argument("--offline", action="store_true", required=True)
    for flag in ("--no-session", "--no-extensions", "--no-skills"):
        flags.add_argument(flag, action="store_true")
    flags.add_argument("--provider", required=True)
    given = flags.parse_args(words)
    config = json.loads(Path(env["PI_CODING_AGENT_DIR"], "models.json").read_text())
    provider = config["providers"][given.provider]
    assert {"id": given.model} in provider["models"] and provider["api"] == "openai-completions"
    return provider["baseUrl"] + "/chat/completions", provider["apiKey"], given.model


def qwen() -> tuple[str, str, str]:
    flags.add_argument("--yolo", action="store_true", required=True)
    for flag in ("--auth-type", "--openai-api-key", "--openai-base-url", "--chat-recording"):
        flags.add_argument(flag, required=True)
    flags.add_argument("--output-format")
    given = flags.parse_args(words)
    settings = json.loads(Path(env["QWEN_CODE_SYSTEM_SETTINGS_PATH"]).read_text())
    assert not settings["privacy"]["usageStatisticsEnabled"] and given.auth_type == "openai"
    return given.openai_base_url + "/chat/completions", given.openai_api_key, given.model


def claude() -> tuple[str, str, str]:
    flags.add_argument("-p", action="store_true", required=True)
    flags.add_argument("--no-session-persistence", action="store_true", required=True)
    flags.add_argument("--permission-mode", choices=["bypassPermissions"], required=True)
    assert env["DISABLE_AUTOUPDATER"] == env["CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"] == "1"
    model = flags.parse_args(words).model
    return env["ANTHROPIC_BASE_URL"] + "/v1/messages", env["ANTHROPIC_API_KEY"], model


READERS = {"codex": codex, "opencode": opencode, "pi": pi, "qwen": qwen, "claude": claude}
url, key, model = READERS[name]()
part = [{"type": "input_text" if name == "codex" else "text", "text": statement}]
body = {"model": model, ("input" if name == "codex" else "messages"): [{"role": "user", "content": part}]}
body |= {"stream": True, "max_tokens": 99}
headers = {"Content-Type": "application/json", "x-api-key": key, "Authorization": f"Bearer {key}"}
Path(env["HOME"], "mine").write_text("a home to write to")
request = urllib.request.Request(url, json.dumps(body).encode(), headers)
try:
    with urllib.request.urlopen(request) as answer:
        said = answer.read().decode()
except urllib.error.HTTPError as error:
    sys.exit(f"the model: {error.code} {error.read().decode()}")
try:
    urllib.request.urlopen("http://telemetry.invalid/")
except urllib.error.HTTPError as error:
    print("elsewhere:", error.code)
Path("answer.txt").write_text(said)
