"""The samples table: one row per (example, metric), the only thing a comparison looks at."""

import hashlib
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.files import read_parquet, replacing

#: Column -> pandas dtype. ``score`` is in [0, 1]; tables show it times 100.
COLUMNS: Final[dict[str, str]] = {
    "run": "string",
    "model_digest": "string",
    "suite_digest": "string",
    "backend": "string",
    "task": "string",
    "category": "string",
    "length": "int64",  # tokens asked for, prompt and answer together
    "example_id": "string",
    "cluster": "string",  # the question; its examples differ only in where the gold stands
    "depth": "float64",  # 0 = start of the context, 1 = end; NaN where several passages are gold
    "metric": "string",
    "score": "float64",
    "output": "string",
    "targets": "string",  # JSON list of gold answers
    "prompt_tokens": "int64",
    "output_tokens": "int64",
    "finish_reason": "string",  # "stop" or "length"
    "truncated_tokens": "int64",  # prompt tokens that never reached the model; 0 unless the user asked for clipping
}

#: Columns that a table may lack: they are then "" or 0, unknown but the same for all.
OPTIONAL: Final[dict[str, str]] = {
    "template": "string",  # digest of the chat template, "none" where the prompt has no frame; how thoughts were asked for
    "scorer": "string",  # version of the scoring rules, and the judge model
    "thinking": "string",  # what a reasoning model wrote before its answer; never scored
    "thinking_tokens": "int64",  # of its own budget; not among the output tokens
    "dropped_tokens": "int64",  # of a published prompt's passages, left out so that it fits the length
    "dropped_passages": "int64",
}
#: Columns of sampled answers alone: a table of greedy ones has neither, in memory and on disk.
SAMPLED: Final[dict[str, str]] = {
    "generation": "int64",  # which of several answers to the same prompt, from 1
    "temperature": "float64",  # at which it was sampled
}
#: A column of tables that say what was read as the answer: it follows from the output, and a table without it is the same table.
READ: Final[dict[str, str]] = {"parsed": "string"}
#: A column of files alone, in rows without a score (NaN): why the verdict that would make it cannot be read. :func:`read` leaves these rows
#: out, so that no mean takes one for a 0, and names their examples in ``DataFrame.attrs``.
UNREADABLE: Final = "unreadable"
_TOKENS: Final = ("prompt_tokens", "output_tokens", "truncated_tokens", "thinking_tokens", "dropped_tokens", "dropped_passages")

#: Key of a file's metadata that holds what is true of the whole table (``DataFrame.attrs``), as JSON.
_ABOUT: Final = b"retmask-harness"

#: What makes a row of one table unique, together with the generation where answers were sampled (:func:`row_key`).
KEY: Final = ("task", "length", "metric", "example_id")
FINISH_REASONS: Final = frozenset({"stop", "length"})
_UNKNOWN: Final[dict[str, Any]] = {"string": "", "int64": 0}
_KINDS: Final[dict[str, str]] = {"int64": "iu", "float64": "fiu"}


class SamplesError(ValueError):
    """A samples table that cannot be trusted; the message names the first offending example."""


def validate(frame: pd.DataFrame) -> pd.DataFrame:
    """Return ``frame`` with exactly :data:`COLUMNS` and :data:`OPTIONAL`, in that order, with those dtypes; rows and their order stay.

    Columns of :data:`SAMPLED` and :data:`READ` come last, where they are there and not all 0 or empty: a table of greedy answers is the
    same with and without.

    Only lossless conversions are made (``object`` that holds ``str``, narrower numbers). Raises :class:`SamplesError` on missing or
    unknown columns, wrong types, missing values (``depth`` alone may be NaN), scores or depths outside [0, 1], repeated
    (task, length, metric, example_id, generation), and on an example that belongs to two clusters or a task that belongs to two categories.
    """
    missing = [name for name in COLUMNS if name not in frame.columns]
    unknown = [str(name) for name in frame.columns if name not in COLUMNS | OPTIONAL | SAMPLED | READ]
    if not frame.columns.is_unique:
        raise SamplesError(f"the samples table has the column {frame.columns[frame.columns.duplicated()][0]!r} twice")
    if missing or unknown:
        wrong = [f"{what} {', '.join(names)}" for what, names in (("lacks", missing), ("has unknown", unknown)) if names]
        raise SamplesError(f"the samples table {' and '.join(wrong)}; its columns are listed in reports.samples.COLUMNS")
    if not len(frame):
        raise SamplesError("the samples table has no rows")
    table = frame.assign(**{name: _UNKNOWN[dtype] for name, dtype in OPTIONAL.items() if name not in frame.columns})
    sampled = {name: dtype for name, dtype in (SAMPLED | READ).items() if name in frame.columns}
    table = pd.DataFrame({name: _column(table, name, dtype) for name, dtype in (COLUMNS | OPTIONAL | sampled).items()})
    empty = [name for name, dtype in sampled.items() if (table[name] == _UNKNOWN.get(dtype, 0)).all()]
    table = table.drop(columns=empty).reset_index(drop=True)
    _check_values(table)
    _check_identity(table)
    table.attrs = dict(frame.attrs)  # how far an evaluation went that stopped early: reports.stopping
    return table


def row_key(table: pd.DataFrame) -> list[str]:
    """Name the columns that make a row of a valid table unique."""
    return [*KEY, *(name for name in ("generation",) if name in table.columns)]


def write(frame: pd.DataFrame, path: Path) -> None:
    """Validate ``frame`` and publish it at ``path`` as Parquet; a reader sees the whole table or none.

    Rows with a reason in the column :data:`UNREADABLE` need no score.
    """
    table = _with_unreadable(frame) if UNREADABLE in frame.columns else validate(frame)
    import pyarrow as pa
    import pyarrow.parquet as pq

    about = {_ABOUT: json.dumps(table.attrs).encode()} if table.attrs else None
    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(about), temporary)


def read(path: Path) -> pd.DataFrame:
    """Read and validate a table that :func:`write` published; raises :class:`SamplesError` if there is none, or it is damaged."""
    if not path.is_file():
        raise SamplesError(f"no samples table at {path}; run the evaluation first")
    import pyarrow as pa

    try:
        found = read_parquet(path)  # pandas would also follow what the file says about pandas, and folders named key=value
        about = json.loads((found.schema.metadata or {}).get(_ABOUT, b"{}"))
        frame = found.replace_schema_metadata(None).to_pandas()
    except PermissionError as error:
        raise SamplesError(f"{path} cannot be read ({error.strerror}); nothing is wrong with it: ask whoever owns it for access") from None
    except (pa.ArrowException, ValueError, OSError, RecursionError) as error:
        raise SamplesError(f"{path} is not a readable Parquet file ({error}); delete it and evaluate again") from error
    frame.attrs = about if isinstance(about, dict) else {}
    return validate(_readable(frame) if UNREADABLE in frame.columns else frame)


def unreadable(table: pd.DataFrame) -> list[tuple[str, int, str, str]]:
    """List the rows that a table was read without, by :data:`KEY`; one for each of several answers."""
    found = table.attrs.get(UNREADABLE, [])
    return [(str(task), int(length), str(metric), str(example)) for task, length, metric, example in found]


def _with_unreadable(frame: pd.DataFrame) -> pd.DataFrame:
    """Validate a table of which some rows have a reason instead of a score."""
    reasons = _column(frame, UNREADABLE, "string")
    lacking = (reasons != "").to_numpy(dtype=bool)
    if not lacking.any():
        return validate(frame.drop(columns=UNREADABLE))
    if (torn := lacking != frame["score"].isna().to_numpy(dtype=bool)).any():
        raise SamplesError(f"{_where(frame, torn)}: a row has a score, or the reason why it has none")
    table = validate(frame.drop(columns=UNREADABLE).assign(score=frame["score"].fillna(0.0)))
    table["score"] = table["score"].mask(lacking)
    table[UNREADABLE] = reasons.reset_index(drop=True)
    return table


def _readable(frame: pd.DataFrame) -> pd.DataFrame:
    """Leave out, and list, the rows whose verdict cannot be read."""
    lacking = (_column(frame, UNREADABLE, "string") != "").to_numpy(dtype=bool)
    if lacking.all():
        raise SamplesError("no verdict on any answer in the samples table can be read; choose another judge")
    found = frame[~lacking].drop(columns=UNREADABLE).reset_index(drop=True)
    keys = frame.loc[lacking, list(KEY)]
    found.attrs = {**frame.attrs, UNREADABLE: [list(map(_plain, key)) for key in keys.itertuples(index=False, name=None)]}
    return found


def _plain(value: object) -> str | int:
    return value if isinstance(value, str) else int(str(value))


def digest(frame: pd.DataFrame) -> str:
    """Compute the SHA-256 of the rows by :func:`row_key`, whatever their order and the name of the run: equal for equal samples.

    ``model_digest`` has no part in it, since a training's weights may differ in their last bits and still answer alike; nor
    has what follows from the output (:data:`READ`).
    """
    table = validate(frame)
    table = table.sort_values(row_key(table), kind="stable")
    columns = {name: table[name].tolist() for name in table.columns if name not in ("run", "model_digest", *READ)}
    found = hashlib.sha256()
    for row in zip(*columns.values(), strict=True):
        found.update(json.dumps(row).encode() + b"\n")
    return found.hexdigest()


def _column(frame: pd.DataFrame, name: str, dtype: str) -> "pd.Series[Any]":
    column = frame[name]
    if dtype == "string":
        typed = isinstance(column.dtype, pd.StringDtype)
        text = (column.notna() if typed else column.map(lambda value: isinstance(value, str))).to_numpy(dtype=bool)
        if not text.all():
            found = column[~text].iloc[0]
            missing = found is None or found is pd.NA or (isinstance(found, float) and found != found)
            raise SamplesError(f"{_where(frame, ~text)}: {name} is {'missing' if missing else f'{found!r}, not text'}")
        try:
            return column.astype("string")
        except UnicodeEncodeError:
            raise SamplesError(f"column {name} holds half of a surrogate pair, which no file can; replace it with U+FFFD") from None
    if column.dtype.kind not in _KINDS[dtype]:
        raise SamplesError(f"column {name} holds {column.dtype}, not {dtype}")
    if name != "depth" and column.isna().any():
        where = _where(frame, column.isna().to_numpy(dtype=bool))
        raise SamplesError(f"{where}: {name} is missing; a failed example is scored 0 or fails the run")
    return column.astype("int64") if dtype == "int64" else column.astype("float64")


def _check_values(table: pd.DataFrame) -> None:
    checks = {
        "score is outside [0, 1]": ~table["score"].between(0, 1),
        "depth is outside [0, 1]": ~(table["depth"].between(0, 1) | table["depth"].isna()),
        "length is not positive": table["length"] <= 0,
        "a token count is negative": (table[list(_TOKENS)] < 0).any(axis=1),
        **{
            f"{name} is negative or infinite": ~table[name].between(0, np.inf, inclusive="left")
            for name in SAMPLED
            if name in table.columns
        },
        f"finish_reason is none of {sorted(FINISH_REASONS)}": ~table["finish_reason"].isin(FINISH_REASONS),
    }
    for problem, bad in checks.items():
        if bad.any():
            raise SamplesError(f"{_where(table, bad.to_numpy(dtype=bool))}: {problem}")


def _check_identity(table: pd.DataFrame) -> None:
    repeated = table.duplicated(row_key(table)).to_numpy(dtype=bool)
    if repeated.any():
        raise SamplesError(f"{_where(table, repeated)}: the same example and metric twice")
    _check_generations(table)
    for owner, owned in ((["task", "length", "example_id"], "cluster"), (["task"], "category")):
        pairs = table[[*owner, owned]].drop_duplicates()
        torn = pairs.duplicated(owner)
        if torn.any():
            at = int(pairs.index[torn][0])
            where = _where(table, table.index.to_numpy() == at)
            raise SamplesError(f"{where}: {owned} {table[owned].iloc[at]!r} contradicts an earlier row")


def _check_generations(table: pd.DataFrame) -> None:
    """Every metric of an example has the same generations: a score is missing otherwise."""
    if "generation" not in table.columns:
        return
    asked = table.groupby(["task", "length", "example_id", "generation"], sort=False)["metric"].transform("size")
    whole = table.groupby(["task", "length", "example_id"], sort=False)["metric"].transform("nunique")
    torn = (asked != whole).to_numpy(dtype=bool)
    if torn.any():
        raise SamplesError(f"{_where(table, torn)}: generation {table['generation'].iloc[int(torn.argmax())]} lacks some metric's score")


def _where(frame: pd.DataFrame, bad: "npt.NDArray[np.bool_]") -> str:
    row = frame.iloc[int(bad.argmax())]
    return f"example {row['example_id']!r} of task {row['task']!r} at length {row['length']}, metric {row['metric']!r}"
