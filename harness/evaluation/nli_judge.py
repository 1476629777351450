"""The published citation judge: a sequence-to-sequence model that answers "1" where the premise entails the hypothesis.

HELMET and ALCE use ``google/t5_xxl_true_nli_mixture`` (TRUE, arXiv 2204.04991): 11 billion parameters, bfloat16, 10 new tokens, greedy.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.api import HarnessError, Json
from harness.files import digest
from harness.models.footprint import most_numbers
from harness.models.loading import loading
from tasks.judges import Pair

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_ENTAILED: Final = "1"
_MAX_NEW_TOKENS: Final = 10
#: Padded input tokens of one batch. Changes speed and memory, not what is asked.
_BATCH_TOKENS: Final = 16_384


class NliJudge:
    """The judge called ``model``, a Hub id or a directory. It is loaded with the first question."""

    def __init__(self, model: str, *, batch_tokens: int = _BATCH_TOKENS) -> None:
        self._model_name = model
        self._batch_tokens = batch_tokens
        self._loaded: tuple[PreTrainedTokenizerBase, Any] | None = None
        self.name = f"nli:{_identity(model)}"

    def entails(self, pairs: Sequence[Pair]) -> list[bool]:
        if not pairs:
            return []
        import torch

        tokenizer, model = self._load()
        texts = [f"premise: {premise} hypothesis: {claim}".encode("utf-8", "replace").decode() for premise, claim in pairs]
        lengths = [len(ids) for ids in tokenizer(texts)["input_ids"]]
        answers: dict[int, str] = {}
        for batch in self._batches(lengths):
            inputs = tokenizer([texts[index] for index in batch], return_tensors="pt", padding=True).to(model.device)
            with torch.inference_mode():
                written = model.generate(
                    input_ids=inputs["input_ids"],
                    attention_mask=inputs["attention_mask"],
                    max_new_tokens=_MAX_NEW_TOKENS,
                    do_sample=False,
                    num_beams=1,
                )
            answers.update(zip(batch, tokenizer.batch_decode(written, skip_special_tokens=True), strict=True))
        return [answers[index] == _ENTAILED for index in range(len(pairs))]

    def _batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Positions of texts of similar length, as many as fit once padded; a text too long for the budget comes alone."""
        batch: list[int] = []
        for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
            if batch and lengths[batch[0]] * (len(batch) + 1) > self._batch_tokens:
                yield batch
                batch = []
            batch.append(index)
        yield batch

    def _load(self) -> "tuple[PreTrainedTokenizerBase, Any]":
        if self._loaded is None:
            import torch
            from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

            from harness.engines.weights import REPORTING, checked

            place = {"device_map": "auto"} if torch.cuda.is_available() else {}
            path = Path(self._model_name)
            try:
                with loading(path, most_numbers(path) if path.is_dir() else None):
                    tokenizer = AutoTokenizer.from_pretrained(self._model_name, trust_remote_code=False)
                    loaded: Any = AutoModelForSeq2SeqLM.from_pretrained(
                        self._model_name, dtype=torch.bfloat16, trust_remote_code=False, **REPORTING, **place
                    )
            except HarnessError as error:
                raise HarnessError(
                    f"cannot load the judge {self._model_name!r} ({error}); give --judge a sequence-to-sequence NLI model, "
                    "such as google/t5_xxl_true_nli_mixture (Hub id or directory), or exact-words"
                ) from None
            self._loaded = tokenizer, checked(Path(self._model_name), *loaded, trust_remote_code=False).eval()
        return self._loaded


def _identity(model: str) -> str:
    """Two judges of one name are the same: a Hub id, or a directory's files by name, size and time of change."""
    path = Path(model)
    if not path.is_dir():
        return model
    found: dict[str, Json] = {}
    for file in sorted(path.iterdir()):
        if file.is_file():
            status = file.stat()
            found[file.name] = [status.st_size, status.st_mtime_ns]
    return f"{path.resolve()}:{digest(found)[:16]}"
