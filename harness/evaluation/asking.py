"""Put examples to an engine, through lm-eval."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from harness.engines.framing import Framing, frame_for, is_continued, rendered_prompt
from harness.engines.options import EngineConfig
from harness.evaluation import lmeval_tasks as lmeval
from harness.evaluation.sources import TaskInfo
from harness.screen.quiet import without_bars
from tasks.example import Example

if TYPE_CHECKING:
    from harness.engines.lm import HarnessLM

#: Raise when the same inputs should give other answers than before.
GENERATION_VERSION: Final = 3


def ask(lm: "HarnessLM", task: TaskInfo, length: int, examples: Sequence[Example], framing: Framing, engine: EngineConfig) -> None:
    """Have ``lm`` answer, through lm-eval; the answers land in its journal."""
    from lm_eval import evaluate as lm_evaluate
    from lm_eval.api import task as lm_task
    from lm_eval.tasks import TaskManager

    frame = frame_for(framing, chat=task.chat, has_template=lm.has_chat_template)
    until = task.until if is_continued(frame) else ()

    def render(example: Example) -> str:
        return rendered_prompt(lm.tokenizer, example.prompt, example.answer_prefix, frame=frame, thinking=engine.think_tokens > 0)

    config = {
        **lmeval.task_config(f"{task.name}_{length}", task.max_new_tokens, task.metrics, until, engine.temperature),
        "repeats": engine.generations,
        "custom_dataset": partial(lmeval.dataset, examples, render),
        "doc_to_text": lmeval.text,
        "doc_to_target": lmeval.target,
        "process_results": lambda document, results: {lmeval.MEAN: 0.0},  # scores come later, in batches
        "metric_list": [{"metric": lmeval.MEAN, "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": GENERATION_VERSION},
    }
    nothing = TaskManager(include_defaults=False)  # by default lm-eval reads the YAML of all its own tasks, for seconds
    # simple_evaluate would do the same, and each time list the machine's packages and devices, for more than a second
    with without_bars(lm_task):
        lm_evaluate(lm, nothing.load([lm_task.ConfigurableTask(config=config)]), bootstrap_iters=0, log_samples=False)
