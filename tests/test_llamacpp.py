"""llama-cpp-python's server with SmolLM2 in it, asked in both ways, against transformers; and one whose context is too short.

`make test-llamacpp` builds it in a virtual environment of its own (some ten minutes) and runs these.
"""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
import requests
from click.testing import CliRunner, Result

from harness.commands.root import main
from harness.models.catalogue import entries
from harness.models.named import fetched

pytestmark = pytest.mark.llamacpp
NAME = "smollm2-135m"
PYTHON = Path(os.environ.get("LLAMACPP_PYTHON", Path(__file__).parents[1] / "build" / "llamacpp" / "bin" / "python"))
PROMPTS = 16
#: The same chats whichever way they are asked.
ASKED = ("--model", NAME, "--preset", "small", "--tasks", "niah_mk", "--examples", str(PROMPTS), "--framing", "chat", "--yes")


@contextmanager
def server(model: Path, context: int) -> Iterator[str]:
    """A server with so long a context; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        PYTHON,
        "-m",
        "llama_cpp.server",
        "--model",
        model,
        "--n_ctx",
        context,
        "--port",
        port,
        "--n_threads",
        1,
        "--verbose",
        "false",
    ]
    running = subprocess.Popen([str(each) for each in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/v1"
    try:
        deadline = time.monotonic() + 300
        while True:
            try:
                requests.get(f"{url}/models", timeout=5)
                break
            except requests.RequestException:
                assert running.poll() is None, "the server ended"
                assert time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.5)
        yield url
    finally:
        running.terminate()
        running.wait()


@pytest.fixture(scope="module")
def gguf(smollm2: Path) -> Path:
    """The file that transformers' weights were read from."""
    assert smollm2.is_dir()
    if not PYTHON.exists():
        pytest.skip(f"no llama-cpp-python at {PYTHON}; make test-llamacpp builds it")
    step = fetched(entries()[NAME])
    assert step is not None
    return step.path / entries()[NAME].file


def evaluate(output: Path, *more: str) -> Result:
    return CliRunner().invoke(main, ["eval", *ASKED, "--output", str(output), *more])


def samples(output: Path) -> pd.DataFrame:
    (path,) = output.glob("steps/eval-*/samples.parquet")
    return pd.read_parquet(path).sort_values("example_id", ignore_index=True)


@pytest.fixture(scope="module")
def by_transformers(tmp_path_factory: pytest.TempPathFactory, gguf: Path) -> pd.DataFrame:
    output = tmp_path_factory.mktemp("hf")
    result = evaluate(output, "--device", "cpu", "--lengths", "256")
    assert result.exit_code == 0, result.output
    return samples(output)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, gguf: Path) -> Path:
    """The same file with its numbers in float32: llama.cpp then multiplies what transformers multiplies, to 1e-5 of a logit.

    Packed weights meet activations that are rounded to 8 bits, which moves logits by 0.1.
    """
    from gguf import GGUFReader, GGUFValueType, GGUFWriter
    from gguf.quants import dequantize

    path = tmp_path_factory.mktemp("plain") / "plain.gguf"
    found = GGUFReader(gguf)
    writer = GGUFWriter(path, "llama")
    for field in found.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
            continue
        kind = field.types[0]
        writer.add_key_value(field.name, field.contents(), kind, sub_type=field.types[-1] if kind == GGUFValueType.ARRAY else None)
    for tensor in found.tensors:
        writer.add_tensor(tensor.name, dequantize(tensor.data, tensor.tensor_type).astype("float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("api", ["completions", "chat"])
@pytest.mark.parametrize("numbers", ["packed", "plain"])
def test_both_ways_answer_as_transformers_do(
    tmp_path: Path, gguf: Path, plain: Path, by_transformers: pd.DataFrame, numbers: str, api: str
) -> None:
    with server(plain if numbers == "plain" else gguf, 2048) as url:
        result = evaluate(tmp_path, "--lengths", "256", "--backend", "served", "--url", url, "--served-api", api, "--timeout", "1800")
    assert result.exit_code == 0, result.output
    found = samples(tmp_path)
    same, scores = found["output"] == by_transformers["output"], found["score"] == by_transformers["score"]
    print(f"{numbers}, {api}: of {PROMPTS} prompts {int(same.sum())} answers and {int(scores.sum())} scores are those of hf")
    print("\n".join(line for line in result.output.splitlines() if "token ids" in line or "no more than" in line))
    assert found["prompt_tokens"].tolist() == by_transformers["prompt_tokens"].tolist()
    assert ("prompts go as text" in result.output) == (api == "completions")
    assert same.sum() >= 12
    if numbers == "plain":
        assert scores.all()


#: What is asked of a server with a context of 512 -> how it ends: a prompt that it refuses, and an answer that it shortens.
TOO_LONG = {"1k": (2, "context"), "530": (3, "its context is full")}


@pytest.mark.parametrize("length", TOO_LONG)
@pytest.mark.parametrize("api", ["completions", "chat"])
def test_a_context_that_is_too_short_is_caught(tmp_path: Path, gguf: Path, api: str, length: str) -> None:
    code, reason = TOO_LONG[length]
    with server(gguf, 512) as url:
        where = ("--lengths", length, "--examples", "4", "--backend", "served", "--url", url, "--served-api", api)
        for name, more in (("plain", ()), ("probed", ("--probe-context",))):
            result = evaluate(tmp_path / name, *where, *more)
            print(f"{api}, {length}, {name}: {result.output.splitlines()[-1]}")
            assert result.exit_code == (2 if more else code), result.output
            assert reason in result.output
            assert not list((tmp_path / name).glob("steps/eval-*")), "nothing is scored"
