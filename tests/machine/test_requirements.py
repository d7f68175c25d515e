"""A package that is too old is told in a line, before it is imported; every package that lorascope declares is asked
for.
"""

import ast
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import lorascope
from lorascope.cli import main
from lorascope.errors import LorascopeError
from lorascope.machine import requirements
from lorascope.machine.requirements import require

DECLARED = ["torch>=2.6", "scikit-learn>=1.6", "PyYAML>=6,!=6.0.1", 'ray>=2.50; extra == "cluster"']


@pytest.fixture
def installed(monkeypatch):
    """Sets what is installed, in which versions, where lorascope declares `DECLARED`."""

    def put(**versions):
        def version(package):
            if package not in versions:
                raise PackageNotFoundError(package)
            return versions[package]

        monkeypatch.setattr(requirements, "version", version)

    monkeypatch.setattr(requirements, "requires", lambda _: DECLARED)
    requirements._bounds.cache_clear()
    yield put
    requirements._bounds.cache_clear()


def test_what_is_new_enough_or_absent_or_not_declared_is_let_pass(installed):
    installed(torch="2.6.0+cu124", PyYAML="6.0.3", ray="2.51.0.dev1", numpy="1.0")
    require("torch", "PyYAML", "ray", "numpy", "scikit-learn")


def test_all_that_are_too_old_are_told_in_one_line_with_the_way_out(installed):
    installed(torch="2.5.1+cpu", PyYAML="6.0.1", ray="2.9.3")
    with pytest.raises(LorascopeError) as told:
        require("torch", "PyYAML")
    words = "torch 2.5.1+cpu, PyYAML 6.0.1: not a version that lorascope works with; "
    assert str(told.value) == words + "python -m pip install 'torch>=2.6' 'PyYAML!=6.0.1,>=6'"
    with pytest.raises(LorascopeError, match=r"pip install 'ray>=2\.50'"):
        require("ray")


def test_without_metadata_nothing_is_known(installed, monkeypatch):
    installed(torch="1.0")

    def requires(_):
        raise PackageNotFoundError("lorascope")

    monkeypatch.setattr(requirements, "requires", requires)
    require("torch")


def test_the_command_line_tells_it_without_a_traceback(installed, capsys):
    installed(PyYAML="5.4")
    with pytest.raises(SystemExit) as end:
        main(["corpora"])
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("error: PyYAML 5.4: not a version")


def test_it_is_told_when_the_part_is_imported_and_before_the_package_is():
    code = (
        "import sys\n"
        "from lorascope.machine import requirements\n"
        "requirements.requires = lambda _: ['transformers>=5']\n"
        "requirements.version = lambda _: '4.57.1'\n"
        "try:\n    import lorascope.training.arguments\n"
        "except requirements.LorascopeError as error:\n    print(error)\n"
        "assert 'transformers' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("transformers 4.57.1: not a version that lorascope works with")


def test_every_package_that_is_declared_is_asked_for():
    asked = set()
    for file in Path(lorascope.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            named = {"require": node.args, "require_extra": node.args[1:2]}.get(node.func.id, [])
            asked |= {canonicalize_name(name.value) for name in named if isinstance(name, ast.Constant)}
    # the weights have one version each, and the tools for tests are no part of lorascope
    declared = {canonicalize_name(Requirement(line).name) for line in _declared("offline", "dev", "browser")}
    assert asked | {"packaging"} == declared


def test_the_lowest_versions_that_are_tested_are_the_declared_bounds():
    root = Path(__file__).parents[2]
    pinned = [
        Requirement(line)
        for line in (root / "constraints-lowest.txt").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    ]
    versions = {canonicalize_name(line.name): Version(str(line.specifier).removeprefix("==")) for line in pinned}
    for line in _declared("dev", "browser"):
        (bound,) = Requirement(line).specifier
        assert versions[canonicalize_name(Requirement(line).name)] == Version(bound.version), line


def _declared(*left_out):
    """The lines of `pyproject.toml`, but for those of some extras."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    return project["dependencies"] + [line for name in extras if name not in left_out for line in extras[name]]
