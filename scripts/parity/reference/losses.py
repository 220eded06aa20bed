"""The loss terms, computed as in the code of their publications."""

import sys

import torch
from torch.nn import functional


def class_weights(labels, dtype):
    """Class weights 1 - n_c / N of a training subset."""
    counts = torch.bincount(torch.tensor(labels), minlength=6).to(torch.float64)
    return (1 - counts / counts.sum()).to(dtype)


def pair_cross_entropy(logits, first, second, share, weights):
    """Mix-up's loss. The cross-entropy of each label is computed separately, and divided by its own labels' weights."""
    own = functional.cross_entropy(logits, first, weight=weights)
    return share * own + (1 - share) * functional.cross_entropy(logits, second, weight=weights)


def affinity(feature, centres, labels):
    """DAN's loss: all distances in one product, with other classes masked, divided by the centres' spread, clamped."""
    vectors = feature.mean(dim=(2, 3))
    squares = vectors.square().sum(dim=1, keepdim=True) + centres.square().sum(dim=1)
    distances = torch.addmm(squares, vectors, centres.t(), beta=1, alpha=-2)
    own = functional.one_hot(labels, len(centres)).to(feature.dtype)
    spread = centres.var(dim=0, correction=1).sum()
    return (distances * own / spread).clamp(min=1e-12, max=1e12).sum() / len(labels)


def partition(heads):
    """DAN's loss, with the mean over batch and channels of the unbiased variance over the heads."""
    count = heads.shape[1]
    if count == 1:
        return heads.new_zeros(())
    return torch.log(1 + count / (heads.var(dim=1, correction=1).mean() + sys.float_info.epsilon))


def landmark(predicted, target):
    return functional.mse_loss(predicted, target)
