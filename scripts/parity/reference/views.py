"""The two views of an image, computed with torchvision's transforms of tensors."""

import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
CHANGES = {
    "brightness": transforms.adjust_brightness,
    "contrast": transforms.adjust_contrast,
    "saturation": transforms.adjust_saturation,
    "hue": transforms.adjust_hue,
}


def resized(pixels, size):
    """Bytes [N, 3, P, P] to bytes [N, 3, S, S]."""
    return transforms.resize(pixels, [size, size], antialias=True)


def jittered(image, changes):
    """An image [3, S, S] in [0, 1] after changes of colour, each given by its name and factor."""
    for change in changes:
        for name, factor in change.items():
            image = CHANGES[name](image, factor)
    return image


def moved(image, draw, interpolation=InterpolationMode.NEAREST):
    """The image after flip and affine warp."""
    if draw["flip"]:
        image = transforms.hflip(image)
    if affine := draw["affine"]:
        shift = [int(pixels) for pixels in affine["shift"]]
        angle, scale = affine["degrees"], affine["scale"]
        image = transforms.affine(image, angle, shift, scale, [0.0, 0.0], interpolation)
    return image


def normalised(image):
    return transforms.normalize(image, *IMAGENET)


def erased(image, draw):
    if box := draw["erased"]:
        place = box["top"], box["left"], box["height"], box["width"]
        image = transforms.erase(image, *place, v=torch.zeros((), dtype=image.dtype))
    return image


def views(pixels, draw):
    """The emotion view and the appearance view of an image [3, S, S] in [0, 1]."""
    source = jittered(pixels, draw["jitter"])
    return erased(normalised(moved(source, draw)), draw), normalised(source)
