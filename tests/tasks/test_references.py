"""Ceiling and floor: the same question, with its gold alone and without it."""

import pytest

from tasks.build import Budget, build
from tasks.example import Example
from tasks.references import REFERENCES, reference_examples, which
from tasks.suite import TASKS

LENGTH = 512


def words(text: str, *_: str) -> int:
    return len(text.split())


def sides(name: str) -> dict[str | None, list[Example]]:
    found = list(reference_examples(TASKS[name], LENGTH, 9, seed=3))
    return {reference: [each for each in found if which(each.id) == reference] for reference in (*REFERENCES, None)}


@pytest.mark.parametrize("name", TASKS)
def test_each_question_is_asked_once_at_each_side(name: str) -> None:
    found = sides(name)
    suite = list(build(TASKS[name], Budget(LENGTH, words), 9, seed=3))
    questions = {example.cluster for example in suite}
    assert not found[None]
    for reference in REFERENCES:
        assert {each.cluster for each in found[reference]} == questions
        assert len(found[reference]) == len(questions)
    asked = {example.cluster: example.prompt.rsplit("\n\n", 1)[1] for example in suite}
    for each in (*found["ceiling"], *found["floor"]):
        assert each.prompt.endswith(asked[each.cluster]), "the suite's own question"
    assert all(len(each.prompt) < len(example.prompt) for each, example in zip(found["ceiling"], suite, strict=False))


@pytest.mark.parametrize("name", TASKS)
def test_the_ceiling_holds_the_answer_and_the_floor_does_not(name: str) -> None:
    task, found = TASKS[name], sides(name)
    for ceiling, floor in zip(found["ceiling"], found["floor"], strict=True):
        assert task.score(ceiling, ceiling.answer) == dict.fromkeys(task.metrics, pytest.approx(1.0))
        context = floor.prompt.rsplit("\n\n", 1)[0]
        if task.category == "icl":
            assert f"Label: {floor.targets[0]}" in context, "which labels there are is known"
            assert context.count("Label:") == context.count("\nLabel:"), "and no shot is"
        else:
            gold = ceiling.prompt.rsplit("\n\n", 1)[0].rsplit("\n\n", 1)[1]
            assert gold not in context
            assert context.rsplit("\n\n", 1)[0] == ceiling.prompt.rsplit("\n\n", 2)[0], "the same instruction"
        assert all(target in ceiling.prompt or task.category == "cite" for target in ceiling.targets)


def test_a_ceiling_of_shots_has_one_about_the_very_word() -> None:
    for ceiling in sides("icl_fine")["ceiling"]:
        *shots, question = ceiling.prompt.replace("\n\n", "\n").split("\n")[1:]
        same = [shot for shot in shots if shot.endswith(f" Label: {ceiling.targets[0]}")]
        assert len(same) == 1
        assert set(question.strip(".").split()) & set(same[0].replace(".", "").split())
