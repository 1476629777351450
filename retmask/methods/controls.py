"""Controls: as many heads are masked as RetMask masks, but other ones. Without them its gain means little."""

from collections.abc import Mapping

from harness.api import HarnessError, Json
from retmask.heads import masks
from retmask.heads.masks import LAYERS, HeadMask
from retmask.heads.scores import HeadScores
from retmask.methods.masking import HeadMasking
from retmask.options import parse_options


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

    def check(self, options: Mapping[str, Json]) -> None:
        """Raise HarnessError as the others do, and for whole layers, which have no others of their layer beside them."""
        super().check(options)
        if parse_options(options).components == LAYERS:
            raise HarnessError(f"{self.name}: components = {LAYERS} leave no other in the same layer to mask; take randmask or nonretmask")

    def choose(self, scores: HeadScores, target: HeadMask, seed: int) -> HeadMask:
        """Draw them layer by layer, so that the depth of what is lost is the same."""
        return masks.layermatched(scores.shape, target, seed)
