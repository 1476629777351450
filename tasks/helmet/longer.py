"""The published sets of HELMET's other two categories, LongQA and summaries: NarrativeQA, InfiniteBench and Multi-LexSum.

HELMET loads them from their own pages on the Hub. Their tables show a model's judgement where the answer is prose; the metrics here need
none (docs/scoring.md).
"""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

from tasks.helmet.catalog import CATEGORIES, DATASETS, LENGTHS, Dataset, File, HubFile, HubParquet
from tasks.helmet.catalog import select as select_five

LONGER_CATEGORIES: Final = ("longqa", "summ")
GROUPS: Final = MappingProxyType({"five": CATEGORIES, "seven": (*CATEGORIES, *LONGER_CATEGORIES)})
_MB: Final = 1_000_000
_PARTS: Final = 8


def _set(
    name: str, category: str, loader: str, metric: str, tokens: int, around: int, path: str, size: int, joint: str = "\n\n", **more: object
) -> Dataset:
    """One set; ``around`` is what HELMET leaves of each length for instruction, demonstrations and answer."""
    return Dataset(
        name,
        category,
        loader,
        name,
        (metric,),
        tokens,
        joint + ("Summary:" if category == "summ" else "Answer:"),
        tuple(length - around for length in LENGTHS),
        path,
        bytes_per_size=size,
        chat=True,
        published="{name}_{size}",
        **more,  # type: ignore[arg-type]  # fields of a Dataset
    )


def _infbench(name: str, category: str, metric: str, tokens: int, around: int, size: int) -> Dataset:
    path = f"infbench/longbook_{name}.jsonl"
    return _set(f"infbench_{name}", category, "infbench", metric, tokens, around, path, size, train=path)


LONGER: Final = MappingProxyType(
    {
        dataset.name: dataset
        for dataset in (
            _set(
                "narrativeqa",
                "longqa",
                "narrativeqa",
                "rougeL_f1",
                100,
                300,
                f"narrativeqa/test-00000-of-{_PARTS:05d}.parquet",
                100 * _MB,
                "\n",
                more=tuple(File(f"narrativeqa/test-{part:05d}-of-{_PARTS:05d}.parquet", 100 * _MB) for part in range(1, _PARTS)),
                train="narrativeqa/train-00000-of-00024.parquet",
                train_bytes=100 * _MB,
            ),
            _infbench("qa_eng", "longqa", "rougeL_f1", 10, 210, 290 * _MB),
            _infbench("choice_eng", "longqa", "exact_match", 10, 210, 180 * _MB),
            _infbench("sum_eng", "summ", "rougeL_f1", 1_200, 1_400, 75 * _MB),
            _set(
                "multi_lexsum",
                "summ",
                "multi_lexsum",
                "rougeL_f1",
                400,
                700,
                "multi_lexsum/validation.parquet",
                95 * _MB,
                train="multi_lexsum/train-00001-of-00002.parquet",
                train_bytes=219 * _MB,
            ),
        )
    }
)
#: All sets of the seven categories.
EVERY: Final = MappingProxyType({**DATASETS, **LONGER})

#: Where their files are on the Hub.
LONGER_PARQUET: Final = MappingProxyType(
    {
        **{
            f"narrativeqa/test-{part:05d}-of-{_PARTS:05d}.parquet": HubParquet("deepmind/narrativeqa", "default", "test", part, _PARTS)
            for part in range(_PARTS)
        },
        "narrativeqa/train-00000-of-00024.parquet": HubParquet("deepmind/narrativeqa", "default", "train", 0, 24),
        "multi_lexsum/validation.parquet": HubParquet("allenai/multi_lexsum", "v20230518", "validation"),
        "multi_lexsum/train-00001-of-00002.parquet": HubParquet("allenai/multi_lexsum", "v20230518", "train", 1, 2),
    }
)
LONGER_FILES: Final = MappingProxyType(
    {
        f"infbench/{name}.jsonl": HubFile("xinrongzhang2022/InfiniteBench", f"{name}.jsonl")
        for name in ("longbook_qa_eng", "longbook_choice_eng", "longbook_sum_eng")
    }
)


def select(names: Sequence[str]) -> tuple[Dataset, ...]:
    """Choose sets by name, category or group, in HELMET's order; no names mean the five categories that need no judge.

    Raises ``KeyError`` with the first name that is none of these.
    """
    wanted = [part for name in names for part in GROUPS.get(name, (name,))]
    longer = {*LONGER, *LONGER_CATEGORIES}
    five = [name for name in wanted if name not in longer]
    chosen = select_five(five) if five or not names else ()
    return (*chosen, *(dataset for dataset in LONGER.values() if dataset.name in wanted or dataset.category in wanted))
