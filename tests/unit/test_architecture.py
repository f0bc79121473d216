"""The structure of the code that the import contracts in pyproject.toml don't cover."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import paybell_client
import pytest

import paybell

SOURCE = Path(paybell.__file__).parent
CLIENT = Path(paybell_client.__file__).parent
MODULES = sorted([*SOURCE.rglob("*.py"), *CLIENT.rglob("*.py")])
FLAT_MODULES_MAX = 12
ROOT_LINES_MAX = 150
FUNCTION_LINES_MAX = 70
OWN_IMPORTS_MAX = 20


def name_of(path: Path) -> str:
    source = CLIENT if path.is_relative_to(CLIENT) else SOURCE
    return ".".join(path.relative_to(source.parent).with_suffix("").parts)


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    return {name_of(path): ast.parse(path.read_text("utf-8")) for path in MODULES}


def test_few_modules_stand_beside_the_packages() -> None:
    flat = {path.stem for path in SOURCE.glob("*.py") if not path.stem.startswith("__")}
    assert len(flat) <= FLAT_MODULES_MAX, sorted(flat)


def test_the_composition_root_stays_small() -> None:
    assert len((SOURCE / "runtime.py").read_text("utf-8").splitlines()) <= ROOT_LINES_MAX


def test_every_function_can_be_read_at_a_glance(trees: dict[str, ast.Module]) -> None:
    long = {
        f"{name}.{node.name}": lines
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES_MAX
    }
    assert long == {}


def test_no_module_needs_half_of_the_others(trees: dict[str, ast.Module]) -> None:
    own = {
        name: sum(
            1
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "paybell"
        )
        for name, tree in trees.items()
    }
    assert {name: count for name, count in own.items() if count > OWN_IMPORTS_MAX} == {}


def test_no_import_is_hidden_in_a_string(trees: dict[str, ast.Module]) -> None:
    hidden = {"import_module", "__import__"}
    assert not [
        name
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Name) and node.id in hidden)
        or (isinstance(node, ast.Attribute) and node.attr in hidden)
    ]


def test_rows_of_the_database_are_known_only_where_the_queries_are(trees: dict[str, ast.Module]) -> None:
    """Whoever else wants them gets values: a column that is renamed is a matter of one file."""
    taken = {
        name: {alias.name for alias in node.names}
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "paybell.storage"
    }
    assert {
        name for name, names in taken.items() if "Record" in names and "load_queries" not in names
    } == set()


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Imports for types only count, too. Raises ``CycleError`` with the circle."""
    graph = grimp.build_graph("paybell", exclude_type_checking_imports=False, cache_dir=None)
    TopologicalSorter(
        {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    ).prepare()


def test_the_scripts_of_each_schema_are_numbered_without_gaps_or_doubles() -> None:
    """Two of one number: the schema would have only one of them."""
    for folder in SOURCE.glob("*/migrations"):
        numbers = sorted(int(script.name[:4]) for script in folder.glob("[0-9]*.sql"))
        assert numbers == list(range(1, len(numbers) + 1)), folder.parent.name
