"""Files of the Hugging Face hub, whose client's errors share no base class across its versions."""

from pathlib import Path


def reach_hub() -> None:
    """Send one request with a short limit: without a network the hub's client retries for most of a minute."""
    import huggingface_hub

    if not huggingface_hub.constants.HF_HUB_OFFLINE:
        huggingface_hub.get_session().head(huggingface_hub.constants.ENDPOINT, timeout=10)


def hub_file(repository: str, file: str, revision: str | None = None) -> Path:
    """Path of a file of a repository, OWNER/NAME, in the hub's cache, fetched if it is not there yet."""
    import huggingface_hub

    cached = huggingface_hub.try_to_load_from_cache(repository, file, revision=revision)
    # it may also be a sentinel, which is true as well: the repository is known not to have the file
    if isinstance(cached, str):
        return Path(cached)
    reach_hub()
    return Path(huggingface_hub.hf_hub_download(repository, file, revision=revision))
