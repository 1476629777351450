"""A run context as plain as can be: a step is a directory, done when its manifest is there.

As a program it runs one method, so that a test can kill it: ``python -m tests.retmask.directory ROOT CHECKPOINT OPTIONS METHOD``.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from harness.api import Artifact, EvaluationSuite, Json, Model


@dataclass
class DirectoryContext:
    """Implements :class:`harness.api.RunContext`."""

    root: Path
    checkpoint: Path
    options: Mapping[str, Json]
    seed: int = 7
    training_seed: int = 7
    evaluated: Sequence[tuple[str, str]] = ()
    """(task, prompt) of the examples."""
    device: str = "cpu"
    said: list[str] = field(default_factory=list)
    artifacts: list[Artifact] = field(default_factory=list)

    @property
    def model(self) -> Model:
        return Model(str(self.checkpoint), self.checkpoint, "digest-of-the-model")

    def step(
        self, name: str, inputs: Mapping[str, Json], build: Callable[[Path], Mapping[str, Json] | None], *, version: int = 1
    ) -> Artifact:
        key = sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:12]
        path = self.root / f"{name}-{key}"
        manifest = path / "manifest.json"
        reused = manifest.exists()
        if not reused:
            path.mkdir(parents=True, exist_ok=True)
            manifest.write_text(json.dumps({"inputs": dict(inputs), "facts": dict(build(path) or {})}))
        artifact = Artifact(name, key, path, json.loads(manifest.read_text()), reused)
        self.artifacts.append(artifact)
        return artifact

    def suite(self) -> EvaluationSuite:
        return EvaluationSuite(sha256(repr(self.evaluated).encode()).hexdigest(), lambda: iter(self.evaluated))

    def say(self, message: str) -> None:
        self.said.append(message)


if __name__ == "__main__":
    from retmask.methods.retmask import RetMask
    from retmask.methods.sft import Sft

    root, checkpoint, options, method = sys.argv[1:]
    {"RetMask": RetMask, "Sft": Sft}[method]().run(DirectoryContext(Path(root), Path(checkpoint), json.loads(options)))
