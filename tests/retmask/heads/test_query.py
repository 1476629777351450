"""QRHead scores against eager attention's own weights."""

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from harness.api import HarnessError
from retmask.heads.detect import detect
from retmask.heads.detectors import detector_names, find_detector
from retmask.heads.protocols import parity_trials
from retmask.heads.query import calibrated
from retmask.heads.trials import build_trials, evenly
from retmask.model import encode
from tests.retmask.small import random_model


@pytest.mark.parametrize("kind", ["Llama", "Olmo3", "Gemma3Text"])
def test_scores_equal_eager_attentions(kind: str, tokenizer: PreTrainedTokenizerBase) -> None:
    trials = build_trials(tokenizer, [150, 180], 2, evenly(2), seed=4)
    scores = detect(random_model(kind), tokenizer, trials, "digest", detector=find_detector("query"), protocol="grid")
    assert (scores.detector, scores.protocol) == ("query", "grid")
    assert scores.trials[0].recall is None
    eager = random_model(kind, "eager")
    for trial, found in zip(trials, scores.per_trial, strict=True):
        question, (first, last) = trial.needle.question, trial.passage
        assert tokenizer.decode(trial.prompt_ids[first:last]).strip() == trial.needle.text
        assert tokenizer.decode(trial.prompt_ids[trial.question :]).startswith(question)
        null = encode(tokenizer, trial.prompt.replace(question, "N/A"))
        rows = []
        for ids in (list(trial.prompt_ids), null):
            with torch.no_grad():
                attentions = eager(torch.tensor([ids]), output_attentions=True).attentions
            rows.append(torch.stack([layer[0, :, trial.question :, first:last].mean(dim=1) for layer in attentions]))
        torch.testing.assert_close(torch.tensor(found), calibrated(*rows), atol=1e-4, rtol=1e-3)
    assert scores.max > 0


def test_calibration_takes_out_what_needs_no_question() -> None:
    asked, null = torch.tensor([[[0.3, 0.2, 0.1]]]), torch.tensor([[[0.1, 0.2, 0.0]]])
    assert calibrated(asked, asked).item() == 0
    assert calibrated(asked, null).item() == pytest.approx(0.3)
    assert calibrated(null, asked).item() == 0  # less than for the null query


def test_an_abnormally_low_token_is_left_out() -> None:
    asked = torch.full((1, 1, 20), 0.01)
    asked[..., 3] = -0.9  # as calibrated attention can be
    assert calibrated(asked, torch.zeros_like(asked)).item() == pytest.approx(0.19)


def test_trials_without_a_question_position_are_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    trials = parity_trials(tokenizer, 1, needles=1, lengths=(300,), depths=2)
    with pytest.raises(HarnessError, match="the query detector needs"):
        detect(random_model("Llama"), tokenizer, trials, "digest", detector=find_detector("query"))


def test_detectors_are_found_by_name() -> None:
    assert {"copy", "query"} <= set(detector_names())
    with pytest.raises(HarnessError, match=r"unknown detector 'kopy'; installed: .*copy"):
        find_detector("kopy")
