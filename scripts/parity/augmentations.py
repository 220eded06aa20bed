"""Compares the two views of an image, with given draws, with torchvision's transforms of tensors."""

import torch
from compare import Row, absolute, generator
from reference import views
from torchvision.transforms import InterpolationMode

# The bound for values in [0, 1] in single precision, in which every view is stored.
COLOUR = 1e-6
SIZE, STORED = 64, (64, 96, 40)
DEVIATION = torch.tensor(views.IMAGENET[1]).reshape(3, 1, 1)


def still(**changes):
    return {"jitter": [], "geometry": {"flip": False, "affine": None, "erased": None} | changes}


def draws_of(count, draws):
    """Draws every augmentation for each image, in a random order."""

    def between(low, high):
        return low + (high - low) * torch.rand((), generator=draws, dtype=torch.float64).item()

    every = []
    for _ in range(count):
        changes = [{name: between(0.5, 1.5)} for name in ("brightness", "contrast", "saturation")]
        changes.append({"hue": between(-0.5, 0.5)})
        changes = [changes[place] for place in torch.randperm(4, generator=draws).tolist()]
        affine = {"degrees": between(-20, 20), "scale": between(0.8, 1)}
        affine["shift"] = [float(round(between(-12, 12))) for _ in range(2)]
        erased = {name: int(between(1, 30)) for name in ("top", "left", "height", "width")}
        every.append({"jitter": changes, "geometry": {"flip": between(0, 1) < 0.5, "affine": affine, "erased": erased}})
    return every


def run(ferry, pixels, draws):
    """Ferry's views. The factors of the draws have single precision, as in Ferry's own draws."""
    for draw in draws:
        draw["jitter"] = [
            {name: torch.tensor(factor, dtype=torch.float32).item() for name, factor in change.items()}
            for change in draw["jitter"]
        ]
    settings = {"image_size": SIZE}
    return ferry.start("views", "paper", settings, {"pixels": pixels.contiguous()}, draws=draws).outputs()


def expected(resized, draws, dtype):
    """The reference's views of the images that Ferry has resized."""
    images = resized.permute(0, 3, 1, 2).to(dtype) / 255
    pairs = [views.views(image, draw["geometry"] | draw) for image, draw in zip(images, draws)]
    return [torch.stack(kind) for kind in zip(*pairs)]


def colour(found, wanted):
    """The largest difference in units of colour, independent of the normalisation."""
    return absolute(found * DEVIATION, wanted.float() * DEVIATION)


def augmentations(ferry, say):
    random = generator(8)
    for stored in STORED:
        pixels = torch.randint(0, 256, (6, stored, stored, 3), generator=random, dtype=torch.uint8)
        outputs = run(ferry, pixels, [still() for _ in pixels])
        wanted = views.resized(pixels.permute(0, 3, 1, 2), SIZE).permute(0, 2, 3, 1)
        levels = absolute(outputs["resized"].int(), wanted.int())
        say(Row(f"resize from {stored} to {SIZE} pixels, antialiased, in levels of 255", levels, 1))
        plain = views.normalised(outputs["resized"].permute(0, 3, 1, 2) / 255)
        say(Row(f"normalise, {stored} pixels", colour(outputs["evaluation"], plain), COLOUR))

    pixels = torch.randint(0, 256, (12, SIZE, SIZE, 3), generator=random, dtype=torch.uint8)
    alone = {
        "brightness": [0.5, 0.8, 1.0, 1.5],
        "contrast": [0.5, 0.9, 1.2, 1.5],
        "saturation": [0.0, 0.5, 1.1, 1.5],
        "hue": [-0.5, -0.1, 0.05, 0.5],
    }
    for name, factors in alone.items():
        draws = [still() | {"jitter": [{name: factor}]} for factor in factors]
        outputs = run(ferry, pixels[: len(draws)], draws)
        _, appearance = expected(outputs["resized"], draws, torch.float32)
        say(Row(f"colour jitter, {name}", colour(outputs["appearance"], appearance), COLOUR))

    geometric(ferry, say, pixels)
    draws = draws_of(len(pixels), random)
    outputs = run(ferry, pixels, draws)
    for kind, wanted in zip(("emotion", "appearance"), expected(outputs["resized"], draws, torch.float64)):
        say(Row(f"everything at once, {kind} view", colour(outputs[kind], wanted), 4 * COLOUR))


def geometric(ferry, say, pixels):
    """Compares flip, warp and erasing. They only move pixels, so each pixel is one of the source, or black."""
    warps = [
        {"degrees": 13.0, "shift": [10.0, -7.0], "scale": 0.9},
        {"degrees": -20.0, "shift": [-12.0, 12.0], "scale": 0.8},
        {"degrees": 0.7, "shift": [0.0, 3.0], "scale": 0.97},
    ]
    box = {"top": 5, "left": 60, "height": 20, "width": 4}
    cases = {
        "flip": [still(flip=True)],
        "affine warp": [still(affine=warp) for warp in warps],
        "erasing": [still(erased=box), still(erased=box | {"left": 0, "height": 59})],
        "flip, affine warp and erasing": [still(flip=True, affine=warp, erased=box) for warp in warps],
    }
    for name, draws in cases.items():
        outputs = run(ferry, pixels[: len(draws)], draws)
        emotion, appearance = expected(outputs["resized"], draws, torch.float64)
        share = ((outputs["emotion"].double() - emotion).abs() > 1e-5).double().mean().item()
        say(Row(f"{name}: share of pixels that differ", share, 0))
        say(Row(f"{name}: appearance view stays", colour(outputs["appearance"], appearance), COLOUR))
        if name == "affine warp":
            images = outputs["resized"].permute(0, 3, 1, 2).double() / 255
            smooth = [
                views.normalised(views.moved(image, draw["geometry"], InterpolationMode.BILINEAR))
                for image, draw in zip(images, draws)
            ]
            share = ((outputs["emotion"].double() - torch.stack(smooth)).abs() > 1e-5).double().mean().item()
            say(Row("wrong on purpose: a bilinear affine warp", share, 0.1, wrong=True))
