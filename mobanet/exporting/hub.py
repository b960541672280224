"""The Hugging Face hub: models are fetched from it by name, and uploaded only where that is asked for."""

import re
from pathlib import Path

from mobanet.errors import UserError
from mobanet.plain.hub import reach_hub

OPTION = "--push_to_hub"
_NAME = re.compile(r"[\w.-]+/[\w.-]+")
# behind a bracket the client's errors have the number of the request, and below it an address
_FIRST_WORD = re.compile(r"[^\n(]+")


def looks_like_repository(name: str) -> bool:
    """Whether a name may be one of a repository, OWNER/NAME."""
    return _NAME.fullmatch(name) is not None and not name.startswith(".")  # ./folder would fit, too


def fetch(name: str, files: list[str], revision: str | None = None) -> Path:
    """The folder of OWNER/NAME in the hub's cache, with the files wanted; downloaded if it is not there yet.

    Raises:
        UserError: when it cannot be had.
    """
    import huggingface_hub

    try:
        reach_hub()
        # these files alone, and no pickles that lie beside them
        return Path(huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=files))
    except Exception as error:  # the client's errors share no base class across its versions
        raise UserError(
            f"{name} is no folder here, and cannot be fetched from the hub ({_reason(error)}); check the name, log in "
            "with `hf auth login` if the repository is private, or give a folder."
        ) from error


def check_push(repository: str) -> None:
    """Refuse, before any work is done, an upload that cannot succeed."""
    import huggingface_hub

    if not looks_like_repository(repository):
        raise UserError(f"{OPTION} {repository} is no name of a repository; write OWNER/NAME.")
    # from the environment or a login; whether it may write shows only at the upload
    if not huggingface_hub.get_token():
        raise UserError(
            f"{OPTION} {repository} needs a token of the hub with the right to write; log in with `hf auth login`, or "
            "set the environment variable HF_TOKEN."
        )


def push(folder: Path, repository: str, files: list[str]) -> str:
    """Upload a folder's files to OWNER/NAME, whose address comes back; a repository that is new is private.

    Raises:
        UserError: when the hub refuses.
    """
    import huggingface_hub

    api = huggingface_hub.HfApi(library_name="mobanet")
    try:
        # private: to publish is the owner's decision, and one that is there stays as it is
        address = api.create_repo(repository, private=True, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, allow_patterns=files, commit_message="mobanet.export")
    except Exception as error:  # as above
        raise UserError(
            f"{OPTION} {repository}: the hub refuses or cannot be reached ({_reason(error)}); the folder {folder} is "
            "there, and the same command uploads it again."
        ) from error
    return str(address)


def _reason(error: Exception) -> str:
    found = _FIRST_WORD.match(str(error).strip())
    words = found[0].strip().rstrip(".:") if found else ""
    return f"{type(error).__name__}: {words}"[:160] if words else type(error).__name__
