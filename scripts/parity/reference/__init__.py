"""An independent reference: torchvision, timm and torch.optim where they have it, the publications' formulas else."""
