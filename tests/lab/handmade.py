"""Run records written by hand, in memory."""

from pathlib import Path

from corrinit.lab.experiment.identity import protocol_of, run_id
from corrinit.lab.runs.record import RunRecord
from corrinit.lab.runs.result import RunResult

FACTS = {
    "version": "0.1.0",
    "commit": "0123456789ab",
    "hardware": "A processor",
    "device": "CPU",
    "threads": 1,
    "torch": "2.13.0",
    "data": "digits: embedded in scikit-learn",
    "finished": "2030-01-01T00:00:00+00:00",
    "seconds": 2.0,
    "images_per_second": 1000.0,
}


def handmade(
    config, accuracy, *, curve=None, sign_changes=0.4, weight_correlation=0.1, loss=0.5, protocol=None
):
    """A finished run, by today's protocol; `curve` and `sign_changes` are one value, or one per epoch."""
    epochs = range(config.epochs)
    curve = list(curve or [accuracy * (epoch + 1) / config.epochs for epoch in epochs])
    changes = sign_changes if isinstance(sign_changes, list) else [sign_changes] * config.epochs
    metrics = tuple(
        {
            "epoch": epoch + 1,
            "train_loss": loss + 1e-9 * int(config.run_id[:6], 16),  # no two runs compute the same
            "test_loss": loss,
            "test_accuracy": curve[epoch],
            "seconds": 1.0,
            "sign_changes": changes[epoch],
            "gradient_mean_abs": 1e-3,
            "weight_correlation": weight_correlation,
        }
        for epoch in epochs
    )
    protocol = protocol or protocol_of(config)
    path = Path(run_id(config, protocol=protocol))
    return RunRecord(path, config, metrics, RunResult.of({"test_accuracy": accuracy, **FACTS}), protocol)
