"""Templates of the long sets: ours by default, HELMET's from the user's checkout."""

from dataclasses import replace
from pathlib import Path

import pytest

from tasks.helmet import LONGER, long_examples
from tasks.helmet.longer_wordings import OWN, LongWording, check, digest, dump, load, read
from tasks.helmet.wordings import WordingError
from tests.tasks.helmet.long_files import LONG_MAKERS, shorten
from tests.tasks.helmet.published import DATA_PY, checkout


def test_every_set_has_words_of_ours() -> None:
    assert set(OWN) == set(LONGER) == {dataset.wording for dataset in LONGER.values()}
    for name, wording in OWN.items():
        assert check(name, wording) is wording
        assert LONGER[name].answer_prefix == wording.joint + wording.prefix


def test_wordings_survive_being_stored() -> None:
    assert load(dump(OWN)) == OWN
    assert digest(load(dump(OWN))) == digest(OWN)
    assert digest({**OWN, "multi_lexsum": replace(OWN["multi_lexsum"], prefix="S:")}) != digest(OWN)


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"multi_lexsum": {}}', '{"multi_lexsum": 3}'])
def test_damaged_stored_wordings(text: str) -> None:
    with pytest.raises(WordingError):
        load(text)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"user": "{context}"}, "user template of narrativeqa has no field 'question'"),
        ({"demo": "{question}"}, "demo template of narrativeqa has no field 'answer'"),
        ({"demos": "{demos} {secret}"}, "unknown field 'secret'"),
        ({"omitted": "\ud800"}, "half of a surrogate pair"),
    ],
)
def test_a_wording_that_cannot_be_filled_in(change: dict[str, str], words: str) -> None:
    with pytest.raises(WordingError, match=words):
        check("narrativeqa", replace(OWN["narrativeqa"], **change))


def test_a_checkout_is_read_without_being_run(tmp_path: Path) -> None:
    wordings, used = read(checkout(tmp_path))
    assert set(used) == {"data.py"}
    assert wordings["narrativeqa"] == LongWording(
        user="A story.\n\n{demo}{context}\n\nQ: {question}",
        prefix="Answer:",
        joint="\n",
        demo="Q: {question}\nA: {answer}",
        demos="So:\n\n{demos}\n\nNow:\n\n",
        omitted=" ... [cut]",
    )
    assert (wordings["multi_lexsum"].demo, wordings["multi_lexsum"].demos) == ("S: {answer}", "So:\n\n{demos}\n\nNow.\n")
    assert [wordings[f"infbench_{name}"].demo for name in ("qa_eng", "choice_eng", "sum_eng")] == [
        "[text]\nQ: {question}\nA: {answer}",
        "[text]\nQ: {question}\n{options}\nA: {answer}",
        "[text]\nS: {answer}",
    ]
    assert {wordings[name].demos for name in wordings if name.startswith("infbench")} == {"So:\n\n{demos}\n\nRead:\n\n"}
    assert {wording.joint for name, wording in wordings.items() if name != "narrativeqa"} == {"\n\n"}
    assert load(dump(wordings)) == wordings


def test_a_checkouts_wordings_ask_every_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)
    wordings, _ = read(checkout(tmp_path / "checkout"))
    for name, make in LONG_MAKERS.items():
        make(tmp_path)
        (example,) = long_examples(LONGER[name], 8_192, [tmp_path], lambda text, prefix: len(text.split()), examples=1, wordings=wordings)
        head, tail = wordings[name].user.split("{demo}")
        assert example.prompt.startswith(f"{head}So:\n\n")
        assert example.prompt.count("\nA: " if LONGER[name].category == "longqa" else "S: ") == 2
        assert " ... [cut]" in example.prompt
        assert example.prompt.endswith(tail.rpartition("{context}")[2].partition("{question}")[0][-4:]) or "{question}" in tail


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("def truncate_llama2", "def other", "truncate_llama2 has no postfix_text"),
        ("def load_infbench", "def other", "no function load_infbench"),
        ("So:\\n\\n{demo}", "{other}", "load_infbench does not have its templates"),
        ("S: {}", "S: nothing", "load_multi_lexsum does not have its templates"),
        ('user_template = "A story.', 'text = "A story.', "load_narrativeqa sets no user_template"),
        ('prompt_template = user_template + "\\n" + system_template', "prompt_template = 'else'", "load_narrativeqa does not have"),
        ("def load_narrativeqa", "x = " + "(" * 500 + "def load_narrativeqa", "not Python"),
    ],
)
def test_a_checkout_of_another_shape(old: str, new: str, words: str, tmp_path: Path) -> None:
    assert old in DATA_PY
    (checkout(tmp_path) / "data.py").write_text(DATA_PY.replace(old, new))
    with pytest.raises(WordingError, match=words) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)
