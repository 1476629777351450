"""The table of who may import whom, and what must stay unloaded."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("harness", "tasks", "retmask", "reports")
#: Rooms, from the ground up: each imports from those before it, and from none after it.
FLOORS = (
    "tasks", "reports",
    "harness.api", "harness.access", "harness.options", "harness.plugins", "harness.files", "harness.variants", "harness.screen",
    "harness.store", "harness.cache", "harness.builtin", "harness.models", "harness.engines", "harness.config", "harness.consent",
    "harness.environment", "harness.methods", "harness.context", "harness.record", "harness.helmet_files", "harness.evaluation",
    "harness.importing", "harness.publishing", "harness.pipeline", "harness.reproduce", "harness.planning", "harness.interface",
    "harness.commands",
    "retmask.model", "retmask.decode", "retmask.heads", "retmask.pairs", "retmask.training", "retmask.options", "retmask.stages",
    "retmask.workload", "retmask.methods", "retmask.interface", "retmask.commands", "retmask.cli",
)  # fmt: skip
#: Most modules directly in a package, and most lines of a module.
MOST_MODULES = {"harness": 16, "retmask": 8}
MOST_LINES = 400
FEWER_LINES = {"harness/pipeline.py": 200}
#: Package -> our packages that it may import.
MAY_IMPORT = {
    "tasks": {"tasks"},
    "reports": {"reports", "tasks.files", "tasks.thoughts"},
    "harness": {"harness", "tasks", "reports"},
    "retmask": {
        "retmask",
        "tasks",
        "harness.api",
        "harness.cache",
        "harness.engines",
        "harness.models",
        "harness.options",
        "harness.screen",
        "harness.store.journal",
    },
}
#: Modules that may import more: a command line is where packages meet.
ALSO = {
    "retmask/cli.py": {"reports", "harness.commands.groups", "harness.commands.parameters"},
    "retmask/commands/prediction.py": {"reports"},
    "retmask/commands/relate.py": {"reports", "harness.commands.parameters", "harness.files", "harness.store", "harness.variants"},
    "retmask/interface.py": {"reports"},
}
HEAVY = {"torch", "transformers", "trl", "vllm", "lm_eval", "peft", "accelerate", "datasets", "tokenizers"}
#: Modules that may import a heavy library when they are imported; elsewhere it has to wait inside a function.
MAY_LOAD = {
    "harness/engines/hf.py": {"torch", "lm_eval"},
    "harness/engines/lm.py": {"lm_eval"},
    "harness/engines/gumbel.py": {"torch", "transformers"},
    "retmask/heads/ablate.py": {"torch", "transformers"},
    "retmask/heads/components.py": {"torch", "transformers"},
    "retmask/heads/needle_answers.py": {"torch", "transformers"},
    "retmask/heads/audit.py": {"transformers"},
    "retmask/heads/lab.py": {"torch", "transformers"},
    "harness/engines/attention.py": {"torch", "transformers"},
    "harness/engines/cache.py": {"torch", "transformers"},
    "retmask/decode.py": {"torch", "transformers"},
    "retmask/heads/detect.py": {"transformers"},
    "retmask/heads/attention_probe.py": {"torch", "transformers"},
    "retmask/heads/query.py": {"torch", "transformers"},
    "retmask/heads/forced_answers.py": {"torch", "transformers"},
    "retmask/heads/causal.py": {"torch", "transformers"},
    "retmask/heads/greedy.py": {"torch", "transformers"},
    "retmask/heads/prefix_reader.py": {"torch", "transformers"},
    "retmask/training/encoded_pairs.py": {"torch", "transformers"},
    "retmask/pairs/hf_sampler.py": {"torch", "transformers"},
    "retmask/pairs/disagreement.py": {"torch", "transformers"},
    "retmask/training/train.py": {"torch", "transformers", "datasets", "accelerate"},
    "retmask/training/trainers.py": {"torch", "transformers", "trl", "datasets", "peft"},
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


def modules(root: Path) -> dict[str, Path]:
    """Every module of ours below ``root``, by its dotted name; ``python -m``'s way in, which is no room, apart."""
    found = (path for package in PACKAGES for path in (root / package).rglob("*.py"))
    paths = sorted(path for path in found if path.name != "__main__.py")
    return {".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def arrows(known: dict[str, Path]) -> dict[str, set[str]]:
    """Module -> our modules that it imports, wherever in it: inside functions and for types too."""
    found: dict[str, set[str]] = {}
    for name, path in known.items():
        asked: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                asked.update(each.name for each in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                whole = [f"{node.module}.{each.name}" for each in node.names]
                asked.update(each if each in known else node.module for each in whole)
        found[name] = {each for each in asked if each in known and each != name}
    return found


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of one circle, in its order; none if there is none."""
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> list[str]:
        if name in way:
            return way[way.index(name) :]
        if name in done:
            return []
        for each in sorted(graph[name]):
            if found := walk(each, [*way, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := walk(name, []))), [])


def room(name: str) -> str:
    """Where a module is: a package of its own room, or a module directly in ``harness`` or ``retmask``."""
    parts = name.split(".")
    return parts[0] if parts[0] in ("tasks", "reports") else ".".join(parts[:2])


def upward(graph: dict[str, set[str]]) -> list[str]:
    """Imports from a room above, or of a room that has no floor."""
    floor = {name: number for number, name in enumerate(FLOORS)}
    pairs = [(name, each) for name, asked in graph.items() if "." in name for each in asked if "." in each]
    return [f"{name} imports {each}" for name, each in pairs if floor[room(name)] < floor[room(each)]]


def crowded(known: dict[str, Path]) -> list[str]:
    """Packages with too many modules directly in them, and modules that are too long."""
    found = [
        f"{package}: {len(names)} modules"
        for package, most in MOST_MODULES.items()
        if len(names := [name for name, path in known.items() if path.parent == ROOT / package]) > most
    ]
    for path in known.values():
        lines, relative = len(path.read_text(encoding="utf-8").splitlines()), path.relative_to(ROOT).as_posix()
        if lines > FEWER_LINES.get(relative, MOST_LINES):
            found.append(f"{relative}: {lines} lines")
    return found


def test_no_circles() -> None:
    assert circle(arrows(modules(ROOT))) == []


def test_no_room_imports_from_one_above() -> None:
    assert upward(arrows(modules(ROOT))) == []


def test_every_module_is_in_a_room_that_is_known() -> None:
    assert {room(name) for name in modules(ROOT) if "." in name} <= {*FLOORS, *PACKAGES}


def test_no_room_is_crowded() -> None:
    assert crowded(modules(ROOT)) == []


def test_nothing_imports_a_command() -> None:
    """A command is where packages meet; what it is made of does not know of it. Commands of ``retmask`` read options as ours do."""
    graph = arrows(modules(ROOT))
    importers = {name: sorted(each for each in asked if each.startswith("harness.commands")) for name, asked in graph.items()}
    others = {name: asked for name, asked in importers.items() if asked and not name.startswith("harness.commands")}
    reads = "harness.commands.parameters"
    assert others == {"retmask.cli": ["harness.commands.groups", reads], "retmask.commands.relate": [reads]}


def test_the_look_for_circles_and_rooms_finds_them(tmp_path: Path) -> None:
    for package in ("store", "commands"):
        (tmp_path / "harness" / package).mkdir(parents=True)
    (tmp_path / "harness/store/low.py").write_text("def later():\n    from harness.commands import high\n")
    (tmp_path / "harness/commands/high.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from harness.store.low import later\n"
    )
    graph = arrows(modules(tmp_path))
    assert sorted(circle(graph)) == ["harness.commands.high", "harness.store.low"]
    assert upward(graph) == ["harness.store.low imports harness.commands.high"]


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
    assert loaded == allowed


def test_no_allowance_is_idle() -> None:
    """A list that allows more than there is hides what comes next."""
    asked = {
        package: {name for path in FILES if path.is_relative_to(ROOT / package) for name in imports(path, top_level=False)}
        for package in PACKAGES
    }
    idle = [
        f"{package}: {entry}"
        for package, entries in MAY_IMPORT.items()
        for entry in entries
        if not any(name == entry or name.startswith(f"{entry}.") for name in asked[package])
    ]
    assert idle == []
    assert [name for name in MAY_LOAD if not (ROOT / name).is_file()] == []
    assert [name for name in OWN_READS if not reads((ROOT / name).read_text(encoding="utf-8"))] == []


def test_trl_has_one_importer() -> None:
    importers = [path for path in FILES if any(name.split(".")[0] == "trl" for name in imports(path, top_level=False))]
    assert [path.name for path in importers] == ["trainers.py"]


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["eval", "--help"], ["heads", "detect", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom harness.commands.root import main\n"
        f"result = CliRunner().invoke(main, {arguments!r})\nassert result.exit_code == 0, result.output\n"
        f"loaded = {sorted(HEAVY | {'pandas', 'matplotlib', 'scipy'})!r}\n"
        "print([name for name in loaded if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


#: Everything of ours that runs, the tests included.
SOURCES = sorted(path for folder in (*PACKAGES, "tests", "benchmarks", "examples") for path in (ROOT / folder).rglob("*.py"))
#: What would run a file's content, or a shell: called by no name, aliases of modules included.
FORBIDDEN = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load",
    "marshal.loads", "shelve.open", "dill.load", "dill.loads", "joblib.load", "cloudpickle.load", "cloudpickle.loads", "pd.read_pickle",
    "pandas.read_pickle", "yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "yaml.unsafe_load_all", "yaml.Loader",
    "shutil.unpack_archive",
}  # fmt: skip
#: Called with any of these, even methods of objects whose type is not known here.
FORBIDDEN_METHODS = {"extractall", "read_pickle", "unsafe_load", "full_load"}
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}


def dangers(source: str) -> list[str]:
    """What in ``source`` would run code that comes from a file, and where."""
    found = []
    tree = ast.parse(source)
    aliases = {
        name.asname or name.name: f"{node.module}.{name.name}" if isinstance(node, ast.ImportFrom) else name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [name.name for name in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            harmless = isinstance(node, ast.ImportFrom) and {name.name for name in node.names} <= {"UnpicklingError"}
            found += [f"line {node.lineno}: imports {name}" for name in modules if name.split(".")[0] in FORBIDDEN_MODULES and not harmless]
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        head, dot, rest = called.partition(".")
        full = aliases.get(head, head) + dot + rest
        given = {word.arg: word.value for word in node.keywords}
        if {called, full} & FORBIDDEN or called.rpartition(".")[2] in FORBIDDEN_METHODS:
            found.append(f"line {node.lineno}: {called}")
        if full == "torch.load" and not _is(given.get("weights_only"), True):
            found.append(f"line {node.lineno}: torch.load without weights_only=True")
        if full in ("numpy.load", "np.load") and "allow_pickle" in given and not _is(given["allow_pickle"], False):
            found.append(f"line {node.lineno}: {called} with allow_pickle")
        if "shell" in given and not _is(given["shell"], False):
            found.append(f"line {node.lineno}: {called} with shell")
        if called != "resolve" and _is(given.get("trust_remote_code"), True):
            found.append(f"line {node.lineno}: {called} with trust_remote_code=True")
    return found


def _is(node: ast.expr | None, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_becomes_code(path: Path) -> None:
    assert dangers(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "eval(text)",
        "exec(text)",
        "import pickle",
        "from pickle import loads",
        "import yaml\nyaml.load(text, Loader=yaml.SafeLoader)",
        "import yaml as y\ny.unsafe_load(text)",
        "from yaml import load\nload(text)",
        "import torch\ntorch.load(path)",
        "import torch\ntorch.load(path, weights_only=False)",
        "import torch as t\nt.load(path)",
        "from torch import load\nload(path)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "import subprocess\nsubprocess.run(text, shell=True)",
        "import subprocess\nsubprocess.run(text, shell=flag)",
        "import os\nos.system(text)",
        "archive.extractall(folder)",
        "import shutil as s\ns.unpack_archive(path)",
        "import pandas as pd\npd.read_pickle(path)",
        "Model.from_pretrained(path, trust_remote_code=True)",
    ],
)
def test_the_look_for_dangers_finds_them(source: str) -> None:
    assert dangers(source)


#: transformers' own, and those of harness/engines/weights.py, which pass on what they are told.
LOADERS = {"from_pretrained", "load_network", "check_files", "check_base"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_models_own_code_is_off_or_asked_for(path: Path) -> None:
    """Said each time: transformers asks a person at a terminal when nothing is said."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in LOADERS:
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            passed_on = {"trust_remote_code"} if path.name == "weights.py" else set()
            assert given.get("trust_remote_code") in {"False", "model.trust_remote_code"} | passed_on, ast.unparse(node)


#: The module through which everything is printed, and programs of their own: a recipe, and a process whose lines are printed again.
PRINTERS = {"harness/screen/terminal.py"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_everything_is_printed_through_one_module(path: Path) -> None:
    """Otherwise control sequences in a model's output, a file's name or a server's answer would reach the terminal."""
    if path.relative_to(ROOT).as_posix() in PRINTERS:
        return
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    for call in calls:
        called = ast.unparse(call.func)
        assert called not in ("print", "click.echo", "click.secho", "rich.print", "sys.stdout.write", "sys.stderr.write"), called
        assert called != "Console" or any(word.arg == "file" for word in call.keywords), "use harness.screen.terminal.console"


#: Files of the project itself and of the system, which nobody else wrote.
OWN_READS = {
    "harness/models/catalogue.py", "harness/config.py", "harness/screen/ends.py", "harness/environment.py",
    "harness/models/footprint.py", "harness/models/template_process.py", "harness/engines/threads.py",
    "reports/boardfiles.py", "reports/page.py", "reports/reference.py", "reports/relation.py", "tasks/files.py",
}  # fmt: skip


def reads(source: str) -> list[str]:
    """Calls that open a file for reading without asking what it is, or how large."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        name = called.rpartition(".")[2]
        given = [*(word.value for word in node.keywords if word.arg == "mode"), *node.args[called == "open" :]]
        modes = [str(each.value) for each in ast.walk(given[0]) if isinstance(each, ast.Constant)] if given else []
        writes = bool(modes) and all(each[:1] in ("w", "a", "x") for each in modes if each.isalpha())
        if (name in ("read_text", "read_bytes") and "." in called) or (
            name == "open" and called not in ("os.open", "tarfile.open") and not called.startswith("zipfile.") and not writes
        ):
            found.append(f"line {node.lineno}: {called}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_of_others_are_opened_through_one_module(path: Path) -> None:
    """Otherwise a pipe is waited for, a device read for ever, and a file of any size taken into memory (tasks/files.py)."""
    if path.relative_to(ROOT).as_posix() not in OWN_READS:
        assert reads(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source", ["path.read_text()", "path.open('rb')", "open(path)", "gzip.open(path, 'rt')", "path.open(encoding='utf-8')"]
)
def test_the_look_for_reads_finds_them(source: str) -> None:
    assert reads(source)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_merge_left_its_marks(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if line.strip().startswith(("<" * 7 + " ", ">" * 7 + " ")) or line.strip() == "=" * 7]


WALKS = (ROOT / "docs/architecture.md").read_text(encoding="utf-8").split("\n## The life of ")[1:]


@pytest.mark.parametrize("walk", WALKS, ids=lambda walk: walk.partition("\n")[0])
def test_a_newcomers_walk_is_short_and_leads_somewhere(walk: str) -> None:
    named = set(re.findall(r"`([a-z_/]+\.py)`", walk.partition("\n## ")[0]))
    assert 5 <= len(named) <= 10
    assert not [name for name in named if not (ROOT / name).is_file()]


ROOMS = (ROOT / "docs/architecture.md").read_text(encoding="utf-8").partition("\n## ")[0]


@pytest.mark.parametrize("package", ["harness", "retmask"])
def test_every_room_stands_in_the_docs_on_its_floor(package: str) -> None:
    table = ROOMS.partition(f"| room of `{package}` |")[2].partition("\n\n")[0]
    named = [name for line in table.splitlines()[1:] for name in re.findall(r"`(\w+)(?:\.py|/)`", line.split("|")[1])]
    floors = [floor.partition(".")[2] for floor in FLOORS if floor.startswith(f"{package}.")]
    assert [name for name in named if name != "presets"] == floors  # presets are no modules


@pytest.mark.parametrize("package", ["tasks", "reports"])
def test_the_files_to_open_are_there(package: str) -> None:
    named = re.findall(r"`([\w/]+\.py)`", ROOMS.partition(f"| in `{package}` |")[2].partition("\n\n")[0])
    assert len(named) > 10
    assert not [name for name in named if not (ROOT / package / name).is_file()]


def test_every_file_that_is_no_module_is_installed_with_its_package() -> None:
    """What an editable installation finds anyway, a wheel has only if ``pyproject.toml`` names it."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-data"]
    for package, patterns in table.items():
        files = {path for path in (ROOT / package).rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
        named = {path for pattern in patterns for path in (ROOT / package).glob(pattern)}
        assert files == named


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_processes_of_our_own_find_our_packages(path: Path) -> None:
    """They get the folder of our packages as PYTHONPATH, not one of the packages, whose modules would hide others' of the same name."""
    for number in re.findall(r"Path\(__file__\)\.parents\[(\d)\]", path.read_text(encoding="utf-8")):
        assert path.parents[int(number)] == ROOT
