"""The table of who may import whom, and what must stay unloaded."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("harness", "tasks", "retmask", "reports")
#: Package -> our packages that it may import.
MAY_IMPORT = {
    "tasks": {"tasks"},
    "reports": {"reports"},
    "harness": {"harness", "tasks", "reports"},
    "retmask": {"retmask", "tasks", "harness.api", "harness.models", "harness.engines", "harness.journal"},
}
#: Modules that may import more: a command line is where packages meet.
ALSO = {"retmask/cli.py": {"reports"}}
HEAVY = {"torch", "transformers", "trl", "vllm", "lm_eval", "peft", "accelerate", "datasets", "tokenizers"}
#: Modules that may import a heavy library when they are imported; elsewhere it has to wait inside a function.
MAY_LOAD = {
    "harness/engines/hf.py": {"torch", "lm_eval"},
    "harness/engines/lm.py": {"lm_eval"},
    "harness/engines/vllm.py": {"lm_eval", "vllm"},
    "harness/builtin/tokenizer.py": {"tokenizers", "transformers"},
    "harness/builtin/train.py": {"torch", "transformers"},
    "retmask/ablate.py": {"torch", "transformers"},
    "retmask/answers.py": {"torch", "transformers"},
    "retmask/audit.py": {"torch", "transformers"},
    "retmask/cache.py": {"torch", "transformers"},
    "retmask/detect.py": {"torch", "transformers"},
    "retmask/probe.py": {"torch", "transformers"},
    "retmask/query.py": {"torch", "transformers"},
    "retmask/reader.py": {"torch", "transformers"},
    "retmask/rows.py": {"torch", "transformers"},
    "retmask/sampler.py": {"torch", "transformers"},
    "retmask/model.py": {"torch", "transformers"},
    "retmask/train.py": {"transformers", "datasets", "accelerate"},
    "retmask/trainers.py": {"torch", "transformers", "trl", "datasets", "peft"},
}
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imports(path: Path, *, top_level: bool) -> set[str]:
    """Dotted names of imported modules; with ``top_level``, only those that run when the module is imported."""
    tree = ast.parse(path.read_text())
    found: set[str] = set()
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
        if top_level and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if top_level and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        pending.extend(ast.iter_child_nodes(node))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_packages_import_in_one_direction(path: Path) -> None:
    relative = path.relative_to(ROOT)
    allowed = MAY_IMPORT[relative.parts[0]] | ALSO.get(relative.as_posix(), set())
    for name in imports(path, top_level=False):
        if name.split(".")[0] in PACKAGES:
            assert any(name == entry or name.startswith(f"{entry}.") for entry in allowed), f"{path} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_libraries_are_loaded_only_where_they_are_needed(path: Path) -> None:
    allowed = MAY_LOAD.get(path.relative_to(ROOT).as_posix(), set())
    loaded = {name.split(".")[0] for name in imports(path, top_level=True)} & HEAVY
    assert loaded <= allowed


def test_trl_has_one_importer() -> None:
    importers = [path for path in FILES if any(name.split(".")[0] == "trl" for name in imports(path, top_level=False))]
    assert [path.name for path in importers] == ["trainers.py"]


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["eval", "--help"], ["heads", "detect", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom harness.cli import main\n"
        f"result = CliRunner().invoke(main, {arguments!r})\nassert result.exit_code == 0, result.output\n"
        f"loaded = {sorted(HEAVY | {'pandas', 'matplotlib', 'scipy'})!r}\n"
        "print([name for name in loaded if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
