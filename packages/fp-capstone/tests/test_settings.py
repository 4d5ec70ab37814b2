"""Mirrors src/fp_capstone/settings.py."""

from dataclasses import FrozenInstanceError, fields

import jaxtyping
import pytest

import fp_capstone.settings
from fp_capstone.settings import PRESETS, Settings, read_settings, resolve_settings


@pytest.fixture
def without_runtime_types():
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def test_options_win_over_the_file_and_the_file_over_the_preset(tmp_path):
    (tmp_path / "mine.toml").write_text('preset = "tiny"\nn_layers = 3\nseed = 5\n')
    settings = resolve_settings({"seed": 7}, config=tmp_path / "mine.toml")
    assert (settings.d_model, settings.n_layers, settings.seed) == (PRESETS["tiny"]["d_model"], 3, 7)
    assert resolve_settings({}, preset="base", config=tmp_path / "mine.toml").d_model == PRESETS["base"]["d_model"]


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_makes_settings_that_read_back_the_same(tmp_path, preset):
    settings = resolve_settings({"text": str(tmp_path / 'a "b"\\ é.txt'), "seconds": 1e-5}, preset=preset)
    (tmp_path / "settings.toml").write_text(settings.to_toml(), encoding="utf-8")
    assert Settings(**read_settings(tmp_path / "settings.toml")) == settings


def test_the_number_of_threads_is_filled_in():
    assert (resolve_settings({}).threads or 0) >= 1
    assert resolve_settings({"threads": 3}).threads == 3


def test_more_threads_than_a_machine_bears_are_refused(monkeypatch):
    monkeypatch.setattr(fp_capstone.settings, "_cores", lambda: 3)
    assert resolve_settings({"threads": 12}).threads == 12
    with pytest.raises(ValueError, match=r"threads must be at most 12 on this machine.*got 13.*--threads 3"):
        resolve_settings({"threads": 13})
    monkeypatch.setattr(fp_capstone.settings, "_cores", lambda: 384)
    assert resolve_settings({}).threads == 256
    with pytest.raises(ValueError, match=r"threads must be at most 256"):
        resolve_settings({"threads": 257})


def test_a_short_run_has_a_short_warmup_unless_it_was_asked_for(tmp_path):
    assert resolve_settings({"n_steps": 30}).warmup == 3
    assert resolve_settings({"n_steps": 3}).warmup == 1
    assert all(resolve_settings({}, preset=name).warmup == PRESETS[name]["warmup"] for name in PRESETS)
    with pytest.raises(ValueError, match="warmup must not exceed n_steps, got 31 and 30"):
        resolve_settings({"n_steps": 30, "warmup": 31})
    (tmp_path / "mine.toml").write_text("warmup = 7\n")
    assert resolve_settings({"n_steps": 30}, config=tmp_path / "mine.toml").warmup == 7


def test_a_text_is_looked_for_beside_the_file_that_names_it(tmp_path):
    (tmp_path / "mine.toml").write_text('text = "here.txt"\n')
    assert read_settings(tmp_path / "mine.toml") == {"text": str(tmp_path / "here.txt")}
    (tmp_path / "mine.toml").write_text('text = "-"\n')
    assert read_settings(tmp_path / "mine.toml") == {"text": "-"}


def test_every_knob_has_a_sentence():
    for knob in fields(Settings):
        assert knob.metadata["help"].endswith("."), knob.name


def test_settings_do_not_change():
    with pytest.raises(FrozenInstanceError):
        Settings().seed = 3  # type: ignore[misc]


def test_an_unknown_key_names_near_ones(tmp_path):
    (tmp_path / "mine.toml").write_text("n_layer = 3\n")
    with pytest.raises(ValueError, match="unknown key 'n_layer': did you mean n_layers"):
        read_settings(tmp_path / "mine.toml")
    (tmp_path / "mine.toml").write_text("zzz = 3\n")
    with pytest.raises(ValueError, match="unknown key 'zzz': known are accumulation, "):
        read_settings(tmp_path / "mine.toml")


def test_dashes_may_stand_for_underscores(tmp_path):
    (tmp_path / "mine.toml").write_text("n-layers = 3\n")
    assert read_settings(tmp_path / "mine.toml") == {"n_layers": 3}


def test_a_file_that_is_not_toml_or_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"absent\.toml cannot be read"):
        read_settings(tmp_path / "absent.toml")
    (tmp_path / "mine.toml").write_text("n_layers: 3")
    with pytest.raises(ValueError, match=r"mine\.toml is not TOML"):
        read_settings(tmp_path / "mine.toml")


def test_an_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="preset must be one of tiny, small, base; got 'huge'"):
        resolve_settings({}, preset="huge")


def test_a_preset_that_is_no_name_is_refused(tmp_path):
    (tmp_path / "mine.toml").write_text("preset = [1]\n")
    with pytest.raises(ValueError, match=r"preset must be one of tiny, small, base; got \[1\]"):
        resolve_settings({}, config=tmp_path / "mine.toml")


@pytest.mark.usefixtures("without_runtime_types")
@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("batch_size", 0, "batch_size must be at least 1, got 0"),
        ("lr", float("nan"), "lr must be a finite number, got nan"),
        ("optimizer", "sgd", "optimizer must be one of muon, adamw; got 'sgd'"),
        ("tokenizer", "words", "tokenizer must be one of chars, bytes"),
        ("beta2", 1.0, "beta2 must be below 1"),
        ("dropout", 1, "dropout must be below 1"),
        ("dropout", float("nan"), "dropout must be a finite number, got nan"),
        ("clip", 0.0, "clip must be positive"),
        ("floor", 1.5, "floor is a share of the peak"),
        ("n_steps", 49, "warmup must not exceed n_steps, got 50 and 49"),
        ("seed", -1, "seed must be at least 0"),
    ],
)
def test_a_value_out_of_range_is_refused(name, value, sentence):
    with pytest.raises(ValueError, match=sentence):
        Settings(**{name: value})


@pytest.mark.usefixtures("without_runtime_types")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_layers", 2.0),
        ("n_layers", True),
        ("n_layers", None),
        ("tied", 1),
        ("lr", "fast"),
        ("seconds", "9"),
        ("text", 3),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(name, value):
    with pytest.raises(TypeError, match=f"{name} must be of type"):
        Settings(**{name: value})


@pytest.mark.usefixtures("without_runtime_types")
def test_a_whole_number_will_do_for_a_rate(tmp_path):
    (tmp_path / "mine.toml").write_text("lr = 1\n")
    lr = resolve_settings({}, config=tmp_path / "mine.toml").lr
    assert (lr, type(lr)) == (1.0, float)
