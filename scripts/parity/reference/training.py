"""A training step: mix-up, or mix-augment with the three passes of its definition; torch.optim.Adam; ExponentialLR."""

from dataclasses import dataclass

import torch

from reference import losses

TERMS = ("cross_entropy", "affinity", "partition", "landmark")


@dataclass
class Batch:
    emotion: torch.Tensor
    appearance: torch.Tensor
    labels: torch.Tensor
    landmarks: torch.Tensor
    share: float
    partners: torch.Tensor


class Objective:
    """The four loss terms of one batch with a job's settings."""

    def __init__(self, network, settings, subset):
        self.network, self.settings = network, settings
        centres = network.affinity.centres
        weighted = settings["class_weights"] == "inverse_share"
        self.weights = losses.class_weights(subset, centres.dtype) if weighted else None

    def terms(self, batch):
        method = {"mixup": self.mixup, "mixaug": self.mixaug}[self.settings["augmentation"]]
        return torch.stack([*method(batch), self.landmark(batch)])

    def landmark(self, batch):
        return losses.landmark(self.network.landmarks(batch.appearance), batch.landmarks)

    def pass_of(self, images):
        feature, heads, fused = self.network.emotion(images)
        return self.network.shared.expression(fused), feature, heads

    def mixed(self, batch):
        images = batch.share * batch.emotion + (1 - batch.share) * batch.emotion[batch.partners]
        logits, feature, heads = self.pass_of(images)
        first, second = batch.labels, batch.labels[batch.partners]
        entropy = losses.pair_cross_entropy(logits, first, second, batch.share, self.weights)
        centres = self.network.affinity.centres
        affinity = losses.affinity(feature, centres, second)
        if self.settings["affinity_labels"] == "soft":
            affinity = batch.share * losses.affinity(feature, centres, first) + (1 - batch.share) * affinity
        return entropy, affinity, losses.partition(heads)

    def real(self, images, labels):
        logits, feature, heads = self.pass_of(images)
        entropy = torch.nn.functional.cross_entropy(logits, labels, weight=self.weights)
        affinity = losses.affinity(feature, self.network.affinity.centres, labels)
        return entropy, affinity, losses.partition(heads)

    def mixup(self, batch):
        return self.mixed(batch)

    def mixaug(self, batch):
        """Mixed images, real images, and the real images again in the order of their partners."""
        virtual = self.mixed(batch)
        real = self.real(batch.emotion, batch.labels)
        partner = self.real(batch.emotion[batch.partners], batch.labels[batch.partners])
        entropy = virtual[0] + real[0] + partner[0]
        rest = {
            "real": real[1:],
            "virtual": virtual[1:],
            "all": [sum(terms) for terms in zip(virtual[1:], real[1:], partner[1:])],
        }
        return entropy, *rest[self.settings["mixaug_terms"]]


def optimiser(parameters, settings, kind=torch.optim.Adam):
    """Adam and its schedule, for one tensor at a time as in its definition."""
    adam = kind(
        parameters,
        lr=settings["learning_rate"],
        betas=(settings["adam_beta1"], settings["adam_beta2"]),
        eps=settings["adam_epsilon"],
        weight_decay=settings["weight_decay"],
        foreach=False,
    )
    return adam, torch.optim.lr_scheduler.ExponentialLR(adam, settings["lr_decay"])
