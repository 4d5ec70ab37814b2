"""Mirrors src/fp_capstone/training.py."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fp_capstone import Model, ThreadedGradients
from fp_capstone.settings import Settings
from fp_capstone.training import Trainer, Windows, model_config
from fp_transformer.checkpoint import load_tensors, save_tensors


class Bigram:
    """A table of logits: the smallest model that learns."""

    def __init__(self, V):
        self.table = np.zeros((V, V))

    def parameters(self):
        return {"table": self.table}

    def loss_and_grads(self, ids, targets, rng=None):
        z = self.table[ids]
        p = np.exp(z - z.max(axis=-1, keepdims=True))
        p /= p.sum(axis=-1, keepdims=True)
        loss = float(-np.log(np.take_along_axis(p, targets[..., None], -1)).mean())
        np.put_along_axis(p, targets[..., None], np.take_along_axis(p, targets[..., None], -1) - 1, -1)
        grad = np.zeros_like(self.table)
        np.add.at(grad, ids.reshape(-1), p.reshape(-1, p.shape[-1]) / targets.size)
        return loss, {"table": grad}


SMALL = Settings(context_length=7, batch_size=5, n_steps=40, warmup=4, lr=0.1, clip=10.0, weight_decay=0.0)
TEXT = np.random.default_rng(13).integers(0, 11, 503)


def trainer_of(settings=SMALL, text=TEXT):
    model = Bigram(11)
    return Trainer(model, model.loss_and_grads, text, settings), model


class EveryOffset(np.random.Generator):
    """Each of the equally likely offsets once, instead of a random one; the orders stay random."""

    def __init__(self, T):
        super().__init__(np.random.PCG64(0))
        self.T, self.offsets = T, iter(range(T))

    def integers(self, high):
        assert high == self.T  # uniform on 0, ..., T - 1
        return next(self.offsets)


@pytest.mark.claim("capstone.epoch-coverage")
@pytest.mark.parametrize(("n", "window"), [(14, 7), (53, 7), (97, 5), (11, 3), (23, 1), (2, 1)])
def test_an_epoch_meets_every_token_at_most_once_and_the_inner_ones_at_every_place(n, window):
    windows = Windows(np.arange(n), EveryOffset(window))
    places = {t: [] for t in range(n)}
    for offset in range(window):
        rows = [windows.draw(window, 1)[1][0].tolist()]
        while windows.order.size:
            rows.append(windows.draw(window, 1)[1][0].tolist())
        seen = [t for row in rows for t in row]
        assert len(seen) == len(set(seen))  # at most once
        assert len(rows) == (n - 1 - offset) // window  # all windows that exist
        assert n - len(seen) <= 2 * window - 1
        assert set(range(window, n - window + 1)) <= set(seen)  # with certainty
        for row in rows:
            for place, t in enumerate(row):
                places[t].append(place)
    # over all offsets, which are equally likely, every place once: uniform
    assert all(sorted(places[t]) == list(range(window)) for t in range(window, n - window + 1))
    with pytest.raises(StopIteration):  # one offset an epoch, and there are no more
        windows.draw(window, 1)


def test_the_windows_of_an_epoch_come_in_random_order():
    orders = [Windows(np.arange(53), np.random.default_rng(seed)).draw(7, 6)[0][:, 0].tolist() for seed in range(7)]
    assert any(order != sorted(order) for order in orders)


def test_a_batch_may_reach_into_the_next_epochs():
    inputs, targets = Windows(np.arange(29), np.random.default_rng(0)).draw(7, 31)
    assert inputs.shape == targets.shape == (31, 7)


def test_another_window_begins_a_new_epoch():
    windows = Windows(np.arange(101), np.random.default_rng(0))
    windows.draw(7, 3)
    assert windows.draw(13, 2)[0].shape == (2, 13)
    assert windows.order.size == (101 - 1 - int(windows.order.min() % 13)) // 13 - 2


def test_a_text_that_is_barely_long_enough_gives_its_one_window():
    inputs, targets = Windows(np.arange(8), np.random.default_rng(0)).draw(7, 2)
    assert inputs.tolist() == [list(range(7))] * 2
    assert targets.tolist() == [list(range(1, 8))] * 2
    with pytest.raises(ValueError, match="need 9 tokens, the text has 8"):
        Windows(np.arange(8), np.random.default_rng(0)).draw(8, 1)


@pytest.mark.claim("capstone.accumulation")
def test_micro_batches_make_the_step_of_the_whole_batch():
    whole, one = trainer_of(replace(SMALL, batch_size=15))
    parts, other = trainer_of(replace(SMALL, batch_size=5, accumulation=3))
    for _ in range(5):
        a, b = whole.step(), parts.step()
        assert (a.tokens, b.tokens) == (105, 105)
        # 1e-12: float64 sums of about 100 terms in another order
        assert a.loss == pytest.approx(b.loss, rel=1e-12)
        assert a.grad_norm == pytest.approx(b.grad_norm, rel=1e-12)
        # 1e-9: AdamW divides by the root of small squares
        np.testing.assert_allclose(one.table, other.table, atol=1e-9)


def test_training_lowers_the_loss():
    text = np.tile(np.arange(11), 50)  # each token decides the next
    trainer, _ = trainer_of(replace(SMALL, n_steps=200), text)
    records = [trainer.step() for _ in range(200)]
    assert records[0].loss == pytest.approx(np.log(11))
    assert records[-1].loss < 0.1


def test_the_first_step_runs_at_the_first_rate_of_the_warmup():
    for schedule in ("cosine", "linear", "constant"):
        trainer, _ = trainer_of(replace(SMALL, schedule=schedule))
        rates = [trainer.step().lr for _ in range(40)]
        np.testing.assert_allclose(rates[:4], [0.025, 0.05, 0.075, 0.1])
        assert max(rates) == pytest.approx(0.1)
        assert (rates[-1] == pytest.approx(0.1)) is (schedule == "constant")


def test_clipping_bounds_the_gradient_that_the_optimizer_sees():
    trainer, _ = trainer_of(replace(SMALL, clip=1e-3))
    assert trainer.step().grad_norm > 1e-3  # before clipping


def test_weights_decay_only_if_they_are_matrices():
    config = model_config(replace(SMALL, d_model=8, n_layers=1, n_heads=2), 11)
    for optimizer in ("muon", "adamw"):
        model = Model(config, np.random.default_rng(0))
        before = {name: array.copy() for name, array in model.parameters().items()}

        def nothing(ids, targets, rng, model=model):
            return 1.0, {name: np.zeros_like(array) for name, array in model.parameters().items()}

        Trainer(model, nothing, TEXT, replace(SMALL, optimizer=optimizer, weight_decay=0.5)).step()
        for name, array in model.parameters().items():
            decays = array.ndim == 2 and (optimizer == "adamw" or "layers" in name)
            assert (array != before[name]).any() == decays, name


def test_short_windows_come_first_with_as_many_tokens_to_a_step():
    trainer, _ = trainer_of(replace(SMALL, context_length=8, short_window=2, short_share=0.5))
    records = [trainer.step() for _ in range(40)]
    assert [r.window for r in records] == [2] * 20 + [8] * 20
    assert {r.tokens for r in records} == {40}
    longer, _ = trainer_of(replace(SMALL, short_window=1000))
    assert longer.step().window == 7  # never longer than the context


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("failure", ["loss", "gradient", "exception"])
def test_a_failed_step_spends_its_windows_and_changes_nothing_else(accumulation, failure):
    settings, calls = replace(SMALL, accumulation=accumulation), []
    model, other = Bigram(11), Bigram(11)

    def gradients(ids, targets, rng):
        calls.append(ids)
        loss, grads = model.loss_and_grads(ids, targets)
        if len(calls) == 3 * accumulation:  # the last micro-batch of the third step
            if failure == "exception":
                raise MemoryError("no memory")
            loss, grads["table"][3, 5] = (np.nan, 0.0) if failure == "loss" else (loss, np.inf)
        return loss, grads

    trainer = Trainer(model, gradients, TEXT, settings)
    straight = Trainer(other, other.loss_and_grads, TEXT, settings)
    assert [trainer.step().loss for _ in range(2)] == [straight.step().loss for _ in range(2)]
    with pytest.raises((FloatingPointError, MemoryError), match=r"diverged in step 3: loss|no memory"):
        trainer.step()
    assert (trainer.step_number, trainer.n_tokens) == (2, 2 * accumulation * 35)
    np.testing.assert_array_equal(model.table, other.table)
    for name, array in straight.tensors().items():
        if name != "order":
            np.testing.assert_array_equal(trainer.tensors()[name], array, err_msg=name)
    assert straight.windows.order.size - trainer.windows.order.size == 5 * accumulation

    # nothing of the failed batch is left: the next step is that of a training that skipped its windows
    straight.windows.draw(7, 5 * accumulation)
    one, another = trainer.step(), straight.step()
    assert (one.loss, one.grad_norm, one.tokens) == (another.loss, another.grad_norm, another.tokens)
    np.testing.assert_array_equal(model.table, other.table)


def transformer_trainer(settings, model=None):
    model = model or Model(model_config(settings, 11), np.random.default_rng(3))
    return Trainer(model, ThreadedGradients(model, 2), TEXT, settings), model


@pytest.mark.claim("capstone.resume")
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"optimizer": "adamw", "accumulation": 3},
        {"family": "gpt2", "dropout": 0.2},
        {"dropout": 0.1},
        {"short_window": 3, "short_share": 0.45},
    ],
)
def test_a_run_that_was_saved_and_loaded_goes_on_to_the_same_bits(tmp_path, change):
    settings = Settings(
        d_model=12, n_layers=2, n_heads=2, context_length=7, batch_size=5, n_steps=20, warmup=3, threads=2, **change
    )
    straight, one = transformer_trainer(settings)
    losses = [straight.step().loss for _ in range(20)]

    broken, model = transformer_trainer(settings)
    first = [broken.step().loss for _ in range(10)]
    model.save(tmp_path / "model")
    save_tensors(tmp_path / "training.safetensors", broken.tensors())
    (tmp_path / "state.json").write_text(json.dumps(broken.state()))
    resumed, other = transformer_trainer(settings, Model.load(tmp_path / "model"))
    resumed.restore(load_tensors(tmp_path / "training.safetensors"), json.loads((tmp_path / "state.json").read_text()))

    assert losses == first + [resumed.step().loss for _ in range(10)]
    assert straight.state() == resumed.state()
    for name, array in one.parameters().items():
        np.testing.assert_array_equal(array, other.parameters()[name], err_msg=name)
    for name, array in straight.tensors().items():
        np.testing.assert_array_equal(array, resumed.tensors()[name], err_msg=name)


@pytest.mark.parametrize(("lacking", "same"), [("nothing", 30), ("rng", 4), ("order", 0)])
def test_a_resumed_run_is_another_without_its_generator_or_its_order(lacking, same):
    straight, model = trainer_of()
    for _ in range(10):
        straight.step()
    table, state = model.table.copy(), json.loads(json.dumps(straight.state()))
    tensors = {name: array.copy() for name, array in straight.tensors().items()}
    losses = [straight.step().loss for _ in range(30)]

    resumed, other = trainer_of()
    if lacking == "rng":
        state["rng"] = resumed.state()["rng"]
    if lacking == "order":
        tensors["order"] = resumed.tensors()["order"]
    other.table[...] = table
    resumed.restore(tensors, state)
    again = [resumed.step().loss for _ in range(30)]
    # an epoch of 71 windows, five to a step: the 4 steps that draw from its rest do not need the generator
    assert again[:same] == losses[:same]
    assert all(a != b for a, b in zip(again[same:], losses[same:], strict=True))


def test_the_state_of_another_training_is_refused():
    trainer, _ = trainer_of()
    other, _ = transformer_trainer(replace(SMALL, d_model=12, n_heads=2, n_layers=1))
    with pytest.raises(ValueError, match=r"missing: m\.table"):
        trainer.restore(other.tensors(), other.state())


def test_settings_that_make_no_model_are_refused():
    with pytest.raises(ValueError, match="d_model must be a multiple of n_heads"):
        model_config(Settings(d_model=50, n_heads=4), 11)
    with pytest.raises(ValueError, match="one key-value head per query head"):
        model_config(Settings(family="gpt2", n_kv_heads=2), 11)


def test_an_interrupt_while_the_optimizers_step_finds_a_step_that_is_done_and_counted(monkeypatch):
    (trainer, model), (straight, other) = trainer_of(), trainer_of()
    future = type(trainer._pool.submit(int))
    result, interrupts = future.result, [KeyboardInterrupt]

    def interrupted(self, timeout=None):
        if interrupts:
            raise interrupts.pop()
        return result(self, timeout)

    monkeypatch.setattr(future, "result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer.step()
    straight.step()
    assert trainer.state() == straight.state()
    assert trainer.step().loss == straight.step().loss
    np.testing.assert_array_equal(model.table, other.table)
    for name, array in trainer.tensors().items():
        np.testing.assert_array_equal(array, straight.tensors()[name])
