"""Small pretrained networks that describe pictures (VGG, HED, EfficientNet-Lite0, Magenta), with their weights."""
