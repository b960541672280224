"""What follows a run beside metrics.csv: Weights & Biases (online, offline, never a prompt) or TensorBoard."""

import netrc
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlparse

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from mobanet.errors import UserError

Tracker = Literal["wandb", "tensorboard", "csv"]
"""What is logged to; `csv` is metrics.csv, which every run writes."""

Tracking = Literal["auto", "online", "offline", "off"]
"""Of Weights & Biases; `auto`: online when a key is found, offline otherwise."""

Mode = Literal["online", "offline", "off"]
"""What that comes to."""

_FORMER = "https://api.wandb.ai"
_PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
_PATIENCE = 5.0
"""Seconds for the server to answer; its own client would try for a minute and a half."""
_YES = ("true", "yes", "on", "1")


def logged_in() -> bool:
    """Whether a key is in the environment or in the netrc file; nothing is asked of the network."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    path = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    try:
        keys = netrc.netrc(str(path))
    except (OSError, UnicodeDecodeError, netrc.NetrcParseError):
        return False
    return any(keys.authenticators(urlparse(server).hostname or "") for server in _servers())


def _servers() -> list[str]:
    """The server of Weights & Biases, and the name that it had when some keys were written down."""
    given = _own_server()
    if given:
        # a server of one's own: a key for the public one opens nothing there
        return [given]
    import wandb

    return [wandb.Settings().base_url, _FORMER]


def _own_server() -> str | None:
    """The address of a server of one's own; None where there is none.

    Raises:
        UserError: for what is no address.
    """
    given = os.environ.get("WANDB_BASE_URL")
    if not given:
        return None
    import wandb

    try:
        wandb.Settings(base_url=given)
    # pydantic's, with a page of text, which would end the run when its first figures are logged
    except ValueError as error:
        raise UserError(
            f"WANDB_BASE_URL is {given}, which is no address of a server; set it to one such as "
            "https://wandb.example.org, or unset it."
        ) from error
    return given


def unreachable() -> str | None:
    """Why the server of Weights & Biases cannot be reached; None where it can, or where a proxy stands before it."""
    # only the proxy can reach the server then: a connection of our own would tell nothing
    if any(os.environ.get(name) for name in _PROXIES):
        return None
    url = urlparse(_servers()[0])
    try:
        socket.create_connection(
            (url.hostname or "", url.port or (80 if url.scheme == "http" else 443)), _PATIENCE
        ).close()
    except OSError as error:
        return f"{url.hostname}: {error.strerror or error}"
    return None


def _of_environment() -> Mode:
    mode = os.environ.get("WANDB_MODE", "")
    if os.environ.get("WANDB_DISABLED", "").lower() in _YES:  # of earlier versions
        mode = "off"
    known: dict[str, Mode] = {"online": "online", "offline": "offline", "off": "off"}
    # W&B's own words, the latter of earlier versions
    known |= {"disabled": "off", "dryrun": "offline"}
    return known.get(mode) or ("online" if logged_in() else "offline")


def tracking_mode(tracking: Tracking) -> Mode:
    """What `auto` means here and now.

    WANDB_DISABLED and WANDB_MODE decide, then whether a key is found and the server answers.

    Raises:
        UserError: when `online` is asked for without a key or a server, and for a server's address that is none.
    """
    mode = _of_environment() if tracking == "auto" else tracking
    if mode == "off":
        return mode
    # also offline, as the client reads the address all the same
    _own_server()
    if mode == "offline":
        return mode
    if not logged_in():
        raise UserError("--wandb online needs a key; run `wandb login` or set WANDB_API_KEY, or use --wandb offline.")
    why = unreachable()
    if why is None:
        return mode
    if tracking == "online":
        raise UserError(f"--wandb online finds no server ({why}); check the network, or use --wandb offline.")
    rank_zero_info(f"tracking    the server of Weights & Biases cannot be reached ({why}): recording offline")
    return "offline"


def tracking_loggers(
    follower: Tracker,
    tracking: Tracking,
    folder: Path,
    experiment: str,
    past: Sequence[Mapping[str, Any]] | None = None,
) -> list[Logger]:
    """The loggers of a run beside `metrics.csv`.

    Args:
        follower: which one; `csv` is none.
        tracking: of Weights & Biases.
        folder: of the run; holds the records.
        experiment: names the run.
        past: rows that `metrics.csv` has of the folder's run, which goes on; None where a new one begins.

    Raises:
        UserError: as `tracking_mode`, when TensorBoard is not installed, or the file that says which tracked run the
            folder belongs to is damaged.
    """
    if follower == "csv":
        return []
    if follower == "tensorboard":
        from mobanet.tracking.tensorboard import tensorboard_logger

        return [
            tensorboard_logger(folder, None if past is None else max((row["step"] for row in past), default=-1) + 1)
        ]
    mode = tracking_mode(tracking)
    if mode == "off":
        return []
    from mobanet.tracking.wandb_run import wandb_logger

    logger = wandb_logger(folder, experiment, offline=mode == "offline", past=past)
    rank_zero_info(f"tracking    Weights & Biases, {mode}, run {logger.version}")
    return [logger]
