"""`pawl eval`: which commands there are. Each is imported only when it is run; a new one is a line here."""

from __future__ import annotations

from agent.cli.main import Command, Family

app = Family(
    "Score agents on repository tasks.",
    {
        "list": Command("evals.cli_show:list_all", "List benchmarks, agents, engines, and runs", "Look"),
        "show": Command("evals.cli_show:show", "Show how far a run is, or what one unit came to", "Look"),
        "report": Command("evals.cli_report:report", "Say what a run came to; writes report.html", "Look"),
        "compare": Command("evals.cli_report:compare", "Say whether run B is better than run A", "Look"),
        "export": Command("evals.cli_export:export", "Write a run for trainers, SWE-bench, Harbor", "Data"),
        "import": Command("evals.cli_export:import_", "Make a run of another program's patches", "Data"),
        "check": Command("evals.cli_check:check", "Say whether a dataset is fit to be used", "Data"),
        "mine": Command("evals.cli_mine:mine", "Make tasks of a repository's history", "Data"),
        "mutate": Command("evals.cli_mine:mutate", "Make tasks by putting faults into a repository", "Data"),
        "twins": Command(
            "evals.cli_twins:twins", "Make twins of tasks, to see what was known by heart", "Data"
        ),
        "run": Command("evals.cli_run:run", "Let an agent work on a benchmark, and score it", "Run"),
        "resume": Command("evals.cli_run:resume", "Go on with a run that was cut off", "Run"),
        "score": Command("evals.cli_run:score", "Grade the rollouts of a run that have no score", "Run"),
        "clean": Command("evals.cli_show:clean", "Remove what killed workers left, or a whole run", "Run"),
    },
)
