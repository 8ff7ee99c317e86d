"""No module imports itself through others: one that does cannot be understood, or moved, alone."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
TOOLS, FRAMEWORK = REPOSITORY / "tools", REPOSITORY / "framework"


def modules(root):
    """Dotted name -> file of all Python below a folder; a script without a suffix counts too."""
    files = [file for file in root.rglob("*") if file.suffix in {".py", ""} and file.is_file()]
    python = [file for file in files if file.suffix == ".py" or file.read_bytes().startswith(b"#!/usr/bin/env python")]
    return {".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): file for file in python}


def is_type_checking(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def names_imported(tree, *, anywhere):
    """What is imported: anywhere, in functions too, or only what runs when the module itself is imported."""
    nodes = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            start = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            yield from (start + alias.name for alias in node.names)
        elif anywhere or not (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or is_type_checking(node)):
            nodes.extend(ast.iter_child_nodes(node))


def import_graph(root, *, anywhere):
    """Module -> the modules below the same folder that it imports."""
    known = modules(root)

    def module_of(name, importer):
        """The module that a name is, or is in; in a folder that is no package, also one beside the importer."""
        parts = name.split(".")
        names = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
        folder = importer.rpartition(".")[0]
        beside = [] if folder in known else [f"{folder}.{one}" for one in names]
        return next((one for one in (*names, *beside) if one in known), None)

    return {
        name: {module_of(one, name) for one in names_imported(ast.parse(file.read_text()), anywhere=anywhere)} - {None}
        for name, file in known.items()
    }


@pytest.mark.parametrize(("root", "anywhere"), [(TOOLS, True), (FRAMEWORK, False)], ids=["tools", "framework"])
def test_no_module_imports_itself_through_others(root, anywhere):
    graph = import_graph(root, anywhere=anywhere)
    assert sum(map(len, graph.values())) > 50  # it does find imports
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_a_circle_is_found(tmp_path):
    (tmp_path / "one.py").write_text("if TYPE_CHECKING:\n    from two import some\n")
    (tmp_path / "two.py").write_text("def some():\n    import one.inner\n")
    with pytest.raises(CycleError):
        TopologicalSorter(import_graph(tmp_path, anywhere=True)).prepare()
    TopologicalSorter(import_graph(tmp_path, anywhere=False)).prepare()
