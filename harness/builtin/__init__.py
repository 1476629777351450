"""The small model that ships with the project: its weights (``model/``), its card and the recipe that made it."""

from pathlib import Path
from typing import Final

MODEL_DIR: Final = Path(__file__).parent / "model"
