"""Which records and demonstrations are used: HELMET's own draws, so that the same seed takes the same questions.

HELMET samples questions with :meth:`random.Random.sample`, shuffles rows as the ``datasets`` library does (numpy's default generator),
and seeds each question's demonstrations by the SHA-256 of its key (``data.py`` of the benchmark).
"""

from collections.abc import Collection, Sequence
from hashlib import sha256
from math import ceil
from random import Random

from tasks.helmet.records import Key, Record


def permutation(n: int, seed: int) -> list[int]:
    """Shuffle 0 .. n-1 in the order that ``datasets.Dataset.shuffle(seed)`` gives."""
    import numpy as np  # here, so that a command's --help need not wait for it

    return [int(index) for index in np.random.default_rng(seed % 2**32).permutation(n)]


def sample_keys(keys: Collection[Key], limit: int, seed: int) -> frozenset[str]:
    """Draw at most ``limit`` different keys out of their order, which is that of numbers where all are; as texts."""
    numbers = [key for key in keys if isinstance(key, int)]
    ordered: list[Key] = sorted(set(numbers)) if len(numbers) == len(keys) else sorted({str(key) for key in keys})
    return frozenset(map(str, Random(seed).sample(ordered, min(limit, len(ordered)))))


def split(n: int, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Draw (train, test) row numbers, as ``datasets.Dataset.train_test_split(test_size=share, seed=seed)`` splits."""
    order = permutation(n, seed)
    n_test = ceil(share * n)
    return order[n_test:], order[:n_test]


def hashed(key: str, seed: int = 0) -> int:
    """Hash a text to a seed in 0 .. 2³¹ - 1: the same on every machine."""
    return (int(sha256(key.encode()).hexdigest(), 16) + seed) % 2**31


def demonstrations(pool: Sequence[Record], field: str, question: str, shots: int) -> list[Record]:
    """Choose ``shots`` records of different questions, in an order that the question's key seeds."""
    chosen: dict[str, Record] = {}
    for index in permutation(len(pool), hashed(question)) if shots else ():
        chosen.setdefault(pool[index].text(field), pool[index])
        if len(chosen) == shots:
            break
    return list(chosen.values())
