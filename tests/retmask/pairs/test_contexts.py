"""Passages to ask about: whole sentences that fit, the same each time, and instructions that hold them."""

from pathlib import Path

import pytest

from harness.api import HarnessError, Json
from harness.options import parse_table
from retmask import stages
from retmask.options import Options, parse_options
from retmask.pairs.contexts import CONTEXT, Passages
from retmask.pairs.prompts import read_prompts
from retmask.workload import masking
from tasks.words import FAMILY, GIVEN
from tasks.world import half
from tests.retmask.directory import DirectoryContext
from tests.retmask.small import unigram_model, word_level

TEXT = "One two three. Four five six seven! Eight nine?\n\nTen eleven twelve thirteen fourteen fifteen. Sixteen."
BEGUN = "\n\nA question about this text:"


class Words:
    """A tokenizer whose tokens are words."""

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[str]]:
        return {"input_ids": text.split()}

    def decode(self, ids: list[str]) -> str:
        return " ".join(ids)


def passages(source: str | Path = "", tokens: int = 6, seed: int = 1) -> Passages:
    return Passages(Words(), str(source), tokens, seed)  # type: ignore[arg-type]


def test_a_users_text_is_cut_into_whole_sentences_that_fit(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    found = {passages(tmp_path).passage(number) for number in range(60)}
    assert found == {
        "One two three.", "Four five six seven! Eight nine?", "Eight nine?", "Ten eleven twelve thirteen fourteen fifteen.", "Sixteen.",
    }  # fmt: skip
    assert {passages(tmp_path, tokens=2).passage(number) for number in range(60)} >= {"One two", "Eight nine?", "Ten eleven"}


@pytest.mark.parametrize("tokens", [32, 300, 4096])
def test_invented_passages_fit_and_have_facts_of_the_other_half_of_the_world(tokens: int) -> None:
    text = passages(tokens=tokens).passage(3)
    assert 0.5 * tokens <= len(text.split()) <= tokens
    assert text.endswith(".")
    named = [pair for pair in zip(text.split(), text.split()[1:], strict=False) if pair[0] in GIVEN and pair[1].strip(".") in FAMILY]
    assert tokens < 100 or named
    assert all(half(f"{first} {last.strip('.')}") == "train" for first, last in named)


def test_a_passage_is_a_function_of_number_and_seed(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(TEXT)
    for source in ("", tmp_path):
        assert passages(source).passage(7) == passages(source).passage(7)
        assert len({passages(source, seed=seed).passage(7) for seed in range(30)}) > 1
    assert passages(tmp_path).identity() != passages().identity()
    assert passages(tokens=7).identity() != passages().identity()
    before = passages(tmp_path).identity()
    (tmp_path / "b.txt").write_text("Another text.")
    assert passages(tmp_path).identity() != before


@pytest.mark.parametrize("name", ["missing", "empty", "blank.txt", "bytes.txt"])
def test_a_source_without_texts_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "blank.txt").write_text("\n \n")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(HarnessError, match=r"\[method\]: context_from.*(is not there|holds no text|cannot be read)") as error:
        passages(tmp_path / name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompts_from": CONTEXT, "context_tokens": 8192}, "context_tokens = 8192; give 32 to 4096 tokens"),
        ({"context_from": "texts"}, "context_from is for prompts_from = self-context"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Json], message: str) -> None:
    with pytest.raises(HarnessError, match=message):
        parse_options(options)


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("speaker")
    tokenizer = word_level()
    unigram_model(tokenizer, end=0.1).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def prompted(context: DirectoryContext) -> list[str]:
    options = parse_table(Options, context.options, "[method]")
    with stages.sampler(context, options) as engine:
        return read_prompts(stages.prompted(context, options, engine).path / stages.PROMPTS)


def test_an_instruction_is_a_passage_and_what_the_model_asks_about_it(speaker: Path, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("The door near the river. The old map. The bread by the bell.")
    options: dict[str, Json] = {
        "prompts": 12, "prompts_from": CONTEXT, "context_from": str(tmp_path / "texts"), "context_tokens": 32, "prompts_max_tokens": 40,
    }  # fmt: skip
    found = prompted(DirectoryContext(tmp_path / "run", speaker, options))
    assert len(set(found)) == 12
    for prompt in found:
        passage, begun, question = prompt.partition(BEGUN)
        assert begun
        assert question.strip()
        assert passage.endswith((".", "map"))
    assert found[:5] == prompted(DirectoryContext(tmp_path / "fewer", speaker, options | {"prompts": 5}))


def test_the_plan_counts_what_is_read(speaker: Path) -> None:
    from harness.models.lookup import Model

    def read(**options: Json) -> dict[str, int]:
        works = masking("retmask", parse_options({"prompts": 10, **options}), Model("m", speaker, ""))
        return {work.step: work.prefill_tokens for work in works}

    short, long = read(prompts_from="self"), read(prompts_from=CONTEXT, context_tokens=2000)
    assert long["prompts"] - short["prompts"] == 16 * 2000
    assert long["chosen"] - short["chosen"] == long["rejected-retmask"] - short["rejected-retmask"] == 10 * 2000
