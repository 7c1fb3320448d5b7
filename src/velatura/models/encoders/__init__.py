"""Pretrained image encoders: pictures to embeddings."""
