from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reports.samples import COLUMNS, OPTIONAL, SamplesError, read, validate, write

Make = Callable[..., pd.DataFrame]
Row = Callable[..., dict[str, object]]


def test_a_table_survives_the_disk_unchanged(make_samples: Make, tmp_path: Path) -> None:
    frame = make_samples()
    write(frame, tmp_path / "deep" / "samples.parquet")
    pd.testing.assert_frame_equal(read(tmp_path / "deep" / "samples.parquet"), frame)


def test_plain_python_columns_get_the_schemas_types_and_order(make_row: Row) -> None:
    table = validate(pd.DataFrame([make_row()])[sorted(COLUMNS)])
    assert {name: str(dtype) for name, dtype in table.dtypes.items()} == COLUMNS | OPTIONAL
    assert list(table.columns) == list(COLUMNS | OPTIONAL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": 1.01}, "score is outside"),
        ({"score": -0.01}, "score is outside"),
        ({"score": np.nan}, "score is missing"),
        ({"score": np.inf}, "score is outside"),
        ({"depth": 1.5}, "depth is outside"),
        ({"length": 0}, "length is not positive"),
        ({"truncated_tokens": -1}, "token count is negative"),
        ({"finish_reason": "crash"}, "finish_reason"),
        ({"cluster": None}, "cluster is missing"),
        ({"output": 7}, "output is 7"),
    ],
)
def test_a_bad_value_names_its_example(make_row: Row, change: dict[str, object], message: str) -> None:
    frame = pd.DataFrame([make_row(example_id="fine"), make_row(example_id="broken") | change])
    with pytest.raises(SamplesError, match=f"'broken'.*{message}"):
        validate(frame)


def test_depth_may_be_unknown(make_row: Row) -> None:
    assert validate(pd.DataFrame([make_row(depth=np.nan)]))["depth"].isna().all()


def test_fractional_lengths_are_not_rounded(make_row: Row) -> None:
    with pytest.raises(SamplesError, match="length holds float64"):
        validate(pd.DataFrame([make_row(length=512.5)]))


def test_missing_and_unknown_columns_are_both_named(make_row: Row) -> None:
    frame = pd.DataFrame([make_row()]).drop(columns="cluster").assign(colour="red")
    with pytest.raises(SamplesError, match=r"lacks cluster.*unknown colour"):
        validate(frame)


def test_an_empty_table_is_an_error() -> None:
    with pytest.raises(SamplesError, match="no rows"):
        validate(pd.DataFrame(columns=list(COLUMNS)))


def test_the_same_example_twice(make_row: Row) -> None:
    with pytest.raises(SamplesError, match=r"'e7'.*twice"):
        validate(pd.DataFrame([make_row(), make_row(example_id="e7"), make_row(example_id="e7", score=0.0)]))


def test_an_example_belongs_to_one_cluster_and_a_task_to_one_category(make_row: Row) -> None:
    with pytest.raises(SamplesError, match=r"'e0'.*metric 'f1'.*cluster 'q9'"):
        validate(pd.DataFrame([make_row(), make_row(metric="f1", cluster="q9")]))
    with pytest.raises(SamplesError, match=r"'e1'.*category 'rag'"):
        validate(pd.DataFrame([make_row(), make_row(example_id="e1", category="rag")]))


def test_a_failed_write_leaves_the_old_table_and_no_litter(make_samples: Make, tmp_path: Path) -> None:
    path = tmp_path / "samples.parquet"
    frame = make_samples()
    write(frame, path)
    with pytest.raises(SamplesError):
        write(frame.assign(score=2.0), path)
    (tmp_path / "blocked").mkdir()
    with pytest.raises(OSError, match="blocked"):
        write(frame, tmp_path / "blocked")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["blocked", "samples.parquet"]
    pd.testing.assert_frame_equal(read(path), frame)


def test_reading_nothing_or_rubbish_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SamplesError, match="run the evaluation first"):
        read(tmp_path / "none.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"not parquet at all")
    with pytest.raises(SamplesError, match="evaluate again"):
        read(tmp_path / "bad.parquet")
