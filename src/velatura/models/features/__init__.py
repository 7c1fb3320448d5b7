"""Small pretrained networks whose features losses and measures use."""
