"""What lm-eval gives back for the extra tasks, as the rows that are kept of it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.api import Json


def documents(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[dict[str, Any]]:
    """Yield one row for each document and filter."""
    for task, rows in samples.items():
        for row in rows:
            yield {
                "task": task,
                "document": int(row["doc_id"]),
                "hash": str(row["doc_hash"]),
                "filter": str(row["filter"]),
                "metrics": {name: _number(row[name]) for name in row["metrics"]},
                "target": str(row["target"]),
                "answers": [_number(answer) for answer in row["filtered_resps"]],
            }


def _number(value: Any) -> Json:
    """A number, several, or text, as JSON has them."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, list | tuple | set):
        return [_number(each) for each in value]
    try:
        found = float(value)
    except (TypeError, ValueError):
        return str(value)
    return found if math.isfinite(found) else str(found)


def figures(results: Mapping[str, Any], loaded: Sequence[Any]) -> list[Json]:
    """Give lm-eval's own figures, one for each task or group, metric and filter; those that were asked for first."""
    from lm_eval.api.group import Group

    groups = {each.name: each for root in loaded if isinstance(root, Group) for each in (root, *root.get_all_groups())}
    tasks = {task.task_name: task for root in loaded for task in (root.get_all_tasks() if isinstance(root, Group) else [root])}
    tops = [root.name if isinstance(root, Group) else root.task_name for root in loaded]
    found: list[dict[str, Any]] = []
    for name, row in results["results"].items():
        for key, value in row.items():
            metric, comma, filtered = key.partition(",")
            if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            stderr = row.get(f"{metric}_stderr,{filtered}")
            better = (results["higher_is_better"].get(name) or {}).get(metric)
            found.append(
                {
                    "name": name,
                    "metric": metric,
                    "filter": filtered,
                    "value": float(value),
                    "stderr": float(stderr) if isinstance(stderr, int | float) else None,
                    "higher_is_better": better is not False,
                    "version": _number(results["versions"].get(name)),
                    "fewshot": results["n-shot"].get(name),
                    "top": name in tops,
                    **(_group_rule(groups[name], metric) if name in groups else {"aggregation": _aggregation(tasks[name], metric)}),
                }
            )
    order = {name: at for at, name in enumerate(tops)}
    plain: list[Json] = [_plain_table(row) for row in sorted(found, key=lambda row: order.get(row["name"], len(order)))]
    return plain


def _plain_table(row: Mapping[str, Any]) -> dict[str, Json]:
    return {key: value if isinstance(value, bool | int | str) else _number(value) for key, value in row.items()}


def _group_rule(group: Any, metric: str) -> dict[str, Any]:
    """How a group's figure follows from its tasks'."""
    rule = next((each for each in group.aggregate_metric_list or () if each.metric == metric), None)
    plain = rule is not None and rule.aggregation == "mean"
    how = ("weighted" if rule is not None and rule.weight_by_size else "unweighted") if plain else "other"
    return {"aggregation": how, "members": [task.task_name for task in group.get_all_tasks()]}


def _aggregation(task: Any, metric: str) -> str:
    """Which of lm-eval's own functions makes the figure from the documents' values; ``other`` for any else."""
    from lm_eval.api import metrics

    used = task.aggregation().get(metric, metrics.mean)
    known = (metrics.mean, metrics.perplexity, metrics.weighted_perplexity, metrics.bits_per_byte)
    return next((function.__name__ for function in known if used is function), "other")
