"""A whole method plugin: scale the last layer's attention output. Nobody claims that it helps; the harness will say."""

import shutil
from pathlib import Path

from safetensors.numpy import load_file, save_file

from harness.api import HarnessError, Outcome, RunContext


class Shrink:
    """``harness run --method shrink --set factor=0.9``"""

    name = "shrink"

    def run(self, context: RunContext) -> Outcome:
        factor = context.options.get("factor", 0.9)
        if not isinstance(factor, int | float):
            raise HarnessError(f"[method]: factor is a number, not {factor!r}")

        def build(work: Path) -> None:
            shutil.copytree(context.model.path, work / "model", dirs_exist_ok=True)
            for file in (work / "model").glob("*.safetensors"):
                weights = load_file(file)
                last = max((name for name in weights if name.endswith("o_proj.weight")), default=None)
                if last is not None:
                    save_file({**weights, last: weights[last] * factor}, file, metadata={"format": "pt"})

        step = context.step("shrink", {"model": context.model.digest, "factor": factor, "version": 1}, build)
        return Outcome(checkpoint=step.path / "model", facts={"factor": factor})
