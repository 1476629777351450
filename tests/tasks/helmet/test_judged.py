"""What a judge is asked of published sets, in our words and in those of a checkout."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tasks.helmet import LONGER, DataError, long_examples
from tasks.helmet.judge_words import OWN, check, digest, dump, load, read
from tasks.helmet.judged import METRICS, Call, calls, judgement, key_points
from tasks.helmet.wordings import WordingError
from tests.tasks.helmet.long_files import LONG_MAKERS, shorten

LONGQA = '''
raise RuntimeError("this file is parsed and never run")
judge_prompt = """Q {question} A {correct_answers} O {parsed_output} {{"fluency": 0}}"""
def check_metrics():
    judge_prompt = "WRONG"
'''
SUMM = "\n".join(
    f'{part}_prompt{book} = """{part}{book} {fields} {{{{}}}}"""'
    for part, fields in (("fluency", "{text}"), ("recall", "{keypoints} {summary}"), ("precision", "{expert_summary} {summary}"))
    for book in ("", "_book")
)


def scripts(root: Path, longqa: str = LONGQA, summ: str = SUMM) -> Path:
    (root / "scripts").mkdir(parents=True, exist_ok=True)
    (root / "scripts/eval_gpt4_longqa.py").write_text(longqa)
    (root / "scripts/eval_gpt4_summ.py").write_text(summ)
    return root


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shorten(monkeypatch)
    for name in METRICS:
        LONG_MAKERS[name](tmp_path)
    return tmp_path


def asked(name: str, root: Path, output: str, words: object = OWN) -> tuple[Call, ...]:
    (example,) = long_examples(LONGER[name], 8_192, [root], lambda text, prefix: len(text.split()), examples=1)
    return calls(LONGER[name], example, output, words, key_points(LONGER[name], [root]))  # type: ignore[arg-type]


def test_an_answer_is_judged_against_all_correct_ones(files: Path) -> None:
    (call,) = asked("narrativeqa", files, "Well.\nanswer: Bob\nWhy?")
    assert call.part == "answer"
    assert "Answer: Bob Why?\n" in call.prompt
    assert "['Person " in call.prompt
    assert "', 'the person " in call.prompt
    assert "text begins" not in call.prompt, "the judge does not see the story"
    assert '{"fluency": 1, "correctness": 2}' in call.prompt


@pytest.mark.parametrize("name", ["infbench_sum_eng", "multi_lexsum"])
def test_a_summary_takes_three_calls(name: str, files: Path) -> None:
    fluency, recall, precision = asked(name, files, " My summary. \n")
    assert [call.part for call in (fluency, recall, precision)] == ["fluency", "recall", "precision"]
    assert all("My summary.\n\n" in call.prompt for call in (fluency, recall, precision))
    assert "1. Point " in recall.prompt
    assert ("The long summary of" in precision.prompt) == (name == "multi_lexsum")
    assert "Expert's summary:\n" in precision.prompt
    assert len({call.key for call in (fluency, recall, precision)}) == 3
    assert asked(name, files, "My summary.")[0].key == fluency.key, "named by its content"


def test_verdicts_make_a_judgement(files: Path) -> None:
    (example,) = long_examples(LONGER["infbench_sum_eng"], 8_192, [files], lambda text, prefix: len(text.split()), examples=1)
    points = key_points(LONGER["infbench_sum_eng"], [files])
    verdicts = {"fluency": '{"fluency": 1}', "recall": '{"recall": 1}', "precision": '{"precision": 1, "sentence_count": 2}'}
    assert judgement(LONGER["infbench_sum_eng"], example, verdicts, points).score == 0.5
    with pytest.raises(DataError, match="has no key points of"):
        judgement(LONGER["infbench_sum_eng"], example, verdicts, {})
    (story,) = long_examples(LONGER["narrativeqa"], 8_192, [files], lambda text, prefix: len(text.split()), examples=1)
    assert judgement(LONGER["narrativeqa"], story, {"answer": '{"fluency": 1, "correctness": 3}'}, {}).score == 1


def test_key_points_come_with_the_archive(tmp_path: Path) -> None:
    assert key_points(LONGER["narrativeqa"], [tmp_path]) == {}
    for name in ("infbench_sum_eng", "multi_lexsum"):
        with pytest.raises(DataError, match=r"key points.* authors' archive.* `harness data path DIR`"):
            key_points(LONGER[name], [tmp_path])


def test_prompts_are_read_from_a_checkout_without_running_it(tmp_path: Path) -> None:
    words, used = read(scripts(tmp_path))
    assert set(used) == {"scripts/eval_gpt4_longqa.py", "scripts/eval_gpt4_summ.py"}
    assert words.answer.startswith("Q {question}")
    assert (words.recall_book, words.recall_case) == ("recall_book {keypoints} {summary} {{}}", "recall {keypoints} {summary} {{}}")
    assert load(dump(words)) == words
    assert digest(words) != digest(OWN)
    assert check(OWN) is OWN


@pytest.mark.parametrize(
    ("longqa", "summ", "words"),
    [
        ("x = 1", SUMM, "sets no judge_prompt"),
        (LONGQA, SUMM.replace("recall_prompt_book", "other"), "sets no recall_prompt_book"),
        (LONGQA, "def f(:", "not Python"),
        (LONGQA.replace("{question}", "{secret}"), SUMM, "has the fields"),
    ],
)
def test_a_checkout_of_another_shape(longqa: str, summ: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(WordingError, match=words):
        read(scripts(tmp_path, longqa, summ))
    with pytest.raises(WordingError, match="is no file"):
        read(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"answer": 3}'])
def test_damaged_stored_prompts(text: str) -> None:
    with pytest.raises(WordingError):
        load(text)


def test_a_prompt_reads_nothing_but_its_fields() -> None:
    for part in asdict(OWN):
        with pytest.raises(WordingError, match=f"the judge's {part} prompt"):
            check(replace(OWN, **{part: "{other}"}))
