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
        ("max_seq_len = 3", "unknown key.*belongs in the section .upscale"),
        ("[encode]\nquality = true", "quality: must not be true or false"),
        ("not toml", "is not TOML"),
        ("[encode]\nquality = '80'", "encode.quality: .*integer .found '80'.: write it without quotation marks"),
        ("[encode]\nquality = 80.0", "encode.quality: .*integer"),
        ("[upscale]\nrefine_threshold = '5'", "refine_threshold: .*without quotation marks"),
        ("[upscale]\ncuda_graphs = 'no'", "cuda_graphs: .*without quotation marks"),
        ("[upscale]\ncuda_graphs = 0", "cuda_graphs: .*boolean"),
        ("[encode]\nframe_rate = 25", "frame_rate: .*string .found 25.: write it in quotation marks"),
        ("[input]\nstart = 90", "start: .*in quotation marks"),
        ("[encode]\nencoder_options = {tune = true}", "encoder_options.tune: .*in quotation marks"),
        ("[output]\ndrop = 'audio'", "output.drop: .*list in square brackets"),
        ("[encode]\ncrf = 20", r"unknown key 'encode.crf': give quality = 0 to 100 .*encoder_options = {crf = \.\.\.}"),
        ("crf = 20", "unknown key 'crf': give quality"),
        ("quality = 80", r"unknown key 'quality': it belongs in the section \[encode\]"),
        ("[upscale]\nquality = 80", r"unknown key 'upscale.quality': it belongs in the section \[encode\]"),
        ("[encode]\nfps = 25", r"give frame_rate = \"25\" in \[encode\]"),
        ("[upscale]\ntile_size = 400", "give tile in"),
        ("[upscale]\ntile = 8", "tile: must be auto, 0 .whole frames., or at least 32"),
        ("[upscale]\nscale = 2\nheight = 1080", "height: must not be given with --scale"),
        ("[upscale]\nwidth = 1920\nheight = 1080", "width: must not be given with --height"),
        ("[upscale]\nstrength = 1.5", "strength: .*less than or equal to 1"),
    ],
)
def test_mistakes_are_explained_in_one_line(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(path)
    assert "mine.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_numbers_for_the_encoder_need_no_quotation_marks(tmp_path):
    (tmp_path / "mine.toml").write_text("[encode]\nencoder_options = {crf = 20, qcomp = 0.7, tune = 'grain'}\n")
    assert load_config(tmp_path / "mine.toml").encode.encoder_options == {"crf": "20", "qcomp": "0.7", "tune": "grain"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[data]\nfolders = ['a']\nframes = '15'", "data.frames: .*without quotation marks"),
        ("[data]\nfolders = ['a']\n[train]\nlearning_rate = '1e-4'", "train.learning_rate: .*without quotation marks"),
        ("[data]\nfolders = ['a']\n[train]\nbatch = true", "train.batch: .*integer"),
        ("[data]\nfolders = ['a']\n[degradation]\nweights = {light = '1'}", "without quotation marks"),
    ],
)
def test_settings_of_a_training_run_are_as_strict(tmp_path, text, message):
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_run_config(tmp_path / "mine.toml")


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
