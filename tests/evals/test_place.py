"""Trees without a future, and environments that point to the tree under test."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from evals import environment, interpreters
from evals.editable import editable_paths, thin
from evals.environment import Made
from evals.gitrun import contents, git
from evals.grade import examine_run
from evals.needs import of_interest, wanted
from evals.place import lay_out, leaks, objects, scratch, sweep
from evals.repos import MIRRORS, RepositoryMissing, repository
from evals.types import Commit, Environment, Instance
from sandbox.base import SandboxError
from tests.evals.datasets import repository as make_repository
from tests.evals.tasks import BASE, FIXED, REFERENCE, TASK, graded_by


@pytest.fixture
def task(tmp_path: Path) -> Instance:
    commit = make_repository(tmp_path / "repo")
    return msgspec.structs.replace(TASK, tree=Commit(str(tmp_path / "repo"), commit))


def test_a_laid_out_tree_has_one_commit_and_nothing_younger(task: Instance, tmp_path: Path) -> None:
    assert isinstance(task.tree, Commit)
    place = tmp_path / "place"
    lay_out(task, place, tmp_path)
    future = git("rev-parse", "HEAD", at=tmp_path / "repo").decode().strip()
    fixed = git("rev-parse", "HEAD:shop/prices.py", at=tmp_path / "repo").decode().strip()
    assert git("rev-list", "--all", "--count", at=place).strip() == b"1"
    assert {future, fixed, task.tree.commit}.isdisjoint(objects(place))
    assert git("remote", at=place) + git("reflog", at=place) + git("status", "--porcelain", at=place) == b""
    assert (place / "shop" / "prices.py").read_text() != FIXED
    assert leaks(task, place) == ()
    assert git("fsck", "--unreachable", "--no-reflogs", at=place) == b""


def test_a_leak_is_found(task: Instance, tmp_path: Path) -> None:
    place = tmp_path / "place"
    lay_out(task, place, tmp_path)
    git("hash-object", "-w", "--stdin", at=place, stdin=FIXED.encode())
    assert leaks(task, place) == ("shop/prices.py",)


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    ours = scratch(tmp_path, "grade")
    dead = ours.with_name(f"grade-{2**22 + 1}-abc")
    for place in (ours, dead):
        (place / "tree").mkdir(parents=True)
    sweep(tmp_path)
    assert ours.is_dir() and not dead.exists()


@pytest.mark.parametrize("kind", ["commit", "files"])
def test_the_same_task_gives_the_same_commit(kind: str, task: Instance, tmp_path: Path) -> None:
    made = task if kind == "commit" else TASK
    heads = set()
    for number in range(2):
        lay_out(made, tmp_path / f"{number}", tmp_path)
        heads.add(git("rev-parse", "HEAD", at=tmp_path / f"{number}"))
    assert len(heads) == 1


def test_a_commit_that_is_not_there_is_told_and_leaves_nothing(task: Instance, tmp_path: Path) -> None:
    bad = msgspec.structs.replace(task, tree=Commit(str(tmp_path / "repo"), "0" * 40))
    with pytest.raises(RepositoryMissing, match="has no commit 0000"):
        lay_out(bad, tmp_path / "place", tmp_path)
    assert not (tmp_path / "place").exists()


def test_files_may_not_lead_out_of_the_tree(tmp_path: Path) -> None:
    from evals.types import Files

    for path in ("../x", "/tmp/x", ".git/hooks/x"):
        with pytest.raises(SandboxError):
            lay_out(
                msgspec.structs.replace(TASK, tree=Files({path: b""})), tmp_path / "a" / "place", tmp_path
            )
        assert not (tmp_path / "a" / "x").exists()


def test_a_local_mirror_comes_before_a_clone(tmp_path: Path) -> None:
    commit = make_repository(tmp_path / "mirrors" / "some__shop")
    environ = {MIRRORS: str(tmp_path / "mirrors")}
    assert repository("some/shop", tmp_path, commit, environ) == tmp_path / "mirrors" / "some__shop"
    with pytest.raises(RepositoryMissing, match="neither"):
        repository("shop", tmp_path, commit, environ)


def test_a_clone_is_made_once_and_fetches_what_it_lacks(tmp_path: Path) -> None:
    base = make_repository(tmp_path / "origin")
    url = f"file://{tmp_path / 'origin'}"
    first = repository(url, tmp_path / "cache", base, {})
    (tmp_path / "origin" / "new").write_text("new")
    git("add", "--all", at=tmp_path / "origin")
    git("commit", "--quiet", "-m", "later", at=tmp_path / "origin")
    later = git("rev-parse", "HEAD", at=tmp_path / "origin").decode().strip()
    assert repository(url, tmp_path / "cache", later, {}) == first
    with pytest.raises(RepositoryMissing, match="cannot be had"):
        repository(f"file://{tmp_path}/nowhere", tmp_path / "cache", base, {})


def test_an_editable_installation_is_read_not_run(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_text("/eval/tree/src\nimport os; os._exit(1)\n/usr/lib\n/eval/tree/../x\n")
    (tmp_path / "__editable___shop_1_finder.py").write_text(
        "MAPPING: dict[str, str] = {'shop': '/eval/tree/lib/shop'}\nraise SystemExit\n"
    )
    (tmp_path / "__editable___odd_1_finder.py").write_text("MAPPING = open('/etc/passwd')\n")
    assert editable_paths(tmp_path, "/eval/tree") == ("src", "lib")


def test_a_thin_environment_leads_to_its_own_tree(tmp_path: Path) -> None:
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
    (tmp_path / "env" / f"lib/python{version}/site-packages" / "shared_one.py").write_text(
        "name = 'shared'\n"
    )
    script = tmp_path / "env" / "bin" / "hello"
    script.write_text(
        f"#!{tmp_path}/env/bin/python\nimport shop, shared_one; print(shop.where, shared_one.name)\n"
    )
    script.chmod(0o755)
    python = interpreters.find("").program
    for name in ("one", "two"):
        tree = tmp_path / name / "tree"
        (tree / "src").mkdir(parents=True)
        (tree / "src" / "shop.py").write_text(f"where = '{name}'\n")
        made = thin(tmp_path / "env", python, version, (), tree, tmp_path / name / "env")
        done = subprocess.run([made / "bin" / "hello"], capture_output=True, text=True, check=True, cwd="/")
        assert done.stdout == f"{name} shared\n"
    assert environment.disk(tmp_path / "one" / "env") < 200_000


@pytest.mark.bubblewrap
def test_an_environment_is_made_once_and_shows_the_tree_under_test(task: Instance, tmp_path: Path) -> None:
    """An installation that writes a version file and points to the tree."""
    install = (
        "echo 'VERSION = 7' > shop/_version.py && mkdir -p made.egg-info && touch made.egg-info/x && "
        "echo /eval/tree/shop > $(echo /eval/env/lib/python3.*/site-packages)/shop.pth && "
        "mkdir -p node_modules/.bin node_modules/pad empty/node_modules $CARGO_HOME && "
        "touch $CARGO_HOME/c && echo pad > node_modules/pad/main && ln -s ../pad/main node_modules/.bin/pad"
    )
    check = (
        "import os, prices, sys; from shop._version import VERSION; assert VERSION == 7\n"
        "assert open('node_modules/.bin/pad').read() == 'pad\\n'\n"
        "assert os.listdir(os.environ['CARGO_HOME']) == ['c'] and os.environ['CARGO_NET_OFFLINE'] == 'true'\n"
        "print(prices.total([1]))"
    )
    made_of = msgspec.structs.replace(task, environment=Environment(install=install))
    run = graded_by(
        made_of, command=("python", "-c", check), fail_to_pass=(), pass_to_pass=(), test_patch="", files=()
    )

    def for_an_agent(made: Made) -> None:
        tree = tmp_path / "agent" / "tree"
        lay_out(run, tree, tmp_path)
        own = environment.attach(made, tree, tmp_path / "agent" / "env")
        words = [own / "bin" / "python", "-c", "import prices; print(prices.__file__)"]
        done = subprocess.run(words, capture_output=True, text=True, check=True, cwd="/", env={})
        assert done.stdout.strip() == str(tree / "shop" / "prices.py")
        assert (tree / "shop" / "_version.py").exists()
        assert (tree / "node_modules" / ".bin" / "pad").read_text() == "pad\n"
        assert git("status", "--porcelain", at=tree) == b""

    async def go() -> None:
        first = await environment.obtain(run, tmp_path / "cache", "bubblewrap")
        assert first is not None and first.paths == ("shop",)
        assert first.packages == (".pawl-packages", "node_modules")
        assert sorted(path.name for path in Path(first.folder, "files").rglob("*.*")) == ["_version.py"]
        assert await environment.obtain(run, tmp_path / "cache", "bubblewrap") == first
        for patch, told in (("", b"0"), (REFERENCE, b"1")):
            graded = await examine_run(run, patch, cache=tmp_path / "cache", backend="bubblewrap")
            assert graded.output.strip() == told, graded
            assert graded.score.resolved
        assert environment.find(run, tmp_path / "cache", "bubblewrap") == first
        await asyncio.to_thread(for_an_agent, first)
        assert environment.find(run, tmp_path / "cache", "docker") is None

    asyncio.run(go())


@pytest.mark.bubblewrap
def test_an_environment_that_does_not_build_is_told_with_its_last_words(
    task: Instance, tmp_path: Path
) -> None:
    bad = msgspec.structs.replace(task, environment=Environment(install="echo no such thing; exit 3"))
    graded = asyncio.run(examine_run(bad, "", cache=tmp_path, backend="bubblewrap"))
    assert "failed (exit 3):\nno such thing" in graded.score.error
    assert [path.name for path in tmp_path.glob("environments/*/*")] == ["lock"]


def test_a_python_that_is_not_here_is_told() -> None:
    with pytest.raises(SandboxError, match=r"no Python 3\.99"):
        interpreters.find("3.99")
    with pytest.raises(SandboxError, match="no version"):
        interpreters.find("$(reboot)")


def test_only_what_the_tests_import_and_a_file_names_is_wanted() -> None:
    files = {
        "tests/requirements.txt": b"pytest\npython-dateutil >=2\nrequests\n",
        "tests/test_a.py": b"import dateutil.parser\nimport json\nimport unheard_of\nfrom shop import x\n"
        b"try:\n    import requests\nexcept ImportError:\n    pass\n",
        "tests/test_broken.py": b"def (:\n",
        "tests/test_wide.py": b"try:\n    import wcwidth\nexcept ImportError:\n    wcwidth = None\n",
        "pyproject.toml": b"[project.optional-dependencies]\nwide = ['wcwidth']\nold = ['six']\n",
    }
    assert wanted(files, files) == {
        "dateutil": "python-dateutil",
        "requests": "requests",
        "wcwidth": "wcwidth",
    }
    assert of_interest(["a.txt", "b.py", "tests/c.py", "tox.ini"]) == ["tox.ini", "tests/c.py"]


def test_files_of_a_commit_are_read_at_once(task: Instance, tmp_path: Path) -> None:
    assert isinstance(task.tree, Commit)
    names = ["README.md", "missing", "shop", "odd\nname", "shop/prices.py"]
    found = contents(tmp_path / "repo", task.tree.commit, names)
    assert found == {name: BASE[name].encode() for name in ("README.md", "shop/prices.py")}


def test_a_generated_file_never_goes_through_a_link(tmp_path: Path) -> None:
    made = Made(str(tmp_path / "kept"), "", "3.11")
    (tmp_path / "kept" / "files" / "a").mkdir(parents=True)
    (tmp_path / "kept" / "files" / "a" / "b.py").write_text("x")
    (tmp_path / "tree").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "tree" / "a").symlink_to(tmp_path / "outside")
    environment.add_generated(made, tmp_path / "tree")
    assert list((tmp_path / "outside").iterdir()) == []
