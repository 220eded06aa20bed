"""Images per second of the reference's training step on a GPU: the published networks at 224 pixels, 128 images.

Run by scripts/gpu-check. PyTorch as it comes (eager mode), with the settings that `ferry-lab gpu-check` times.
"""

import time

import torch
from reference.training import Batch, Objective, optimiser
from settings import PRESETS

import ferry_model

BATCH, WARM_UP, TIMED = 128, 5, 20


def batch(device):
    images = torch.rand(BATCH, 3, 224, 224, pin_memory=True).to(device, non_blocking=True)
    return Batch(
        emotion=images,
        appearance=images,
        labels=torch.arange(BATCH, device=device) % 6,
        landmarks=torch.rand(BATCH, 68, 2, device=device),
        share=0.3,
        partners=torch.randperm(BATCH, device=device),
    )


def rate(backbone, precision, channels_last):
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    device = torch.device("cuda:0")
    settings = PRESETS["paper"] | {"backbone": backbone, "augmentation": "mixup"}
    network = ferry_model.Network(settings).to(device).train()
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
    objective = Objective(network, settings, [0, 1, 2, 3, 4, 5])
    adam, _ = optimiser(network.parameters(), settings)

    def steps(count):
        for _ in range(count):
            given = batch(device)
            if channels_last:
                given.emotion = given.emotion.contiguous(memory_format=torch.channels_last)
                given.appearance = given.appearance.contiguous(memory_format=torch.channels_last)
            with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
                loss = objective.terms(given).sum()
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()
        torch.cuda.synchronize()

    steps(WARM_UP)
    started = time.perf_counter()
    steps(TIMED)
    return TIMED * BATCH / (time.perf_counter() - started)


def main():
    for backbone in ("vggface2_resnet50", "dino_resnet50", "mobilevitv2"):
        for precision, channels_last in (("f32", False), ("tf32", False), ("tf32", True), ("bf16", False), ("bf16", True)):
            layout = ", channels-last" if channels_last else ""
            print(f"{backbone}, {precision}{layout}: {rate(backbone, precision, channels_last):.0f} images/s", flush=True)


if __name__ == "__main__":
    main()
