"""Settings: strict, explained, and written back as they were."""

from pathlib import Path

import pytest

from vsr_pipeline.config import Config, default_config_path, load_config
from vsr_pipeline.errors import ConfigError, InputError
from vsr_pipeline.train.config import load_run_config

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_every_shipped_config_loads(path):
    (load_run_config if path.name.startswith("train_") else load_config)(path)


def test_the_default_file_says_the_defaults():
    assert load_config(default_config_path()) == Config()


def test_resolved_settings_read_back_as_they_were(tmp_path):
    config = Config().override(max_seq_len=7, checkpoint=tmp_path / 'odd "name".pth', quality=100, refine_threshold=1.5)
    (tmp_path / "resolved.toml").write_text(config.to_toml())
    assert load_config(tmp_path / "resolved.toml") == config


def test_a_byte_order_mark_is_no_part_of_the_settings(tmp_path):
    (tmp_path / "notepad.toml").write_bytes(b"\xef\xbb\xbf[upscale]\nmax_seq_len = 3\n")
    assert load_config(tmp_path / "notepad.toml").upscale.max_seq_len == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[upscale]\nmax_seq_lenght = 3", "did you mean 'max_seq_len'"),
        ("[upscal]\nmodel = 'auto'", "did you mean 'upscale'"),
        ("[upscale]\nmax_seq_len = 0", "max_seq_len.*greater than or equal to 1"),
        ("[input]\ninterlaced = 'quick'", "interlaced.*'bwdif'"),
        ("max_seq_len = 3", "unknown key"),
        ("[encode]\nquality = true", "quality: must not be true or false"),
        ("not toml", "is not TOML"),
    ],
)
def test_mistakes_are_explained_in_one_line(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(path)
    assert "mine.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        load_config(tmp_path / "no.toml")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_seq_len": 0}, "--max-seq-len"),
        ({"start": "90s"}, r"--start: must be seconds, such as 90\.5"),
        ({"start": "1:30", "end": "90"}, "--end: must be after the start"),
        ({"frame_rate": "fast"}, "--fps: must be a positive number"),
        ({"drop": ("sound",)}, "--drop: .*'audio'"),
        ({"interlaced": "no"}, "--interlaced: .*'bwdif'"),
        ({"transcode_audio": "mp3"}, "--transcode-audio: .*'aac'"),
    ],
)
def test_command_line_mistakes_name_the_option(options, message):
    with pytest.raises(ConfigError, match=message):
        Config().override(**options)
