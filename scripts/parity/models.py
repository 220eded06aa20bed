"""Checks that a model that Ferry has trained gives the same probabilities in PyTorch."""

import torch
from augmentations import still
from compare import Row, absolute, generator

import ferry_model

PROBABILITIES = 1e-5
SMALL = {
    "width": 8,
    "blocks": [1, 1, 1, 1],
    "mobilevitv2_width": 0.25,
    "mobilevitv2_depths": [1, 1, 1],
    "image_size": 48,
    "batch_size": 12,
    "epochs": 2,
    "learning_rate": 3e-3,
}
SPLITS = [48, 18, 12]
STORED = 64


def pictures(draws):
    """Noise around a colour and a place that differ by class, so that there is something to learn."""
    count = sum(SPLITS)
    labels = torch.arange(count) % 6
    pixels = torch.randint(0, 100, (count, STORED, STORED, 3), generator=draws)
    for picture, label in zip(pixels, labels.tolist()):
        picture[8 * label : 8 * label + 16, :, label % 3] += 150
    landmarks = torch.rand((count, 68, 2), generator=draws) * 2 - 1
    return {"pixels": pixels.to(torch.uint8), "labels": labels, "landmarks": landmarks}


def stored_models(ferry, say):
    """Trains models with every choice of statistics, fusion and input."""
    inputs = pictures(generator(9))
    ways = {
        "mobilevitv2": {"backbone": "mobilevitv2", "head_fusion": "sum", "shared_statistics": "separate"},
        "vggface2_resnet50": {"backbone": "vggface2_resnet50", "normalization": "vggface2_bgr"},
        "resnet18": {"backbone": "resnet18", "emotion_backbone": "resnet18", "image_size": 64, "heads": 1},
    }
    for name, way in ways.items():
        path = ferry.path(f"{name}.safetensors")
        asked = {"splits": SPLITS, "pack": str(ferry.path(f"{name}-pack")), "model": str(path)}
        outputs = ferry.start("training", "paper", SMALL | way, inputs, **asked).outputs()
        network, facts = ferry_model.load(path)
        start = SPLITS[0]
        for split, count in zip(("validation", "test"), SPLITS[1:]):
            pixels = inputs["pixels"][start : start + count].contiguous()
            start += count
            # Another program rounds some pixels differently when it resizes. Resizing is compared separately.
            size = {"image_size": facts["settings"]["image_size"]}
            draws = [still() for _ in pixels]
            resized = ferry.start("views", "paper", size, {"pixels": pixels}, draws=draws).outputs()["resized"]
            images = ferry_model.normalise(resized.permute(0, 3, 1, 2), facts["settings"])
            with torch.no_grad():
                probabilities = network.expression(images).softmax(dim=1)
            difference = absolute(probabilities, outputs[split])
            say(Row(f"stored model, {name}: probabilities of {split} images", difference, PROBABILITIES))
