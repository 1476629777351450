"""What steps take at a known speed, worked out by hand."""

import pytest

from harness.api import Work
from harness.models.footprint import ModelShape
from harness.planning.estimate import seconds
from harness.planning.speed import Speed

SPEED = Speed(start=10, load=2, per_token=1e-3, per_token_squared=0, step=0.1, per_row=0.01, per_row_token=0)
#: The output layer is as large as all the rest.
SHAPE = ModelShape(parameters=2000, layers=1, heads=1, kv_heads=1, head_dim=8, hidden=10, vocabulary=100, context=None, dtype="float32")


def test_reading_and_writing_add_up() -> None:
    work = Work("other", prompts=20, prefill_tokens=2_000, new_tokens=400, passes=40)  # two batches of ten rows, twenty tokens each
    assert seconds(work, SPEED, SHAPE) == pytest.approx(2.0 + 40 * (0.1 + 10 * 0.01))


def test_larger_batches_take_fewer_passes() -> None:
    one, many = (seconds(Work("other", 8, 800, 80, passes=passes), SPEED, SHAPE) for passes in (80, 10))
    assert one - many == pytest.approx(70 * 0.1)


def test_training_goes_over_each_token_some_times_and_over_the_output_layer_too() -> None:
    work = Work("other", train_tokens=1_000, train_passes=4, updates=3)
    assert seconds(work, SPEED, SHAPE) == pytest.approx(4 * 1.0 * 2 + 3 * 10 * 0.1)
    assert seconds(Work("other", train_tokens=1_000, train_passes=3), SPEED, SHAPE) == pytest.approx(3 * 1.0 * 2)


def test_a_command_starts_up_once_and_a_training_each_time() -> None:
    first, second = (seconds(Work("generate"), SPEED, SHAPE, before) for before in ((), ("heads",)))
    assert first > 10 > second == 2
    assert seconds(Work("dpo"), SPEED, SHAPE, ("heads",)) == seconds(Work("dpo"), SPEED, SHAPE) > 10
    assert seconds(Work("rejected-mine"), SPEED, SHAPE, ("chosen",)) == 0
