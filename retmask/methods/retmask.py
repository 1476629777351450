"""RetMask: mask the retrieval heads (Ma & Okazaki 2026, arXiv 2601.11020)."""

from retmask.heads.masks import HeadMask
from retmask.heads.scores import HeadScores
from retmask.methods.masking import HeadMasking


class RetMask(HeadMasking):
    """Mask the retrieval heads."""

    name = "retmask"
    drawn = False

    def choose(self, scores: HeadScores, target: HeadMask, seed: int) -> HeadMask:
        """Choose the retrieval heads themselves."""
        return target
