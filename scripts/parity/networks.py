"""Compares forward passes, loss terms, gradients, statistics and steps of the networks with the reference."""

import contextlib

import torch
from compare import Row, as_one, below, bits, by_layer, by_name, generator, relative, under
from reference.training import TERMS, Batch, Objective, optimiser
from settings import BACKBONES, METHODS, PARAMETERS, PRESETS

import ferry_model

# Bounds in double precision. A sum of n terms is accurate to about n^0.5 * 1e-16 of its largest term. A pass through
# about fifty batch norms over few samples enlarges that by one to three orders of magnitude.
FORWARD = 1e-9
LOSS = 1e-11
GRADIENT = 1e-9
STATISTICS = 1e-9
# Adam's first step is g / (|g| + 1e-8). Some of sixty million gradients are below 1e-8. For these, a rounding difference of
# 1e-13 of their layer's largest gradient changes the step by 1e-5. With equal gradients the step is exact.
STEP = 1e-4
STEP_DOWN_EQUAL_GRADIENTS = 1e-12
# Single precision: evaluation, and batch statistics of eight samples.
SINGLE_EVALUATION = 1e-4
SINGLE_TRAINING = 1e-3
# The bound for the distance of Ferry's single-precision gradients from double precision, divided by PyTorch's distance.
SINGLE_GRADIENT = 2.0

# Labels of a training subset with all classes, for the class weights.
SUBSET = [0] * 7 + [1] * 5 + [2] * 4 + [3] * 26 + [4] * 52 + [5] * 6


def fill(network, seed):
    """Random weights of about the size of trained ones, and random statistics, so that every tensor matters."""
    draws = generator(seed)
    for name, tensor in ferry_model.names(network).items():
        noise = torch.rand(tensor.shape, generator=draws) - 0.5
        if name == "affinity.centres":
            value = torch.randn(tensor.shape, generator=draws)
        elif tensor.dim() >= 2:
            value = 2 * noise * (3 / tensor[0].numel()) ** 0.5
        elif name.endswith(("running_mean", "bias")):
            value = 0.1 * noise
        else:
            value = 1 + 0.2 * noise
        with torch.no_grad():
            tensor.copy_(value)


def batches(count, size, pixels, seed):
    """Inputs of `count` steps: images of noise, all classes, and permutations with and without fixed points."""
    draws = generator(seed)
    shape = (count, size, 3, pixels, pixels)
    inputs = {
        "emotion": torch.randn(shape, generator=draws),
        "appearance": torch.randn(shape, generator=draws),
        "labels": torch.stack([torch.randperm(size, generator=draws) % 6 for _ in range(count)]),
        "landmarks": torch.rand((count, size, 68, 2), generator=draws) * 2 - 1,
    }
    mixing = []
    for _ in range(count):
        share = torch.rand((), generator=draws, dtype=torch.float64).item()
        mixing.append({"lambda": share, "partners": torch.randperm(size, generator=draws).tolist()})
    return inputs, mixing


def batch(inputs, mixing, number, dtype):
    floats = {name: inputs[name][number].to(dtype) for name in ("emotion", "appearance", "landmarks")}
    partners = torch.tensor(mixing[number]["partners"])
    return Batch(labels=inputs["labels"][number], share=mixing[number]["lambda"], partners=partners, **floats)


def build(settings, weights, dtype):
    network = ferry_model.Network(settings)
    ferry_model.set_weights(network, weights)
    return network.to(dtype)


@torch.no_grad()
def forward(network, inputs, training):
    """The same outputs of a forward pass as ferry-lab's. It updates the running statistics."""
    network.train(training)
    feature, heads, fused = network.emotion(inputs["emotion"])
    logits = network.shared.expression(fused)
    landmarks = network.landmarks(inputs["appearance"])
    named = {"logits": logits, "feature": feature, "landmarks": landmarks}
    return named | {"probabilities": logits.softmax(dim=1), "heads": heads}


class Reference:
    """The reference's side of a request `steps`."""

    def __init__(self, settings, weights, inputs, asked, dtype):
        mixing, self.forward = asked["mixing"], {}
        if asked["forward"]:
            first = {name: tensor[0].to(dtype) for name, tensor in inputs.items() if tensor.is_floating_point()}
            for mode in ("eval", "train"):
                self.forward[mode] = forward(build(settings, weights, dtype), first, training=mode == "train")
        network = build(settings, weights, dtype).train()
        objective = Objective(network, settings, SUBSET)
        adam, schedule = optimiser(network.parameters(), settings)
        self.terms = []
        for number in range(len(mixing)):
            terms = objective.terms(batch(inputs, mixing, number, dtype))
            adam.zero_grad()
            terms.sum().backward()
            if number == 0:
                self.gradient = {name: p.grad.clone() for name, p in network.named_parameters()}
            adam.step()
            self.terms.append(terms.detach())
            if number == 0:
                self.first = {name: tensor.detach().clone() for name, tensor in ferry_model.names(network).items()}
            if (number + 1) % asked["epoch_length"] == 0:
                schedule.step()
        self.terms = torch.stack(self.terms)
        self.last = {name: tensor.detach() for name, tensor in ferry_model.names(network).items()}


def moved(after, before):
    """The changes of the parameters. Running statistics are compared separately."""
    return {name: after[name].double() - before[name].double() for name in before if "running_" not in name}


def statistics(tensors):
    return {name: tensor for name, tensor in tensors.items() if "running_" in name}


def same_heads(outputs, settings):
    """Ferry returns the heads before their fusion, the reference after it."""
    if settings["head_fusion"] == "log_softmax":
        return outputs | {"heads": outputs["heads"].log_softmax(dim=1)}
    return outputs


def compared(title, outputs, reference, weights, settings):
    """The rows of one step in double precision."""
    rows = []
    for mode, expected in reference.forward.items():
        found = same_heads(below(outputs, mode), settings)
        rows.append(Row(f"{title}: forward, {mode} mode", by_name(found, expected), FORWARD))
    for number, term in enumerate(TERMS):
        difference = relative(outputs["terms"][0][number], reference.terms[0][number])
        rows.append(Row(f"{title}: {term} loss", difference, LOSS))
    first = below(outputs, "first")
    steps = moved(first, weights), moved(reference.first, weights)
    gradients = by_layer(below(outputs, "gradient"), reference.gradient)
    rows.append(Row(f"{title}: gradients of all {len(reference.gradient)} parameters", gradients, GRADIENT))
    rows.append(
        Row(f"{title}: running statistics", by_name(statistics(first), statistics(reference.first)), STATISTICS)
    )
    rows.append(Row(f"{title}: one step of Adam", by_layer(*steps), STEP))
    alone = moved(stepped(weights, below(outputs, "gradient"), settings), weights)
    rows.append(Row(f"{title}: the same down equal gradients", by_layer(steps[0], alone), STEP_DOWN_EQUAL_GRADIENTS))
    return rows


def stepped(weights, gradients, settings):
    """The weights after a step of PyTorch's Adam with given gradients."""
    parameters = {name: torch.nn.Parameter(weights[name].to(gradient.dtype)) for name, gradient in gradients.items()}
    for name, parameter in parameters.items():
        parameter.grad = gradients[name]
    adam, _schedule = optimiser(parameters.values(), settings)
    adam.step()
    return weights | {name: parameter.detach() for name, parameter in parameters.items()}


def one_step(ferry, say):
    """Compares each preset, method and appearance backbone at full size, in double precision."""
    for backbone in BACKBONES:
        network = ferry_model.Network(PRESETS["paper"] | {"backbone": backbone})
        fill(network, seed=1)
        weights = {name: tensor.detach() for name, tensor in ferry_model.names(network).items()}
        # 80 pixels give MobileViTv2 maps with odd sides, which it enlarges.
        inputs, mixing = batches(1, 8, 80 if backbone == "mobilevitv2" else 64, seed=2)
        given = under("model", weights) | inputs
        for preset, preset_settings in PRESETS.items():
            for method in METHODS:
                chosen = {"backbone": backbone, "augmentation": method}
                # A forward pass does not depend on the method.
                asked = {"subset": SUBSET, "mixing": mixing, "epoch_length": 1, "forward": method == "mixaug"}
                running = ferry.start("steps", preset, chosen, given, precision="double", **asked)
                settings = preset_settings | chosen
                reference = Reference(settings, weights, inputs, asked, torch.float64)
                title = f"{preset}, {backbone}, {method}"
                outputs = running.outputs()
                for row in compared(title, outputs, reference, weights, settings):
                    say(row)
                if (preset, method) == ("paper", "mixaug"):
                    count = sum(tensor.numel() for tensor in below(outputs, "gradient").values())
                    say(Row(f"{backbone}: {PARAMETERS[backbone]:,} parameters", abs(count - PARAMETERS[backbone]), 0))
                    single(ferry, say, settings, given, weights, reference, asked, inputs)
        if backbone == "vggface2_resnet50":
            wrong_topology(ferry, say, given, weights, inputs)


def single(ferry, say, settings, given, weights, exact, asked, inputs):
    """The same in single precision, in which trainings run."""
    chosen = {name: settings[name] for name in ("backbone", "augmentation")}
    running = ferry.start("steps", "paper", chosen, given, precision="single", **asked)
    own = Reference(settings, weights, inputs, asked, torch.float32)
    outputs = running.outputs()
    title = f"single precision, {settings['backbone']}, {settings['augmentation']}"
    for name, what in (("landmarks", "appearance branch"), ("feature", "emotion backbone and reductions")):
        say(Row(f"{title}: {what}, evaluated, bit for bit", bits(outputs[f"eval.{name}"], own.forward["eval"][name]), 0))
    for mode, bound in (("eval", SINGLE_EVALUATION), ("train", SINGLE_TRAINING)):
        found = same_heads(below(outputs, mode), settings)
        say(Row(f"{title}: forward, {mode} mode, against double", by_name(found, exact.forward[mode]), bound))
    say(Row(f"{title}: loss terms, against double", relative(outputs["terms"], exact.terms), SINGLE_TRAINING))
    gradients = below(outputs, "gradient")
    ours, theirs = as_one(gradients, exact.gradient), as_one(own.gradient, exact.gradient)
    say(Row(f"{title}: gradients from double, {ours:.1e} over PyTorch's {theirs:.1e}", ours / theirs, SINGLE_GRADIENT))


def wrong_topology(ferry, say, given, weights, inputs):
    """Checks that wrong references are detected: VGGFace2's weights fit torchvision's strides, but give other results."""
    asked = {"subset": SUBSET, "mixing": [], "epoch_length": 1, "forward": True}
    running = ferry.start("steps", "paper", {}, given, precision="double", **asked)
    first = {name: tensor[0].double() for name, tensor in inputs.items() if tensor.is_floating_point()}
    settings = PRESETS["paper"] | {"backbone": "vggface2_resnet50"}
    outputs = running.outputs()
    for wrong, what in (
        ({"emotion_backbone": "dino_resnet50"}, "torchvision's strides for VGGFace2"),
        ({"head_fusion": "sum"}, "the other fusion of the heads"),
    ):
        network = build(settings | wrong, weights, torch.float64)
        logits = forward(network, first, training=False)["logits"]
        say(Row(f"wrong on purpose: {what}", relative(logits, outputs["eval.logits"]), 1e-2, wrong=True))
