"""``harness heads`` as a user types it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from transformers import AutoModelForCausalLM

from harness.builtin import MODEL_DIR
from harness.commands.root import main
from retmask.cli import heads
from retmask.heads.score_files import read_scores

PUBLISHED = {"0-0": [0.0, 0.0], "0-1": [0.25, 0.75], "1-0": [0.0, 0.1], "1-1": [0.0, 0.0]}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["heads", *map(str, arguments)])


def done(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def published(tmp_path: Path) -> Path:
    path = tmp_path / "published.json"
    path.write_text(json.dumps(PUBLISHED))
    return path


def test_a_published_file_is_imported_shown_compared_and_exported(published: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.safetensors"
    assert "4 heads (2 layers x 2), 2 of 2 trials count" in done("import", published, "--out", own)
    shown = json.loads(done("show", own, "--json"))
    assert list(shown) == ["heads", "layers", "heads_per_layer", "trials", "at_least", "zero", "gini", "hoyer", "max", "top"]
    assert shown["at_least"] == {"0.05": 2, "0.1": 1}
    assert shown["zero"] == 0.5
    assert shown["top"][0] == [0, 1, 0.5]
    assert json.loads(done("show", published, "--json")) == shown
    assert "highest: 0-1 0.500" in done("show", own)
    assert json.loads(done("compare", published, own))["rank_correlation"] == pytest.approx(1)
    done("export", own, "--output", tmp_path / "back.json")
    np.testing.assert_allclose(read_scores(tmp_path / "back.json").per_trial, read_scores(published).per_trial)


def test_pictures_are_drawn_as_png_and_svg(published: Path, tmp_path: Path) -> None:
    done("show", published, "--figures", tmp_path / "pictures")
    again = tmp_path / "again.json"
    again.write_bytes(published.read_bytes())
    done("compare", published, again, "--figures", tmp_path / "pictures")
    names = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert names == {
        f"{name}.{kind}" for name in ("head_map", "score_curve", "score_distribution", "before_after") for kind in ("png", "svg")
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "missing.json"), "cannot read head scores from missing.json"),
        (("import", "missing.json", "--out", "x"), "cannot read head scores from missing.json"),
        (("detect", "--model", "nowhere/at all", "--out", "x"), "no model at 'nowhere/at all'"),
        (("detect", "--model", "builtin", "--lengths", "1k,much", "--out", "x"), "write tokens or thousands of 1024"),
        (("detect", "--model", "builtin", "--lengths", "256", "--detector", "kopy", "--out", "x"), "unknown detector 'kopy'"),
        (("detect", "--model", "builtin", "--lengths", "20", "--out", "x"), "leave no room for a haystack"),
        (("detect", "--model", "builtin", "--dtype", "float3", "--lengths", "128", "--trials", "1", "--out", "x"), "is no number format"),
        (("detect", "--model", "builtin", "--lengths", "256k", "--trials", "1", "--out", "x"), "the model's context is 131072"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", sorted(heads.commands))
def test_help_teaches_by_an_example(name: str) -> None:
    assert f"harness heads {name} " in done(name, "--help")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("measured")
    arguments = ("--model", "builtin", "--lengths", "192,256", "--trials", 3, "--seed", 5)
    done("detect", *arguments, "--out", path / "heads.safetensors", "--dump-trials", path / "trials.jsonl")
    return path


def test_dumped_trials_let_anyone_recompute_the_scores(measured: Path) -> None:
    """From the dump and the model alone: eager attention over each prompt and answer, and the definition."""
    model = AutoModelForCausalLM.from_pretrained(MODEL_DIR, attn_implementation="eager")
    lines = [json.loads(line) for line in (measured / "trials.jsonl").read_text().splitlines()]
    assert len(lines) == 6
    assert any(line["success"] for line in lines)
    for line in lines:
        prompt, said = line["prompt_ids"], line["generated_ids"]
        with torch.no_grad():
            output = model(torch.tensor([prompt + said]), output_attentions=True)
        rows = slice(len(prompt) - 1, len(prompt) + len(said) - 1)
        assert output.logits[0, rows].argmax(-1).tolist() == said
        needle = range(line["needle_start"], line["needle_end"])
        scores = np.zeros((len(output.attentions), output.attentions[0].shape[1]))
        for layer, attention in enumerate(output.attentions):
            for head, keys in enumerate(attention[0, :, rows].argmax(-1).tolist()):
                hits = {key for key, token in zip(keys, said, strict=True) if key in needle and prompt[key] == token}
                scores[layer, head] = len(hits) / len(needle)
        np.testing.assert_allclose(line["scores"], scores, atol=1e-6)
        assert abs(line["realised_depth"] - line["depth"]) < 0.15
    kept = read_scores(measured / "heads.safetensors")
    np.testing.assert_allclose(kept.per_trial, [line["scores"] for line in lines], atol=1e-6)
    assert [trial.success for trial in kept.trials] == [line["success"] for line in lines]


def test_one_file_has_views_by_length_and_depth(measured: Path, published: Path) -> None:
    table = done("show", measured / "heads.safetensors", "--by", "length").splitlines()[-2:]
    assert [line.split()[:2] for line in table] == [["192", "3"], ["256", "3"]]
    assert len(done("show", measured / "heads.safetensors", "--by", "depth").splitlines()) == 4 + 3
    refused = run("show", published, "--by", "depth")
    assert refused.exit_code == 2
    assert "published files hold scores alone" in refused.stderr


def test_bfloat16_finds_the_same_heads(measured: Path, tmp_path: Path) -> None:
    arguments = ("--model", "builtin", "--lengths", "192,256", "--trials", 3, "--seed", 5, "--dtype", "bfloat16")
    done("detect", *arguments, "--out", tmp_path / "half.safetensors")
    whole, half = read_scores(measured / "heads.safetensors"), read_scores(tmp_path / "half.safetensors")
    assert np.abs(whole.mean - half.mean).max() < 0.15


def test_a_detection_repeats_itself(measured: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    done("detect", "--model", "builtin", "--lengths", "192,256", "--trials", 3, "--seed", 5, "--out", again)
    assert again.read_bytes() == (measured / "heads.safetensors").read_bytes()


@pytest.mark.parametrize("mask", ["retrieval", "nonretrieval", "random", "layermatched"])
def test_ablate_writes_a_checkpoint_once(measured: Path, tmp_path: Path, mask: str) -> None:
    arguments = ("--model", "builtin", "--scores", measured / "heads.safetensors", "--mask", mask, "--top-k", 2)
    assert ": 2 heads ablated:" in done("ablate", *arguments, "--out", tmp_path / "masked")
    assert json.loads((tmp_path / "masked" / "head_mask.json").read_text())["name"] == mask
    again = run("ablate", *arguments, "--out", tmp_path / "masked")
    assert again.exit_code == 2
    assert "is not empty" in again.stderr


@pytest.mark.parametrize("text", ["", "{}", '{"runs": [1], "fits": {}}', "[" * 100_000])
def test_an_audit_refuses_what_is_no_relation_before_it_measures_anything(tmp_path: Path, text: str) -> None:
    (tmp_path / "relate.json").write_text(text)
    refused = run("audit", "--model", tmp_path / "nothing", "--related", tmp_path / "relate.json")
    assert refused.exit_code == 2
    assert "name relate.json in the --output of `harness relate`" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_audit_writes_its_figures(tmp_path: Path) -> None:
    runs = [
        {"name": f"m{x}", "gain": 10 * x, "gain_error": 0.5, "sparsity": {"gini": x}, "errors": {"gini": 0.0}} for x in (0.1, 0.3, 0.5, 0.6)
    ]
    (tmp_path / "relate.json").write_text(json.dumps({"tau": 0.1, "runs": runs, "fits": {"gini": {}}}))
    arguments = ("--model", "builtin", "--lengths", "192", "--trials", 8, "--controls", 1, "--related", tmp_path / "relate.json")
    said = done("audit", *arguments, "--out", tmp_path / "audit")
    facts = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert facts["reason"] in said
    assert "predicted gain by gini (0.7" in said
    assert facts["predicted_gain"]["gini"]["extrapolates"] is True
    assert facts["predicted_gain"]["gini"]["gain"][0] == pytest.approx(10 * facts["predicted_gain"]["gini"]["value"])
    assert {"audit.json", "heads.safetensors", "knockout.png", "knockout.svg"} <= {path.name for path in (tmp_path / "audit").iterdir()}
    shutil.rmtree(tmp_path / "audit")
