"""Pretrained networks behind small faces."""
