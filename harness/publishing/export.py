"""A trained model, taken out of its run: into a folder of its own, or onto the Hub with the user's own token."""

import os
import shutil
from pathlib import Path

from harness.api import HarnessError
from harness.models.lookup import resolve
from harness.screen.redact import redacted
from harness.store import checkpoints
from tasks.files import open_mode


def trained(name: str) -> Path:
    """Find the folder of the model that ``RUN:METHOD`` names, whose files are as its run made them. HarnessError if there is none."""
    if checkpoints.find(name) is None:
        raise HarnessError(f"{name} is no trained model of a run; write RUN:METHOD, such as runs/demo:retmask (`harness runs show RUN`)")
    return resolve(name).path


def export(name: str, folder: Path) -> list[Path]:
    """Copy a trained model and its card into ``folder``, which is new or empty; the files. Nothing there is a link into the run."""
    source = trained(name)
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise HarnessError(f"{folder} is there and not an empty folder; name a new one")
    whole = folder.resolve()
    if source == whole or source in whole.parents:
        raise HarnessError(f"{folder} is inside of the model; name another folder")
    partial = whole.with_name(f".{whole.name}.{os.getpid()}")
    try:
        shutil.copytree(source, partial, copy_function=shutil.copyfile)
        for path in filter(Path.is_file, partial.rglob("*")):
            open_mode(path)
        whole.parent.mkdir(parents=True, exist_ok=True)
        if whole.is_dir():  # somebody may stand in it
            for path in partial.iterdir():
                os.replace(path, whole / path.name)
        else:
            os.replace(partial, whole)
    except OSError as error:
        raise HarnessError(f"cannot write {folder} ({error.strerror}); choose another place") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def check_repository(name: str) -> None:
    """Raise HarnessError if the Hub takes no repository of that name."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise HarnessError(f"{name!r} is no name of a repository ({error}); write NAME or OWNER/NAME") from None


def push(folder: Path, repository: str, *, private: bool) -> str:
    """Upload a folder's files to a repository of the Hub, which is made if need be; its address. The token is the one that is logged in.

    HarnessError if the Hub refuses, or cannot be reached.
    """
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    try:
        made = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(
            folder_path=folder, repo_id=made.repo_id, commit_message="Trained with retmask-harness", ignore_patterns=[".*", "**/.*"]
        )
    except HFValidationError as error:
        raise HarnessError(f"{repository!r} is no name of a repository ({error}); write NAME or OWNER/NAME") from None
    except LocalTokenNotFoundError:
        raise HarnessError("you are not logged in to the Hub; run `hf auth login`, or set HF_TOKEN") from None
    except (HfHubHTTPError, httpx2.HTTPError, OSError) as error:
        said = next(iter(redacted(str(error)).splitlines()), type(error).__name__)
        raise HarnessError(f"{repository} could not be uploaded ({said}); does your token allow it?") from None
    return str(made)
