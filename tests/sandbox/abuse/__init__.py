"""The abuse cases, each a test named by its number, and the proof that each can fail.

A case is an async function of an open sandbox::

    @case(29, limits=Limits(...), mutation=agent("processes", "what defends", "what does not"))
    async def test_case_29_stdin_is_at_its_end(place: Place) -> None: ...

It runs on every backend that isolates, unless `on` names others; the docstring then says why. `place` is a
sandbox that the cases share, or one of its own when the case has `limits` of its own. Where pawl's own side
alone takes part, what is checked is an async function of a folder::

    @host_case(41, mutation=host(accept, "check_path", lambda path: None))
    async def test_case_41_no_patch_leads_out(tmp_path: Path) -> None: ...

Such a case may live in the file of what it is about, as those of the workspace do (64 to 76).

A mutation switches one defence off. `test_mutations.py` runs each case that has one again, in a fresh sandbox
on one backend (`Mutation.on`), and demands that it fails: by an assertion, by an error of the sandbox, or
by not ending within `_DEADLINE_S`; so a check must take much less than that with its defence on. A check
leaves the shared sandbox usable and the tree free of what pytest cannot remove. A new module of cases goes
into `test_mutations.MODULES`. There are two kinds of mutation:

    agent(module, old, new)      text of sandbox/pid1/<module>.py, before it is given to PID 1
    host(owner, name, value)     an attribute of a module or class of pawl's own side

Several together are `both(...)`. A text that does not occur exactly once is an error, so that a defence which
moved is noticed. `python -m tests.sandbox.abuse.report` runs all and prints how each case went.
"""
