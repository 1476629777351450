"""``--probe-context``: whether a server reads a prompt as long as the suite's longest from its first words, before anything is scored.

    The code for the amber falcon is 483291. The fence near the river was wet. ... What is the code for the amber falcon?

Servers that cut prompts keep the end of them and drop what stands at the start, where the code is.
"""

import json
import re
from bisect import bisect_right
from collections.abc import Callable
from contextlib import closing
from random import Random
from typing import TYPE_CHECKING, Final

from harness.api import Artifact, HarnessError
from harness.engines.framing import frame_for, rendered_prompt
from harness.evaluation.suite import infos
from tasks.prose import sentence
from tasks.world import World

if TYPE_CHECKING:
    from harness.context import Run
    from harness.engines.lm import Prompt
    from harness.engines.served import Served

#: Tokens of the prompt that a model of any size finds the code in.
_SHORT: Final = 192
#: What stands between the digits of a code that a model writes in groups.
_BETWEEN: Final = re.compile(r"(?<=\d)[\s,.'*_-]+(?=\d)")


def probe_context(run: "Run", suite: Artifact) -> None:
    """Ask the run's server for what stands at the start of a prompt as long as the suite's longest, and say that it is read.

    HarnessError if the server cuts or refuses it, or does not give the code back.
    """
    from harness.engines.served import Served

    longest, answer = _sizes(suite)
    url = run.config.url
    with closing(Served(run.model, run.config)) as server:
        if _is_found(run, server, longest, answer):
            run.say(f"--probe-context: {url} gave back what stands at the start of a prompt of {longest} tokens")
            return
        short = min(_SHORT, longest)
        if _is_found(run, server, short, answer):
            raise HarnessError(
                f"--probe-context: {url} gave back what stands at the start of a prompt of {short} tokens, and not of one of {longest}: it "
                "cuts prompts, or the model does not look so far back; give the server a longer context, or ask for shorter --lengths"
            )
        if server.says_what_it_reads:
            run.say(f"--probe-context: the model does not give back a code from {short} tokens either, but {url} counts all it was sent")
            return
        raise HarnessError(
            f"--probe-context: the model does not give back a code from a prompt of {short} tokens either, and {url} does not say what it "
            "reads, so nobody can tell whether it cuts prompts; leave the option out to evaluate all the same"
        )


def _sizes(suite: Artifact) -> tuple[int, int]:
    """Tokens of the suite's longest prompt, and of the answer after it."""
    inputs = suite.manifest["inputs"]
    assert isinstance(inputs, dict)
    lengths = inputs["lengths"]
    assert isinstance(lengths, list)
    answer = min(task.max_new_tokens for task in infos(suite))
    return max(int(str(length)) for length in lengths) - answer, answer


def _is_found(run: "Run", server: "Served", size: int, answer: int) -> bool:
    from harness.engines.lm import Batch, Failed

    prompt, code = _prompt(run, server, size, answer)
    try:
        (found,) = [each for answers in server.generate([prompt], Batch(size)) for each in answers.values()]
    except HarnessError as error:
        raise HarnessError(f"--probe-context: {error}") from None
    if isinstance(found, Failed):
        raise HarnessError(f"--probe-context: {prompt.example}: {found.reason}")
    return code in _BETWEEN.sub("", f"{found.thoughts} {found.text}")


def _prompt(run: "Run", server: "Served", size: int, answer: int) -> "tuple[Prompt, str]":
    """A prompt of ``size`` tokens with a code as its first words, and the code."""
    from lm_eval.api.instance import Instance

    from harness.engines.lm import Prompt

    config = run.config
    world = World(Random(run.seed), "eval")
    key, code = world.key(), world.number(6)
    told = f"The code for the {key} is {code}."
    asked, prefix = f"What is the code for the {key}? Answer with the digits of the code.", f"\nThe code for the {key} is"
    frame = frame_for(config.suite_framing, chat=True, has_template=server.tokenizer.chat_template is not None)
    filler, rng = list[str](), Random(run.seed)

    def text(sentences: int, words: int) -> str:
        while len(filler) < sentences:
            filler.append(sentence(rng))
        return f"{' '.join([told, *filler[:sentences]])}{' so' * words}\n\n{asked}"

    def rendered(content: str) -> str:
        return rendered_prompt(server.tokenizer, content, prefix, frame=frame, thinking=config.think_tokens > 0)

    def tokens(content: str) -> int:
        return len(server.tok_encode(rendered(content)))

    sentences = _most(size, lambda n: tokens(text(n, 0)))
    content = text(sentences, _most(size, lambda n: tokens(text(sentences, n))))
    budget = answer + config.think_tokens
    document = {"id": "probe", "text": content, "example": json.dumps({"prompt": content, "answer_prefix": prefix})}
    settings = {"until": [] if config.think_tokens else ["\n\n"], "max_gen_toks": budget, "do_sample": False, "temperature": 0.0}
    request = Instance("generate_until", document, (rendered(content), settings), 0)
    ids = tuple(server.tok_encode(rendered(content)))
    return Prompt(f"a prompt of {len(ids)} tokens", ids, request), code


def _most(room: int, tokens: Callable[[int], int]) -> int:
    """The largest number whose text has no more than ``room`` tokens."""
    return max(0, bisect_right(range(room // 2), room, key=tokens) - 1)
