"""Compares many steps in a row: trainings of narrow networks with full depth, and the optimiser with given gradients."""

import torch
from compare import Row, below, bits, by_layer, by_name, generator, largest, relative, under
from networks import SUBSET, Reference, batches, fill, moved, statistics
from reference.training import optimiser
from settings import BACKBONES, METHODS, PRESETS

import ferry_model

STEPS = 20
EPOCH_LENGTH = 7
NARROW = {"width": 8, "mobilevitv2_width": 0.25}

# A training is chaotic: differences grow with every step, and in single precision twenty steps may lead elsewhere. In double
# precision, rounding grows to only about 1e-8 of the change of the weights. So these bounds detect any mistake, because a
# mistake is larger by orders of magnitude already in the first step.
LOSSES = 1e-8
WEIGHTS = 1e-6


def trajectories(ferry, say):
    for backbone in BACKBONES:
        chosen = NARROW | {"backbone": backbone}
        network = ferry_model.Network(PRESETS["paper"] | chosen)
        fill(network, seed=3)
        weights = {name: tensor.detach() for name, tensor in ferry_model.names(network).items()}
        inputs, mixing = batches(STEPS, 12, 48, seed=4)
        given = under("model", weights) | inputs
        for preset, preset_settings in PRESETS.items():
            for method in METHODS:
                own = chosen | {"augmentation": method}
                asked = {"subset": SUBSET, "mixing": mixing, "epoch_length": EPOCH_LENGTH, "forward": False}
                running = ferry.start("steps", preset, own, given, precision="double", **asked)
                settings = preset_settings | own
                reference = Reference(settings, weights, inputs, asked, torch.float64)
                outputs = running.outputs()
                title = f"{preset}, {backbone}, {method}: {STEPS} steps"
                last = below(outputs, "last")
                say(Row(f"{title}, losses", relative(outputs["terms"], reference.terms), LOSSES))
                steps = by_layer(moved(last, weights), moved(reference.last, weights))
                say(Row(f"{title}, way of the weights", steps, WEIGHTS))
                differing = by_name(statistics(last), statistics(reference.last))
                say(Row(f"{title}, running statistics", differing, WEIGHTS))


def resnet18(ferry, say):
    """Compares the backbone of the published DAN at full size, in evaluation mode and single precision."""
    chosen = {"emotion_backbone": "resnet18", "backbone": "resnet18"}
    settings = PRESETS["paper"] | chosen
    network = ferry_model.Network(settings)
    fill(network, seed=5)
    weights = {name: tensor.detach() for name, tensor in ferry_model.names(network).items()}
    inputs, _ = batches(1, 4, 64, seed=6)
    asked = {"subset": SUBSET, "mixing": [], "epoch_length": 1, "forward": True}
    given = under("model", weights) | inputs
    running = ferry.start("steps", "paper", chosen, given, precision="single", **asked)
    network.eval()
    with torch.no_grad():
        feature = network.emotion(inputs["emotion"][0])[0]
        landmarks = network.landmarks(inputs["appearance"][0])
    outputs = running.outputs()
    for name, expected in (("feature", feature), ("landmarks", landmarks)):
        say(Row(f"single precision, resnet18: {name}, evaluated, bit for bit", bits(outputs[f"eval.{name}"], expected), 0))


def optimisers(ferry, say):
    """Compares thirty steps of Adam with given gradients, including the learning rate and its decay."""
    draws = generator(7)
    shapes = {"a": (1,), "b": (7, 9), "c": (64, 3, 3), "d": (130,), "e": (33, 17)}
    start = {name: torch.randn(shape, generator=draws) for name, shape in shapes.items()}
    gradients = {
        name: torch.randn((30, *shape), generator=draws) * 10 ** (torch.rand(30, generator=draws) * 4 - 3).reshape(
            30, *[1] * len(shape))
        for name, shape in shapes.items()
    }
    for preset, settings in PRESETS.items():
        running = ferry.start(
            "optimiser", preset, {}, under("parameter", start) | under("gradient", gradients), epoch_length=10)
        paths = {kind: path_of(settings, start, gradients, kind) for kind in (torch.optim.Adam, torch.optim.AdamW)}
        found = below(running.outputs(), "parameter")
        title = f"{preset} (weight decay {settings['weight_decay']:g}): 30 steps of Adam"
        adam = paths[torch.optim.Adam]
        say(Row(f"{title}, bit for bit", largest(bits(found[name], adam[name]) for name in shapes), 0))
        if settings["weight_decay"] > 0:
            wrong = by_name(paths[torch.optim.AdamW], found)
            say(Row("wrong on purpose: AdamW for Adam", wrong, 1e-6, wrong=True))


def path_of(settings, start, gradients, kind):
    parameters = {name: torch.nn.Parameter(tensor.clone()) for name, tensor in start.items()}
    adam, schedule = optimiser(parameters.values(), settings, kind)
    path = {name: [] for name in parameters}
    for step in range(30):
        for name, parameter in parameters.items():
            parameter.grad = gradients[name][step].clone()
        adam.step()
        for name, parameter in parameters.items():
            path[name].append(parameter.detach().clone())
        if (step + 1) % 10 == 0:
            schedule.step()
    return {name: torch.stack(tensors) for name, tensors in path.items()}
