"""The test script of a package.json, whatever it starts; a runner that knows what that is comes first."""

from __future__ import annotations

from tools.runners._javascript import MANIFEST, SUFFIXES, run_script, script
from tools.runners._runner import Command, NotSelectable, Project, Runner, Selection


class Npm(Runner):
    name = "npm"
    rank = 39
    programs = frozenset({"npm", "pnpm", "yarn", "npx"})
    manifests = (MANIFEST,)
    steering = (MANIFEST,)
    suffixes = SUFFIXES

    def detect(self, project: Project) -> float:
        return 0.55 if script(project) else 0.0

    def command(self, project: Project, selection: Selection, out: str) -> Command:
        if selection.names:
            raise NotSelectable(
                f"what `{script(project)}` calls one test is not known; name a file, or leave it empty"
            )
        return run_script(project, [*selection.options, *selection.paths])


runner = Npm()
