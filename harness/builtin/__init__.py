"""The small model that ships with the project: its weights (``model/``) and its card. ``recipes/builtin`` made it."""

from pathlib import Path
from typing import Final

MODEL_DIR: Final = Path(__file__).parent / "model"
