"""tox: what it runs prints for itself. It makes its environments from the network, so pytest comes first."""

from __future__ import annotations

import re

from tools.runners._runner import Command, NotSelectable, Project, Runner, Selection

_DECLARED = re.compile(r"^\[(tox|testenv|tool\.tox)\b", re.MULTILINE)


class Tox(Runner):
    name = "tox"
    rank = 20
    programs = frozenset({"tox"})
    manifests = ("tox.ini", "setup.cfg", "pyproject.toml")
    steering = ("tox.ini",)

    def detect(self, project: Project) -> float:
        declared = project.has("tox.toml") or _DECLARED.search(project.text(*self.manifests))
        return 0.45 if declared else 0.0

    def command(self, project: Project, selection: Selection, out: str) -> Command:
        chosen = ["::".join(filter(None, pick)) for pick in selection.picks]
        if chosen and "{posargs" not in project.text(*self.manifests):
            raise NotSelectable(
                "tox passes no names on here ({posargs} is not in its commands); leave the selection empty"
            )
        after = [*selection.options, *chosen]
        return Command(("tox", "run", *(["--", *after] if after else [])))


runner = Tox()
