"""Weights & Biases: online when logged in or asked for, offline otherwise, never a prompt."""

import netrc
import os
from pathlib import Path
from typing import Literal
from urllib.parse import urlparse

from lightning.pytorch.loggers import Logger

from mobanet.errors import UserError

Tracking = Literal["auto", "online", "offline", "off"]
"""`auto`: online when a key is found, offline otherwise."""

_HOST = "https://api.wandb.ai"


def logged_in() -> bool:
    """Whether a key is in the environment or in the netrc file; nothing is asked of the network."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", _HOST)).hostname
    path = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    try:
        return bool(host and netrc.netrc(str(path)).authenticators(host))
    except (OSError, netrc.NetrcParseError):
        return False


def wandb_logger(tracking: Tracking, folder: Path, experiment: str) -> Logger | None:
    """The logger, or None when tracking is off.

    Args:
        tracking: as asked for; WANDB_MODE decides where it is `auto`.
        folder: of the run; holds the offline record.
        experiment: names the run.

    Raises:
        UserError: when `online` is asked for without a key.
    """
    if tracking == "auto":
        mode = {"disabled": "off", "dryrun": "offline"}.get(
            os.environ.get("WANDB_MODE", ""), os.environ.get("WANDB_MODE")
        )
        tracking = mode if mode in ("online", "offline", "off") else "online" if logged_in() else "offline"
    if tracking == "off":
        return None
    if tracking == "online" and not logged_in():
        raise UserError("--wandb online needs a key; run `wandb login` or set WANDB_API_KEY, or use --wandb offline.")
    from lightning.pytorch.loggers import WandbLogger

    os.environ["WANDB_SILENT"] = "true"
    folder.mkdir(parents=True, exist_ok=True)
    logger = WandbLogger(
        name=f"{experiment}/{folder.name}",
        project=os.environ.get("WANDB_PROJECT", "mobanet"),
        save_dir=str(folder),
        offline=tracking == "offline",
        log_model=False,
    )
    getattr(logger, "_wandb_init", {}).pop("anonymous", None)  # Lightning hands it on unset; wandb warns that it is old
    return logger
