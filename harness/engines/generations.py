"""Several sampled answers to a prompt: what each is called in a journal, and the random numbers that it gets.

An answer's random numbers depend on the run's seed, its example and its number alone. So no batch, resumption or order changes it, more
generations later leave the first as they are, and two models are given the same, which makes their difference surer.
"""

from hashlib import blake2b

#: Bits of a seed that every engine takes.
_BITS = 31


def names(example: str, generations: int, temperature: float) -> list[str]:
    """Name the answers to one example: a greedy one is called as the example, sampled ones are numbered from 1."""
    return [name(example, number) for number in range(1, generations + 1)] if temperature else [example]


def name(example: str, number: int) -> str:
    """Name one sampled answer."""
    return f"{example}#{number}"


def draw_seed(seed: int, answer: str) -> int:
    """Derive the seed of one answer from the run's and its name."""
    return int.from_bytes(blake2b(f"{seed}:{answer}".encode(), digest_size=8).digest(), "big") >> (64 - _BITS)
