"""Labels: one meaning whatever the spelling, and a hint where there is none."""

from __future__ import annotations

import pytest

from lorascope.corpora.labels import SYNONYMS, canonical, match_classes, suggestion, taken_classes
from lorascope.errors import LorascopeError

from .refusals import refused


@pytest.mark.parametrize("emotion", list(SYNONYMS))
def test_every_synonym_means_its_emotion_whatever_its_case(emotion: str) -> None:
    for word in (emotion, *SYNONYMS[emotion]):
        assert {canonical(word), canonical(word.upper()), canonical(f" {word.capitalize()} ")} == {emotion}


def test_no_word_means_two_emotions() -> None:
    words = [word for emotion, others in SYNONYMS.items() for word in (emotion, *others)]
    assert len(words) == len(set(words))


def test_the_codes_of_the_corpora_are_known() -> None:
    iemocap = {
        "ang": "anger",
        "hap": "happiness",
        "sad": "sadness",
        "neu": "neutrality",
        "exc": "excitement",
        "fru": "frustration",
    }
    assert {code: canonical(code) for code in iemocap} == iemocap
    assert [canonical(name) for name in ("neutral", "neu", "N")] == ["neutrality"] * 3


def test_an_unknown_label_is_refused_with_the_nearest_known_one() -> None:
    refused(lambda: canonical("angy"), "'angy'", "did you mean 'ang")


def test_without_a_near_word_the_known_ones_are_told() -> None:
    message = refused(lambda: canonical("zzzz"), "known: ", "anger", "sadness")
    assert "did you mean" not in message


def test_an_empty_label_is_refused() -> None:
    refused(lambda: canonical(""), "emotion ''")


def test_suggestions_see_past_case() -> None:
    assert suggestion("dc_a1", ["DC_A01", "KL_n07"]) == " (did you mean 'DC_A01'?)"
    assert suggestion("DC_A1", ["DC_A01", "KL_n07"]) == " (did you mean 'DC_A01'?)"


def test_suggestions_do_not_list_a_whole_corpus() -> None:
    told = suggestion("zzz", [f"Ses01F_impro01_F{number:03d}" for number in range(5000)])
    assert len(told) < 200 and told.startswith(" (known: ") and told.endswith(")")


def test_classes_are_matched_in_the_models_order() -> None:
    assert match_classes(["sad", "N", "Anger", "joy"]) == ("sadness", "neutrality", "anger", "happiness")


def test_a_class_that_cannot_be_matched_is_an_error() -> None:
    refused(lambda: match_classes(["anger", "LABEL_1"]), "class 'LABEL_1'", "--labels")


def test_two_names_of_one_class_are_an_error() -> None:
    refused(lambda: match_classes(["anger", "sad", "ang"]), "'anger'", "'ang'", "--labels")


@pytest.mark.parametrize(
    ("label", "emotion"),
    [
        *[("04-sad", "sadness"), ("[angry]", "anger"), ("happy_2", "happiness"), ("05 - Fearful.", "fear")],
        *[
            ("wütend", "anger"),
            ("colère", "anger"),
            ("rabbia", "anger"),
            ("alegría", "happiness"),
            ("smutek", "sadness"),
        ],
        *[("raiva", "anger"), ("грусть", "sadness"), ("öfke", "anger"), ("愤怒", "anger"), ("悲しみ", "sadness")],
        *[("행복", "happiness"), ("غضب", "anger"), ("गुस्सा", "anger"), ("اداسی", "sadness"), ("خشم", "anger")],
        ("cole\u0300re", "anger"),
    ],
)
def test_labels_with_numbers_and_of_other_languages(label, emotion):
    assert canonical(label) == emotion


def test_a_hint_is_given_only_where_it_helps():
    with pytest.raises(LorascopeError, match=r"did you mean 'angry'"):
        canonical("anrgy")
    for label in ("A", "zz", "LABEL_0"):
        with pytest.raises(LorascopeError) as caught:
            canonical(label)
        assert "did you mean" not in str(caught.value)
    with pytest.raises(LorascopeError, match=r"'LABEL_0' cannot be matched: a name that transformers gives"):
        match_classes(["LABEL_0", "LABEL_1"])


def test_classes_that_are_named_are_taken_as_they_are():
    assert taken_classes(["control", "mci", "ad"]) == ("control", "mci", "ad")
    assert taken_classes(["sad", "Angry"]) == ("sadness", "anger")
    with pytest.raises(LorascopeError, match="'mci' is named twice"):
        taken_classes(["mci", "ad", "mci"])
