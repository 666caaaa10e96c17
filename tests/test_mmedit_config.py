"""Official configs, as mmedit users have them, read without executing them."""

import pytest

from vsr_pipeline.config import load_config
from vsr_pipeline.errors import ConfigError, InputError
from vsr_pipeline.mmedit_config import read_refine_threshold

REAL = """
exp_name = 'a_realbasicvsr'
blocks = 12

# model settings
model = dict(
    type='RealBasicVSR',
    generator=dict(
        type='RealBasicVSRNet',
        mid_channels=48,
        num_propagation_blocks=blocks,
        num_cleaning_blocks=7,
        dynamic_refine_thres=255,  # change to 5 for test
        spynet_pretrained='https://example.org/'
        'spynet.pth',
        is_fix_cleaning=False,
        is_sequential_cleaning=False),
    perceptual_loss=dict(type='PerceptualLoss', layer_weights={'2': 0.1, '34': 1.0}, norm_img=False),
    is_use_ema=True,
)
test_cfg = dict(metrics=['PSNR'], crop_border=0)
train_pipeline = [
    dict(type='GenerateSegmentIndices', interval_list=[1]),
    dict(type='Blur', params=dict(kernel_size=[7, 9], sigma=[0.2, 3], step=1e-2)),
]
work_dir = f'./experiments/{exp_name}'
workflow = [('train', 1)]
"""


@pytest.fixture
def config(tmp_path):
    def write(text):
        path = tmp_path / "realbasicvsr_x4.py"
        path.write_text(text)
        return path

    return write


def test_reads_an_official_realbasicvsr_config(config):
    assert read_refine_threshold(config(REAL)) == 255.0


def test_the_settings_take_the_threshold(config):
    assert load_config(config(REAL.replace("thres=255", "thres=5"))).upscale.refine_threshold == 5.0


def test_what_is_left_out_has_the_official_default(config):
    path = config("model = {'generator': {'type': 'RealBasicVSRNet', 'is_sequential_cleaning': True}}\n")
    assert read_refine_threshold(path) == 255.0


def test_a_basicvsr_config_has_no_threshold(config):
    path = config("net = dict(type='BasicVSRNet', num_blocks=30)\nmodel = dict(type='BasicVSR', generator=net)\n")
    assert read_refine_threshold(path) is None
    assert load_config(path).upscale.refine_threshold == 5.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("RealBasicVSRNet", "EDVRNet"), "type is 'EDVRNet', can be RealBasicVSRNet, BasicVSRNet"),
        (("num_cleaning_blocks=7", "num_clean_blocks=7"), "unknown setting 'num_clean_blocks'"),
        (("thres=255", "thres='7'"), "line 13: dynamic_refine_thres is '7'"),
        (("thres=255", "thres=-1"), "at least 0"),
        (("thres=255", "thres=int('7')"), "line 13: 'dynamic_refine_thres' is computed"),
        (("thres=255", "thres=levels"), "'levels' is not assigned"),
        (("mid_channels=48", "**extra"), "'generator' is not dict"),
        (("generator=dict(", "generator=build("), "'generator' is not dict"),
        (("model = dict(", "network = dict("), "no 'model' is assigned"),
        (("blocks = 12", "blocks = 12\nblocks = 13"), "line 4: 'blocks' is assigned twice"),
        (("thres=255", "thres=exp_name"), "is 'a_realbasicvsr', has to be a number"),
        (("blocks = 12", "import os"), "line 3: only assignments"),
        (("model = dict(", "model = dict(("), "is not Python"),
    ],
)
def test_anything_else_is_one_line(config, change, message):
    path = config(REAL.replace(*change))
    with pytest.raises(ConfigError) as caught:
        read_refine_threshold(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_is_executed(config, tmp_path):
    made = tmp_path / "made"
    with pytest.raises(ConfigError):
        read_refine_threshold(config(f"{REAL}\nopen({str(made)!r}, 'w').close()\n"))
    evil = f"open({str(made)!r}, 'w').close()"
    with pytest.raises(ConfigError):
        read_refine_threshold(config(REAL.replace("thres=255", f"thres={evil}")))
    read_refine_threshold(config(REAL + f"unused = {evil}\n"))
    assert not made.exists()


def test_a_base_is_refused_unless_the_file_has_all(config):
    assert read_refine_threshold(config(f"_base_ = './base.py'\n{REAL}")) == 255
    with pytest.raises(ConfigError, match="merged file"):
        read_refine_threshold(config("_base_ = './base.py'\nexp_name = 'x'\n"))
    with pytest.raises(ConfigError, match=r"no 'dynamic_refine_thres'.*merged file"):
        read_refine_threshold(config(f"_base_ = './base.py'\n{REAL.replace('dynamic_refine_thres=255,', '')}"))


def test_files_that_are_no_config(config, tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_refine_threshold(tmp_path / "missing.py")
    binary = config("")
    binary.write_bytes(bytes(range(256)))
    with pytest.raises(ConfigError, match="is not Python"):
        read_refine_threshold(binary)
