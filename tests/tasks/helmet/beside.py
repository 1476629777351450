"""Holds our prompts of the published sets beside those that HELMET's own code makes of the same files.

    .venv/bin/python tests/tasks/helmet/beside.py ~/HELMET ~/HELMET/data 8k 20              # every set whose files are there
    .venv/bin/python tests/tasks/helmet/beside.py ~/HELMET ~/HELMET/data 8k 20 kilt_nq icl_nlu

It runs ``data.py`` of the checkout, which nothing else of this project does: name one that you trust. One line for each set; exit code 1 if
a prompt or its gold differs. Nothing is shortened. Of Cite, what comes after the worked examples is compared, which we draw otherwise.
"""

import importlib.util
import random
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[3]))

from tasks.files import read_parquet
from tasks.helmet import DATASETS, SEED, DataError, Dataset, examples
from tasks.helmet.checkout import read
from tasks.helmet.request import locate

#: The loaders import these from the checkout's ``utils.py``, which needs more than is installed here, and do not call them.
_UNUSED: Final = ("calculate_metrics", "parse_output", "parse_rankings", "calculate_retrieval_metrics")
_CATEGORIES: Final = ("recall", "rag", "cite", "rerank", "icl")
#: The last part of a set's name on the Hub -> folder below the data directory.
_ICL: Final = {"trec": "trec", "banking77": "banking77", "clinc_oos": "clinc_oos", "nlu_evaluation_data": "nlu"}


def load(checkout: Path, root: Path) -> ModuleType:
    """Run ``data.py`` of the checkout, with ICL sets from ``root``."""
    import datasets

    datasets.disable_caching()
    datasets.disable_progress_bars()
    setattr(datasets.Dataset, "map", _alone(datasets.Dataset.map))  # noqa: B010
    utils = ModuleType("utils")
    for name in _UNUSED:
        setattr(utils, name, None)
    sys.modules["utils"] = utils
    spec = importlib.util.spec_from_file_location("helmet_data", checkout / "data.py")
    assert spec is not None
    assert spec.loader is not None
    code = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(code)
    setattr(code, "load_dataset", _from_disk(root, datasets.load_dataset))  # noqa: B010
    return code


def _alone(map_: Callable[..., Any]) -> Callable[..., Any]:
    """Make a ``Dataset.map`` that starts no processes: HELMET asks for forty."""

    def alone(self: Any, *given: Any, num_proc: object = None, **named: Any) -> Any:
        return map_(self, *given, **named)

    return alone


def _from_disk(root: Path, otherwise: Callable[..., Any]) -> Callable[..., Any]:
    """Make HELMET's ``load_dataset``: ICL sets are those below ``root``."""
    import datasets

    def load_dataset(name: str, *given: Any, **named: Any) -> Any:
        folder = _ICL.get(name.rsplit("/", 1)[-1])
        if folder is None:
            return otherwise(name, *given, **named)
        found = {}
        for part in ("train", "test", "validation"):
            path = locate((root,), f"icl/{folder}/{part}.parquet")
            if path is not None:
                table = read_parquet(path).to_pydict()
                labels = {column: max(values) + 1 for column, values in table.items() if isinstance(values[0], int)}
                kinds = {column: datasets.ClassLabel(num_classes=count) for column, count in labels.items()}
                features = {column: kinds.get(column, datasets.Value("string")) for column in table}
                found[part] = datasets.Dataset.from_dict(table, features=datasets.Features(features))
        return found

    return load_dataset


def theirs(code: Any, checkout: Path, root: Path, dataset: Dataset, length: int, questions: int) -> list[tuple[str, object]]:
    """Make HELMET's prompts with their golds."""
    paths = [str(locate((root,), file.path)) for file in dataset.files(length)]
    cite = dataset.name.removeprefix("alce_") if dataset.category == "cite" else ""
    demo = str(checkout / f"prompts/{cite}_revised.json") if cite else paths[-1]
    settings = Namespace(max_test_samples=questions, shots=dataset.shots, seed=SEED)
    random.seed(SEED)
    made = code.load_data(settings, dataset.published_name(length), paths[0], demo)
    return [(made["prompt_template"].format(**{**item, "demo_text": ""}), _gold(item)) for item in made["data"]]


def _gold(item: dict[str, Any]) -> object:
    """What is compared of an item's answer; of Cite and re-ranking, scorers read other fields."""
    return item["answer"] if "answer" in item and "qrel" not in item and "docs" not in item else None


def compare(code: Any, checkout: Path, root: Path, dataset: Dataset, length: int, questions: int) -> tuple[int, int, int]:
    """Count HELMET's prompts, ours, and those of ours that are the same, in order."""
    wordings, _ = read(checkout)
    expected = theirs(code, checkout, root, dataset, length, questions)
    found = list(examples(dataset, length, [root], lambda prompt, prefix: 0, examples=questions, wordings=wordings))
    same = 0
    for (prompt, gold), example in zip(expected, found, strict=False):
        ours = example.prompt + example.answer_prefix
        golds = (None, example.targets[0], list(example.targets), example.meta.get("answer"))
        same += (ours.endswith(prompt) if dataset.category == "cite" else ours == prompt) and gold in golds
    return len(expected), len(found), same


def main(arguments: Sequence[str]) -> int:
    """Compare every set that is named, or there."""
    checkout, root, length, questions = Path(arguments[0]), Path(arguments[1]), 1024 * int(arguments[2].rstrip("k")), int(arguments[3])
    code, failed = load(checkout, root), False
    for name in arguments[4:] or [name for name, dataset in DATASETS.items() if dataset.category in _CATEGORIES]:
        dataset = DATASETS[name]
        if not all(locate((root,), file.path) for file in dataset.files(length)):
            print(f"{name}: its files are not there")
            continue
        try:
            expected, found, same = compare(code, checkout, root, dataset, length, questions)
        except DataError as error:
            print(f"{name}: {error}")
            failed = True
            continue
        print(f"{name}: HELMET {expected}, ours {found}, the same {same}", flush=True)
        failed |= not expected == found == same
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
