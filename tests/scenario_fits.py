"""Small trainings with scenarios: what they are given, what is watched of them, and how their weights are compared."""

from lightning.pytorch import Callback

from tests.conftest import same

FULL = [0, 0, 0, 0, 0, 0, 1]
STAGES = {"strategy": "uniform", "full_share": 0.0, "warmup_epochs": 0.5}


def of_complete(module):
    """All weights and running statistics but those of the own parts for incomplete samples."""
    state = {name: value for name, value in weights(module).items() if name.startswith("network.")}
    return {name: value for name, value in state.items() if not name.startswith("network.incomplete.")}


class Watch(Callback):
    """Remembers the probabilities of each epoch and what the network was given."""

    def __init__(self):
        self.probabilities, self.inputs, self.available = [], [], []

    def setup(self, trainer, pl_module, stage):
        pl_module.network.register_forward_pre_hook(self.hook)

    def hook(self, network, args):
        if network.training:
            self.inputs.append({name: x.clone() for name, x in args[0].items()})
            self.available.append(args[1].clone())

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == 0:
            self.probabilities.append(pl_module.scenario_probabilities.tolist())


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def assert_same(a, b):
    assert a.keys() == b.keys()
    assert [name for name in a if not same(a[name], b[name])] == []
