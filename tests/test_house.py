"""The rules of the house that a linter does not know."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BASE = sorted((ROOT / "wan2").rglob("*.py"))
EXTENSION = sorted((ROOT / "holocine_ext").rglob("*.py"))
TOOLS = sorted((ROOT / "tools").rglob("*.py"))
SCRIPTS = [ROOT / f"{name}.py" for name in ("wan2_generate_video", "holocine_generate_video", "holocine_evaluate")]
SCRIPTS += [ROOT / f"{name}.py" for name in ("holocine_prepare", "holocine_train_lora")]
CODE = [*BASE, *EXTENSION, *TOOLS, *SCRIPTS]
EDGES = [ROOT / "wan2/cli/main.py", ROOT / "wan2/cli/arguments.py", ROOT / "holocine_ext/cli.py"]
EDGES += [
    ROOT / "holocine_ext" / name
    for name in ("evaluate/cli.py", "teach/prepare_cli.py", "studio/cli.py", "write/cli.py")
]
EDGES += [ROOT / "holocine_ext/teach/train_cli.py"]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def test_there_is_code_to_check() -> None:
    assert len(BASE) > 20 and len(EXTENSION) > 8 and all(path.is_file() for path in SCRIPTS)


@pytest.mark.parametrize("path", [*BASE, SCRIPTS[0]], ids=name)
def test_the_base_does_not_know_the_extension(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"shots?\b|holocine", text, re.IGNORECASE) == []
    assert not [module for module in imports(path) if module.startswith(("holocine_ext", "tools", "tests"))]


@pytest.mark.parametrize("path", [*BASE, *EXTENSION, *SCRIPTS], ids=name)
def test_packages_do_not_import_what_is_not_installed(path: Path) -> None:
    assert not [module for module in imports(path) if module.split(".")[0] in ("tools", "tests", "benchmarks")]


@pytest.mark.parametrize("path", [*EXTENSION, *SCRIPTS[:2]], ids=name)
def test_what_generates_does_not_know_what_evaluates(path: Path) -> None:
    if not {"evaluate", "teach"} & set(path.parts):
        assert not [module for module in imports(path) if module.startswith("holocine_ext.evaluate")]


@pytest.mark.parametrize("path", CODE, ids=name)
def test_sizes(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > 50
        and "argparse" not in ast.unparse(node)
    ]
    assert long == []


@pytest.mark.parametrize("path", [*BASE, *EXTENSION], ids=name)
def test_records_are_small(path: Path) -> None:
    """No record of more than 15 fields: what has more is several things."""
    large = [
        f"{node.name}: {count} fields"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and (count := sum(isinstance(part, ast.AnnAssign) for part in node.body)) > 15
    ]
    assert large == []


@pytest.mark.parametrize("path", [*BASE, *EXTENSION], ids=name)
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", [*BASE, *EXTENSION], ids=name)
def test_only_the_edge_reads_the_environment(path: Path) -> None:
    if path in EDGES:
        pytest.skip("the edge")
    assert not re.findall(r"sys\.argv|os\.environ|getenv", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_help_imports_nothing_heavy(script: Path) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = [{str(script)!r}, '--help']\n"
        "try:\n"
        f"    runpy.run_path({str(script)!r}, run_name='__main__')\n"
        "except SystemExit:\n"
        "    pass\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'numpy', 'av', 'PIL', 'tokenizers'} & set(sys.modules)\n"
        "print('heavy:', sorted(heavy))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "heavy: []"
    assert "usage: " in done.stdout and "--device" in done.stdout


def names_of(path: Path) -> set[str]:
    """Every name that a file could give away."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    found = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)}
    found |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return found | {
        (alias.asname or alias.name).split(".")[0]
        for node in nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").rglob("*.py")), ids=name)
def test_benchmarks_import_what_is_there(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("wan2", "holocine_ext", "tests"):
            module = ROOT / node.module.replace(".", "/")
            file = module.with_suffix(".py") if module.with_suffix(".py").is_file() else module / "__init__.py"
            inside = {one.stem for one in module.glob("*")} if module.is_dir() else set()
            assert {alias.name for alias in node.names} <= names_of(file) | inside, node.module
