import math

import pytest

from mobanet.errors import UserError
from mobanet.reporting.logged import Curve, finite, read_curves
from mobanet.tracking.csv_log import MetricsCSV


def test_what_the_logger_writes_comes_back_as_curves(tmp_path):
    log = MetricsCSV(tmp_path)
    log.log_metrics({"train/loss": 2.0, "epoch": 0}, 9)
    log.log_metrics({"train/loss": 1.5, "epoch": 1}, 19)
    log.log_metrics({"val/miou": float("nan"), "epoch": 1}, 19)
    log.log_metrics({"val/miou": 0.5, "epoch": 2}, 29)
    log.save()
    curves = read_curves(tmp_path / "metrics.csv")
    assert curves["train/loss"] == Curve((10, 20), (1, 2), (2.0, 1.5))
    assert curves["val/miou"].steps == (20, 30)
    assert math.isnan(curves["val/miou"].values[0])
    assert finite(curves["val/miou"])
    assert not finite(Curve((1,), (1,), (math.inf,)))


def test_no_file_means_no_curves(tmp_path):
    assert read_curves(tmp_path / "metrics.csv") == {}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("epoch,train/loss\n0,1\n", 1),
        ("", 1),
        ("step,epoch,a\n9,0,1\n19,0,one\n", 3),
        ("step,epoch,a\n9,0\n", 2),
        ("step,epoch,a\n9,0,1,2\n", 2),
        ("step,epoch,a\nx,0,1\n", 2),
        ("step,epoch,a\n9,0,1\n\x00\xff\n", 1),
    ],
)
def test_a_damaged_file_is_named_with_its_line(text, line, tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=f"metrics.csv, line {line}: no metrics of a run .*mend the line"):
        read_curves(path)
