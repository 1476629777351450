"""Two framings of one model are two evaluations that no command compares unasked."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.commands.root import main
from harness.store.find import find_one

SUITE = ("--model", "builtin", "--tasks", "json_kv,cite", "--lengths", "384", "--examples", "4")


def harness(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The shipped model in every framing."""
    found = {framing: tmp_path_factory.mktemp(framing) for framing in ("task", "chat", "completion", "prefill")}
    for framing, root in found.items():
        result = harness("eval", *SUITE, "--framing", framing, "--output", root)
        assert result.exit_code == 0, result.output
    return found


def test_each_row_says_how_its_prompt_was_framed(runs: dict[str, Path]) -> None:
    tables = {framing: find_one(str(root)).read() for framing, root in runs.items()}
    (chat,) = tables["chat"]["template"].unique()
    of_tasks = {name: table.groupby("task")["template"].unique().map(list).to_dict() for name, table in tables.items()}
    assert of_tasks == {
        "task": {"json_kv": ["none"], "cite_facts": [chat]},
        "chat": {"json_kv": [chat], "cite_facts": [chat]},
        "completion": {"json_kv": ["none"], "cite_facts": ["none"]},
        "prefill": {"json_kv": [f"{chat}+prefill"], "cite_facts": [f"{chat}+prefill"]},
    }
    outputs = tables["completion"].query("task == 'json_kv'")["output"]
    assert not outputs.str.contains("\n").any(), "one line is asked for"


@pytest.mark.parametrize("other", ["task", "completion", "prefill"])
def test_framings_are_compared_only_where_the_user_says_so(runs: dict[str, Path], other: str, tmp_path: Path) -> None:
    pair = (runs["chat"], runs[other])
    refused = harness("compare", *pair)
    assert refused.exit_code == 2
    assert "--allow-mismatch template" in refused.output or "--allow-mismatch suite" in refused.output
    allowed = harness("compare", *pair, "--allow-mismatch", "template", "--allow-mismatch", "suite")
    if allowed.exit_code == 0:
        assert "compared across different templates" in " ".join(allowed.output.split())
    policy = tmp_path / "policy.toml"
    policy.write_text("[margin]\noverall = 100\n")
    checked = harness("check", "--baseline", pair[0], "--candidate", pair[1], "--policy", policy)
    assert checked.exit_code == 2
    assert "--allow-mismatch" in checked.output
    board = harness("leaderboard", f"a={pair[0]}", f"b={pair[1]}")
    assert board.exit_code == 0, board.output
    assert "another" in board.output


def test_stopping_early_looks_at_no_baseline_that_was_framed_otherwise(runs: dict[str, Path], tmp_path: Path) -> None:
    refused = harness("eval", *SUITE, "--framing", "prefill", "--stop-early", "--against", runs["chat"], "--output", tmp_path)
    assert refused.exit_code == 2
    assert "--against" in refused.output
    assert not list(tmp_path.glob("steps/generate-*"))
