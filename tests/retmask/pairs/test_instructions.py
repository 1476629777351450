"""Instructions that a model writes itself: which are kept, in what order, and that neither rounds nor kills change them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harness.api import HarnessError, Json
from harness.options import parse_table
from retmask import stages
from retmask.options import Options
from retmask.pairs.instructions import REASONS, NearDuplicates, _Sieve, write
from retmask.pairs.prompts import read_prompts
from retmask.pairs.responses import Response, Sampling, read_responses
from retmask.pairs.samplers import open_sampler
from tests.retmask.directory import DirectoryContext
from tests.retmask.small import TEMPLATE, byte_bpe, random_model, unigram_model, word_level

OPTIONS: dict[str, Json] = {"prompts": 200, "prompts_from": "self", "prompts_max_tokens": 40}
FERRY = "the old ferry crossed the grey river twice before noon and nobody looked up"


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that says random words when it is given a user's turn, ten of them on average."""
    path = tmp_path_factory.mktemp("speaker")
    tokenizer = word_level()
    unigram_model(tokenizer, end=0.1).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def prompted(context: DirectoryContext) -> tuple[list[str], dict[str, Json]]:
    """The instructions of the step, and its facts."""
    options = parse_table(Options, context.options, "[method]")
    with stages.sampler(context, options) as engine:
        artifact = stages.prompted(context, options, engine)
    facts = artifact.manifest["facts"]
    assert isinstance(facts, dict)
    return read_prompts(artifact.path / stages.PROMPTS), facts


def turns(*texts: str) -> list[Response]:
    """A word is a token; what ends in dots was cut off."""
    return [Response(index, text, tuple(map(hash, text.split())), not text.endswith("...")) for index, text in enumerate(texts)]


def none_shared(texts: Sequence[str]) -> set[int]:
    return set()


SPOKEN = turns(
    "Name a river in Spain.",
    "name a RIVER in Spain",
    "Tell me everything there is to know about ...",
    " ?! ",
    "again and " * 20,
    FERRY,
    "How do I repair a bicycle tyre at home?",
    "How do I repair a bicycle tyre at  home today?",
    "Which mountains can be seen from Zurich?",
    "Write a poem.",
)


def test_what_is_left_out_and_why() -> None:
    sieve = _Sieve(3, lambda texts: {index for index, text in enumerate(texts) if text == FERRY})
    sieve.take(SPOKEN)
    written = sieve.written()
    assert written.prompts == (SPOKEN[0].text, SPOKEN[6].text, SPOKEN[8].text)
    assert written.counts == {"read": 9, "kept": 3, **dict.fromkeys(REASONS, 1)}
    assert written.tokens == (5, 9, 7)
    facts = written.facts()
    assert (facts["mean_tokens"], facts["median_tokens"], facts["longest_tokens"]) == (7.0, 7.0, 9)
    assert facts["distinct_bigram_share"] == 1.0


@pytest.mark.parametrize("size", [1, 2, 7])
def test_rounds_change_nothing(size: int) -> None:
    whole, parts = _Sieve(3, none_shared), _Sieve(3, none_shared)
    whole.take(SPOKEN)
    for start in range(0, len(SPOKEN), size):
        parts.take(SPOKEN[start : start + size])
    assert parts.written() == whole.written()


def test_a_near_duplicate_is_one_of_what_was_seen() -> None:
    seen = NearDuplicates()
    first = "can you recommend a good book about the history of rome"
    assert not seen.is_known(first)
    assert seen.is_known(first)
    assert seen.is_known(first.replace("rome", "roman"))
    assert not seen.is_known("can you explain how the history of a book ends")
    assert not seen.is_known("hi")
    assert not seen.is_known("ho")
    assert seen.is_known("hi")


def test_every_near_duplicate_is_found_among_many() -> None:
    """The index alone would miss some of those near its threshold; here all are far from it."""
    seen = NearDuplicates()
    texts = [f"{number} bottles of {chr(97 + number % 26) * 9} stand in room {number * 7919} of the old house" for number in range(300)]
    shown = [seen.is_known(text) for text in texts]
    assert all(seen.is_known(f"{text}s") for text, known in zip(texts, shown, strict=True) if not known)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills with SIGKILL")
def test_killed_in_the_middle_the_same_instructions_come_out(speaker: Path, tmp_path: Path) -> None:
    batches = OPTIONS | {"prompts": 300, "prompts_max_tokens": 100}  # of some 160 turns, of which one is written and others are not
    whole, facts = prompted(DirectoryContext(tmp_path / "whole", speaker, batches))
    assert len(whole) == len(set(whole)) == 300
    command = [sys.executable, "-m", "tests.retmask.directory", str(tmp_path / "killed"), str(speaker), json.dumps(batches), "Sft"]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[3])
    deadline = time.monotonic() + 240
    while not any(b"\n" in path.read_bytes() for path in (tmp_path / "killed").glob("prompts-*/responses.journal")):  # a whole line
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (folder,) = (tmp_path / "killed").glob("prompts-*")
    kept = (folder / "responses.journal").read_bytes()
    assert not (folder / "manifest.json").exists()
    assert 0 < len(read_responses(folder / "responses.journal")) < facts["read"]
    assert prompted(DirectoryContext(tmp_path / "killed", speaker, batches)) == (whole, facts)
    whole_lines = kept[: kept.rfind(b"\n") + 1]
    assert (folder / "responses.journal").read_bytes().startswith(whole_lines), "what was written is not written again"


def test_instructions_are_clear_of_the_evaluation(speaker: Path, tmp_path: Path) -> None:
    free, facts = prompted(DirectoryContext(tmp_path, speaker, OPTIONS))
    assert facts["contaminated"] == 0
    long = [prompt for prompt in free if len(re.findall(r"\w+", prompt)) >= 13][:5]
    assert len(long) == 5
    suite = [(f"task {index}", f"A passage. {prompt}") for index, prompt in enumerate(long)]
    clear, facts = prompted(DirectoryContext(tmp_path, speaker, OPTIONS, evaluated=suite))
    assert len(clear) == 200
    assert not set(clear) & set(long)
    assert facts["contaminated"] >= 5
    unguarded, _ = prompted(DirectoryContext(tmp_path, speaker, OPTIONS | {"contamination_words": 0}, evaluated=suite))
    assert unguarded == free


def test_each_of_its_settings_is_part_of_what_they_are(speaker: Path, tmp_path: Path) -> None:
    small = OPTIONS | {"prompts": 20}
    base, _ = prompted(DirectoryContext(tmp_path, speaker, small))
    for changed in ({"prompts_temperature": 0.8}, {"prompts_top_p": 0.5}, {"prompts_max_tokens": 12}):
        assert prompted(DirectoryContext(tmp_path, speaker, small | changed))[0] != base
    assert prompted(DirectoryContext(tmp_path, speaker, small, seed=8))[0] != base
    fewer, _ = prompted(DirectoryContext(tmp_path, speaker, small | {"prompts": 10}))
    assert fewer == base[:10]


def test_what_is_too_long_is_left_out(speaker: Path, tmp_path: Path) -> None:
    prompts, facts = prompted(DirectoryContext(tmp_path, speaker, OPTIONS | {"prompts": 50, "prompts_max_tokens": 8}))
    assert facts["unfinished"] > 20
    assert max(len(prompt.split()) for prompt in prompts) < facts["longest_tokens"] <= 8


def test_a_template_with_a_system_prompt_keeps_it_and_the_instruction_does_not(tmp_path: Path) -> None:
    tokenizer = word_level("<|user|>The door<|end|>" + TEMPLATE)
    unigram_model(tokenizer, end=0.2).save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    prompts, _ = prompted(DirectoryContext(tmp_path / "run", tmp_path / "m", OPTIONS | {"prompts": 20}))
    assert not any("door" in prompt and prompt.startswith("The") for prompt in prompts)
    assert not any("<|" in prompt for prompt in prompts)


def test_text_that_ends_a_turn_is_cut_off(tmp_path: Path) -> None:
    """In templates that mark turns with words, the model never writes a token that ends one."""
    template = "{% for message in messages %}Near: {{ message['content'] }} the map{% endfor %}"
    tokenizer = word_level(template)
    words = ("the", "map", "door", "bread", "river")
    unigram_model(tokenizer, end=1e-20, words=words).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    settings = Sampling(1.0, 1.0, 30, 3)
    with open_sampler("hf", tmp_path, "float32", "cpu") as engine:
        found = engine.user_turns(40, settings, tmp_path / "journal")
    ended = [turn for turn in found if turn.finished]
    assert 5 < len(ended) < 40
    for turn in ended:
        assert "the map" not in turn.text
        assert tokenizer.decode(list(turn.ids)) == f"{turn.text} the map"
    assert all(len(turn.ids) == 30 for turn in found if not turn.finished)


def test_a_model_that_writes_nothing_of_use_is_an_error_with_counts(tmp_path: Path) -> None:
    tokenizer = byte_bpe()
    random_model("Llama").save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    context = DirectoryContext(tmp_path / "run", tmp_path / "m", OPTIONS | {"prompts": 300, "prompts_max_tokens": 6})
    with pytest.raises(HarnessError, match=r"of \d+ instructions that the model wrote \d+ can be used, and 300 are wanted") as caught:
        prompted(context)
    assert "unfinished" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_that_says_the_same_again_and_again_stops(tmp_path: Path) -> None:
    class Parrot:
        """Two instructions, and no more."""

        def user_turns(self, count: int, settings: Sampling, journal: Path, say: Callable[[str], None]) -> list[Response]:
            return turns(*(("Name a river.", "Which lake is the deepest?")[index % 2] for index in range(count)))

    with pytest.raises(HarnessError, match=r"wrote 2 can be used, and 10 are wanted \(\d+ duplicate\)"):
        write(Parrot(), 10, Sampling(), none_shared, tmp_path / "journal", lambda line: None)  # type: ignore[arg-type]


def test_the_default_source(speaker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.builtin import MODEL_DIR
    from harness.models.lookup import Model
    from retmask.model import load_tokenizer

    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    assert stages.prompts_source(Model("m", speaker, ""), Options()) == "self"
    assert stages.prompts_source(Model("builtin", MODEL_DIR, ""), Options()) == "generated"
    assert stages.prompts_source(Model("builtin", MODEL_DIR, ""), Options(prompts_from="self")) == "self"
    load_tokenizer(MODEL_DIR).save_pretrained(tmp_path / "trained")
    assert stages.prompts_source(Model("trained", tmp_path / "trained", ""), Options()) == "generated"
    word_level(None).save_pretrained(tmp_path / "base")
    base = Model("base", tmp_path / "base", "")
    for options in (Options(), Options(prompts_from="self")):
        with pytest.raises(HarnessError, match=r"base has no chat template, .*; name a source of instructions with prompts_from"):
            stages.prompts_source(base, options)
    assert stages.prompts_source(base, Options(prompts_from="chats.jsonl")) == "chats.jsonl"


def test_a_template_is_asked_once(speaker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.models.lookup import Model

    def loaded(path: Path) -> None:
        raise AssertionError(f"{path}: a tokenizer was loaded for what is known")

    model = Model("m", speaker, "")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    assert stages.prompts_source(model, Options()) == "self"
    with monkeypatch.context() as patch:
        patch.setattr(stages, "load_tokenizer", loaded)
        assert stages.prompts_source(model, Options()) == "self"
        patch.setenv("HARNESS_CACHE", "/proc/nowhere")
        with pytest.raises(AssertionError, match="a tokenizer was loaded"):
            stages.prompts_source(model, Options())
    monkeypatch.setenv("HARNESS_CACHE", "/proc/nowhere")
    assert stages.prompts_source(model, Options()) == "self"


def test_all_that_a_model_could_write_cannot_be_asked_for(speaker: Path, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="prompts = 0; ask for at least 1 instruction"):
        prompted(DirectoryContext(tmp_path, speaker, OPTIONS | {"prompts": 0}))


@pytest.mark.model
def test_a_real_model_writes_instructions_through_a_kill(smollm2: Path, tmp_path: Path) -> None:
    """SmolLM2-135M-Instruct: none twice, none from the evaluation, all of them sentences; a kill changes none."""
    options: dict[str, Json] = {"prompts": 24, "prompts_max_tokens": 48}
    whole, facts = prompted(DirectoryContext(tmp_path / "whole", smollm2, options))
    assert len({" ".join(re.findall(r"\w+", prompt.lower())) for prompt in whole}) == 24
    assert not any("SmolLM" in prompt or "<|" in prompt for prompt in whole), "the default system prompt is no part of them"
    assert isinstance(facts["distinct_bigram_share"], float)
    assert facts["distinct_bigram_share"] > 0.5
    journal = next((tmp_path / "whole").glob("prompts-*/responses.journal")).read_bytes().splitlines(keepends=True)
    folder = tmp_path / "killed" / next((tmp_path / "whole").glob("prompts-*")).name
    folder.mkdir(parents=True)
    (folder / "responses.journal").write_bytes(b"".join([*journal[:11], journal[11][:40]]))  # as a kill leaves it: the last line is torn
    assert prompted(DirectoryContext(tmp_path / "killed", smollm2, options)) == (whole, facts)
