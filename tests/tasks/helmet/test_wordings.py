"""Templates: filled in and never evaluated; ours by default, HELMET's from the user's checkout."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.helmet import DATASETS, OWN, examples
from tasks.helmet.checkout import read
from tasks.helmet.wordings import Wording, WordingError, check, digest, dump, fill, load
from tests.tasks.helmet.published import LENGTH, MAKERS, checkout


@given(st.text(), st.text())
def test_values_are_taken_as_they_are(first: str, second: str) -> None:
    assert fill("a{{x}} {one}|{two}", {"one": first, "two": second}) == f"a{{x}} {first}|{second}"


@pytest.mark.parametrize("template", ["{one.__class__}", "{one[0]}", "{one!r}", "{one:>9}", "{}", "{0}", "{other}", "{one", "one}"])
def test_a_template_reads_nothing_but_its_fields(template: str) -> None:
    with pytest.raises(WordingError):
        fill(template, {"one": "1"})


@pytest.mark.parametrize("family", OWN)
def test_our_own_wordings_are_complete(family: str) -> None:
    assert check(family, OWN[family]) is OWN[family]


def test_every_dataset_has_a_wording() -> None:
    assert {dataset.wording for dataset in DATASETS.values()} == set(OWN)
    for dataset in DATASETS.values():
        wording = OWN[dataset.wording]
        assert dataset.loader == "ruler" or dataset.answer_prefix == wording.joint + wording.prefix


@pytest.mark.parametrize("family", [family for family in OWN if family.startswith("cite")])
def test_our_worked_examples_cite_documents_that_are_there(family: str) -> None:
    import re

    for shot in OWN[family].shots:
        cited = {int(number) for number in re.findall(r"\[(\d+)\]", shot.answer)}
        assert cited
        assert cited <= set(range(1, len(shot.documents) + 1))


def test_wordings_survive_being_stored() -> None:
    assert load(dump(OWN)) == OWN
    assert digest(load(dump(OWN))) == digest(OWN)
    changed = {**OWN, "qa": replace(OWN["qa"], prefix="A:")}
    assert digest(changed) != digest(OWN)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"qa": {}}', '{"qa": 3}'])
def test_damaged_stored_wordings(text: str) -> None:
    with pytest.raises(WordingError):
        load(text)


def test_a_wording_without_a_field_it_needs_or_with_one_nobody_fills() -> None:
    with pytest.raises(WordingError, match="user template of qa has no field 'question'"):
        check("qa", replace(OWN["qa"], user="{context}"))
    with pytest.raises(WordingError, match="unknown field 'secret'"):
        check("qa", replace(OWN["qa"], user="{context} {question} {secret}"))
    with pytest.raises(WordingError, match="0 worked examples"):
        check("cite_asqa", replace(OWN["cite_asqa"], shots=()))


def test_a_checkout_is_read_without_being_run(tmp_path: Path) -> None:
    wordings, used = read(checkout(tmp_path))
    assert set(used) == {"data.py", "prompts/asqa_revised.json", "prompts/qampari_revised.json"}
    assert wordings["qa"].user == "QA please.\n\n{demos}{context}\n\nQ: {question}"
    assert wordings["ruler"].prefix == "The {type_needle_v} for {query} is"
    assert wordings["ruler_values"].prefix == "The {type_needle_v} for {query} are"
    assert wordings["rerank"] == Wording(
        user="Rank.\n\n{demos}{context}\n\nQuery: {question}",
        prefix="Ranking:",
        passage="[ID: {id}] D (Title: {title}): {text}",
        untitled="[ID: {id}] D: {text}",
        demo="{documents}\n\nQuery: {question}\nRanking: {answer}",
    )
    assert wordings["icl"].passage == "{text}\nlabel: {label}"
    assert wordings["cite_qampari"].instruction == "Instruction: cite (qampari)."
    assert len(wordings["cite_asqa"].shots) == 4
    assert load(dump(wordings)) == wordings


@pytest.mark.parametrize("name", DATASETS)
def test_a_checkouts_wordings_ask_every_set(name: str, tmp_path: Path) -> None:
    wordings, _ = read(checkout(tmp_path / "checkout"))
    MAKERS[name](tmp_path)
    example = next(examples(DATASETS[name], LENGTH, [tmp_path], lambda prompt, prefix: 9, wordings=wordings))
    assert example.answer_prefix.startswith(wordings[DATASETS[name].wording].joint)
    assert "WRONG" not in example.prompt
    ours = next(examples(DATASETS[name], LENGTH, [tmp_path], lambda prompt, prefix: 9))
    assert example.prompt != ours.prompt
    assert (example.id, example.targets) == (ours.id, ours.targets)


def test_the_prompt_is_helmets_layout(tmp_path: Path) -> None:
    wordings, _ = read(checkout(tmp_path / "checkout"))
    MAKERS["msmarco_rerank_psg"](tmp_path)
    example = next(examples(DATASETS["msmarco_rerank_psg"], LENGTH, [tmp_path], lambda prompt, prefix: 9, wordings=wordings))
    parts = example.prompt.split("\n\n")
    assert parts[0] == "Rank."
    assert parts[5].startswith("Query: ")
    assert "\nRanking: " in parts[5]
    assert parts[-1] == f"Query: {example.meta['query']}"
    assert len(parts) == 1 + 2 * (4 + 1) + 12 + 1


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("data.py", "def load_qa(:", "not Python"),
        ("data.py", "x = 1", "no function"),
        ("data.py", "def load_ruler(dataset):\n    user_template = compute()\n    system_template = 'A:'", "sets no user_template"),
        ("data.py", "def load_ruler(dataset):\n    user_template = " + "+".join(["'a'"] * 50_000), "not Python|nested too deeply"),
        ("prompts/asqa_revised.json", "{", "not a prompt file"),
        ("prompts/asqa_revised.json", json.dumps({"demos": []}), "field 'doc_prompt' is missing"),
        ("prompts/qampari_revised.json", json.dumps([1]), "not a prompt file"),
    ],
    ids=range(7),
)
def test_a_checkout_of_another_shape(file: str, content: str, words: str, tmp_path: Path) -> None:
    (checkout(tmp_path) / file).write_text(content)
    with pytest.raises(WordingError, match=words) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_directory_that_is_no_checkout(tmp_path: Path) -> None:
    with pytest.raises(WordingError, match=r"data\.py is no file; point at a checkout"):
        read(tmp_path)
