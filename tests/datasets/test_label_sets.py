"""The label sets: the published names and orders, and how lists in any spelling and order are recognised."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.datasets import label_sets
from uniformer_video.datasets.label_sets import (
    LABEL_SETS,
    TITLES,
    Recognised,
    alphabetical_orders,
    class_numbers,
    label_set,
    normalise,
    recognise,
    words,
)
from uniformer_video.runtime.errors import UserError

SIZES = {"kinetics400": 400, "kinetics600": 600, "ssv1": 174, "ssv2": 174, "ucf101": 101, "hmdb51": 51}

# sha256 of one name a line: of the label lists of the published weights; of UCF101's classInd.txt without its numbers;
# of HMDB51's folders.
DIGESTS = {
    "hmdb51": "c24c56a7af6f3ea55c8fb2a8e5b2c3a42644fcc5d86e49313536cfbd3499538a",
    "kinetics400": "f7a243638420fc2e9840d2ecbadb0b02fc2e0ccc1410aec7137ec05a15249d5e",
    "kinetics600": "8565c53b14d4a90e108d1a41bf1b033ca98bf62cb3bd745f6b2d9f29fec1b511",
    "ssv1": "c9c5a86ece619e1ab2e7ca0614c85377a534873e17108b13243e5d22089a0a85",
    "ssv2": "d2cbf00ba458c7ff440c37a9f348598d659501365944d6d28643de8a56635964",
    "ucf101": "fabeefc51625dad8a5b960156ccf75eea4c3b914d95bc02b43618fd61ecd1930",
}

KNOWN = [
    ("kinetics400", 0, "riding a bike"),
    ("kinetics400", 1, "marching"),
    ("kinetics400", 11, "petting animal (not cat)"),
    ("kinetics400", 399, "playing badminton"),
    ("kinetics600", 0, "feeding fish"),
    ("kinetics600", 599, "playing organ"),
    ("ssv1", 0, "Approaching something with your camera"),
    ("ssv1", 32, "Moving away from something with your camera"),
    ("ssv1", 173, "Wiping something off of something"),
    ("ssv2", 0, "Approaching [something] with your camera"),
    ("ssv2", 32, "Moving [part] of [something]"),
    ("ssv2", 173, "[Something] falling like a rock"),
    # classInd.txt counts from 1, and sorts without regard to case.
    ("ucf101", 1 - 1, "ApplyEyeMakeup"),
    ("ucf101", 35 - 1, "Hammering"),
    ("ucf101", 36 - 1, "HammerThrow"),
    ("ucf101", 37 - 1, "HandstandPushups"),
    ("ucf101", 47 - 1, "JumpingJack"),
    ("ucf101", 48 - 1, "JumpRope"),
    ("ucf101", 89 - 1, "Swing"),
    ("ucf101", 101 - 1, "YoYo"),
    ("hmdb51", 0, "brush_hair"),
    ("hmdb51", 21, "kick_ball"),
    ("hmdb51", 32, "run"),
    ("hmdb51", 50, "wave"),
]


def folders(names: tuple[str, ...]) -> list[str]:
    return [name.replace(" ", "_") for name in names]


class TestTheSets:
    def test_which_there_are(self):
        assert list(LABEL_SETS) == list(TITLES) == list(SIZES)
        assert len(LABEL_SETS) == 6
        assert {name: len(names) for name, names in LABEL_SETS.items()} == SIZES

    @pytest.mark.parametrize("name", SIZES)
    def test_the_published_names_in_the_published_order(self, name):
        text = "".join(line + "\n" for line in LABEL_SETS[name])
        assert hashlib.sha256(text.encode()).hexdigest() == DIGESTS[name]

    @pytest.mark.parametrize(("name", "number", "text"), KNOWN)
    def test_known_positions(self, name, number, text):
        assert LABEL_SETS[name][number] == text

    @pytest.mark.parametrize("name", SIZES)
    def test_no_doubles_and_no_stray_blanks(self, name):
        names = LABEL_SETS[name]
        assert all(text == " ".join(text.split()) and text.isascii() and text for text in names)
        assert len(set(names)) == len({normalise(text) for text in names}) == len(names)

    def test_kinetics_is_not_in_alphabetical_order(self):
        for name in ("kinetics400", "kinetics600"):
            assert LABEL_SETS[name] not in [tuple(LABEL_SETS[name][n] for n in o) for o in alphabetical_orders(name)]

    def test_kinetics_400_and_600_share_369_classes(self):
        assert len(class_numbers("kinetics400").keys() & class_numbers("kinetics600").keys()) == 369

    def test_both_versions_of_something_have_the_same_classes_in_other_orders(self):
        one, two = class_numbers("ssv1"), class_numbers("ssv2")
        assert one.keys() == two.keys()
        assert sum(one[key] == two[key] for key in one) == 85

    def test_an_unknown_name_is_no_key(self):
        assert "imagenet" not in LABEL_SETS
        with pytest.raises(KeyError):
            LABEL_SETS["imagenet"]

    def test_a_set_is_read_when_it_is_asked_for_and_once(self):
        label_sets._read.cache_clear()
        assert "ucf101" in list(LABEL_SETS)
        assert label_sets._read.cache_info().currsize == 0
        assert LABEL_SETS["hmdb51"] is LABEL_SETS["hmdb51"]
        assert label_sets._read.cache_info().currsize == 1


class TestLabelSet:
    @pytest.mark.parametrize(
        ("text", "name"),
        [
            ("kinetics400", "kinetics400"),
            ("Kinetics-400", "kinetics400"),
            ("KINETICS_600", "kinetics600"),
            ("Something-Something V2", "ssv2"),
            ("SSv1", "ssv1"),
            ("UCF-101", "ucf101"),
            ("hmdb51:", "hmdb51"),
            ("kinetics400:published", "kinetics400"),
        ],
    )
    def test_spellings_of_a_name(self, text, name):
        assert label_set(text) == LABEL_SETS[name]

    @pytest.mark.parametrize("text", ["kinetics400:alphabetical", "Kinetics-400 : Alphabetical"])
    def test_alphabetical(self, text):
        names = label_set(text)
        assert list(names) == sorted(LABEL_SETS["kinetics400"])
        assert (names[0], names[-1]) == ("abseiling", "zumba")

    def test_ucf101_sorted_by_characters_differs_from_the_published_order(self):
        published, names = label_set("ucf101"), label_set("ucf101:alphabetical")
        different = [n for n in range(101) if published[n] != names[n]]
        assert [names[n] for n in different] == ["HammerThrow", "Hammering", "JumpRope", "JumpingJack"]

    @pytest.mark.parametrize("text", ["imagenet", "", ":alphabetical", "kinetics400:sorted", "kinetics"])
    def test_unknown(self, text):
        with pytest.raises(UserError) as error:
            label_set(text)
        assert str(error.value) == (
            f"there is no label set {text!r}; known are kinetics400, kinetics600, ssv1, ssv2, ucf101, hmdb51, each "
            "also with `:alphabetical` behind it, such as kinetics400:alphabetical"
        )


class TestNormalise:
    @pytest.mark.parametrize(
        "same",
        [
            ("riding a bike", "riding_a_bike", "Riding-a-bike", "RidingABike", " riding  a bike\t"),
            (
                "massaging person's head",
                "massaging_persons_head",
                "massaging person’s head",
                '"massaging person`s head',
            ),
            ("hurling (sport)", "hurling sport", "hurling_(sport)", "Hurling [sport]", "{hurling} sport!"),
            ("[Something] falling like a rock", "Something falling like a rock", "something falling like a rock."),
            (
                "Putting [something], [something] and [something] on it",
                "putting something something and something on it",
            ),
            ("ApplyEyeMakeup", "Apply Eye Makeup", "apply_eye_makeup"),
            ("HandStandPushups", "HandstandPushups", "handstand pushups"),
            ("push up", "pushup", "push-up"),
            ("plie\u0301", "plié", "Plié"),
            ("vault/pole", "vault pole"),
        ],
    )
    def test_spellings_of_one_class(self, same):
        assert len({normalise(name) for name in same}) == 1

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("C++", "C"),
            ("a<b", "a>b"),
            ("number #1", "number 1"),
            ("passing American football (in game)", "passing American football (not in game)"),
            ("plié", "plie"),
            ("कि", "की"),  # the letters are one, the vowel signs are not
            ("?", "!"),
        ],
    )
    def test_different_classes(self, one, other):
        assert normalise(one) != normalise(other)

    def test_words(self):
        assert words("ApplyEyeMakeup") == "apply eye makeup"
        assert words("  petting_animal_(not  cat)") == "petting animal not cat"
        assert words("YoYo") == "yo yo"
        assert words("Tai Chi") == "tai chi"
        assert words("HMDB") == "hmdb"
        assert words("") == words("()") == ""

    @given(st.text(max_size=40))
    def test_it_is_one_word_and_nothing_changes_it_again(self, name):
        key = normalise(name)
        assert key == key.strip()
        if words(name):
            assert " " not in key
        # Casefolding may make characters that compose anew: what is compared has passed once.
        assert normalise(normalise(key)) == normalise(key)

    @given(st.lists(st.text("abcdefgh", min_size=1), min_size=1, max_size=6))
    def test_blanks_underscores_hyphens_and_capitals_do_not_count(self, parts):
        camel = "".join(part.capitalize() for part in parts)
        assert {normalise(sign.join(parts)) for sign in (" ", "_", "-", "")} == {normalise(camel)} == {"".join(parts)}


class TestRecognise:
    @pytest.mark.parametrize("name", SIZES)
    def test_the_published_order(self, name):
        found = recognise(LABEL_SETS[name])
        assert found == Recognised(name, "published", tuple(range(SIZES[name])))
        assert str(found) == f"{TITLES[name]} in the published order"

    @pytest.mark.parametrize("name", ["kinetics400", "kinetics600"])
    @pytest.mark.parametrize("change", [lambda names: names, folders, lambda names: [n.upper() for n in names]])
    def test_alphabetical_kinetics(self, name, change):
        names = sorted(LABEL_SETS[name])
        found = recognise(change(names))
        assert (found.label_set, found.order) == (name, "alphabetical")
        assert [LABEL_SETS[name][n] for n in found.permutation] == names
        assert str(found) == f"{TITLES[name]} in alphabetical order"

    @pytest.mark.parametrize(
        "sort",
        [
            str,
            str.lower,
            lambda n: n.replace(" ", "_"),
            lambda n: "".join(c for c in n.lower() if c.isalnum() or c == " "),
            lambda n: "".join(c for c in n.lower() if c.isalnum()),
        ],
        ids=["code points", "no case", "folders", "no punctuation", "locale"],
    )
    def test_programs_sort_in_different_ways(self, sort):
        names = sorted(sorted(LABEL_SETS["kinetics400"]), key=sort)
        assert recognise(folders(names)).order == "alphabetical"

    def test_three_alphabets_of_kinetics_400(self):
        orders = alphabetical_orders("kinetics400")
        assert len(orders) == 3
        plain = [LABEL_SETS["kinetics400"][n] for n in orders[0]]
        assert plain == sorted(LABEL_SETS["kinetics400"])
        # "(" comes before "c", "n" after it; "push up" before "pushing car" with its blank, behind it without.
        skiing = ["skiing (not slalom or crosscountry)", "skiing crosscountry", "skiing slalom"]
        assert [n for n in plain if n.startswith("skiing")] == skiing
        by_words = [LABEL_SETS["kinetics400"][n] for n in orders[1]]
        assert [n for n in by_words if n.startswith("skiing")] == [skiing[1], skiing[0], skiing[2]]
        by_letters = [LABEL_SETS["kinetics400"][n] for n in orders[2]]
        assert plain.index("push up") < plain.index("pushing car")
        assert by_letters.index("push up") > by_letters.index("pushing car")

    def test_sorted_ucf101(self):
        assert recognise(sorted(LABEL_SETS["ucf101"])).order == "alphabetical"
        assert recognise(sorted(LABEL_SETS["ucf101"], key=str.lower)).order == "published"

    def test_something_without_brackets(self):
        bare = [name.replace("[", "").replace("]", "") for name in LABEL_SETS["ssv2"]]
        assert str(recognise(bare)) == "Something-Something V1 in another order", "the spelling of V1"
        assert str(recognise(sorted(bare))) == "Something-Something V1 in the published order"
        with_brackets = sorted(LABEL_SETS["ssv2"], key=lambda n: n.replace("[", "").replace("]", ""))
        assert str(recognise(with_brackets)) == "Something-Something V2 in alphabetical order"
        # In a spelling of neither, the published order decides.
        found = recognise([name.lower().replace(" ", "_") for name in bare])
        assert str(found) == "Something-Something V2 in the published order"

    def test_another_order(self):
        names = list(LABEL_SETS["hmdb51"])
        random.Random(3).shuffle(names)
        found = recognise(names)
        assert found.order == "other"
        assert [LABEL_SETS["hmdb51"][n] for n in found.permutation] == names
        assert str(found) == "HMDB51 in another order"

    @pytest.mark.parametrize(
        "names",
        [
            [],
            ["a", "b"],
            LABEL_SETS["kinetics400"][:-1],
            (*LABEL_SETS["kinetics400"][:-1], "another"),
            (*LABEL_SETS["kinetics400"][:-1], "riding a bike"),
            (*LABEL_SETS["kinetics400"], "riding a bike"),
        ],
        ids=["none", "own", "one less", "one other", "one twice", "one more"],
    )
    def test_other_classes(self, names):
        assert recognise(names) is None

    @given(st.permutations(range(51)))
    def test_any_permutation(self, permutation):
        found = recognise([LABEL_SETS["hmdb51"][n].replace("_", " ").title() for n in permutation])
        assert found.permutation == tuple(permutation)
        assert found.order == ("published" if permutation == sorted(permutation) else "other")
