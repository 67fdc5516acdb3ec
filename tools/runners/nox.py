"""nox: what it runs prints for itself. It makes its environments from the network, so pytest comes first."""

from __future__ import annotations

import re

from tools.runners._runner import Command, NotSelectable, Project, Runner, Selection

_SESSION = re.compile(r"^@(?:nox\.)?session\b.*?^def (\w+)", re.MULTILINE | re.DOTALL)


class Nox(Runner):
    name = "nox"
    rank = 21
    programs = frozenset({"nox"})
    manifests = ("noxfile.py",)
    steering = ("noxfile.py",)

    def detect(self, project: Project) -> float:
        return 0.4 if project.has("noxfile.py") else 0.0

    def command(self, project: Project, selection: Selection, out: str) -> Command:
        text = project.text("noxfile.py")
        session = next((name for name in _SESSION.findall(text) if "test" in name), "")
        chosen = ["::".join(filter(None, pick)) for pick in selection.picks]
        if chosen and "posargs" not in text:
            raise NotSelectable(
                "nox passes no names on here (no posargs in noxfile.py); leave the selection empty"
            )
        after = [*selection.options, *chosen]
        return Command(("nox", *(["-s", session] if session else []), *(["--", *after] if after else [])))


runner = Nox()
