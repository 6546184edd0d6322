"""Settings that no tensor shows: read from a configuration whatever it is, and compared with the published ones."""

from __future__ import annotations

import pytest
import yaml

from uniformer_video.config import load_config
from uniformer_video.config.load import dump
from uniformer_video.models.hidden import configuration_tree, contradictions, effective_settings, hidden_settings
from uniformer_video.models.published import NETWORKS

XXS = [[], [], [1.0] + [0.5] * 7, [0.5, 0.5]]


class TestRead:
    @pytest.mark.parametrize(
        "text", ["", "[", "a", "1", "- a", "2024-13-01", "x: !!python/object:os.x 1", "[" * 1000, "\0", "a: b: c"]
    )
    def test_what_is_no_configuration(self, text):
        assert configuration_tree(text) == {}
        assert hidden_settings(text, "Uniformer") == {}

    @pytest.mark.parametrize("section", [None, 1, [], "text", {}])
    def test_no_section(self, section):
        assert hidden_settings(yaml.safe_dump({"UNIFORMER": section}), "Uniformer") == {}

    def test_what_is_set(self):
        text = yaml.safe_dump({"UNIFORMER": {"HEAD_DIM": 32, "QKV_SCALE": None, "PRUNE_RATIO": XXS, "DEPTH": [1]}})
        assert hidden_settings(text, "Hourglass") == {"UNIFORMER.HEAD_DIM": 32, "UNIFORMER.PRUNE_RATIO": XXS}
        assert hidden_settings(text, "Uniformer") == {"UNIFORMER.HEAD_DIM": 32}, "it merges no tokens"
        assert hidden_settings(text, None) == {}

    def test_the_configuration_of_a_checkpoint(self):
        assert hidden_settings(dump(load_config()), "Uniformer") == {"UNIFORMER.HEAD_DIM": 64}


class TestCompare:
    @pytest.mark.parametrize("name", NETWORKS)
    def test_nothing_said_is_as_published(self, name):
        assert contradictions(name, {}) == []
        head = NETWORKS[name].kwargs["head_dim"]
        assert contradictions(name, {"UNIFORMER.HEAD_DIM": head, "UNIFORMER.QKV_SCALE": head**-0.5}) == []

    @pytest.mark.parametrize("head", [32, 64.5, "64", [64]])
    def test_another_head(self, head):
        assert contradictions("video_small", {"UNIFORMER.HEAD_DIM": head}) == [
            f"UNIFORMER.HEAD_DIM {head}, published 64"
        ]

    def test_scale(self):
        assert contradictions("video_xxs", {"UNIFORMER.QKV_SCALE": 0.18898}) == []  # 28 ** -0.5
        for scale in (1.0, "a", [0.125]):
            assert contradictions("video_small", {"UNIFORMER.QKV_SCALE": scale}) == [
                f"UNIFORMER.QKV_SCALE {scale}, published 0.125"
            ]

    @pytest.mark.parametrize("key", ["UNIFORMER.PRUNE_RATIO", "UNIFORMER.TRADE_OFF"])
    def test_shares(self, key):
        assert contradictions("video_xxs", {key: XXS}) == []
        assert contradictions("video_xxs", {key: [[], [], [1] + [0.5] * 7, [0.5, 0.5]]}) == []
        for other in ([[], [], [1.0, 0.25] + [0.5] * 6, [0.5, 0.5]], [[], [], [], []], [[], [], 1, 2], [], 0.5, "a"):
            assert contradictions("video_xxs", {key: other}) == [f"{key} {other}, published {XXS}"]
        assert contradictions("video_xs", {key: XXS}) != []

    def test_the_first_blocks_trade_off_has_no_effect(self):
        shares = [[], [], [0.3] + [0.5] * 7, [0.5, 0.5]]
        assert contradictions("video_xxs", {"UNIFORMER.TRADE_OFF": shares}) == []
        assert contradictions("video_xxs", {"UNIFORMER.PRUNE_RATIO": shares}) != []

    def test_several(self):
        assert len(contradictions("video_xs", {"UNIFORMER.HEAD_DIM": 16, "UNIFORMER.QKV_SCALE": 1})) == 2


class TestEffectiveSettings:
    def test_of_a_configuration(self):
        text = "UNIFORMER: {HEAD_DIM: 16, QKV_SCALE: null, DEPTH: [1, 1, 2, 1]}\nDATA: {MEAN: [0.1, 0.2, 0.3]}\n"
        assert effective_settings(text) == {
            "UNIFORMER.HEAD_DIM": 16,
            "UNIFORMER.QKV_SCALE": 0.25,
            "DATA.MEAN": [0.1, 0.2, 0.3],
        }

    @pytest.mark.parametrize("written", ["null", "[[], [], [1, 0.5], [0.5]]"])
    def test_token_shares_are_written_out_for_an_hourglass_network_alone(self, written):
        text = f"UNIFORMER: {{HEAD_DIM: 28, DEPTH: [1, 1, 2, 1], PRUNE_RATIO: {written}, TRADE_OFF: null}}\n"
        light = effective_settings(text + "MODEL: {MODEL_NAME: Uniformer_light_fp32}\n")
        shares = [[], [], [1.0, 0.5], [0.5]]
        assert (light["UNIFORMER.PRUNE_RATIO"], light["UNIFORMER.TRADE_OFF"]) == (shares, shares)
        assert set(effective_settings(text)) == {"UNIFORMER.HEAD_DIM", "UNIFORMER.QKV_SCALE"}

    def test_a_scale_with_more_digits_is_the_same(self):
        plain, written = (f"UNIFORMER: {{HEAD_DIM: 28, QKV_SCALE: {scale}}}\n" for scale in ("null", 28**-0.5))
        assert effective_settings(plain) == effective_settings(written)
        assert effective_settings(plain) != effective_settings("UNIFORMER: {HEAD_DIM: 28, QKV_SCALE: 0.2}\n")

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "- a",
            "UNIFORMER: 3",
            "UNIFORMER: {HEAD_DIM: x, DEPTH: 3}",
            "date: 2024-13-45",
            "[" * 3000,
            "UNIFORMER: {DEPTH: []}",
        ],
    )
    def test_of_something_else(self, text):
        assert effective_settings(text) == {}
