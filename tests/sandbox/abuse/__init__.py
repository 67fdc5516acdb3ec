"""The abuse cases, each a test named by its number, and the proof that each can fail.

A case is an async function of an open sandbox::

    @case(29, limits=Limits(...), mutation=agent("processes", "what defends", "what does not"))
    async def test_case_29_stdin_is_at_its_end(place: Place) -> None: ...

It runs on every backend that isolates, unless `on` names others; the docstring then says why. `place` is a
sandbox that the cases share, or one of its own when the case has `limits` of its own.

A mutation switches one defence off. `test_mutations.py` runs each case that has one again, in a fresh sandbox
on one backend (`Mutation.on`), and demands that it fails: by an assertion, by an error of the sandbox, or
by not ending within `_DEADLINE_S`; so a check must take much less than that with its defence on. A check
leaves the shared sandbox usable and the tree free of what pytest cannot remove. A new module of cases goes
into `test_mutations.MODULES`. There are two kinds of mutation:

    agent(module, old, new)      text of sandbox/pid1/<module>.py, before it is given to PID 1
    host(module, name, value)    an attribute of a module of pawl's own side

Several together are `both(...)`. A text that does not occur exactly once is an error, so that a defence which
moved is noticed.
"""
