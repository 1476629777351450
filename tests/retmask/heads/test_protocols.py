"""The published layouts: the paper's, right, and the published program's, as it is."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from rouge_score.rouge_scorer import RougeScorer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from retmask.heads import protocols
from retmask.heads.detect import run_trials
from retmask.heads.prefix_reader import reading_order, shared
from retmask.heads.protocols import paper_trials, parity_trials
from retmask.heads.trial_scoring import PUBLISHED, TrialScoring
from retmask.heads.trials import Trial
from tests.retmask.small import TOKENIZERS, byte_bpe, random_model


def test_the_grid_is_the_papers() -> None:
    assert tuple(np.round(np.linspace(0, 5000, 20)).astype(int)) == protocols.LENGTHS
    assert protocols.NEEDLES * len(protocols.LENGTHS) * protocols.DEPTHS == 600


@pytest.mark.parametrize("name", TOKENIZERS)
def test_paper_trials_are_at_their_depth_in_every_tokenizer(name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    trials = paper_trials(tokenizer, 1, needles=2, lengths=(0, 300, 700), depths=4)
    assert len(trials) == 24
    for trial in trials:
        body = trial.prompt.partition("Remember them.\n\n")[2].rpartition("\n\n")[0]
        before, _, after = body.partition(trial.needle.text)
        sizes = [len(tokenizer(part, add_special_tokens=False)["input_ids"]) for part in (before, after)]
        assert sum(sizes) <= trial.length + 1
        longest = max(
            (len(tokenizer(f" {part}.", add_special_tokens=False)["input_ids"]) for part in (before + after).split(".")), default=0
        )
        assert abs(sizes[0] - trial.depth * sum(sizes)) <= longest
        assert tokenizer.decode(trial.needle_ids).split() == trial.needle.answer.split()


def test_paper_trials_share_most_of_what_there_is_to_read(tokenizer: PreTrainedTokenizerBase) -> None:
    prompts = [trial.prompt_ids for trial in paper_trials(tokenizer, 1, needles=2, lengths=(250, 500, 750, 1000), depths=5)]
    ordered = [prompts[index] for index in reading_order(prompts)]
    read = sum(len(ids) - shared(before, ids) for before, ids in zip([(), *ordered], ordered, strict=False))
    assert read < 0.6 * sum(map(len, prompts))


def test_without_llama_2s_token_ids_parity_puts_the_needle_first(tokenizer: PreTrainedTokenizerBase) -> None:
    trials = parity_trials(tokenizer, 1, needles=1, lengths=(600,), depths=10)
    assert [trial.depth for trial in trials] == [0.0, 0.11, 0.22, 0.33, 0.44, 0.56, 0.67, 0.78, 0.89, 1.0]
    assert [trial.realised_depth for trial in trials] == [0.0] * 9 + [1.0]
    assert len({trial.prompt_ids for trial in trials}) == 2
    for trial in trials:
        assert "<book>" in trial.prompt
        assert f"Question: {trial.needle.question}\nAnswer:" in trial.prompt
        body = trial.prompt.partition("<book>")[2].partition("</book>")[0]
        assert len(tokenizer(body, add_special_tokens=False)["input_ids"]) <= 400  # 200 short of the length
    assert trials[0].prompt.partition("<book>")[2].startswith(trials[0].needle.text)


def test_parity_finds_the_needle_by_overlap_or_not_at_all() -> None:
    find = protocols._find
    assert find((9, 9, 1, 2, 3, 9), (1, 2, 3)) == (2, 5)
    assert find((1, 3, 2, 1, 2, 3), (1, 2, 3)) == (0, 3)  # a set has no order
    assert find((1, 2, 9, 9), (1, 2, 3)) == (-1, -1)
    ten = tuple(range(10))
    assert find((99, *ten[:9], 98), ten) == (-1, -1)  # nine of ten is not more than nine tenths


@pytest.fixture(scope="module")
def few_tokens(tokenizer: PreTrainedTokenizerBase) -> list[Trial]:
    """Seven different tokens and a needle that is most of the prompt, so that random weights hit it often."""
    built = parity_trials(tokenizer, 1, needles=2, lengths=(350, 420), depths=3)
    few = [replace(trial, prompt_ids=tuple(5 + token % 7 for token in trial.prompt_ids)) for trial in built]
    return [replace(trial, needle_start=10, needle_end=len(trial.prompt_ids)) for trial in few]


def published_loop(model: PreTrainedModel, trial: Trial, steps: int) -> tuple[list[int], np.ndarray]:
    """The published scoring, step by step, from the full attention rows."""
    prompt = torch.tensor([trial.prompt_ids])
    output = model(prompt[:, :-1], use_cache=True)
    token, cache, said = prompt[0, -1], output.past_key_values, []
    scores = np.zeros((2, 4))
    for _ in range(steps):
        output = model(token.view(1, 1), past_key_values=cache, use_cache=True, output_attentions=True)
        token = output.logits[0, -1].argmax()
        said.append(int(token))
        for layer, attention in enumerate(output.attentions):
            for head in range(attention.shape[1]):
                for place in attention[0, head, -1].topk(1).indices:
                    if trial.needle_start <= place < trial.needle_end and token == prompt[0, place]:
                        scores[layer, head] += 1 / (trial.needle_end - trial.needle_start)
        if int(token) == 144:
            break
    return said, scores


@torch.no_grad()
def test_parity_scores_equal_the_published_loop(tokenizer: PreTrainedTokenizerBase, few_tokens: list[Trial]) -> None:
    rules = replace(PUBLISHED, max_new_tokens=20)
    found = run_trials(random_model("Llama", vocab_size=12), tokenizer, few_tokens, rules=rules, uncounted=True)
    eager = random_model("Llama", "eager", vocab_size=12)
    for result, trial in zip(found, few_tokens, strict=True):
        said, scores = published_loop(eager, trial, 20)
        assert list(result.generated_ids) == said
        assert len(said) == 20  # the end-of-text token does not end it
        np.testing.assert_allclose(result.scores, scores, atol=1e-6)
    assert max(result.scores.max() for result in found) > 0


def test_repeated_copies_count_each_time_only_in_parity(few_tokens: list[Trial]) -> None:
    trial = replace(few_tokens[0], prompt_ids=(7, 8, 9), needle_start=1, needle_end=3)
    looked_at = np.array([[[1, 1, 1, 2]]])
    assert PUBLISHED.scores(trial, [8, 8, 8, 9], looked_at).tolist() == [[2.0]]
    assert TrialScoring().scores(trial, [8, 8, 8, 9], looked_at).tolist() == [[1.0]]
    missed = replace(trial, needle_start=-1, needle_end=-1)
    assert PUBLISHED.scores(missed, [8, 8, 8, 9], looked_at).tolist() == [[0.0]]


def test_parity_compares_stems() -> None:
    assert PUBLISHED.recall("walking dogs", "walked dog") == 1.0
    assert TrialScoring().recall("walking dogs", "walked dog") == 0.0
    scorer = RougeScorer(["rouge1"], use_stemmer=True)
    assert PUBLISHED.recall("the hidden boxes, two", "hide a box") == scorer.score("the hidden boxes, two", "hide a box")["rouge1"].recall


def test_parity_stops_at_a_newline_byte_where_the_vocabulary_has_one() -> None:
    model, tokenizer = random_model("Llama"), byte_bpe()
    assert PUBLISHED.stops(model, tokenizer) == [144]
    tokenizer.add_tokens("<0x0A>")
    assert PUBLISHED.stops(model, tokenizer) == [144, tokenizer.get_vocab()["<0x0A>"]]
    assert TrialScoring().stops(model, tokenizer) == [1]
