"""Stories and their summaries: consistent, within budget, answerable, and no part of a suite that does not name them."""

import re
import time
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.build import Budget, BudgetError, build
from tasks.example import Example, Task
from tasks.plot import DEEDS, Plot
from tasks.references import reference_examples, which
from tasks.story import Story
from tasks.suite import CATEGORIES, EVERY, GROUPS, LONGER_TASKS, TASKS, find, select
from tasks.wording import WORDINGS
from tasks.words import FAMILY, GIVEN
from tasks.world import half
from tests.tasks.test_wording import CHAT, named, pieces, words

STORIES = [name for name in LONGER_TASKS if name != "story_summary"]


def made(name: str, length: int = 1_500, examples: int = 3, seed: int = 1) -> list[Example]:
    return list(build(LONGER_TASKS[name], Budget(length, words), examples, seed))


def story(example: Example) -> list[str]:
    """The passages of its context."""
    return example.prompt.split("\n\n")[-2].split("\n")


def test_a_suite_without_names_has_five_categories_and_seven_is_a_name() -> None:
    assert select(()) == tuple(TASKS.values()) == select(("five",))
    assert {task.category for task in select(())} == set(CATEGORIES)
    assert [task.name for task in select(("seven",))] == list(EVERY)
    assert [task.name for task in select(("longqa",))] == STORIES
    assert [task.name for task in select(("summ", "json_kv"))] == ["json_kv", "story_summary"]
    assert tuple(GROUPS["seven"]) == tuple(dict.fromkeys(task.category for task in EVERY.values()))
    assert [task.name for wording in WORDINGS for task in select(("summ",), wording)] == ["story_summary"] * 2
    assert find("story_one", "terse") is LONGER_TASKS["story_one"]
    with pytest.raises(KeyError, match="eight"):
        select(("eight",))


@pytest.mark.parametrize("length", [512, 2_048])
@pytest.mark.parametrize("name", LONGER_TASKS)
def test_prompt_and_answer_fill_the_length_to_within_a_passage(name: str, length: int) -> None:
    for example in made(name, length, 6):
        used = words(example.prompt, example.answer_prefix) + LONGER_TASKS[name].max_new_tokens
        assert length - 60 <= used <= length


@pytest.mark.parametrize("name", LONGER_TASKS)
def test_every_task_fits_512_tokens_in_pieces_and_in_a_chat(name: str) -> None:
    task = LONGER_TASKS[name]
    for seed in range(20):
        example, *_ = build(task, Budget(512, lambda text, prefix: CHAT + pieces(text, prefix)), 1, seed)
        assert task.score(example, example.answer) == dict.fromkeys(task.metrics, 1.0)


@pytest.mark.parametrize("name", LONGER_TASKS)
def test_a_perfect_answerer_scores_1_and_an_empty_one_0(name: str) -> None:
    task = LONGER_TASKS[name]
    for example in made(name, examples=6):
        prefix = example.answer_prefix.strip()
        assert task.score(example, example.answer) == dict.fromkeys(task.metrics, 1.0)
        assert task.score(example, f"{prefix} {example.answer}") == dict.fromkeys(task.metrics, 1.0)
        assert task.score(example, "") == task.score(example, prefix) == dict.fromkeys(task.metrics, 0.0)
        assert max(words(example.answer), pieces(example.answer)) < task.max_new_tokens
        assert not task.score(example, "Nothing of the kind.")[task.metrics[0]]


@pytest.mark.parametrize("name", LONGER_TASKS)
def test_the_same_seed_gives_the_same_examples_and_more_of_them_begin_alike(name: str) -> None:
    few, many, other = (made(name, 700, n, seed) for n, seed in ((3, 0), (6, 0), (3, 1)))
    assert few == many[:3]
    assert few != other
    assert [example.cluster for example in many] == [many[0].cluster] * 3 + [many[3].cluster] * 3
    questions = [example.prompt.rsplit("\n\n", 1)[1] for example in many]
    assert len(set(questions)) == 2


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), name=st.sampled_from(sorted(LONGER_TASKS)))
def test_a_worked_example_names_nothing_of_its_context(seed: int, name: str) -> None:
    (example,) = made(name, 900, 1, seed)
    *before, context, question = example.prompt.split("\n\n")
    shown = named("\n".join(before[1:]))
    assert shown
    assert not shown & named(f"{context}\n{question}")
    assert {half(each) for each in shown} == {"train"}


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_people_travel_from_where_they_are(seed: int) -> None:
    (example,) = made("story_one", 3_000, 1, seed)
    at: dict[str, str] = {}
    for passage in story(example):
        travel = re.search(r"(\w+ \w+) travelled from (\w+) to (\w+) ", passage)
        if travel:
            person, start, end = travel.groups()
            assert at.get(person, start) == start
            assert start != end
            at[person] = end
            met = re.search(rf"There {person} met (\w+ \w+)\.", passage)
            assert not met or at.get(met[1], end) == end
    assert len(at) > 5


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), name=st.sampled_from(STORIES))
def test_a_thing_is_in_one_event(seed: int, name: str) -> None:
    (example,) = made(name, 3_000, 1, seed)
    done = re.findall(
        r"(?:hid|sold|gave|broke|sent|exchanged|locked) the (\w+(?: \w+)+?) (?:in|because|to|at|for|into)\b", "\n".join(story(example))
    )
    assert len(done) == len(set(done)) > 30


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_one_place_holds_the_answer_at_the_depth_claimed(seed: int) -> None:
    for third, example in enumerate(made("story_one", 1_500, 3, seed)):
        thing = re.search(r"the (\w+ \w+)\?|the (\w+ \w+) to|(?:sell|break) the (\w+ \w+)", example.prompt.rsplit("\n\n", 1)[1])
        assert thing
        key = next(filter(None, thing.groups()))
        about = [passage for passage in story(example) if f"the {key}" in passage]
        assert len(about) == 2, "the event, and one that names the thing with something else"
        (gold,) = [passage for passage in about if re.search(rf"\b{example.targets[0]}\b", passage) and "looked for" not in passage]
        context = "\n".join(story(example))
        assert context.index(gold) / len(context) == pytest.approx(example.depth, abs=0.02)
        assert third / 3 - 0.07 <= example.depth <= (third + 1) / 3 + 0.07


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_two_places_answer_together_and_neither_alone(seed: int) -> None:
    for example in made("story_two", 1_500, 3, seed):
        question = example.prompt.rsplit("\n\n", 1)[1]
        person = next(
            name for name in re.findall(r"(?=\b([A-Z]\w+ [A-Z]\w+))", question) if name.split()[0] in GIVEN and name.split()[1] in FAMILY
        )
        thing = re.search(r"the (\w+ \w+)\?", question)
        assert thing
        (event,) = [passage for passage in story(example) if f"{person} " in passage and f"the {thing[1]} " in passage]
        key = re.search(rf"the {thing[1]} (?:to the|because of the|for the|into the) (.+?)\.", event)
        assert key
        (state,) = [passage for passage in story(example) if passage.startswith(f"The {key[1]} ")]
        assert example.targets[0] in state
        assert example.targets[0] not in event


def test_the_order_in_the_context_decides() -> None:
    letters = set()
    for example in made("story_order", 1_500, 60):
        question = example.prompt.rsplit("\n\n", 1)[1]
        ((person, end),) = re.findall(r"did (\w+ \w+) do (first|last)\?", question)
        options = re.findall(r"^([A-D])\. (.+)$", question, re.M)
        places = []
        for letter, option in options:
            thing = option.rpartition("the ")[2]
            (at,) = [at for at, passage in enumerate(story(example)) if f"{person} " in passage and f"the {thing} " in passage]
            places.append((at, letter))
        right = min(places)[1] if end == "first" else max(places)[1]
        assert example.targets[0] == example.answer == right
        letters.add((end, right))
        wrong = next(letter for _, letter in places if letter != right)
        assert LONGER_TASKS["story_order"].score(example, f"{wrong}, not {right}")["exact_match"] == 0
        assert LONGER_TASKS["story_order"].score(example, example.targets[1])["exact_match"] == 1
    assert len(letters) == 8, "every letter is right sometimes"


def test_each_kind_of_question_is_asked() -> None:
    for name, kinds in (("story_one", {deed.name for deed in DEEDS}), ("story_two", {"office", "fault", "maker", "chest"})):
        assert {example.meta["kind"] for example in made(name, 600, 90)} == kinds


def test_the_events_of_a_summary_come_in_order_wherever_they_stand() -> None:
    examples = made("story_summary", 2_000, 9)
    depths = set()
    for example in examples:
        context = "\n".join(story(example))
        places = [context.index(event) for event in example.targets]
        assert places == sorted(places)
        assert len(example.targets) == 5
        depths.add(tuple(places))
    assert len(depths) == len(examples)
    assert len(made("story_summary", 600, 1)[0].targets) == 3, "a short context has room for fewer"


@pytest.mark.parametrize("name", LONGER_TASKS)
def test_the_ceiling_holds_the_answer_and_the_floor_does_not(name: str) -> None:
    task = LONGER_TASKS[name]
    found = list(reference_examples(task, 1_500, 30, seed=3))
    suite = {example.cluster: example.prompt.rsplit("\n\n", 1)[1] for example in made(name, 1_500, 30, 3)}
    assert {each.cluster for each in found} == set(suite)
    for each in found:
        assert each.prompt.endswith(suite[each.cluster])
        assert task.score(each, each.answer) == dict.fromkeys(task.metrics, 1.0)
        events = [f"the {thing}" in "\n".join(story(each)) for thing in re.findall(r"the (\w+ \w+)", suite[each.cluster])]
        assert any(events) == (which(each.id) == "ceiling")


@pytest.mark.parametrize("task", LONGER_TASKS.values(), ids=LONGER_TASKS)
def test_a_story_of_128k_words_is_built_in_seconds(task: Task) -> None:
    start = time.process_time()
    (example,) = build(task, Budget(131_072, words), 1, seed=0)
    assert time.process_time() - start < 20
    assert words(example.prompt) > 130_000
    assert task.score(example, example.answer) == dict.fromkeys(task.metrics, 1.0)


def test_a_length_without_room_is_an_error_that_says_so() -> None:
    with pytest.raises(BudgetError, match="ask for a longer one"):
        made("story_summary", 200)


def test_no_name_is_in_two_halves_of_the_world() -> None:
    for split in ("eval", "train"):
        plot = Plot(Random(1), split)
        assert {half(person) for person in plot.cast} == {split}
        assert all(len({plot.twin_of(person), person}) == 2 and plot.twin_of(plot.twin_of(person)) == person for person in plot.cast)
        assert all(set(person.split()) & set(plot.twin_of(person).split()) for person in plot.cast)


def test_a_story_without_a_question_is_no_task() -> None:
    with pytest.raises(NotImplementedError):
        Story(Random(0), "eval", worked=True).question()
