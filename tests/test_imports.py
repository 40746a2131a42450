"""Imports between the folders of the package go one way, as CONTRIBUTING.md says."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "flowers_tl"
# Each folder may import those that stand before it, but for the exceptions below. Commands at the top import all.
ORDER = (
    "utils",
    "config",
    "data",
    "models",
    "runs",
    "results",
    "training",
    "report",
    "inference",
    "auditing",
    "advising",
    "tuning",
    "exporting",
)
NOT = {
    *(("report", "training"), ("tuning", "inference"), ("exporting", "report"), ("exporting", "tuning")),
    *(("tuning", "auditing"), ("exporting", "auditing")),
    *(("advising", "auditing"), ("tuning", "advising"), ("exporting", "advising")),
}
ALLOWED = {
    folder: {*ORDER[:place]} - {other for one, other in NOT if one == folder} for place, folder in enumerate(ORDER)
}
ALLOWED["cli"] = {"utils", "config", "data"}
# Modules of config that know Hydra are for those who compose.
COMPOSING = ("config.schema", "config.data_schema", "config.compose", "config.hydra_errors")
COMPOSERS = {"cli", "tuning", "config", "inference.evaluate", "advising.candidates"}


def imports(file: Path) -> set[str]:
    """The modules of this package that a file imports anywhere in it, without the package's own name."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "flowers_tl":
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name.startswith("flowers_tl.")}
    return {name.removeprefix("flowers_tl.") for name in names if "." in name}


def module(file: Path) -> str:
    return ".".join(file.relative_to(PACKAGE).with_suffix("").parts)


FILES = [file for file in sorted(PACKAGE.rglob("*.py")) if "templates" not in file.parts]
INSIDE = [file for file in FILES if file.parent != PACKAGE]


def test_every_folder_has_a_place():
    assert {file.relative_to(PACKAGE).parts[0] for file in INSIDE} == {*ALLOWED}


@pytest.mark.parametrize("file", INSIDE, ids=module)
def test_a_folder_imports_only_what_stands_before_it(file):
    folder = file.relative_to(PACKAGE).parts[0]
    for name in imports(file):
        target = name.split(".")[0]
        if (PACKAGE / target).is_dir():
            assert target == folder or target in ALLOWED[folder], f"{module(file)} imports {name}"
        else:
            assert not (PACKAGE / f"{target}.py").is_file(), f"{module(file)} imports the command {name}"


@pytest.mark.parametrize("file", INSIDE, ids=module)
def test_only_composers_know_hydras_schema(file):
    if module(file).split(".")[0] in COMPOSERS or module(file) in COMPOSERS:
        return
    assert not [name for name in imports(file) if name.startswith(COMPOSING)]


def test_imports_have_no_circle():
    graph = {module(file).removesuffix(".__init__"): imports(file) for file in FILES}
    graph = {name: {target for target in targets if target in graph} for name, targets in graph.items()}
    ended: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"a circle: {' -> '.join((*path[path.index(name) :], name))}"
        if name not in ended:
            for target in sorted(graph[name] - {name}):
                visit(target, (*path, name))
            ended.add(name)

    for name in sorted(graph):
        visit(name, ())


def test_results_and_report_do_without_lightning():
    for folder in ("results", "report"):
        for file in (PACKAGE / folder).rglob("*.py"):
            words = file.read_text()
            assert not re.search(r"\b(import|from) lightning\b", words), file


TEXTS = {"read_text", "write_text", "open"}


@pytest.mark.parametrize("file", [*FILES, *(PACKAGE.parent / "hydra_plugins").glob("*.py")], ids=lambda file: file.name)
def test_every_text_file_has_an_encoding(file):
    """Else it is the terminal's, which on Windows and in containers is often not UTF-8."""
    for call in (node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)):
        # Methods of paths, and the function open.
        name = (
            call.func.attr
            if isinstance(call.func, ast.Attribute)
            else getattr(call.func, "id", "").removeprefix("read_text")
        )
        constants = {node.value for node in call.args if isinstance(node, ast.Constant)}
        binary = name == "open" and (constants & {"rb", "wb"} or isinstance(call.func, ast.Attribute))
        assert name not in TEXTS or binary or "encoding" in {word.arg for word in call.keywords}, call.lineno
