"""NarrativeQA, InfiniteBench and Multi-LexSum, from small files of their layouts."""

import json
import random
import re
from collections import Counter
from pathlib import Path

import pytest

from tasks.build import BudgetError
from tasks.example import Example
from tasks.helmet import DATASETS, EVERY, LENGTHS, LONGER, DataError, lawsuits, long_examples, select, stories
from tasks.helmet.catalog import files
from tasks.helmet.cutting import Counted, Tokenized, longest
from tasks.helmet.longer import LONGER_FILES, LONGER_PARQUET
from tasks.helmet.selection import permutation
from tasks.scoring import family, score
from tests.tasks.helmet.long_files import BOOKS, LONG, LONG_MAKERS, QUESTIONS, shorten, table, text

LENGTH = 8_192
small = pytest.mark.usefixtures("shortened")


def count(prompt: str, prefix: str) -> int:
    """A tokenizer good enough for tests: words."""
    return len(prompt.split()) + len(prefix.split())


def test_texts_are_as_long_as_helmet_asks() -> None:
    assert (stories.NARRATIVE, stories.INFBENCH, lawsuits.LEAST) == (131_072, 65_536, 65_536)


@pytest.fixture
def shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("long")
    for make in LONG_MAKERS.values():
        make(found)
    return found


def load(name: str, root: Path, n: int | None = None, seed: int = 42, length: int = LENGTH) -> list[Example]:
    return list(long_examples(LONGER[name], length, [root], count, examples=n, seed=seed))


def test_seven_categories_have_twenty_one_sets_and_no_names_mean_five() -> None:
    assert list(LONGER) == list(LONG_MAKERS)
    assert list(EVERY) == [*DATASETS, *LONGER]
    assert select([]) == select(["five"]) == tuple(DATASETS.values())
    assert select(["seven"]) == tuple(EVERY.values())
    assert [dataset.name for dataset in select(["summ", "json_kv"])] == ["json_kv", "infbench_sum_eng", "multi_lexsum"]
    assert [dataset.name for dataset in select(["longqa"])] == ["narrativeqa", "infbench_qa_eng", "infbench_choice_eng"]
    with pytest.raises(KeyError, match="nonsense"):
        select(["summ", "nonsense"])


def test_names_budgets_and_frames_are_those_of_helmets_configs() -> None:
    named = [[dataset.published_name(length) for length in LENGTHS] for dataset in LONGER.values()]
    assert named[0] == [f"narrativeqa_{size}" for size in (7892, 16084, 32468, 65236, 130772)]
    assert named[1] == [f"infbench_qa_eng_{size}" for size in (7982, 16174, 32558, 65326, 130862)]
    assert named[2][0] == "infbench_choice_eng_7982"
    assert named[3] == [f"infbench_sum_eng_{size}" for size in (6792, 14984, 31368, 64136, 129672)]
    assert named[4] == [f"multi_lexsum_{size}" for size in (7492, 15684, 32068, 64836, 130372)]
    assert [dataset.max_new_tokens for dataset in LONGER.values()] == [100, 10, 10, 1200, 400]
    assert {(dataset.shots, dataset.examples, dataset.chat, dataset.depths) for dataset in LONGER.values()} == {(2, 100, True, 1)}
    for dataset in LONGER.values():
        assert family(dataset.published_name(LENGTH)).category == dataset.category
        assert set(dataset.metrics) <= set(family(dataset.published_name(LENGTH)).headline)


def test_every_file_has_its_place_on_the_hub() -> None:
    assert {file.path for file in files(LONGER.values(), LENGTHS)} == {*LONGER_PARQUET, *LONGER_FILES}


@small
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", LONGER)
def test_every_set_loads(name: str, length: int, root: Path) -> None:
    dataset, made = LONGER[name], load(name, root, length=length)
    assert made
    assert len({example.id for example in made}) == len(made)
    for example in made:
        used = count(example.prompt, example.answer_prefix) + dataset.max_new_tokens
        assert used <= length
        assert (example.task, example.category, example.answer_prefix) == (name, dataset.category, dataset.answer_prefix)
        json.dumps(dict(example.meta))
        name_there, metric = dataset.published_name(length), dataset.metrics[0]
        assert score(name_there, example, example.answer)[metric] == 1
        for output in (example.answer, f"{example.answer_prefix.strip()} {example.answer}"):
            assert score(name_there, example, output, mode="strict")[metric] == 1
        assert score(name_there, example, "", mode="strict")[metric] == 0


@small
@pytest.mark.parametrize("name", LONGER)
def test_the_context_is_cut_to_the_tokens_in_the_sets_name(name: str, root: Path) -> None:
    """The toy tokens are few, so the prompt has room for all that the name allows."""
    size = LONGER[name].size(LENGTH)
    for example in load(name, root, 2):
        assert example.meta["dropped_tokens"] == 0
        context = re.search(r"((?:Book \d|Case \d).*)\[here the rest is left out\]", example.prompt, re.S)
        assert context
        assert size - 3 <= len(f"{context[1]} [here the rest is left out]".split()) <= size


@small
@pytest.mark.parametrize("name", LONGER)
def test_a_prompt_without_room_is_cut_further(name: str, root: Path) -> None:
    def dear(prompt: str, prefix: str) -> int:
        return 2 * count(prompt, prefix)

    plain = load(name, root, 1)[0]
    (example,) = long_examples(LONGER[name], LENGTH, [root], dear, examples=1, cutter=Counted(count))
    assert dear(example.prompt, example.answer_prefix) + LONGER[name].max_new_tokens <= LENGTH
    assert int(str(example.meta["dropped_tokens"])) > 4_000
    assert plain.prompt.startswith(example.prompt.partition("w88")[0])
    with pytest.raises(BudgetError, match="ask for a longer length"):
        next(long_examples(LONGER[name], LENGTH, [root], lambda prompt, prefix: 200 * count(prompt, prefix), cutter=Counted(count)))


@small
@pytest.mark.parametrize("name", LONGER)
def test_the_same_seed_gives_the_same_examples_and_another_seed_others(name: str, root: Path) -> None:
    first, again, other = (list(map(repr, load(name, root, 3, seed))) for seed in (42, 42, 7))  # a depth that is NaN equals nothing
    assert first == again
    assert first != other


@small
def test_narrativeqa_asks_about_long_stories_in_helmets_order(root: Path) -> None:
    made = load("narrativeqa", root)
    rows = [(book, number) for book in range(BOOKS) for number in range(QUESTIONS)]
    expected = [rows[at] for at in permutation(len(rows), 42) if rows[at][0] % 2]
    assert [example.meta["question"] for example in made] == [f"Who is {number} in book {book}?" for book, number in expected]
    assert [example.meta["question"] for example in load("narrativeqa", root, 2)] == [example.meta["question"] for example in made[:2]]
    assert Counter(example.cluster for example in made) == dict.fromkeys({example.cluster for example in made}, QUESTIONS)
    assert made[0].targets == tuple(f"{kind} {expected[0][0]}.{expected[0][1]}" for kind in ("Person", "the person"))
    for example in made:
        shown = re.findall(r"Question: Train (\d)\?\nAnswer: Shot (\d)", example.prompt)
        assert len({first for first, second in shown if first == second}) == 2
    assert len({tuple(re.findall(r"Train (\d)", example.prompt)) for example in made}) > 1, "each question has demonstrations of its own"


@small
def test_infbench_draws_demonstrations_and_questions_as_helmet_does(root: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict({"id": list(range(BOOKS * QUESTIONS))})
    made = load("infbench_qa_eng", root, 5)
    assert [example.meta["id"] for example in made] == [str(number) for number in rows.shuffle(seed=42)["id"][:5]]
    for example in made:
        others = rows.filter(lambda row, asked=example: str(row["id"]) != asked.meta["id"]).shuffle(seed=42).select(range(2))["id"]
        assert re.findall(r"Question: What is (\d+)\?\nAnswer: Answer (\d+)", example.prompt) == [(f"{n}", f"{n}") for n in others]
        assert example.prompt.endswith(f"Question: What is {example.meta['id']}?")


@small
def test_choices_have_letters(root: Path) -> None:
    for example in load("infbench_choice_eng", root):
        number = int(str(example.meta["id"]))
        assert example.targets == ("ABCD"[number % 4], f"{'ABCD'[number % 4]}. option {number}.{number % 4}")
        assert example.prompt.endswith("\n".join(f"{letter}. option {number}.{at}" for at, letter in enumerate("ABCD")))
        for right in ("{0}", "{1}", "I think it is {1}, because of that.", "Answer: {0}\nor so"):
            assert score("infbench_choice_eng_7982", example, right.format(*example.targets))["exact_match"] == 1
        assert score("infbench_choice_eng_7982", example, f"({example.targets[0]}) it is")["exact_match"] == 0


@small
def test_summaries_of_books_show_others(root: Path) -> None:
    (example,) = load("infbench_sum_eng", root, 1)
    shown = re.findall(r"Summary: Summary (\d+)\.\n\n", example.prompt)
    assert len(set(shown) - {example.meta["id"]}) == 2


@small
def test_cases_have_a_short_summary_and_are_long(root: Path) -> None:
    made = load("multi_lexsum", root)
    assert [example.meta["id"] for example in made] == [f"EE-{number}" for number in (0, 1, 2, 5, 6, 8)], "all, in the order of the file"
    few = load("multi_lexsum", root, 3)
    assert [example.meta["id"] for example in few] == [made[at].meta["id"] for at in permutation(6, 42)[:3]]
    for example in made:
        number = str(example.meta["id"])[3:]
        assert example.meta["summary/long"] == f"The long summary of {number}."
        assert example.targets == (f"The summary of {number}.",)
        assert f"Documents:\nCase {number}.\n\nComplaint begins." in example.prompt
        assert len(set(re.findall(r"Summary: Train summary (\d+)\.", example.prompt))) == 2


@small
def test_another_tokenizer_measures_what_it_is_named_for(root: Path, tmp_path: Path) -> None:
    words_file(tmp_path / "tokenizer.json")
    cutter = Tokenized(tmp_path)
    mark, body = " ... cut", text("Book 0", LONG)
    assert cutter.tokens(body) == LONG + 4 + 1, "a begin token, the words and the stops, as Llama 2 counts"
    short = cutter.cut(body, 100, mark)
    assert short == body[: cutter._tokenizer.encode(body).offsets[100 - cutter.tokens(mark)][1]] + mark
    assert cutter.cut("few words", 100, mark) == "few words"
    assert "tokenizer.json sha256" in cutter.name
    for name in LONGER:
        (example,) = long_examples(LONGER[name], LENGTH, [root], count, examples=1, cutter=cutter)
        assert "left out]" in example.prompt


def words_file(path: Path) -> None:
    """A tokenizer of words with a begin token."""
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<s>": 0, "<unk>": 1}, unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    made.save(str(path))


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff", b"[" * 100_000])
def test_a_directory_without_a_tokenizer(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(DataError, match=r"tokenizer\.json") as caught:
        Tokenized(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("most", [0, 1, 7, 100, 999, 1_000, 5_000])
def test_the_longest_beginning(most: int) -> None:
    rng = random.Random(most)
    body = " ".join("x" * rng.randrange(1, 30) for _ in range(1_000))
    calls = 0

    def tokens(start: str) -> int:
        nonlocal calls
        calls += 1
        return len(start.split())

    found = longest(body, tokens, most)
    assert body.startswith(found)
    assert min(most, 1_000) - 2 <= len(found.split()) <= most
    assert calls <= 17


def test_a_prompt_whose_question_alone_is_too_long_has_no_beginning() -> None:
    assert longest("a b c", lambda start: 100 + len(start), 50) == ""


BREAKS = {
    "narrativeqa": [
        ({"document": {"id": "b"}, "question": {"text": "Q"}, "answers": [{"text": "A"}]}, "'text' is missing"),
        ({"document": {"id": "b", "text": "T"}, "question": {"text": 3.5}, "answers": [{"text": "A"}]}, "'text' is not a string"),
        ({"document": {"id": "b", "text": "T"}, "question": {"text": "Q"}, "answers": ["A"]}, "'answers' is not a list"),
        ({"document": {"id": "b", "text": "T"}, "question": "Q", "answers": [{"text": "A"}]}, "'question' is not an object"),
        ({"document": {"id": "b", "text": "T"}, "question": {"text": "Q"}}, "no column 'answers'"),
        ({"document": {"id": "b", "text": "T"}, "question": {"text": "Q"}, "answers": [{"text": "A"}]}, "no text has 8501 tokens"),
    ],
    "multi_lexsum": [
        ({"id": "E", "sources": "text", "summary/short": "s", "summary/long": "l"}, "no text has 8500 tokens"),
        ({"id": "E", "sources": [1], "summary/short": "s", "summary/long": "l"}, "'sources' is not a list"),
        ({"id": "E", "sources": ["x"], "summary/long": "l"}, "no column 'summary/short'"),
    ],
}


@small
@pytest.mark.parametrize(("name", "row", "words"), [(name, *case) for name, cases in BREAKS.items() for case in cases])
def test_a_row_of_another_shape(name: str, row: dict[str, object], words: str, root: Path, tmp_path: Path) -> None:
    dataset = LONGER[name]
    for file in dataset.files(LENGTH):
        table(tmp_path / file.path, [row])
    with pytest.raises(DataError, match=words) as caught:
        load(name, tmp_path)
    assert "\n" not in str(caught.value)


@small
@pytest.mark.parametrize("name", ["narrativeqa", "multi_lexsum"])
def test_a_damaged_table(name: str, root: Path, tmp_path: Path) -> None:
    LONG_MAKERS[name](tmp_path)
    path = tmp_path / LONGER[name].test_file(LENGTH).path
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="not a Parquet file, or cut short"):
        load(name, tmp_path)
    table(path, [])
    with pytest.raises(DataError, match=r"no rows|no column"):
        load(name, tmp_path)


@small
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"options": ["a", "b"]}, "'options' is not a list of four"),
        ({"answer": ["none of them"]}, "'options' is not a list of four"),
        ({"answer": []}, "'answer' is not a list"),
        ({"context": None}, "'context' is missing"),
        ({"id": None}, "'id' is missing"),
        ({"input": 3.5}, "'input' is not a string"),
    ],
)
def test_a_line_of_another_shape(change: dict[str, object], words: str, tmp_path: Path) -> None:
    LONG_MAKERS["infbench_choice_eng"](tmp_path)
    path = tmp_path / "infbench/longbook_choice_eng.jsonl"
    first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps({**json.loads(first), **change}), *rest]))
    with pytest.raises(DataError, match=words) as caught:
        load("infbench_choice_eng", tmp_path)
    assert "line 1" in str(caught.value)


@small
def test_too_few_records_to_demonstrate_with(tmp_path: Path) -> None:
    for make in LONG_MAKERS.values():
        make(tmp_path)
    path = tmp_path / "infbench/longbook_qa_eng.jsonl"
    path.write_text("\n".join(path.read_text().splitlines()[:2]))
    table(tmp_path / LONGER["narrativeqa"].train, [{"question": {"text": "Q"}, "answers": [{"text": "A"}]}])
    table(tmp_path / LONGER["multi_lexsum"].train, [{"id": "t", "summary/short": "S"}])
    for name in ("infbench_qa_eng", "narrativeqa", "multi_lexsum"):
        with pytest.raises(DataError, match="records to choose 2 demonstrations from"):
            load(name, tmp_path)


def test_a_missing_file_says_how_to_get_it(tmp_path: Path) -> None:
    for name in LONGER:
        with pytest.raises(DataError, match=rf"harness data fetch --tasks {name} --lengths 8k"):
            load(name, tmp_path)
