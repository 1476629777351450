"""lm-eval tasks over local files, for the tests of ``--extra-tasks``: nothing is downloaded."""

import json
import random
from pathlib import Path

NAMES = ("avocado", "bicycle", "candle", "dragon", "engine", "feather", "guitar", "hammer")


def write_tasks(folder: Path, *, choices: int = 24, answers: int = 12, texts: int = 6) -> Path:
    """``tiny_choice`` (log-likelihoods), ``tiny_pick`` (the same, fewer), ``tiny_answer`` (generation), ``tiny_text`` (perplexity), and
    ``tiny``, the group of the first two."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    for name, count in (("tiny_choice", choices), ("tiny_pick", choices // 3)):
        rows = [
            {"id": 7, "question": f"Number {rng.randrange(99)} is", "options": list(NAMES[:3]), "gold": rng.randrange(3)}
            for _ in range(count)
        ]
        _write(folder, name, rows, _CHOICE)
    rows = [{"id": 7, "question": f"Say the word {name} again.", "gold": name} for name in (NAMES * answers)[:answers]]
    _write(folder, "tiny_answer", rows, _ANSWER)
    _write(folder, "tiny_text", [{"text": " ".join(rng.choices(NAMES, k=rng.randrange(3, 12)))} for _ in range(texts)], _TEXT)
    (folder / "functions.py").write_text("def first_word(document):\n    return document['gold'].split()[0]\n")
    (folder / "tiny.yaml").write_text(_GROUP)
    return folder


def _write(folder: Path, name: str, rows: list[dict[str, object]], template: str) -> None:
    data = folder / f"{name}.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / f"{name}.yaml").write_text(_HEAD.format(name=name, data=data) + template)


_HEAD = """task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
"""
_CHOICE = """output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{options}}"
doc_to_target: gold
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
metadata: {version: 1.0}
"""
_ANSWER = """output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: !function functions.first_word
repeats: 2
generation_kwargs: {until: ["a", "zz"], do_sample: false}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
metadata: {version: 2.0}
"""
_TEXT = """output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list:
  - {metric: word_perplexity}
  - {metric: bits_per_byte}
metadata: {version: 1.0}
"""
_GROUP = """group: tiny
task: [tiny_choice, tiny_pick]
aggregate_metric_list:
  - {metric: acc, weight_by_size: true}
metadata: {version: 3.0}
"""
