"""What lm-eval writes for a tiny model: several kinds of tasks, filters, both kinds of ``--output_path``, with and without a chat template.

``python tests/peers/lm_eval_recipe.py FOLDER`` runs the lm-eval that is installed, from its own command line. ``--keep`` tidies the result
for ``tests/peers/lm_eval``, the files that every later version is held against: made with 0.4.13, machine and dates taken out.
"""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Final

MODEL: Final = Path(__file__).parents[1] / "old_run" / "model"
#: Name of a run -> what its command adds.
RUNS: Final = {
    "folder": ["--output_path", "folder"],
    "named": ["--output_path", "named/mine.json", "--apply_chat_template", "--fewshot_as_multiturn"],
}
#: Two documents share an ``id``, and one has the ``id`` 0 where another's ``doc_id`` is 0.
DOCUMENTS: Final = [
    {"id": 7, "question": "the code for the amber falcon is 1 . what is the code ?", "answer": "1", "choices": ["1", "2"], "gold": 0},
    {"id": 7, "question": "the code for the tall hare is 2 . what is the code ?", "answer": "2", "choices": ["1", "2"], "gold": 1},
    {"id": 0, "question": "where is the river ?", "answer": "by the door", "choices": ["by the door", "no"], "gold": 0},
]
_GENERATE: Final = """
output_type: generate_until
generation_kwargs: {until: ["\\n"], max_gen_toks: 4}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true, ignore_case: true}]
"""
TASKS: Final = {
    "peers_filters": _GENERATE
    + """
filter_list:
  - {name: first-word, filter: [{function: regex, regex_pattern: '(\\S+)'}, {function: take_first}]}
  - {name: number, filter: [{function: regex, regex_pattern: '(\\d+)'}, {function: take_first}]}
""",
    "peers_exam_2022": _GENERATE,
    "peers_repeated": _GENERATE + "repeats: 2\n",
    "peers_choice": """
output_type: multiple_choice
doc_to_choice: choices
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}, {metric: acc_norm, aggregation: mean, higher_is_better: true}]
""",
    "peers_text": """
output_type: loglikelihood_rolling
metric_list: [{metric: word_perplexity, aggregation: weighted_perplexity, higher_is_better: false}]
""",
    "peers_ruler": """
output_type: generate_until
generation_kwargs: {until: ["\\n"], max_gen_toks: 4}
process_results: !function lengths.by_length
metric_list: [{metric: "4096", aggregation: !function lengths.mean, higher_is_better: true}]
""",
}
_LENGTHS: Final = """
def by_length(doc, results):
    return {"4096": 0.5}


def mean(values):
    return sum(values) / len(values)
"""
_GROUP: Final = "group: peers\ntask: [{}]\naggregate_metric_list: [{{metric: exact_match, aggregation: mean, weight_by_size: true}}]\n"
#: Of a results file: what is of the machine and the day.
_OF_THE_MACHINE: Final = ("pretty_env_info", "git_hash", "upper_git_hash", "date", "total_evaluation_time_seconds")


def write_tasks(folder: Path) -> None:
    """Write the tasks' YAML and documents below ``folder``, with relative paths alone."""
    folder.mkdir(parents=True)
    (folder / "documents.jsonl").write_text("".join(json.dumps(each) + "\n" for each in DOCUMENTS))
    (folder / "lengths.py").write_text(_LENGTHS)
    for name, text in TASKS.items():
        target = "{{question}}" if name == "peers_text" else "gold" if name == "peers_choice" else "{{answer}}"
        head = (
            f"task: {name}\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {folder.name}/documents.jsonl}}}}\ntest_split: test\n"
        )
        question = '""' if name == "peers_text" else '"{{question}}"'
        (folder / f"{name}.yaml").write_text(f'{head}doc_to_text: {question}\ndoc_to_target: "{target}"\n{text}metadata: {{version: 1}}\n')
    (folder / "peers.yaml").write_text(_GROUP.format("peers_exam_2022, peers_filters"))


def run(root: Path) -> None:
    """Run the installed lm-eval in ``root``, once for each of :data:`RUNS`."""
    write_tasks(root / "tasks")
    (root / "model").symlink_to(MODEL)
    several = ",".join(["peers", *(name for name in TASKS if name not in ("peers_exam_2022", "peers_filters"))])
    quiet = {"HF_HOME": str(root / "hub"), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    for more in RUNS.values():
        asked = ["--model", "hf", "--model_args", "pretrained=model,dtype=float32", "--device", "cpu", "--batch_size", "2", "--log_samples"]
        command = [sys.executable, "-m", "lm_eval", *asked, "--tasks", several, "--include_path", "tasks", *more]
        done = subprocess.run(command, cwd=root, env={**os.environ, **quiet}, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"lm-eval {version('lm_eval')} does not run as 0.4.13 did: {done.stderr.strip()[-2000:]}")


def keep(root: Path, target: Path) -> None:
    """Copy what lm-eval wrote to ``target``, without what is of this machine and day."""
    for name in RUNS:
        for path in sorted((root / name).rglob("*.json*")):
            text = path.read_text(encoding="utf-8")
            if path.suffix == ".json":
                found = {key: value for key, value in json.loads(text).items() if key not in _OF_THE_MACHINE}
                text = json.dumps(found, indent=1) + "\n"
            text = text.replace(str(root), "")
            file = (
                target
                / path.relative_to(root).parent
                / re.sub(r"\d{4}-\d\d-\d\dT[\d.-]+(?=\.json)", "2026-01-02T03-04-05.678901", path.name)
            )
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    place = Path(sys.argv[1]).resolve()
    run(place)
    if "--keep" in sys.argv:
        keep(place, Path(__file__).parent / "lm_eval")
