"""From records to batches: annotation readers, the one Dataset, loaders."""

from uniformer_video.datasets.build import DATASETS, build_dataset
from uniformer_video.datasets.dataset import Failure, Sample, VideoDataset
from uniformer_video.datasets.records import VideoRecord

__all__ = ["DATASETS", "Failure", "Sample", "VideoDataset", "VideoRecord", "build_dataset"]
