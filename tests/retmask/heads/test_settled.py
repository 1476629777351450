"""What is settled of an answer under way is what the whole answer says."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from retmask.heads.settled import Settled
from retmask.heads.trial_scoring import SUCCESS, TrialScoring
from retmask.heads.trials import Trial, build_trials
from tests.retmask.small import byte_bpe, metaspace_unigram

ROOM = 12
TOKENIZERS = [byte_bpe(), metaspace_unigram()]
TRIAL = build_trials(TOKENIZERS[0], [150], 1, (0.5,), seed=1)[0]


def trial(answer: str) -> Trial:
    return replace(TRIAL, needle=replace(TRIAL.needle, answer=answer))


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=["byte-bpe", "metaspace-unigram"])
@pytest.mark.parametrize("stems", [False, True])
@settings(deadline=None)
@given(data=st.data())
def test_it_is_the_outcome_of_every_answer_that_goes_on_from_there(
    tokenizer: PreTrainedTokenizerBase, stems: bool, data: st.DataObject
) -> None:
    wanted = data.draw(st.lists(st.sampled_from(["bury", "the", "amber", "kettle", "a", "ab"]), min_size=1, max_size=5))
    asked, rules = trial(" ".join(wanted)), TrialScoring(max_new_tokens=ROOM, stems=stems)
    parts = st.one_of(st.sampled_from(wanted), st.text("abtk .é", max_size=3), st.sampled_from([" ", "s", ",", "\N{KELVIN SIGN}"]))
    text = "".join(data.draw(st.lists(parts, max_size=10)))
    ids = tokenizer(text, add_special_tokens=False)["input_ids"][:ROOM]
    outcome = rules.recall(asked.needle.answer, tokenizer.decode(ids, skip_special_tokens=True)) > SUCCESS
    settled = Settled(tokenizer, rules)
    for size in range(1, len(ids) + 1):
        assert settled.counts(asked, ids[:size]) in (None, outcome)


def test_an_answer_is_cut_off_once_its_outcome_is_known() -> None:
    tokenizer = TOKENIZERS[0]
    asked = trial("bury the amber kettle")
    settled = Settled(tokenizer, TrialScoring(max_new_tokens=ROOM))

    def said(text: str) -> bool | None:
        return settled.counts(asked, tokenizer(text, add_special_tokens=False)["input_ids"])

    assert said("bury the amber") is None  # it might go on to "ambergris"
    assert said("bury the amber ") is True
    assert settled.counts(asked, tokenizer("x", add_special_tokens=False)["input_ids"] * (ROOM - 2)) is False  # two more words at most
    assert said("x") is None
    assert settled.is_settled(asked, [5] * ROOM)


def test_a_token_of_several_words_can_complete_as_many() -> None:
    tokenizer = byte_bpe()
    tokenizer.add_tokens(["y.the.am"])
    room = Settled(tokenizer, TrialScoring(max_new_tokens=2))
    asked = trial("bury the amber")
    assert room.counts(asked, [5]) is None  # bur + y.the.am + ber
    assert Settled(byte_bpe(), TrialScoring(max_new_tokens=2)).counts(asked, [5]) is False
