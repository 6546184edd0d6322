"""Settings that the data decide: number of classes, several labels, loss."""

from __future__ import annotations

import pytest
import simplejson

from tests.toy import rewrite, toy_cfg
from uniformer_video.config.load import source_of
from uniformer_video.engine.data_settings import resolve_data_settings
from uniformer_video.runtime.errors import ConfigError, DataError

AUTO = ("MODEL.NUM_CLASSES", "auto", "DATA.MULTI_LABEL", "auto", "MODEL.LOSS_FUNC", "auto")


def resolved(cfg):
    cfg = resolve_data_settings(cfg)
    return cfg.MODEL.NUM_CLASSES, cfg.DATA.MULTI_LABEL, cfg.MODEL.LOSS_FUNC


def test_a_set_of_one_label_each(toy_set, tmp_path):
    cfg = toy_cfg(toy_set, tmp_path, *AUTO)
    assert resolved(cfg) == (3, False, "soft_cross_entropy")
    assert (cfg.MODEL.NUM_CLASSES, cfg.DATA.MULTI_LABEL, cfg.MODEL.LOSS_FUNC) == ("auto", "auto", "auto")
    done = resolve_data_settings(cfg)
    assert source_of(done, "MODEL.NUM_CLASSES") == f"the class names in {toy_set}"
    assert source_of(done, "DATA.MULTI_LABEL") == "told by the data"
    assert done.is_frozen()


def test_nothing_to_resolve_is_the_same_object(toy_set, tmp_path):
    cfg = toy_cfg(toy_set, tmp_path)
    assert resolve_data_settings(cfg) is cfg


def test_a_set_of_several_labels(toy_set, tmp_path):
    folder = rewrite(toy_set, tmp_path / "set")
    (folder / "dataset.json").write_text(simplejson.dumps({"format": 1, "multi_label": True}))
    assert resolved(toy_cfg(folder, tmp_path, *AUTO)) == (3, True, "bce_logit")
    # What the user says himself is not overruled, and contradictions are told.
    assert resolved(toy_cfg(folder, tmp_path, *AUTO, "DATA.MULTI_LABEL", "False")) == (3, False, "soft_cross_entropy")
    with pytest.raises(ConfigError, match="^DATA.MULTI_LABEL is True, but MODEL.LOSS_FUNC cross_entropy is for one"):
        resolved(toy_cfg(folder, tmp_path, "DATA.MULTI_LABEL", "auto", "MODEL.LOSS_FUNC", "cross_entropy"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "dataset.json: not the JSON that tools/prepare_dataset.py writes"),
        ("[" * 100_000, "dataset.json: not the JSON that tools/prepare_dataset.py writes"),
        ("[]", "dataset.json: multi_label must be true or false"),
        ('{"multi_label": "yes"}', "dataset.json: multi_label must be true or false"),
    ],
)
def test_a_broken_dataset_json(toy_set, tmp_path, text, message):
    folder = rewrite(toy_set, tmp_path / "set")
    (folder / "dataset.json").write_text(text)
    with pytest.raises(DataError, match=message):
        resolved(toy_cfg(folder, tmp_path, *AUTO))


def test_a_single_class(toy_set, tmp_path):
    folder = rewrite(toy_set, tmp_path / "set")
    (folder / "classes.json").write_text('["red"]')
    with pytest.raises(ConfigError, match="has a single class: there is nothing to tell apart"):
        resolved(toy_cfg(folder, tmp_path, *AUTO))


def test_weights_of_classes_are_as_many_as_the_data_have(toy_set, tmp_path):
    cfg = toy_cfg(toy_set, tmp_path, *AUTO, "MODEL.CLASS_WEIGHTS", "[1, 2]")
    with pytest.raises(ConfigError, match="^MODEL.CLASS_WEIGHTS has 2 weights, but MODEL.NUM_CLASSES is 3"):
        resolved(cfg)
