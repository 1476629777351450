"""Loading weights so that every one of them is the checkpoint's: transformers fills those it does not find with random numbers.

It only logs so; a model without three of its layers would get scores like any other.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from harness.api import HarnessError
from harness.models.files import ADAPTER, weight_files
from harness.models.footprint import most_numbers
from harness.models.generation_config import check_tokens
from harness.models.loading import loading

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Options of ``from_pretrained`` under which it says what it found, shapes included, instead of logging it.
REPORTING: Final = {"output_loading_info": True, "ignore_mismatched_sizes": True}
#: Names that an error gives; beyond them it counts.
_NAMED: Final = 5


def load_network(path: Path, *, trust_remote_code: bool, **options: Any) -> Any:
    """Load the causal language model in ``path`` as transformers does with these options, its weights complete and finite.

    HarnessError as :func:`checked`, and for what transformers raises.
    """
    from transformers import AutoModelForCausalLM

    with loading(path, most_numbers(path)):
        loaded: Any = AutoModelForCausalLM.from_pretrained(path, trust_remote_code=trust_remote_code, **REPORTING, **options)
    return checked(path, *loaded, trust_remote_code=trust_remote_code)


def checked(path: Path, network: Any, info: Mapping[str, Collection[Any]], *, trust_remote_code: bool) -> Any:
    """Return ``network``, loaded from ``path``, if ``info`` (transformers' ``output_loading_info``) and its numbers have no fault.

    Weights that share another's place (tied ones) need not be in the files. HarnessError names what is missing, unknown to the model,
    of another shape, NaN or infinite; and an end or pad token that is none.
    """
    if (path / ADAPTER).is_file():  # transformers then tells of the adapter's weights alone
        check_base(path, trust_remote_code=trust_remote_code)
    check_names(path, info)
    check_tokens(getattr(network, "generation_config", None), path)
    bad = [name for name, tensor in _tensors(network) if not is_finite(tensor)]
    if bad:
        dtype = str(network.dtype).removeprefix("torch.")
        raise HarnessError(f"{path} has weights that are NaN or infinite as {dtype}: {_some(bad)}; get it again, or choose another --dtype")
    _try(network, path)
    return network


def _try(network: Any, path: Path) -> None:
    """Have the model read one token. HarnessError if what its configuration says does not work."""
    import torch

    if getattr(getattr(network, "config", None), "is_encoder_decoder", True):  # which reads nothing without something to write
        return
    with loading(path), torch.inference_mode():
        network(input_ids=torch.zeros((1, 1), dtype=torch.long, device=network.device)).logits  # noqa: B018  # it may give none


def check_names(path: Path, info: Mapping[str, Collection[Any]]) -> None:
    """Raise HarnessError if weights are missing, left over or of another shape; ``info`` is transformers' ``output_loading_info``."""
    faults = {
        "are missing, and would be random": list(info["missing_keys"]),
        "have another shape than the model's": [str(key[0]) for key in info["mismatched_keys"]],
        "have no place in the model": list(info["unexpected_keys"]),
    }
    found = "; ".join(f"{len(names)} that {what}: {_some(names)}" for what, names in faults.items() if names)
    if found:
        raise HarnessError(f"{path} does not hold the weights of the model that its config.json describes, but {found}; get it again")


def known_tokens(network: Any) -> int:
    """Count the tokens that the model has embeddings for; no limit where code of its own does not say."""
    try:
        return int(network.get_input_embeddings().weight.shape[0])
    except (AttributeError, NotImplementedError):
        return 1 << 62


def check_files(path: Path, *, trust_remote_code: bool) -> None:
    """Check the weights of ``path`` before another library loads them: their names against the model's, and every number.

    Nothing but a tensor at a time is held in memory. HarnessError as :func:`checked`.
    """
    import torch
    from safetensors import safe_open

    if (path / ADAPTER).is_file():
        raise HarnessError(f"{path} has an adapter beside the model, which vLLM would leave out; merge the two, or choose --backend hf")
    check_base(path, trust_remote_code=trust_remote_code)
    bad: list[str] = []
    for file in weight_files(path):
        if file.suffix == ".safetensors":
            with loading(file), safe_open(file, framework="pt") as opened:
                bad += [name for name in opened.keys() if not is_finite(opened.get_tensor(name))]  # noqa: SIM118  # no mapping
        else:
            bad += [name for name, tensor in torch.load(file, weights_only=True, mmap=True).items() if not is_finite(tensor)]
    if bad:
        raise HarnessError(f"{path} has weights that are NaN or infinite: {_some(bad)}; get it again")


def check_base(path: Path, *, trust_remote_code: bool) -> None:
    """Check the names and shapes of the weights in ``path``, without any adapter beside them, on a model that takes no memory."""
    from transformers import AutoModelForCausalLM

    with loading(path, most_numbers(path)), _without_adapter(path) as base:
        loaded: Any = AutoModelForCausalLM.from_pretrained(base, device_map="meta", trust_remote_code=trust_remote_code, **REPORTING)
    check_names(path, loaded[1])
    check_tokens(loaded[0].generation_config, path)


@contextmanager
def _without_adapter(path: Path) -> Iterator[Path]:
    """The model directory as it is, or links to all of it but its adapter's configuration, without which transformers sees none."""
    if not (path / ADAPTER).is_file():
        yield path
        return
    with TemporaryDirectory(prefix="harness-base-") as folder:
        for file in path.resolve().iterdir():
            if file.name != ADAPTER:
                (Path(folder) / file.name).symlink_to(file)
        yield Path(folder)


def is_finite(tensor: "Tensor") -> bool:
    """Say whether no number of ``tensor`` is NaN or infinite: one pass without a copy, an eighth of what ``torch.isfinite`` takes.

    True of integers (packed weights), and of tensors that are not in memory (``meta``).
    """
    import torch

    if not tensor.is_floating_point() or tensor.is_meta or tensor.numel() == 0:
        return True
    found = tensor.detach()
    if found.element_size() == 1:  # torch has no order for numbers of eight bits
        found = found.to(torch.float32)
    return bool(torch.isfinite(torch.stack(torch.aminmax(found))).all())  # NaN is passed on by both


def _tensors(network: "nn.Module") -> Iterator[tuple[str, "Tensor"]]:
    """Every stored tensor once, however many names it has."""
    seen: set[int] = set()
    for name, tensor in network.state_dict(keep_vars=True).items():
        if id(tensor) not in seen and hasattr(tensor, "is_floating_point"):
            seen.add(id(tensor))
            yield name, tensor


def _some(names: Collection[str]) -> str:
    shown = sorted(names)
    more = len(shown) - _NAMED
    return ", ".join(shown[:_NAMED]) + (f" and {more} more" if more > 0 else "")
