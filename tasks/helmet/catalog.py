"""Which published datasets there are: category, files, size at each length, shots, answer budget and metrics (HELMET, table 2 and configs).

>>> DATASETS["kilt_nq"].files(8_192)[0].path
'kilt/nq-dev-multikilt_1000_k50_dep6.jsonl'
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from tasks.helmet.records import DataError

#: Tokens, prompt and answer together.
LENGTHS: Final = (8_192, 16_384, 32_768, 65_536, 131_072)
CATEGORIES: Final = ("recall", "rag", "cite", "rerank", "icl")


@dataclass(frozen=True)
class File:
    """One file below the data directory."""

    path: str
    size: int
    """Bytes, estimated from the number and length of its passages; the Hub says the true size when it is fetched."""


@dataclass(frozen=True)
class HubParquet:
    """Where a Parquet file of an ICL set comes from: a split of a Hub dataset that its owner or the Hub's converter wrote as Parquet."""

    repo: str
    config: str
    split: str
    part: int = 0
    """Which of the files that the split is cut into, from 0."""
    parts: int = 1


@dataclass(frozen=True)
class HubFile:
    """Where a file comes from as it is: its name in a Hub dataset."""

    repo: str
    name: str


@dataclass(frozen=True)
class Dataset:
    """One published dataset; what the harness needs to know of it as a task."""

    name: str
    """As in HELMET's configs, less the size that some of those names end with."""
    category: str
    loader: str
    wording: str
    """Which of the :class:`~tasks.helmet.wordings.Wordings` it is asked with."""
    metrics: tuple[str, ...]
    max_new_tokens: int
    answer_prefix: str
    """What usually follows the prompt; :attr:`tasks.example.Example.answer_prefix` has each example's own."""
    sizes: tuple[int, ...]
    """Pairs, passages or shots at each of :data:`LENGTHS`; for RULER the length itself."""
    pattern: str
    """Path of the test file, with the size as ``{size}``."""
    bytes_per_size: int
    """Estimated bytes of the test file for each unit of size."""
    train: str = ""
    """Path of the file that demonstrations or shots come from."""
    train_bytes: int = 0
    shots: int = 2
    examples: int = 100
    """HELMET's ``max_test_samples``."""
    depths: int = 1
    """Records of one question, with its gold elsewhere."""
    chat: bool = False
    """Whether HELMET asks through the model's chat template."""
    label: str = ""
    """ICL: the label's column."""
    classes: int = 0
    more: tuple[File, ...] = ()
    """Further files of the questions, where one holds only a part of them."""
    published: str = "{name}"
    """Task name in HELMET's configs and result files."""

    def size(self, length: int) -> int:
        """Count the pairs, passages or shots at ``length``. Raises DataError for a length that was not published."""
        try:
            return self.sizes[LENGTHS.index(length)]
        except ValueError:
            known = ",".join(f"{each // 1024}k" for each in LENGTHS)
            raise DataError(
                f"{self.name}: HELMET's files have no length {length}; choose --lengths from {known}, or generated data for any other"
            ) from None

    def test_file(self, length: int) -> File:
        """Name what the questions come from."""
        size = self.size(length)
        return File(self.pattern.format(size=size), self.bytes_per_size * (size if "{size}" in self.pattern else 1))

    def files(self, length: int) -> tuple[File, ...]:
        """List every file needed at ``length``, the test file first."""
        test = self.test_file(length)
        train = (File(self.train, self.train_bytes),) if self.train and self.train != test.path else ()
        return (test, *self.more, *train)

    def expected(self, examples: int | None = None) -> int:
        """Count how many examples a limit of ``examples`` questions gives where the file has that many: each question at every depth."""
        return (self.examples if examples is None else examples) * self.depths

    def published_name(self, length: int) -> str:
        """Name it ``alce_asqa_30``, ``icl_nlu_510shot_balance``, ``kilt_nq``: HELMET's name of this dataset at ``length``."""
        return self.published.format(name=self.name, size=self.size(length))


_MB: Final = 1_000_000


def _ruler(name: str, folder: str, max_new_tokens: int) -> Dataset:
    return Dataset(
        name,
        "recall",
        "ruler",
        "ruler_values" if name.endswith("_mv") else "ruler",
        ("ruler_recall",),
        max_new_tokens,
        "\nAnswer:",
        LENGTHS,
        f"ruler/{folder}/validation_{{size}}.jsonl",
        bytes_per_size=420,  # 100 records of about 4.2 characters a token
        shots=0,
    )


def _kilt(name: str, test: str, train: str, depths: int) -> Dataset:
    return Dataset(
        name,
        "rag",
        "kilt",
        "qa",
        ("substring_exact_match",),
        20,
        "\nAnswer:",
        (50, 105, 220, 440, 1_000),
        f"kilt/{test}",
        bytes_per_size=350_000 * depths,  # 128K files are said to take 1-3 GB
        train=f"kilt/{train}",
        train_bytes=2 * _MB * depths,
        depths=depths,
    )


def _alce(name: str, metric: str, megabytes: int) -> Dataset:
    return Dataset(
        f"alce_{name}",
        "cite",
        "alce",
        f"cite_{name}",
        (metric, "citation_rec", "citation_prec"),
        300,
        "\n\nAnswer:",
        (30, 75, 165, 345, 700),
        f"alce/{name}_eval_gtr_top2000.json",
        bytes_per_size=megabytes * _MB,  # one file for all lengths: 2,000 documents for each question
        chat=True,
        published="{name}_{size}",
    )


def _icl(name: str, folder: str, test: str, label: str, classes: int, sizes: tuple[int, ...]) -> Dataset:
    return Dataset(
        f"icl_{name}",
        "icl",
        "icl",
        "icl",
        ("exact_match",),
        20,
        "\nlabel:",
        sizes,
        f"icl/{folder}/{test}.parquet",
        bytes_per_size=_MB // 4,
        train=f"icl/{folder}/train.parquet",
        train_bytes=_MB,
        shots=0,
        examples=500,
        label=label,
        classes=classes,
        published="{name}_{size}shot_balance",
    )


DATASETS: Final = MappingProxyType(
    {
        dataset.name: dataset
        for dataset in (
            _ruler("ruler_niah_mk_2", "niah_multikey_2", 50),
            _ruler("ruler_niah_mk_3", "niah_multikey_3", 100),
            _ruler("ruler_niah_mv", "niah_multivalue", 50),
            Dataset(
                "json_kv",
                "recall",
                "json_kv",
                "json_kv",
                ("substring_exact_match",),
                100,
                "\nCorresponding value:",
                (105, 220, 440, 900, 1_800),
                "json_kv/test_k{size}_dep6.jsonl",
                bytes_per_size=52_000,
            ),
            _kilt("kilt_nq", "nq-dev-multikilt_1000_k{size}_dep6.jsonl", "nq-train-multikilt_1000_k3_dep6.jsonl", 6),
            _kilt("kilt_triviaqa", "triviaqa-dev-multikilt_1000_k{size}_dep6.jsonl", "triviaqa-train-multikilt_1000_k3_dep6.jsonl", 6),
            _kilt("kilt_hotpotqa", "hotpotqa-dev-multikilt_1000_k{size}_dep3.jsonl", "hotpotqa-train-multikilt_1000_k3_dep3.jsonl", 3),
            _kilt("kilt_popqa_3", "popqa_test_1000_k{size}_dep6.jsonl", "popqa_test_1000_k3_dep6.jsonl", 6),
            _alce("asqa", "str_em", 1_300),
            _alce("qampari", "qampari_rec_top5", 1_400),
            Dataset(
                "msmarco_rerank_psg",
                "rerank",
                "msmarco",
                "rerank",
                ("NDCG@10",),
                200,
                "\nRanking:",
                (50, 130, 285, 600, 1_000),
                "msmarco/test_reranking_data_k{size}_dep3.jsonl",
                bytes_per_size=120_000,
                train="msmarco/test_reranking_data_k10_dep3.jsonl",
                train_bytes=2 * _MB,
                depths=3,
            ),
            _icl("trec_coarse", "trec", "test", "coarse_label", 6, (400, 800, 1_600, 3_300, 6_600)),
            _icl("trec_fine", "trec", "test", "fine_label", 50, (400, 800, 1_600, 3_200, 6_400)),
            _icl("banking77", "banking77", "test", "label", 77, (360, 720, 1_450, 2_900, 5_900)),
            _icl("clinic150", "clinc_oos", "validation", "intent", 151, (440, 880, 1_750, 3_525, 7_050)),
            _icl("nlu", "nlu", "train", "label", 68, (510, 1_020, 2_040, 4_080, 8_296)),
        )
    }
)

#: What the ICL files are on the Hub; their loading scripts are gone, the Parquet conversions stay.
HUB_PARQUET: Final = MappingProxyType(
    {
        "icl/trec/train.parquet": HubParquet("CogComp/trec", "default", "train"),
        "icl/trec/test.parquet": HubParquet("CogComp/trec", "default", "test"),
        "icl/banking77/train.parquet": HubParquet("PolyAI/banking77", "default", "train"),
        "icl/banking77/test.parquet": HubParquet("PolyAI/banking77", "default", "test"),
        "icl/clinc_oos/train.parquet": HubParquet("clinc/clinc_oos", "plus", "train"),
        "icl/clinc_oos/validation.parquet": HubParquet("clinc/clinc_oos", "plus", "validation"),
        "icl/nlu/train.parquet": HubParquet("xingkunliuxtracta/nlu_evaluation_data", "default", "train"),
    }
)


def select(names: Sequence[str]) -> tuple[Dataset, ...]:
    """Find datasets by name or category, in HELMET's order; no names mean all.

    Raises ``KeyError`` with the first name that is neither.
    """
    for name in names:
        if name not in DATASETS and name not in CATEGORIES:
            raise KeyError(name)
    return tuple(dataset for dataset in DATASETS.values() if not names or dataset.name in names or dataset.category in names)


def files(datasets: Iterable[Dataset], lengths: Iterable[int]) -> tuple[File, ...]:
    """List the files that these datasets need at these lengths, each once."""
    chosen = tuple(lengths)
    return tuple({file.path: file for dataset in datasets for length in chosen for file in dataset.files(length)}.values())


def megabytes(size: int) -> str:
    """Write a size: ``2.1 GB``, ``340 MB``; never less than ``1 MB``."""
    return f"{size / 1e9:.1f} GB" if size >= 1_000 * _MB else f"{max(1, round(size / 1e6))} MB"
