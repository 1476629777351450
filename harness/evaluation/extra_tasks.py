"""Extra tasks: what did the training cost elsewhere? Any task or group of lm-eval, by name or from a YAML file.

    --extra-tasks mmlu,gsm8k                      tasks and groups that lm-eval ships with
    --extra-tasks mine --include-path tasks/      a task of your own, as with lm-eval's --include_path
    --extra-tasks tasks/mine.yaml

They are asked of the baseline and of every trained model as ``lm_eval`` itself would ask them, and stay outside HELMET's means. The step
``extra`` of a model holds ``figures.json`` (lm-eval's own values and standard errors) and ``documents.jsonl`` (every document's metrics),
from which :mod:`reports.extra_tasks` compares two models document by document.
"""

import glob
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.api import Artifact, HarnessError, Json, Model
from harness.engines import open_engine
from harness.evaluation import extra_results
from harness.evaluation.server_steps import with_server
from harness.files import digest, file_digest, write_json
from harness.models import generation_config as decoding
from harness.screen.quiet import without_bars
from harness.store.journal import Journal, Records

if TYPE_CHECKING:
    from harness.config import RunConfig
    from harness.context import Run
    from harness.engines.lm import HarnessLM

STEP: Final = "extra"
#: Raise when the same inputs should give other figures than before.
VERSION: Final = 1
_CLOSE: Final = 3
#: What a task has to be asked with log-likelihoods for; ``generate_until`` is lm-eval's default.
_LIKELIHOODS: Final = ("loglikelihood", "loglikelihood_rolling", "multiple_choice")
#: Files beside the current folder that a task may name without a slash.
_DATA: Final = (".json", ".jsonl", ".csv", ".parquet", ".txt")
_LONGEST_PATH: Final = 1000
#: Keys of a group's YAML that are its own; the others go to its tasks.
_OF_GROUP: Final = ("group", "group_alias", "task", "aggregate_metric_list", "metadata", "tag")


@dataclass(frozen=True)
class ExtraTasks:
    """The tasks that ``--extra-tasks`` names, found but not loaded: their documents may have to be downloaded."""

    names: tuple[str, ...]
    leaves: Mapping[str, Mapping[str, Any]]
    """Task -> its YAML, functions by name; groups and tags are resolved."""
    manager: Any
    """lm-eval's ``TaskManager`` that knows them all."""

    @property
    def versions(self) -> dict[str, Json]:
        """As the tasks' YAML gives them."""
        return {name: _version(config) for name, config in self.leaves.items()}

    def identity(self) -> dict[str, Json]:
        """Say what can change a task's figures: its settings, the functions and the local data files that they name, lm-eval's version."""
        asked: list[Json] = [_group_identity(self.manager, name) for name in self.names]
        tasks: dict[str, Json] = {name: digest(_portable(config)) for name, config in self.leaves.items()}
        return {"asked": asked, "tasks": tasks, "versions": self.versions, "lm-eval": version("lm-eval")}

    @cached_property
    def loaded(self) -> list[Any]:
        """lm-eval's own tasks and groups, with their documents. HarnessError if a data set cannot be had or wants to run code."""
        found: list[Any] = []
        for name in self.names:
            try:
                loaded = self.manager.load([name])
            except HarnessError:
                raise
            except Exception as error:  # whatever the code of a task or of a data set raises
                raise HarnessError(_unloadable(name, error)) from error
            below = {child for children in loaded["group_map"].values() for child in children}
            found += [each for own, each in {**loaded["groups"], **loaded["tasks"]}.items() if own not in below]
        return found


def find(config: "RunConfig") -> ExtraTasks | None:
    """Find the run's extra tasks; None if it has none. Reads YAML files alone.

    HarnessError for a task that does not exist, is asked for twice, or cannot be asked of this engine.
    """
    if not config.extra_tasks:
        return None
    from lm_eval.tasks import TaskManager

    if config.include_path and not Path(config.include_path).is_dir():
        raise HarnessError(f"--include-path {config.include_path} is no directory; name the one that holds the tasks' YAML files")
    for shipped in (False, True):  # reading the YAML of lm-eval's own 14,000 tasks takes seconds
        manager = TaskManager(include_path=config.include_path or None, include_defaults=shipped)
        try:
            leaves = _leaves(manager, config.extra_tasks)
        except _UnknownTaskError as error:
            if shipped:
                raise HarnessError(_unknown(error.task, manager.all_tasks)) from None
            continue
        _check(leaves, config)
        return ExtraTasks(config.extra_tasks, leaves, manager)
    raise AssertionError("unreachable")


def inputs(run: "Run", model: Model, extra: ExtraTasks, config: "RunConfig") -> dict[str, Json]:
    """Say what identifies ``model``'s figures on the extra tasks."""
    asked: dict[str, Json] = {"limit": config.extra_limit, "fewshot": config.extra_fewshot, "chat_template": _templated(config)}
    plain = decoding.inputs(model.path) if config.backend == "hf" else {}
    about = {"model": model.digest, **extra.identity(), **asked, **config.inputs(), **plain}
    return with_server(run, STEP, about, config, VERSION)


def announced(run: "Run") -> ExtraTasks | None:
    """Find the run's extra tasks and say which.

    Their data sets are loaded now unless the baseline is done with them: what is missing is said at the start.
    """
    extra = find(run.config)
    if extra is not None and not run.is_finished(STEP, inputs(run, run.model, extra, run.config), version=VERSION):
        run.say(f"extra tasks: {', '.join(extra.names)}")
        _ = extra.loaded
    return extra


def evaluate(run: "Run", model: Model, extra: ExtraTasks, config: "RunConfig") -> Artifact:
    """Build the step that holds ``model``'s figures on the extra tasks."""

    def build(work: Path) -> dict[str, Json]:
        from harness.engines.lm import Batch

        aside = {} if config.backend == "served" else decoding.facts(model.path)
        if aside and (line := decoding.notice(model.path)):
            run.say(line)
        tasks = extra.loaded  # before the engine, so that nothing is started in vain
        with closing(open_engine(model, config)) as lm, ExitStack() as bars:

            def begin(kind: str, total: int) -> None:
                bars.close()  # the one before
                lm.advance = bars.enter_context(run.bar(f"extra tasks, {kind}: {model.name}", total))

            lm.journal, lm.likelihoods = Journal(work / "answers.journal"), Records(work / "likelihoods.journal")
            lm.batch, lm.begin = Batch(config.batch_tokens, run.say), begin
            results = _ask(lm, tasks, extra, config)
            lm.check_complete()
        documents = list(extra_results.documents(results["samples"]))
        figures = extra_results.figures(results, tasks)
        from reports.extra_tasks import DOCUMENTS, FIGURES

        with (work / DOCUMENTS).open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in documents)
        write_json(work / FIGURES, {"figures": figures, "asked": list(extra.names)})
        return {"tasks": len(extra.leaves), "documents": len({(row["task"], row["document"]) for row in documents}), **aside}

    return run.step(STEP, inputs(run, model, extra, config), build, version=VERSION)


def _templated(config: "RunConfig") -> bool:
    """Whether lm-eval puts what it asks into the model's chat template. A server of messages does so itself."""
    return config.extra_chat_template and not (config.backend == "served" and config.served_api == "chat")


def _ask(lm: "HarnessLM", tasks: Sequence[Any], extra: ExtraTasks, config: "RunConfig") -> dict[str, Any]:
    """lm-eval's results, with its own seeds."""
    from lm_eval import simple_evaluate
    from lm_eval.api import task as lm_task

    if _templated(config) and not lm.has_chat_template:
        raise HarnessError("--extra-chat-template: the model has no chat template; leave the option out")
    try:
        with without_bars(lm_task):
            found: dict[str, Any] = simple_evaluate(
                model=lm,
                tasks=list(tasks),
                task_manager=extra.manager,
                num_fewshot=config.extra_fewshot,
                limit=config.extra_limit,
                apply_chat_template=_templated(config),
                log_samples=True,
                batch_size=1,
            )
    except ValueError as error:
        if "did not find any docs" in str(error):
            raise HarnessError("an extra task has no documents to ask; see its test_split, or leave it out") from error
        raise
    return found


# ---- finding the tasks --------------------------------------------------------------------------------------------------------------


class _UnknownTaskError(Exception):
    """No such task, group, tag or file."""

    def __init__(self, task: str) -> None:
        super().__init__(task)
        self.task = task


def _leaves(manager: Any, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        for task, config in _below(manager, _config(manager, name), {}):
            if task in found:
                raise HarnessError(f"--extra-tasks asks for {task} twice: {name} contains it; leave one of them out")
            found[task] = config
    return found


def _config(manager: Any, name: str) -> dict[str, Any]:
    """The YAML of a task, group, tag or file."""
    from lm_eval.tasks._yaml_loader import load_yaml  # the one function that leaves a task's functions unresolved

    entry = manager.task_index.get(name)
    path = entry.yaml_path if entry is not None else Path(name) if name.endswith((".yaml", ".yml")) else None
    if entry is not None and entry.kind.name == "TAG":
        return {"group": name, "task": sorted(entry.tags)}
    if path is None and entry is None:
        raise _UnknownTaskError(name)
    if path is None:
        return dict(entry.cfg or {"task": name})
    if not path.is_file():
        raise HarnessError(f"--extra-tasks: there is no file {path}")
    try:
        config: dict[str, Any] = load_yaml(path, resolve_func=False)
    except Exception as error:  # of YAML, or a file that it includes
        raise HarnessError(f"{path} is not the YAML of a task: {_first_line(error)}") from error
    if not {"task", "group"} & config.keys():
        raise HarnessError(f"{path} is not the YAML of a task: it has neither a task nor a group")
    return config


def _below(manager: Any, config: Mapping[str, Any], overrides: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The tasks of a group with what it sets for them; a task itself."""
    if "group" not in config or not isinstance(config.get("task"), list):
        yield str(config.get("task") or config.get("group")), {**config, **overrides}
        return
    shared = {key: value for key, value in config.items() if key not in _OF_GROUP} | dict(overrides)
    for member in config["task"]:
        own = {"task": member} if isinstance(member, str) else dict(member)
        name = str(own.get("group") or own.get("task"))
        more = shared | {key: value for key, value in own.items() if key not in _OF_GROUP}
        if name in manager.task_index:
            yield from _below(manager, _config(manager, name), more)
        elif isinstance(member, str):
            raise _UnknownTaskError(name)
        else:  # written out within the group
            yield from _below(manager, {**own, ("group" if "group" in own else "task"): name}, shared)


def _check(leaves: Mapping[str, Mapping[str, Any]], config: "RunConfig") -> None:
    """HarnessError for a task that cannot be asked, or must not be."""
    for name, task in leaves.items():
        if task.get("unsafe_code"):
            raise HarnessError(f"--extra-tasks {name} runs the code that a model writes, which the harness does not; leave it out")
        if task.get("doc_to_image") or task.get("doc_to_audio"):
            raise HarnessError(f"--extra-tasks {name} shows images or plays sound; the harness evaluates text alone, so leave it out")
    measured = [name for name, task in leaves.items() if task.get("output_type") in _LIKELIHOODS]
    named = ", ".join(measured[:_CLOSE]) + (", ..." if len(measured) > _CLOSE else "")
    if measured and config.backend == "served":
        raise HarnessError(f"--extra-tasks {named}: needs log-likelihoods, which a server does not give; use --backend hf or vllm")
    if measured and config.think_tokens:
        raise HarnessError(f"--extra-tasks {named}: needs log-likelihoods, which thoughts do not go with; leave out --think-tokens")


def _unknown(name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known, _CLOSE)
    hint = f"did you mean {', '.join(close)}?" if close else "lm-eval ls tasks lists those it has; --include-path DIR adds yours"
    return f"--extra-tasks: lm-eval has no task {name!r}; {hint}"


def _unloadable(name: str, error: Exception) -> str:
    reason = _first_line(error)
    if "scripts are no longer supported" in reason or "trust_remote_code" in reason:
        return f"--extra-tasks {name}: its data set runs code of its own, which is not allowed; leave the task out"
    return f"--extra-tasks {name}: lm-eval cannot load it ({type(error).__name__}: {reason}); its data set may have to be downloaded"


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


# ---- what identifies them -----------------------------------------------------------------------------------------------------------


def _group_identity(manager: Any, name: str) -> Json:
    """What a group averages; a task's name. Not a file's place."""
    config = _config(manager, name)
    if "group" not in config:
        return str(config.get("task"))
    return [str(config["group"]), digest(_portable({"averages": config.get("aggregate_metric_list"), "members": config.get("task")}))]


def _version(config: Mapping[str, Any]) -> Json:
    metadata = config.get("metadata")
    found = metadata.get("version") if isinstance(metadata, dict) else metadata
    return found if isinstance(found, int | float | str) else None


def _portable(value: Any) -> Json:
    """The settings without the places of files: for a function's module, and for local data, their content."""
    if isinstance(value, Mapping):
        return {str(key): _portable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_portable(item) for item in value]
    if isinstance(value, str):
        return _content(value)
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _content(text: str) -> Json:
    """A string, or what the function's file or the data files hold that it names."""
    if len(text) > _LONGEST_PATH or "\n" in text or "{{" in text:
        return text
    if "/" in text or Path(text).suffix in _DATA:
        files = sorted(path for place in glob.glob(text) for path in _files(Path(place)))
        if files:
            return [file_digest(path) for path in files]
    module, _, function = text.rpartition(".")
    if Path(module).is_absolute():  # a function, as load_yaml leaves it: the YAML's folder, then what the YAML says
        file = Path(f"{module}.py")
        return [function, file_digest(file)] if file.is_file() else Path(text).name
    return text


def _files(place: Path) -> list[Path]:
    return [path for path in place.rglob("*") if path.is_file()] if place.is_dir() else [place]


# ---- what is kept -------------------------------------------------------------------------------------------------------------------
