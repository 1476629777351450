"""The commands and the policy in docs/checking.md are real: commands parse, the policy is the default one."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from harness.commands.baseline import baseline
from harness.commands.check import check
from harness.commands.compare import compare
from harness.commands.leaderboard import leaderboard
from harness.commands.report import report
from harness.commands.root import HarnessGroup
from reports.policy import Policy, parse
from reports.stopping import Stopping, plan_order

TEXT = (Path(__file__).parent.parent / "docs" / "checking.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]
GROUP = HarnessGroup(commands={"compare": compare, "check": check, "report": report, "leaderboard": leaderboard, "baseline": baseline})


def test_the_policy_shown_has_the_defaults() -> None:
    (shown,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    found, plain = parse(shown, "docs"), Policy()
    for name in ("confidence", "margin_overall", "margin_category", "missing", "truncated", "cut_off"):
        assert getattr(found, name) == getattr(plain, name), name


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_runs(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_samples: Callable[..., pd.DataFrame],
    make_run: Callable[..., Path],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    base, other = make_samples(), make_samples(seed=1)
    for name in ("demo", "seed1", "seed2"):
        make_run(
            tmp_path / "runs" / name, base, retmask=other.assign(model_digest=name), randmask=make_samples(seed=2).assign(model_digest="r")
        )
    for name in ("base", "monday", "tuesday", "main", "new", "other"):
        make_run(tmp_path / "runs" / name, base, model=name)
    order = plan_order(base, 0)
    rounds = {name: table[order.round_of(table) < 3].reset_index(drop=True) for name, table in (("base", base), ("other", other))}
    marked = {
        name: Stopping(order, 3, 36, False, (3,) if name == "other" else (), decision=None).attach(each) for name, each in rounds.items()
    }
    make_run(tmp_path / "runs" / "stopped", marked["base"], retmask=marked["other"].assign(model_digest="s"))
    (tmp_path / "policy.toml").write_text("[margin]\noverall = 20.0\ncategory = 45.0\n")  # what six questions can show
    if "check" in command.split():
        assert CliRunner().invoke(GROUP, shlex.split("baseline save runs/main --output baseline.parquet")).exit_code == 0
    program, *arguments = shlex.split(command)
    assert program == "harness"
    result = CliRunner().invoke(GROUP, arguments)
    assert result.exit_code == 0, result.output
