"""Weights files as people have them: valid ones of every format, and wrong ones of every kind."""

import os
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import numpy as np
import timm
import torch
import torchvision
from safetensors.torch import save_file


@dataclass
class Sound:
    """One valid file: how it is written, how it must be recognised, and the setting with which a job uses it."""

    name: str
    write: Callable[[Path], dict]  # writes the file, returns the tensors that must arrive, by Ferry's names
    format: str
    layout: str
    backbone: str
    options: list[str] = field(default_factory=list)


@dataclass
class Wrong:
    """One wrong file, and the words that its error message must contain."""

    name: str
    write: Callable[[Path], None]
    words: str
    options: list[str] = field(default_factory=list)


def kept(state, *dropped):
    """The tensors of a backbone, without counters and classifiers."""
    gone = ("num_batches_tracked", *dropped)
    return {name: value.clone() for name, value in state.items() if not any(part in name for part in gone)}


def network(make, seed):
    """A network with random weights and random batch norms. Tensors of only 0 or 1 would hide mistakes."""
    torch.manual_seed(seed)
    made = make()
    for module in made.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            for values, low, high in [(module.weight, 0.5, 1.5), (module.bias, -0.1, 0.1),
                                      (module.running_mean, -0.1, 0.1), (module.running_var, 0.5, 1.5)]:
                torch.nn.init.uniform_(values, low, high)
    return made.eval()


def resnet18(seed):
    return network(torchvision.models.resnet18, seed)


def resnet50(seed, classes=1000):
    return network(lambda: torchvision.models.resnet50(num_classes=classes), seed)


def numpy_state(state):
    return {name: value.numpy() for name, value in state.items()}


def safetensors(path):
    state = resnet18(1).state_dict()
    save_file(state, path)
    return kept(state, "fc.")


def half_safetensors(path):
    state = {name: value.half() if value.is_floating_point() else value for name, value in resnet18(2).state_dict().items()}
    save_file(state, path)
    return {name: value.float() for name, value in kept(state, "fc.").items()}


def npz(path):
    state = resnet18(3).state_dict()
    with open(path, "wb") as file:
        np.savez_compressed(file, **numpy_state(state))
    return kept(state, "fc.")


def zip_plain(path):
    state = dict(resnet18(4).state_dict())
    torch.save(state, path)
    return kept(state, "fc.")


def zip_ordered(path):
    state = resnet18(5).state_dict()
    torch.save(state, path)
    return kept(state, "fc.")


def zip_nested(path):
    state = resnet18(6).state_dict()
    nested = {f"module.{name}": value for name, value in state.items()}
    torch.save({"iter": 7, "model_state_dict": nested, "optimizer": {"lr": 0.1}}, path)
    return kept(state, "fc.")


def zip_module(path):
    module = resnet18(7)
    torch.save(module, path)
    return kept(module.state_dict(), "fc.")


def zip_dino(path):
    def saved(seed):
        state = {f"module.backbone.{name}": value for name, value in kept(resnet50(seed).state_dict(), "fc.").items()}
        return {**state, "module.head.last_layer.weight_g": torch.ones(8, 1)}

    teacher = saved(9)
    torch.save({"student": saved(8), "teacher": teacher, "epoch": 3}, path)
    return {name.removeprefix("module.backbone."): value for name, value in teacher.items() if ".head." not in name}


def zip_timm(path):
    state = network(lambda: timm.create_model("mobilevitv2_050"), 10).state_dict()
    torch.save({"state_dict": state}, path)
    return kept(state, "head.")


def legacy(path):
    state = resnet18(11).state_dict()
    torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=False)
    return kept(state, "fc.")


def vggface2(path):
    state = resnet50(12, classes=8631).state_dict()
    with open(path, "wb") as file:
        pickle.dump(numpy_state(state), file, protocol=2)
    return kept(state, "fc.")


SOUND = [
    Sound("weights.safetensors", safetensors, "safetensors", "torchvision", "resnet18"),
    Sound("half.safetensors", half_safetensors, "safetensors", "torchvision", "resnet18"),
    Sound("weights.npz", npz, "npz", "torchvision", "resnet18"),
    Sound("plain.pth", zip_plain, "PyTorch", "torchvision", "resnet18"),
    Sound("ordered.pth", zip_ordered, "PyTorch", "torchvision", "resnet18"),
    Sound("nested.pth", zip_nested, "PyTorch", "torchvision", "resnet18"),
    Sound("module.pth", zip_module, "PyTorch", "torchvision", "resnet18"),
    Sound("dino.pth", zip_dino, "PyTorch", "dino", "dino_resnet50", ["--key", "teacher"]),
    Sound("mobilevitv2.pth", zip_timm, "PyTorch", "timm", "mobilevitv2"),
    Sound("legacy.pth", legacy, "PyTorch", "torchvision", "resnet18"),
    Sound("resnet50_ft_weight.pkl", vggface2, "pickle", "vggface2", "vggface2_resnet50"),
]


def cut(write):
    """The first half of a valid file."""

    def written(path):
        write(path)
        os.truncate(path, path.stat().st_size // 2)

    return written


def changed(change):
    """A PyTorch file of a ResNet18 whose state dict was changed."""

    def written(path):
        state = dict(resnet18(13).state_dict())
        change(state)
        torch.save(state, path)

    return written


class Hostile:
    """A pickle that would create a file if it were executed."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch '{self.mark}'",)


def mark(path):
    """The file that a hostile pickle would create."""
    return path.with_name("executed")


def hostile_pickle(path):
    with open(path, "wb") as file:
        pickle.dump({"conv1.weight": Hostile(mark(path))}, file)


def hostile_zip(path):
    torch.save({"state_dict": Hostile(mark(path))}, path)


def script(path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(path)


def words(path):
    path.write_bytes(b"\x89HDF\r\n\x1a\n and more")


def overlong_header(path):
    path.write_bytes((1 << 40).to_bytes(8, "little") + b'{"a":{}}')


def no_dictionary(path):
    with open(path, "wb") as file:
        pickle.dump([1, 2, 3], file)


def squeeze(state):
    state["layer1.0.conv4.weight"] = torch.ones(4)


def without(state):
    del state["bn1.bias"]


def another_shape(state):
    state["layer1.0.bn1.weight"] = torch.ones(1)


def not_a_number(state):
    state["bn1.bias"][1] = float("nan")


def prefixed(state):
    for name in list(state):
        state[f"encoder.{name}"] = state.pop(name)
    state["loss.scale"] = torch.ones(1)


def foreign(state):
    state["gate.weight"] = torch.ones(3)


WRONG = [
    Wrong("cut.safetensors", cut(safetensors), "not a whole safetensors file"),
    Wrong("header.safetensors", overlong_header, "unknown format"),
    Wrong("cut.npz", cut(npz), "not a whole zip file"),
    Wrong("cut.pth", cut(zip_ordered), "not a whole zip file"),
    Wrong("script.pth", script, "TorchScript"),
    Wrong("cut-legacy.pth", cut(legacy), "beyond the end of the file"),
    Wrong("cut.pkl", cut(vggface2), "ends in the middle"),
    Wrong("hostile.pkl", hostile_pickle, "an object of `posix.system`"),
    Wrong("hostile.pth", hostile_zip, "it has no tensors"),
    Wrong("list.pkl", no_dictionary, "not a dictionary"),
    Wrong("keras.h5", words, "an HDF5 file"),
    Wrong("page.pth", lambda path: path.write_text("<!DOCTYPE html><html></html>"), "a web page"),
    Wrong("pointer.pth", lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"), "a Git LFS pointer"),
    Wrong("nan.pth", changed(not_a_number), "NaN or infinite values in `bn1.bias`"),
    Wrong("partly-prefixed.pth", changed(prefixed), "--prefix encoder"),
    Wrong("two-networks.pth", zip_dino, "--key"),
    Wrong("resnet50.pth", lambda path: torch.save(resnet50(14).state_dict(), path), "topology"),
    Wrong("other-layout.pth", zip_ordered, "--layout", ["--layout", "dan"]),
    Wrong("senet.pth", changed(squeeze), "squeeze-and-excitation"),
    Wrong("missing.pth", changed(without), "missing: bn1.bias"),
    Wrong("shape.pth", changed(another_shape), "never broadcast"),
    Wrong("foreign.pth", changed(foreign), "gate.weight"),
]
