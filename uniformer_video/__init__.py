"""UniFormer for video: train, test and fine-tune on PySlowFast conventions."""

__version__ = "0.1.0"
