"""A suite is the same wherever it is built."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.evaluation.suite import SuiteConfig, build_examples, write_examples
from harness.models.lookup import resolve
from harness.models.tokenizers import load_tokenizer

ROOT = Path(__file__).parents[3]
#: Three examples of every task at 512 tokens for the shipped model, in its wording. When it has to change, raise the suite's VERSION.
DIGEST = "889690070c236975e3c8da68225d77cdef4182b3e0951d93a083b7549a0c72f4"


def test_the_suite_has_the_digest_that_every_machine_gives(tmp_path: Path) -> None:
    examples = build_examples(SuiteConfig((), (512,), 3, 0, framing="chat", wording="terse"), load_tokenizer(resolve("builtin")))
    facts = write_examples(tmp_path / "examples.jsonl", examples)
    assert facts["digest"] == hashlib.sha256((tmp_path / "examples.jsonl").read_bytes()).hexdigest()
    assert facts["digest"] == DIGEST


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_neither_hash_seed_nor_locale_matters(tmp_path: Path, locale: str) -> None:
    script = (
        "import sys; from pathlib import Path; from harness.models.lookup import resolve; from harness.evaluation.suite import *\n"
        "config = SuiteConfig((), (512,), 3, 0, framing='chat', wording='terse')\n"
        "print(write_examples(Path(sys.argv[1]), build_examples(config, load_tokenizer(resolve('builtin'))))['digest'])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7", "LC_ALL": locale, "PYTHONUTF8": "0"}
    command = [sys.executable, "-c", script, str(tmp_path / "examples.jsonl")]
    assert subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout.strip() == DIGEST
