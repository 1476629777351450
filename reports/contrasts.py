"""Which methods of a page are compared with each other: each variant of the first method with its own controls, and with the first.

    >>> contrasts(["retmask", "randmask", "layermatched"])
    [('retmask', 'randmask'), ('retmask', 'layermatched')]
    >>> contrasts(["retmask(top_k=2)", "randmask(top_k=2)", "retmask(top_k=8)", "randmask(top_k=8)"])
    [('retmask(top_k=2)', 'randmask(top_k=2)'), ('retmask(top_k=8)', 'randmask(top_k=8)'), ('retmask(top_k=2)', 'retmask(top_k=8)')]

Every pair is one more thing that a page says, for which all its claims are corrected: so not all of them.
"""

from collections.abc import Sequence


def contrasts(labels: Sequence[str]) -> list[tuple[str, str]]:
    """List what is compared beside the baseline, (one, the other): labels are a method's name, for a variant with its options.

    The first method is the one that is studied, the others are its controls. A variant is compared, of each control, with the variant
    that has as many of its options as any and no others; a control that so finds no partner is compared with the first of all.
    """
    if not labels:
        return []
    first, parts = labels[0], {label: _parted(label) for label in labels}
    studied = [label for label in labels if parts[label][0] == parts[first][0]]
    kinds = dict.fromkeys(parts[label][0] for label in labels if label not in studied)
    pairs = []
    for label in studied:
        for kind in kinds:
            fitting = [other for other in labels if parts[other][0] == kind and parts[other][1] <= parts[label][1]]
            if fitting:
                pairs.append((label, max(fitting, key=lambda other: len(parts[other][1]))))
    paired = {other for _, other in pairs}
    pairs += [(first, label) for label in labels if label not in studied and label not in paired]
    return pairs + [(first, label) for label in studied if label != first]


def _parted(label: str) -> tuple[str, frozenset[str]]:
    """The method and its options: ``randmask(top_k=2)`` is ``randmask`` and ``top_k=2``."""
    name, _, options = label.partition("(")
    return name, frozenset(options.removesuffix(")").split(", ")) - {""}
