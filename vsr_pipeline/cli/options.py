"""What the commands share: their options, and how results and failures are printed."""

import dataclasses
import functools
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from vsr_pipeline.errors import UsageError, VsrError
from vsr_pipeline.runtime.files import refusals_as_errors
from vsr_pipeline.runtime.progress import one_line

if TYPE_CHECKING:
    from vsr_pipeline.api import WorkerOptions
    from vsr_pipeline.config import Config
    from vsr_pipeline.runtime.progress import Reporter

Item = TypeVar("Item")

RESULTS = Path("results")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON result on stdout.")]
LogFormat = Annotated[Literal["text", "json"], typer.Option(help="Progress on stderr as text or as JSON lines.")]
Results = Annotated[Path, typer.Option(help="Folder of the workspace's results.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="Settings: TOML, or an official mmedit config.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")]
PrintConfig = Annotated[bool, typer.Option("--print-config", help="Print the settings as TOML and stop.")]

AllowUrl = Annotated[bool, typer.Option("--allow-url", help="INPUT may be a http(s) address: download it first.")]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse a damaged or incomplete source: exit code 3.")]
AllowCpu = Annotated[
    bool, typer.Option("--allow-cpu", help="Go on with the CPU when the GPU's memory does not suffice.")
]

# Where the segments of a video are computed.
ExecutorName = Annotated[
    Literal["auto", "serial", "ray"],
    typer.Option(help="ray: on many GPUs and machines. auto: ray with more than one GPU or with --ray-address."),
]
RayAddress = Annotated[
    str | None,
    typer.Option(help="A Ray cluster: auto, ray://HOST:10001, or HOST:6379. [default: $RAY_ADDRESS]"),
]
CpusPerWorker = Annotated[
    int | None,
    typer.Option(min=1, help="Cores of each Ray worker. [default: 1 with a GPU, else all of this machine]"),
]

# Options that are settings, in the groups in which commands take them. None: what the configuration says.
PRESET = {
    "preset": Annotated[
        str | None,
        typer.Option(
            metavar="KIND", help="Settings for vhs, dvd, phone, anime, screen or archive; options go before it."
        ),
    ],
}
UPSCALE = PRESET | {
    "model": Annotated[str | None, typer.Option(help="A name of `vsr models list`. [default: auto, the best here]")],
    "checkpoint": Annotated[
        Path | None, typer.Option(help="A file: RealBasicVSR, Real-ESRGAN, OpenCV's .pb, or what spandrel reads.")
    ],
    "scale": Annotated[float | None, typer.Option(help="How much larger, such as 2 or 1.5. [default: as the model]")],
    "height": Annotated[int | None, typer.Option(help="Of the output, such as 1080; the width follows.")],
    "width": Annotated[int | None, typer.Option(help="Of the output, such as 1920; the height follows.")],
    "shrink_input": Annotated[
        float | None, typer.Option(help="Reduce the source first, such as by 2, where it is blurred or too large.")
    ],
    "strength": Annotated[
        float | None, typer.Option(help="Share of the model; the rest is bicubic interpolation. [default: 1]")
    ],
    "refine": Annotated[
        str | None,
        typer.Option(
            metavar="MODEL[:SHARE]",
            help="A frame model of scale 4 over the result at half its size, such as realesr-animevideov3:0.5. "
            "[default: none]",
        ),
    ],
    "faces": Annotated[
        str | None, typer.Option(help="off, detect (report them), gfpgan (restore them: a guess). [default: off]")
    ],
    "face_strength": Annotated[float | None, typer.Option(help="Share of a restored face, 0 to 1. [default: 0.5]")],
    "cleaning": Annotated[
        str | None,
        typer.Option(
            help="Share of what RealBasicVSR's cleaning changes, 0 to 1; auto: 1, and measured for each shot with "
            "realbasicvsr-open-x4. [default: auto]"
        ),
    ],
    "denoise": Annotated[float | None, typer.Option(help="Of realesr-general-x4v3: 0 keeps noise. [default: 1]")],
    "detail": Annotated[
        float | None,
        typer.Option(help="Of realbasicvsr-open-detail-x4: 0 is realbasicvsr-open-x4. [default: 1]"),
    ],
    "alpha": Annotated[
        str | None, typer.Option(help="Transparency of images: net (by the model) or bicubic. [default: net]")
    ],
    "zssr_steps": Annotated[int | None, typer.Option(help="Of zssr: the most steps of a training. [default: 3000]")],
    "kernel": Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of zssr: how the source was blurred, a matrix (text or .npy).")
    ],
    "tile": Annotated[
        str | None, typer.Option(help="Of frame models: auto, 0 (whole frames), or a side. [default: auto]")
    ],
    "max_seq_len": Annotated[int | None, typer.Option(help="Frames that the model holds at once. [default: 30]")],
    "windows": Annotated[
        str | None, typer.Option(help="exact, or official: hard cuts every --max-seq-len. [default: exact]")
    ],
    "lookahead": Annotated[int | None, typer.Option(help="Frames after a window that it looks at. [default: 12]")],
    "segment_frames": Annotated[
        int | None, typer.Option(help="Longest part that is recorded as done at once. [default: 300]")
    ],
    "refine_threshold": Annotated[
        float | None, typer.Option(help="Clean again while the mean residue reaches this; 255: once. [default: 5]")
    ],
    "precision": Annotated[
        str | None,
        typer.Option(
            help="auto: the fastest that is exact; fast: almost exact; or fp32, bf16, fp16, int8. [default: auto]"
        ),
    ],
    "convolutions": Annotated[
        str | None,
        typer.Option(help="auto: the faster one; or direct, winograd (fp32 on a CPU, with ncnn). [default: auto]"),
    ],
    "cuda_graphs": Annotated[
        bool | None,
        typer.Option(
            "--cuda-graphs/--no-cuda-graphs",
            help="On a GPU, launch the steps for small frames as CUDA graphs. [default: they are]",
        ),
    ],
    "device": Annotated[
        str | None,
        typer.Option(help="auto, cpu, cuda, cuda:N or mps; cuda:0,1: a process on each GPU. [default: auto]"),
    ],
    "memory_limit": Annotated[
        str | None, typer.Option(metavar="SIZE", help="Most memory to take, such as 6GB. [default: what is free]")
    ],
}
VIDEO_STREAM = {
    "video_stream": Annotated[
        int | None, typer.Option(help="Which video stream, counted from 0. [default: the one marked as default]")
    ],
}
READING = (
    PRESET
    | VIDEO_STREAM
    | {
        "interlaced": Annotated[
            str | None,
            typer.Option(
                help="auto, bwdif (always), bwdif-double (a frame for each field), keep (as coded), refuse. "
                "[default: auto]"
            ),
        ],
        "keep_rotation": Annotated[
            bool | None, typer.Option("--keep-rotation", help="Frames as coded, with the rotation tag; else upright.")
        ],
        "dolby_vision": Annotated[
            str | None, typer.Option(help="Profile 5: refuse, or ignore (wrong colours). [default: refuse]")
        ],
    }
)
REPEATS = {
    "skip_duplicates": Annotated[
        bool | None,
        typer.Option(
            "--skip-duplicates/--no-skip-duplicates",
            help="Frames equal to the one before are not computed again. [default: skip]",
        ),
    ],
}
PART = {
    "start": Annotated[str | None, typer.Option(metavar="TIME", help="Begin here: 90.5, 1:30.5 or 00:01:30.5.")],
    "end": Annotated[str | None, typer.Option(metavar="TIME", help="End before the frame that is shown here.")],
    "max_frames": Annotated[int | None, typer.Option(help="So many frames at most, such as 100 to try settings.")],
}
ENCODING = PRESET | {
    "codec": Annotated[
        str | None,
        typer.Option(help="h264, hevc, av1, prores, ffv1, or what `vsr doctor` lists. [default: h264; hevc for HDR]"),
    ],
    "quality": Annotated[int | None, typer.Option(help="Of the encoding, 0 to 100 (the best there is). [default: 72]")],
    "encoder_preset": Annotated[str | None, typer.Option(help="The encoder's speed, such as fast or slow.")],
    "encoder_option": Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="For the encoder, such as tune=grain; repeatable.")
    ],
    "transcode_audio": Annotated[
        str | None, typer.Option(metavar="aac", help="Encode sound that the container cannot hold.")
    ],
    "drop": Annotated[
        list[str] | None,
        typer.Option(metavar="KIND", help="audio, subtitles, data, attachments, covers, chapters; repeatable."),
    ],
}
RATE = {
    "fps": Annotated[
        str | None,
        typer.Option(metavar="RATE", help="Force a constant rate (25, 30000/1001): repeat or leave out frames."),
    ],
}

Given = dict[str, Any]
"""The settings of a command line by their names, and the configuration file as `config`."""


def takes_settings(*groups: Mapping[str, object]) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Give a command the options of some groups, and --config, in the place of its parameter `given`.

    A parameter whose type is a dataclass stands for an option for each of its fields.
    """
    settings: dict[str, object] = {"config": ConfigFile}
    for group in groups:
        settings |= group

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        parameters = inspect.signature(command).parameters.values()
        flags: dict[str, Any] = {p.name: p.annotation for p in parameters if dataclasses.is_dataclass(p.annotation)}

        @functools.wraps(command)
        def with_settings(**arguments: Any) -> int:  # noqa: ANN401
            given = {name: arguments.pop(name) for name in settings}
            values = {
                name: kind(**{field.name: arguments.pop(field.name) for field in dataclasses.fields(kind)})
                for name, kind in flags.items()
            }
            return command(**arguments, **values, given=given)

        options: list[inspect.Parameter] = []
        for parameter in parameters:
            if parameter.name == "given":
                options += (_option(name, annotation, None) for name, annotation in settings.items())
            elif (kind := flags.get(parameter.name)) is not None:
                options += (_option(field.name, field.type, field.default) for field in dataclasses.fields(kind))
            else:
                options.append(_option(parameter.name, parameter.annotation, parameter.default))
        with_settings.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
        return with_settings

    return decorate


def _option(name: str, annotation: object, default: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def options_from(given: Given) -> dict[str, Any]:
    """Return the settings of a command line by the names of their fields; None where one is not given."""
    options = {name: value for name, value in given.items() if name not in ("config", "preset")}
    if "encoder_preset" in options:
        options["preset"] = options.pop("encoder_preset")
    if "fps" in options:
        options["frame_rate"] = options.pop("fps")
    if (pairs := options.pop("encoder_option", None)) is not None:
        options["encoder_options"] = dict(map(_pair, pairs))
    if (kinds := options.pop("drop", None)) is not None:
        options["drop"] = tuple(dict.fromkeys(kind for text in kinds for kind in text.split(",")))
    return options


def settings_from(given: Given, reporter: "Reporter") -> "Config":
    """Read the configuration file, or the default one, and lay the preset over it, and the options over both."""
    from vsr_pipeline.config import default_config_path, load_config
    from vsr_pipeline.presets import with_preset

    config_file: Path | None = given["config"]
    options = options_from(given)
    settings = load_config(config_file or default_config_path())
    if (preset := given.get("preset")) is not None:
        settings = with_preset(settings, preset, options)
    settings = settings.override(**options)
    if config_file and config_file.suffix == ".py" and settings.upscale.refine_threshold >= 255:
        reporter.note(
            f"{config_file} has dynamic_refine_thres=255: each frame is cleaned once "
            "(--refine-threshold 5: again where it helps)"
        )
    return settings


def workers_from(
    executor: Literal["auto", "serial", "ray"], address: str | None, cpus_per_worker: int | None, settings: "Config"
) -> "WorkerOptions":
    """Return where segments are computed; `RAY_ADDRESS` counts where no option says otherwise."""
    from vsr_pipeline import api

    options = api.WorkerOptions(executor=executor, ray_address=address, cpus_per_worker=cpus_per_worker)
    return api.with_default_address(options, settings.upscale, os.environ.get("RAY_ADDRESS"))


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise UsageError(f"--encoder-option {text}: give KEY=VALUE, such as tune=grain")
    return name, value


def each(items: Iterable[Item], action: Callable[[Item], object], as_json: bool) -> int:
    """Do every item whatever becomes of the others; 7 when some of several failed."""
    results: list[object] = []
    codes = []
    for item in items:
        try:
            with refusals_as_errors():
                results.append(action(item))
        except VsrError as error:
            codes.append(fail(str(error), error.exit_code))
    if as_json:
        print_json([dataclasses.asdict(r) if dataclasses.is_dataclass(r) else r for r in results])  # type: ignore[arg-type]
    else:
        for result in results:
            print(result)
    if not codes:
        return 0
    return codes[0] if len(codes) == 1 and not results else 7


def help_without_command(context: typer.Context) -> None:
    """Show the help of a group of commands where none of them is named; exit code 2."""
    if context.invoked_subcommand is None:
        print(context.get_help(), file=sys.stderr)
        raise typer.Exit(UsageError.exit_code)


def frame_rate_from(text: str) -> Fraction:
    """Read the value of a `--fps` that is no setting: a number or a fraction."""
    from vsr_pipeline import config_text

    try:
        return config_text.frame_rate_from(text)
    except ValueError as error:
        raise UsageError(f"--fps {text}: {error}") from error


def print_json(value: object) -> None:
    """Print a result on stdout; what JSON does not know is printed as text."""
    print(json.dumps(value, indent=1, default=str))


def fail(message: str, code: int) -> int:
    """Print a failure on one line of stderr and return its exit code."""
    print(f"vsr: {one_line(' '.join(message.split()))}", file=sys.stderr)
    return code
