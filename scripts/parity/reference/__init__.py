"""An independent reference from torchvision, timm and torch.optim, and otherwise from the formulas in the publications."""
