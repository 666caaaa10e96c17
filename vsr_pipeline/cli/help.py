"""`--help` with the options in groups, by what a person wants to do with them."""

import typer
from typer.core import TyperCommand, TyperOption

BASIC = "Options"
"""What most people need; the group of what has no other."""

GROUPS = {
    "Model": (
        *("model", "checkpoint", "strength", "refine", "faces", "face_strength", "cleaning", "denoise", "detail"),
        *("zssr_steps", "kernel"),
    ),
    "Size": ("scale", "height", "width", "shrink_input"),
    "Part of the input, and how it is read": (
        *("start", "end", "max_frames", "video_stream", "interlaced", "keep_rotation", "dolby_vision"),
        *("skip_duplicates", "strict", "allow_url"),
    ),
    "Pictures": ("each_picture", "suffix", "recursive_pictures", "alpha"),
    "Encoding": ("codec", "quality", "encoder_preset", "encoder_option", "fps", "transcode_audio", "drop"),
    "Which clips, and when": (
        *("recursive", "follow_links", "include", "exclude", "name", "queued", "until", "between"),
        *("retry_failed", "redo_outdated", "max_clips", "order"),
    ),
    "Running": (
        *("precision", "convolutions", "device", "cuda_graphs", "memory_limit", "allow_cpu", "tile", "max_seq_len"),
        *("windows", "lookahead", "segment_frames", "refine_threshold", "executor", "ray_address", "cpus_per_worker"),
        *("retries", "log_format", "quiet", "on_finish"),
    ),
}
"""Parameters of commands, by the title under which `--help` shows them."""

_GROUP_OF = {name: title for title, names in GROUPS.items() for name in names}


def options_in_groups(command: TyperCommand, context: typer.Context) -> dict[str, list[tuple[str, str]]]:
    """Return what `--help` shows: for each title, arguments and options with what they are for."""
    sections: dict[str, list[tuple[str, str]]] = {title: [] for title in ("Arguments", BASIC, *GROUPS)}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            is_option = isinstance(parameter, TyperOption)
            sections[_GROUP_OF.get(parameter.name or "", BASIC) if is_option else "Arguments"].append(record)
    return {title: records for title, records in sections.items() if records}


class GroupedCommand(TyperCommand):
    """A command whose `--help` shows options in groups."""

    def format_options(self, ctx: typer.Context, formatter: "typer._click.HelpFormatter") -> None:  # type: ignore[override]
        """Write a section for each group that has an option."""
        for title, records in options_in_groups(self, ctx).items():
            with formatter.section(title):
                formatter.write_dl(records)
