"""The table of the abuse cases, made from the names and outcomes of tests."""

from __future__ import annotations

from pathlib import Path

from tests.sandbox.abuse.report import holds, outcomes, printed, table

JUNIT = """<testsuites><testsuite>
<testcase name="test_case_29_stdin_is_at_its_end[docker]"/>
<testcase name="test_case_29_stdin_is_at_its_end[bubblewrap]"><skipped message="none"/></testcase>
<testcase name="test_case_29_stdin_is_at_its_end[local]"/>
<testcase name="test_without_its_defence_a_case_fails[case_29_stdin_is_at_its_end]"/>
<testcase name="test_case_55_what_is_nearly_allowed_is_refused[docker-mutation-evil.example:443]"/>
<testcase name="test_cases_53_and_56_mutation_with_the_hosts_network_it_is_reached[docker]"/>
<testcase name="test_case_71_killed_at_any_moment_of_an_undo"><failure message="x">x</failure></testcase>
<testcase name="test_case_71_killed_in_a_snapshot_or_a_restore"/>
<testcase name="test_it_is_no_case"/>
</testsuite></testsuites>"""


def test_the_worst_counts_and_what_was_not_run_does_not_hold(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(JUNIT)
    rows = {row.number: row for row in table(outcomes(report))}
    assert list(rows) == [*range(1, 77)]
    assert rows[29].what == "stdin is at its end"
    assert rows[29].went == {"docker": "held", "bubblewrap": "skipped", "host": "held", "mutation": "held"}
    assert rows[53].went == rows[55].went == rows[56].went == {"mutation": "held"}
    assert rows[71].went == {"host": "failed"}
    assert {number for number, row in rows.items() if row.went} == {29, 53, 55, 56, 71}
    assert [holds(rows[number]) for number in (29, 53, 71, 72)] == [False, False, False, False]
    lines = printed(list(rows.values())).splitlines()
    assert len(lines) == 78
    assert lines[29].split()[-4:] == ["held", "skipped", "held", "held"]
    assert lines[-1] == "0 of 76 hold, 0 of them proved by a mutation"
