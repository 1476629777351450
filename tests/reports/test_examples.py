import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reports.depth import grid, heat_maps
from reports.examples import ends, pack, read_prompts

Make = Callable[..., pd.DataFrame]


def test_a_prompt_keeps_its_ends_and_counts_what_lies_between() -> None:
    text = "a" * 400 + "b" * 5000 + "c" * 800
    prompt = ends(text)
    assert (prompt.start, prompt.end, prompt.hidden) == ("a" * 400, "c" * 800, 5000)
    assert ends("short").start == "short"
    assert ends("short").hidden == 0


def test_every_example_is_indexed_once_with_all_scores(make_samples: Make) -> None:
    base, other = make_samples(), make_samples(seed=1).sample(frac=1, random_state=0)
    page = json.loads(pack({"baseline": base, "a": other}, {}).embedded)
    assert len(page["examples"]) == len(base.drop_duplicates(["task", "length", "example_id"]))
    assert page["runs"] == ["baseline", "a"]
    for task, length, depth, example, question, scores, chunk, place in page["examples"]:
        described = page["tasks"][task]
        for table, found in zip((base, other), scores, strict=True):
            rows = table[(table["task"] == described["name"]) & (table["length"] == length) & (table["example_id"] == example)]
            expected = rows.set_index("metric")["score"][described["metrics"]].to_list()
            assert found == pytest.approx(expected, abs=1e-4)
            assert rows["depth"].iloc[0] == depth
            assert rows["cluster"].iloc[0] == question
        assert page["texts"][place]["outputs"] == ["x", "x"]
        assert chunk == 0


@pytest.mark.parametrize("budget", [0, 500, 10_000])
def test_a_budget_bounds_the_page_and_loses_nothing(make_samples: Make, budget: int) -> None:
    base = make_samples()
    packed = pack({"baseline": base}, {}, budget=budget)
    page = json.loads(packed.embedded)
    assert len(json.dumps(page["texts"])) <= budget + 2000
    chunks = {int(name[6:10]): json.loads(text.split(", ", 1)[1].removesuffix(");\n")) for name, text in packed.files.items()}
    chunks[0] = page["texts"]
    places = {(example[6], example[7]) for example in page["examples"]}
    assert places == {(number, place) for number, chunk in chunks.items() for place in range(len(chunk))}


def test_no_text_can_end_its_script(make_samples: Make) -> None:
    hostile = "</script><!--\u2028\u2029&\ud800"
    base = make_samples().assign(output=hostile.replace("\ud800", ""), targets=json.dumps([hostile]))
    packed = pack({"</script>": base}, {})
    for text in (packed.embedded, *packed.files.values()):
        assert "<" not in text
        assert "\u2028" not in text
        text.encode("utf-8")
    assert json.loads(packed.embedded)["texts"][0]["outputs"][0].startswith("</script><!--")


def test_prompts_are_read_from_a_suite(tmp_path: Path) -> None:
    (tmp_path / "examples.jsonl").write_text(json.dumps({"task": "t", "length": 512, "id": "e", "prompt": "p"}) + "\n")
    assert read_prompts(tmp_path / "examples.jsonl")["t", 512, "e"].start == "p"


def test_a_heat_map_averages_by_depth_and_length(make_samples: Make) -> None:
    table = make_samples(depths=6)
    found = grid(table)
    assert list(found.columns) == [512, 1024]
    first = table[(table["depth"] < 0.2) & (table["length"] == 512)]["score"].mean()
    last = table[(table["depth"] >= 0.8) & (table["length"] == 1024)]["score"].mean()
    assert found.loc[0, 512] == pytest.approx(first)
    assert found.loc[4, 1024] == pytest.approx(last)
    html = heat_maps({"<b>": table})
    assert f">{100 * first:.0f}</td>" in html
    assert "<b>" not in html


def test_without_depths_there_is_no_map(make_samples: Make) -> None:
    assert heat_maps({"a": make_samples().assign(depth=np.nan)}) == ""
