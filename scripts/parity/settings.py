"""The settings of both presets, repeated here on purpose: Ferry gets only the preset's name and must use the same."""

PAPER = {
    "emotion_backbone": "vggface2_resnet50",
    "width": 64,
    "blocks": None,
    "mobilevitv2_width": 2.0,
    "mobilevitv2_depths": None,
    "heads": 4,
    "head_fusion": "log_softmax",
    "shared_statistics": "shared",
    "class_weights": "off",
    "affinity_labels": "soft",
    "mixaug_terms": "real",
    "learning_rate": 1e-4,
    "lr_decay": 0.6,
    "weight_decay": 1e-4,
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "adam_epsilon": 1e-8,
    "normalization": "imagenet",
}

AUTHORS_CODE = PAPER | {
    "head_fusion": "sum",
    "class_weights": "inverse_share",
    "affinity_labels": "partner",
    "mixaug_terms": "all",
    "weight_decay": 0.0,
}

PRESETS = {"paper": PAPER, "authors-code": AUTHORS_CODE}
BACKBONES = ("vggface2_resnet50", "dino_resnet50", "mobilevitv2")
METHODS = ("mixup", "mixaug")

# Numbers of parameters of the whole networks, including class centres, counted by hand from the publications.
PARAMETERS = {"vggface2_resnet50": 59_422_234, "dino_resnet50": 59_421_210, "mobilevitv2": 52_814_243}
