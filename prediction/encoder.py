"""The encoder of a recorded run's classifier, for other runs to start from."""

import torch
from torch import Tensor, nn

from debiaslab.analysis.records import Record
from debiaslab.analysis.restored_run import restore_networks
from debiaslab.core.errors import UserError
from debiaslab.methods import Method
from debiaslab.models.base import Encoder
from debiaslab.models.networks import Classifier, Head
from debiaslab.prediction.exporting import modules_used


def encoder_weights(record: Record) -> dict[str, Tensor]:
    """Return the state dict of the encoder that predicts in a run, with the weights selected by the run's rule.

    Raises `UserError` if the run has no weights, or several encoders predict, as in DisEnt.
    """
    method, _, given = restore_networks(record, rule=None)
    encoders = predicting_encoders(method, torch.zeros(1, *given["shape"]))
    if len(encoders) != 1:
        raise UserError(
            f"the classifier of the run {record.id} has {len(encoders)} encoders; name a run whose classifier has one"
        )
    return encoders[0].state_dict()


@torch.no_grad()
def classifier_weights(record: Record) -> dict[str, Tensor]:
    """Return the state dict of the classifier, `encoder` and `head`, with the weights selected by the run's rule.

    Raises `UserError` if the run has no weights, or its prediction is not an encoder with one linear layer.
    """
    method, _, given = restore_networks(record, rule=None)
    images = torch.rand(2, *given["shape"], generator=torch.Generator().manual_seed(0))
    expected, used = method.predict(images), modules_used(Predictor(method), images)
    heads = [module for module in used if isinstance(module, Head)]
    encoders = predicting_encoders(method, images)
    if len(encoders) == len(heads) == 1 and heads[0].in_features == encoders[0].feature_dim:
        classifier = Classifier(encoders[0], heads[0])
        if torch.allclose(classifier(images), expected):
            return classifier.state_dict()
    raise UserError(
        f"the classifier of the run {record.id} (method={record.config['method']['name']}) is not an encoder with one"
        " linear layer; name a run of another method"
    )


def predicting_encoders(method: Method, images: Tensor) -> list[Encoder]:
    """Return the encoders, without those inside of others, that `method` predicts `images` with."""
    used = modules_used(Predictor(method), images)
    outer: dict[str, Encoder] = {}
    for name, module in method.named_modules():
        inside = any(name.startswith(f"{other}.") for other in outer)
        if isinstance(module, Encoder) and not inside and used & {*module.modules()}:
            outer[name] = module
    return list(outer.values())


class Predictor(nn.Module):
    """The prediction of a method, as a module that contains the method."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, image: Tensor) -> Tensor:
        return self.method.predict(image)
