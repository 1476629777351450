"""Controls: as many heads are masked as RetMask masks, but other ones. Without them its gain means little."""

from retmask.heads import masks
from retmask.heads.masks import HeadMask
from retmask.heads.scores import HeadScores
from retmask.methods.masking import HeadMasking


class NonRetMask(HeadMasking):
    """Control: mask as many heads that do not retrieve."""

    name = "nonretmask"

    def choose(self, scores: HeadScores, target: HeadMask, seed: int) -> HeadMask:
        """Draw them from the heads that score less than every retrieval head."""
        return masks.like("nonretrieval", scores, target, seed)


class RandMask(HeadMasking):
    """Control: mask as many heads, whichever."""

    name = "randmask"

    def choose(self, scores: HeadScores, target: HeadMask, seed: int) -> HeadMask:
        """Draw them from all heads."""
        return masks.random_mask(scores.shape, len(target.heads), seed)


class LayerMatched(HeadMasking):
    """Control: mask as many heads in each layer, of those that are not retrieval heads."""

    name = "layermatched"

    def choose(self, scores: HeadScores, target: HeadMask, seed: int) -> HeadMask:
        """Draw them layer by layer, so that the depth of what is lost is the same."""
        return masks.layermatched(scores.shape, target, seed)
