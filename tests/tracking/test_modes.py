"""Whether a run is recorded online: what is asked for, whether there is a key, and whether there is a server."""

import re
import socket
from urllib.parse import urlparse

import pytest

from mobanet.errors import UserError
from mobanet.tracking.trackers import logged_in, tracking_mode
from mobanet.tracking.wandb_run import wandb_logger


@pytest.fixture
def server(monkeypatch):
    """A port that something listens on, as the server of somebody who is logged in."""
    for name in (
        "WANDB_MODE",
        "WANDB_DISABLED",
        "HTTPS_PROXY",
        "https_proxy",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{listening.getsockname()[1]}")
        yield listening


def test_somebody_who_is_logged_in_is_online_where_the_server_answers(server, monkeypatch):
    assert tracking_mode("auto") == tracking_mode("online") == "online"
    assert (tracking_mode("offline"), tracking_mode("off")) == ("offline", "off")
    for name, mode in (("disabled", "off"), ("dryrun", "offline"), ("offline", "offline"), ("", "online")):
        monkeypatch.setenv("WANDB_MODE", name)
        assert tracking_mode("auto") == mode
    for word, mode in (("true", "off"), ("1", "off"), ("false", "online"), ("", "online")):
        monkeypatch.setenv("WANDB_DISABLED", word)
        assert tracking_mode("auto") == mode
        assert tracking_mode("offline") == "offline"
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("NETRC", "nowhere")
    assert tracking_mode("auto") == "offline"


def test_without_a_server_auto_records_offline_and_says_so(server, caplog, monkeypatch):
    server.close()
    caplog.set_level("INFO", "lightning.pytorch.utilities.rank_zero")
    assert tracking_mode("auto") == "offline"
    (record,) = caplog.records
    assert "cannot be reached (127.0.0.1: Connection refused): recording offline" in record.getMessage()
    with pytest.raises(UserError, match=r"--wandb online finds no server \(127.0.0.1: Connection refused\); check"):
        tracking_mode("online")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")  # knows ways of its own
    assert tracking_mode("online") == "online"


@pytest.mark.parametrize("address", ["localhost:8080", "http://host:abc", "http://[::1", "https://:443"])
def test_an_address_of_a_server_that_is_none_is_one_sentence(address, monkeypatch):
    for name in ("WANDB_MODE", "WANDB_DISABLED", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", "nowhere")
    monkeypatch.setenv("WANDB_BASE_URL", address)
    for tracking in ("auto", "online", "offline"):
        with pytest.raises(UserError, match=f"WANDB_BASE_URL is {re.escape(address)}, which is no address of a server"):
            tracking_mode(tracking)
    assert tracking_mode("off") == "off"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert tracking_mode("auto") == "off"


def test_a_key_is_found_under_the_servers_name_of_today_and_of_before(server, tmp_path, monkeypatch):
    import wandb

    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.delenv("WANDB_BASE_URL")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    today = urlparse(wandb.Settings().base_url).hostname
    for host, found in ((today, True), ("api.wandb.ai", True), ("github.com", False)):
        (tmp_path / "netrc").write_text(f"machine {host} login user password {'a' * 40}\n")
        assert logged_in() == found
    monkeypatch.setenv("WANDB_BASE_URL", "https://maps.example:8080")
    assert not logged_in()
    (tmp_path / "netrc").write_text("machine maps.example login user password abc\n")
    assert logged_in()
    (tmp_path / "netrc").write_bytes("machine maps.example login müller password abc\n".encode("latin-1"))
    assert not logged_in()


def test_a_server_that_refuses_is_one_sentence(tmp_path, monkeypatch):
    import wandb

    def refuse(**settings):
        raise wandb.errors.CommError("permission denied\nfor this key.")

    monkeypatch.setattr(wandb, "init", refuse)
    logger = wandb_logger(tmp_path, "small", offline=False, past=None)
    with pytest.raises(UserError, match=r"cannot begin a run \(permission denied for this key\); mend that, or use"):
        logger.log_metrics({"a": 1.0}, 0)
