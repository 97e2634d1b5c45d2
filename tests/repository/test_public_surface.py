"""What ``import agentflow`` and ``agentflow.testing`` offer: sorted names, each of them real and documented."""

import ast
import inspect
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import FunctionType

import pytest

import agentflow
from agentflow import testing

LAZY = [name for name in agentflow.__all__ if name != "__version__"]


def imports_for_type_checkers():
    """The names under ``if TYPE_CHECKING:``, with the module that each comes from."""
    tree = ast.parse(Path(agentflow.__file__).read_text(encoding="utf-8"))
    (block,) = [
        node
        for node in tree.body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    ]
    return {alias.name: statement.module for statement in block.body for alias in statement.names}


def test_the_public_names_are_sorted_and_each_is_there_once():
    assert agentflow.__all__ == sorted(set(agentflow.__all__))


def test_dir_lists_the_public_names_and_nothing_else():
    assert dir(agentflow) == agentflow.__all__


def test_type_checkers_see_exactly_the_names_that_load_when_they_are_used():
    homes = imports_for_type_checkers()
    assert sorted(homes) == LAZY
    for name, home in homes.items():
        assert getattr(agentflow, name) is getattr(import_module(home), name)


@pytest.mark.parametrize("name", LAZY)
def test_a_public_name_has_a_docstring_of_its_own(name):
    value = getattr(agentflow, name)
    assert callable(value)
    assert (value.__doc__ or "").strip()


def test_what_the_public_classes_offer_is_documented_too():
    classes = [getattr(agentflow, name) for name in LAZY if inspect.isclass(getattr(agentflow, name))]
    offered = {
        f"{each.__name__}.{name}": getattr(each, name)
        for each in classes
        for name, member in vars(each).items()
        if not name.startswith("_")
        and isinstance(member, FunctionType | classmethod | staticmethod | property)
    }
    assert offered
    assert [name for name, member in offered.items() if not inspect.getdoc(member)] == []


def test_the_names_for_testing_are_sorted_there_and_documented():
    assert testing.__all__ == sorted(set(testing.__all__))
    offered = {name: getattr(testing, name) for name in testing.__all__}
    for name, value in list(offered.items()):
        members = vars(value).items() if inspect.isclass(value) else ()
        offered |= {
            f"{name}.{member}": each
            for member, each in members
            if not member.startswith("_") and isinstance(each, FunctionType | classmethod | property)
        }
    assert [name for name, value in offered.items() if not inspect.getdoc(value)] == []


def test_an_unknown_name_is_an_attribute_error_that_says_it():
    with pytest.raises(AttributeError, match="module 'agentflow' has no attribute 'Wrokflow'"):
        _ = agentflow.Wrokflow


def test_the_version_is_the_one_of_the_distribution():
    assert agentflow.__version__ == version("agentflow-worlds")


def test_the_package_tells_type_checkers_that_it_is_typed():
    assert Path(agentflow.__file__).with_name("py.typed").is_file()
