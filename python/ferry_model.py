#!/usr/bin/env python3
"""Ferry's networks in PyTorch: load the weights that a training stored, and look at pictures with them.

    python3 ferry_model.py MODEL.safetensors FACE.png ...     # prints six probabilities a picture

    network, facts = ferry_model.load("MODEL.safetensors")
    logits = network.expression(ferry_model.prepare(["FACE.png"], facts["settings"]))

Needs torch, torchvision, timm, safetensors and Pillow. The backbones are torchvision's and timm's own; the rest follows
DAN (yaoing/DAN, arXiv 2109.07270) and the multi-task head of Yeonggi-hong/ECCV2022-ABAW-competition. Every parameter has
the name under which Ferry stores it, so a file is loaded by its names and nothing is converted (docs/model.md).
"""

import argparse
import json

import torch
import torchvision
from PIL import Image
from safetensors import safe_open
from timm.models.byobnet import ByobNet, ByoModelCfg
from timm.models.mobilevit import _inverted_residual_block, _mobilevitv2_block
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.transforms.v2 import functional as transforms

EXPRESSIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
LANDMARKS = 68

# What a setting is when a file does not name it: there it has no influence on the network.
UNNAMED = {"head_fusion": "sum", "mobilevitv2_width": 2.0, "mobilevitv2_depths": None}


def resnet(block, blocks, width):
    """torchvision's network up to its last map; `width` 64 is the published one."""
    network = torchvision.models.ResNet(block, blocks)
    if width != 64:
        network.inplanes = width
        network.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        network.bn1 = nn.BatchNorm2d(width)
        for stage, count in enumerate(blocks):
            layer = network._make_layer(block, width << stage, count, stride=1 if stage == 0 else 2)
            setattr(network, f"layer{stage + 1}", layer)
    del network.avgpool, network.fc
    return network


def caffe(network):
    """The topology that VGGFace2's weights belong to: the first 1x1 convolution of a stage has its stride, and the
    pooling of the stem has no padding and rounds up."""
    for layer in (network.layer2, network.layer3, network.layer4):
        layer[0].conv1.stride, layer[0].conv2.stride = (2, 2), (1, 1)
    network.maxpool = nn.MaxPool2d(3, stride=2, padding=0, ceil_mode=True)
    return network


class ResNetMap(nn.Module):
    """The layers of a torchvision ResNet under torchvision's names, without its classifier."""

    def __init__(self, network):
        super().__init__()
        for name, child in network.named_children():
            self.add_module(name, child)

    def forward(self, images):
        for child in self.children():
            images = child(images)
        return images


class MobileViTv2Map(ByobNet):
    """timm's MobileViTv2 up to its last map."""

    def __init__(self, width, depths):
        channels = [int(base * width) for base in (64, 128, 256, 384, 512)]
        stages = [
            _inverted_residual_block(d=1, c=channels[0], s=1, br=2.0),
            _inverted_residual_block(d=2, c=channels[1], s=2, br=2.0),
        ]
        for stage, depth in zip(channels[2:], depths):
            stages.append(_mobilevitv2_block(d=1, c=stage, s=2, transformer_depth=depth))
        stem = {"stem_chs": int(32 * width), "stem_type": "3x3", "stem_pool": ""}
        super().__init__(ByoModelCfg(blocks=tuple(stages), downsample="", act_layer="silu", **stem), num_classes=0)
        self.channels = channels[-1]

    def forward(self, images):
        return self.forward_features(images)


def backbone(name, settings):
    """A backbone that ends in a map, and the map's channels."""
    if name == "mobilevitv2":
        network = MobileViTv2Map(settings["mobilevitv2_width"], settings["mobilevitv2_depths"] or (2, 4, 3))
        return network, network.channels
    width, blocks = settings["width"], settings["blocks"]
    if name == "resnet18":
        return resnet(BasicBlock, blocks or [2, 2, 2, 2], width), 8 * width
    network = resnet(Bottleneck, blocks or [3, 4, 6, 3], width)
    return (caffe(network) if name == "vggface2_resnet50" else network), 32 * width


class SpatialAttention(nn.Module):
    """One weight for each position of a map, by which the map is multiplied."""

    def __init__(self, channels):
        super().__init__()
        half = channels // 2

        def layer(inputs, outputs, kernel):
            padding = tuple(side // 2 for side in kernel)
            return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, padding=padding), nn.BatchNorm2d(outputs))

        self.conv1x1 = layer(channels, half, (1, 1))
        self.conv_3x3 = layer(half, channels, (3, 3))
        self.conv_1x3 = layer(half, channels, (1, 3))
        self.conv_3x1 = layer(half, channels, (3, 1))

    def forward(self, feature):
        hidden = self.conv1x1(feature)
        weights = torch.relu(self.conv_3x3(hidden) + self.conv_1x3(hidden) + self.conv_3x1(hidden))
        return feature * weights.sum(dim=1, keepdim=True)


class ChannelAttention(nn.Module):
    """A gate for each channel of a map's mean."""

    def __init__(self, channels):
        super().__init__()
        hidden = max(1, channels // 16)
        squeeze, expand = nn.Linear(channels, hidden), nn.Linear(hidden, channels)
        self.attention = nn.Sequential(squeeze, nn.BatchNorm1d(hidden), nn.ReLU(), expand, nn.Sigmoid())

    def forward(self, weighted):
        vector = weighted.mean(dim=(2, 3))
        return vector * self.attention(vector)


class Head(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.sa, self.ca = SpatialAttention(channels), ChannelAttention(channels)

    def forward(self, feature):
        return self.ca(self.sa(feature))


class Emotion(nn.Module):
    """DAN on a ResNet, with 1x1 convolutions where the ResNet is wider than DAN's heads."""

    def __init__(self, settings):
        super().__init__()
        network, channels = backbone(settings["emotion_backbone"], settings)
        self.features = nn.Sequential(*network.children())
        dim = 8 * settings["width"]
        self.reduce = nn.Sequential()
        while channels > dim:
            conv, norm = nn.Conv2d(channels, channels // 2, 1), nn.BatchNorm2d(channels // 2)
            self.reduce.append(nn.Sequential(conv, norm, nn.ReLU()))
            channels //= 2
        self.heads, self.fusion = settings["heads"], settings["head_fusion"]
        for head in range(self.heads):
            self.add_module(f"cat_head{head}", Head(dim))

    def forward(self, images):
        """Images [B, 3, S, S] to map [B, D, h, w], heads [B, K, D] as the fusion sees them, their sum [B, D]."""
        feature = self.reduce(self.features(images))
        heads = torch.stack([getattr(self, f"cat_head{head}")(feature) for head in range(self.heads)], dim=1)
        if self.fusion == "log_softmax" and self.heads > 1:
            heads = torch.log_softmax(heads, dim=1)
        return feature, heads, heads.sum(dim=1)


class Appearance(nn.Module):
    """The landmark branch: a backbone and what makes one vector of its map."""

    def __init__(self, settings):
        super().__init__()
        name, dim = settings["backbone"], 8 * settings["width"]
        network, channels = backbone(name, settings)
        self.features = network if name == "mobilevitv2" else ResNetMap(network)
        self.pooled_first = name == "dino_resnet50"
        self.project = nn.Sequential()
        if name == "dino_resnet50":
            self.project.append(nn.Linear(channels, dim))
        elif name != "resnet18":
            self.project.extend([nn.Conv2d(channels, dim, 1), nn.BatchNorm2d(dim)])

    def forward(self, images):
        mapped = self.features(images)
        if self.pooled_first:
            return self.project(mapped.mean(dim=(2, 3)))
        return self.project(mapped).mean(dim=(2, 3))


class Statistics(nn.Module):
    """Running statistics that a batch norm keeps for a second branch."""

    def __init__(self, channels):
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))


class SharedNorm(nn.BatchNorm1d):
    """A batch norm of both branches; with separate statistics the landmark branch has its own."""

    def __init__(self, channels, separate):
        super().__init__(channels)
        if separate:
            self.landmarks = Statistics(channels)

    def of_landmarks(self, vectors):
        own = getattr(self, "landmarks", None)
        if own is None:
            return self(vectors)
        buffers = own.running_mean, own.running_var
        affine = self.weight, self.bias
        return nn.functional.batch_norm(vectors, *buffers, *affine, self.training, self.momentum, self.eps)


class Shared(nn.Module):
    """The layers that both branches go through, each with its own vector, and what follows for each."""

    def __init__(self, settings):
        super().__init__()
        dim, separate = 8 * settings["width"], settings["shared_statistics"] == "separate"
        self.sharedfc1, self.sharedbn1 = nn.Linear(dim, dim // 2), SharedNorm(dim // 2, separate)
        self.sharedfc2, self.sharedbn2 = nn.Linear(dim // 2, dim // 4), SharedNorm(dim // 4, separate)
        self.fc, self.bn = nn.Linear(dim // 4, len(EXPRESSIONS)), nn.BatchNorm1d(len(EXPRESSIONS))
        self.encode1, self.encode2 = nn.Linear(dim // 4, LANDMARKS), nn.Linear(dim // 4, LANDMARKS)

    def expression(self, vectors):
        hidden = self.sharedbn2(self.sharedfc2(self.sharedbn1(self.sharedfc1(vectors))))
        return self.bn(self.fc(hidden))

    def landmarks(self, vectors):
        hidden = self.sharedbn1.of_landmarks(self.sharedfc1(vectors))
        hidden = self.sharedbn2.of_landmarks(self.sharedfc2(hidden))
        return torch.stack([self.encode1(hidden), self.encode2(hidden)], dim=2)


class Affinity(nn.Module):
    """The class centres of the affinity loss, trained with the network."""

    def __init__(self, settings):
        super().__init__()
        self.centres = nn.Parameter(torch.randn(len(EXPRESSIONS), 8 * settings["width"]))


class Network(nn.Module):
    """The whole network; `settings` are those of a job."""

    def __init__(self, settings):
        super().__init__()
        settings = UNNAMED | settings
        self.emotion, self.appearance = Emotion(settings), Appearance(settings)
        self.shared, self.affinity = Shared(settings), Affinity(settings)

    def expression(self, images):
        """Images [B, 3, S, S] to logits [B, 6]; in evaluation this is all that is needed."""
        return self.shared.expression(self.emotion(images)[2])

    def landmarks(self, images):
        """Images [B, 3, S, S] to 68 points (x, y) [B, 68, 2] in [-1, 1] of the image."""
        return self.shared.landmarks(self.appearance(images))


def names(network):
    """The tensors of a network that Ferry stores, by name: PyTorch's counters of batches are not among them."""
    state = network.state_dict(keep_vars=True)
    return {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}


def set_weights(network, weights):
    """Copies tensors by name: every name and shape must be there, and no other."""
    own = names(network)
    if differing := own.keys() ^ weights.keys():
        raise ValueError(f"names that are not on both sides: {', '.join(sorted(differing)[:5])}")
    with torch.no_grad():
        for name, tensor in own.items():
            if tensor.shape != weights[name].shape:
                raise ValueError(f"{name} is {list(weights[name].shape)}, not {list(tensor.shape)}")
            tensor.copy_(weights[name])


def load(path):
    """The network of a stored model, in evaluation mode, and what its file says of it (`settings`, `job`, ...)."""
    with safe_open(path, framework="pt") as file:
        facts = json.loads((file.metadata() or {}).get("ferry", "{}"))
        if facts.get("format") != "ferry-model":
            raise ValueError(f"{path} holds no model of Ferry's")
        weights = {name: file.get_tensor(name) for name in file.keys()}
    network = Network(facts["settings"])
    set_weights(network, weights)
    return network.eval(), facts


def normalise(pixels, settings):
    """Bytes [B, 3, S, S], RGB, at the network's size to what it takes."""
    if settings["normalization"] == "vggface2_bgr":
        mean = torch.tensor([91.4953, 103.8827, 131.0912]).reshape(3, 1, 1)
        return pixels.flip(1).float() - mean
    return transforms.normalize(pixels / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def prepare(paths, settings):
    """Pictures of faces to what the network takes, [B, 3, S, S]."""
    size = [settings["image_size"]] * 2
    pictures = []
    for path in paths:
        picture = Image.open(path).convert("RGB").resize(size, Image.Resampling.BILINEAR)
        pictures.append(transforms.pil_to_tensor(picture))
    return normalise(torch.stack(pictures), settings)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="the weights of a finished training, safetensors")
    parser.add_argument("pictures", nargs="+", help="pictures of faces")
    arguments = parser.parse_args()
    network, facts = load(arguments.model)
    with torch.no_grad():
        rows = network.expression(prepare(arguments.pictures, facts["settings"])).softmax(dim=1)
    for path, row in zip(arguments.pictures, rows.tolist()):
        told = "  ".join(f"{name} {share:.3f}" for name, share in zip(EXPRESSIONS, row))
        print(f"{path}  {told}")


if __name__ == "__main__":
    main()
