import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reports.depth import grid, heat_maps
from reports.examples import changed, ends, pack, place_prompts, read_prompts, write_prompts

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
    chunks = {int(name[6:10]): json.loads(text.split(", ", 2)[2].removesuffix(");\n")) for name, text in packed.files.items()}
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


def suite_file(folder: Path, sizes: list[int]) -> Path:
    path = folder / "examples.jsonl"
    lines = [
        json.dumps({"task": "t", "length": 512, "id": f"e{n}", "prompt": f"</script>{n} " + "x" * size}) for n, size in enumerate(sizes)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def whole_prompts(folder: Path) -> dict[tuple[int, int], str]:
    found = {}
    for path in folder.glob("prompts-*.js"):
        text = path.read_text()
        assert "<" not in text
        assert text.startswith(f'harnessPrompts("3f9c", {int(path.name[8:12])}, [')
        for place, prompt in enumerate(json.loads(text.split(", ", 2)[2].removesuffix(");\n"))):
            found[int(path.name[8:12]), place] = prompt
    return found


def test_whole_prompts_lie_in_files_of_a_bounded_size(tmp_path: Path) -> None:
    path = suite_file(tmp_path, [5, 700_000, 2000, 900_000, 2000])
    prompts = read_prompts(path)
    places = place_prompts(prompts, set(), 1 << 30)
    (tmp_path / "out").mkdir()
    write_prompts(path, places, tmp_path / "out", "3f9c")
    found = whole_prompts(tmp_path / "out")
    assert ("t", 512, "e0") not in places, "the page shows a short prompt whole"
    assert {key[2]: found[place][:10] for key, place in places.items()} == {f"e{n}": f"</script>{n}" for n in (1, 2, 3, 4)}
    assert len(list((tmp_path / "out").iterdir())) == 2
    assert prompts["t", 512, "e3"].line == 4


def test_a_budget_keeps_the_prompts_of_changed_scores(tmp_path: Path, make_samples: Make) -> None:
    prompts = read_prompts(suite_file(tmp_path, [5000] * 6))
    places = place_prompts(prompts, {("t", 512, "e4")}, 11_000)
    assert {key[2] for key in places} == {"e0", "e4"}
    assert place_prompts(prompts, set(), 0) == {}
    base = make_samples()
    moved = base.assign(score=base["score"].where(base["example_id"] != "q1d0", 0.123)).sample(frac=1, random_state=0)
    assert {key[2] for key in changed({"baseline": base, "a": base, "b": moved})} == {"q1d0"}


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
