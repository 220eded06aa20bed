"""Differences of tensors, and the rows of the table with their bounds."""

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Row:
    item: str
    difference: float
    bound: float
    # For a reference that is wrong on purpose, the difference must reach the bound.
    wrong: bool = False

    @property
    def ok(self):
        if not math.isfinite(self.difference):
            return False
        return self.difference >= self.bound if self.wrong else self.difference <= self.bound

    def facts(self):
        relation = "at least" if self.wrong else "at most"
        facts = {"item": self.item, "difference": self.difference, relation.replace(" ", "_"): self.bound, "ok": self.ok}
        return facts

    def line(self):
        sign = "≥" if self.wrong else "≤"
        return f"{self.item:<76} {self.difference:>9.2e}  {sign} {self.bound:<7.0e}  {'ok' if self.ok else 'WRONG'}"


def relative(found, expected):
    """The largest difference, divided by the largest expected magnitude; infinite for another shape."""
    if found.shape != expected.shape:
        return math.inf
    difference = (found.double() - expected.double()).abs().max().item()
    scale = expected.double().abs().max().item()
    return difference / scale if scale > 0 else difference


def absolute(found, expected):
    if found.shape != expected.shape:
        return math.inf
    return (found.double() - expected.double()).abs().max().item()


def by_name(found, expected):
    """The largest relative difference of tensors with the same names."""
    if found.keys() != expected.keys():
        return math.inf
    return largest(relative(found[name], expected[name]) for name in expected)


def by_layer(found, expected):
    """The same for gradients and steps, relative to the largest value in the same layer.

    The gradient of a bias in front of a batch norm is 0 in exact numbers, and in a computer's whatever its summands
    leave behind: against itself it would differ wholly, so it is measured by its layer's weight.
    """
    if found.keys() != expected.keys():
        return math.inf
    scales = {}
    for name, tensor in expected.items():
        layer = name.rpartition(".")[0]
        scales[layer] = max(scales.get(layer, 0.0), tensor.double().abs().max().item())
    return largest(
        absolute(found[name], expected[name]) / (scales[name.rpartition(".")[0]] or 1.0) for name in expected
    )


def as_one(found, expected):
    """The length of the difference, divided by the expected length, with all tensors as one vector."""
    if found.keys() != expected.keys():
        return math.inf
    difference = sum((found[name].double() - expected[name].double()).square().sum().item() for name in expected)
    return (difference / sum(tensor.double().square().sum().item() for tensor in expected.values())) ** 0.5


def bits(found, expected):
    """0 for equal bits, otherwise at least the smallest possible difference."""
    return 0.0 if torch.equal(found, expected) else max(relative(found, expected), math.ulp(0.0))


def largest(differences):
    """The largest value, where NaN is larger than every number."""
    differences = list(differences)
    return math.nan if any(math.isnan(value) for value in differences) else max(differences)


def below(tensors, part):
    """The tensors named `part.…`, without that prefix."""
    return {name.removeprefix(f"{part}."): tensor for name, tensor in tensors.items() if name.startswith(f"{part}.")}


def under(part, tensors):
    return {f"{part}.{name}": tensor.detach().contiguous() for name, tensor in tensors.items()}


def generator(seed):
    return torch.Generator().manual_seed(seed)
