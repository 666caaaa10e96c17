"""The images of one clip: which of them are there, and how the others are made."""

import hashlib
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vsr_pipeline.clip.footage import Footage, FrameSource
from vsr_pipeline.clip.geometry import Geometry
from vsr_pipeline.enhance.fallback import Fallback
from vsr_pipeline.enhance.frames import Samples, decide, enhance_frames
from vsr_pipeline.enhance.spec import ModelSpec, Upscaler
from vsr_pipeline.enhance.steps import Step
from vsr_pipeline.media.images import ImageTarget, is_whole, write_image
from vsr_pipeline.media.tint import with_tint
from vsr_pipeline.plan import sample_indices, schedule_of
from vsr_pipeline.runtime.files import FileIdentity
from vsr_pipeline.runtime.prefetch import WriteBehind, read_ahead
from vsr_pipeline.runtime.progress import Reporter, counted, reported, retracted_on_failure
from vsr_pipeline.stages.pictures import PictureWriter
from vsr_pipeline.stages.record import Record
from vsr_pipeline.stages.workspace import clip_name_of
from vsr_pipeline.timeline import Decision, Segment, Shot


@dataclass(frozen=True, slots=True)
class Made:
    """What a run did of a job; `decisions` are in words, one for each shot that was worked on."""

    computed_frames: int
    decisions: tuple[str, ...]
    notes: tuple[str, ...]


class ImagesJob:
    """The images of one clip: which of them are there, and how the others are made."""

    def __init__(
        self,
        footage: Footage,
        geometry: Geometry,
        spec: ModelSpec,
        steps: tuple[Step, ...],
        target: ImageTarget,
        record: Record,
        writer: PictureWriter | None,
        reporter: Reporter,
    ) -> None:
        header, part = footage.header, footage.part
        self._footage = footage
        self._spec = spec
        self._target = target
        self._geometry = geometry
        self._steps = steps
        self._clip = part.timeline.without_repeats
        images = header.images[part.first : part.stop]
        self._files = [images[index][1] for index in part.timeline.distinct] if images else [header.path]
        self._schedule = schedule_of(part.timeline, origin_ticks=0)
        numbers = [number for number, _ in images]
        keeps_numbers = bool(numbers) and not target.is_frames_folder
        self._outputs = [target.file(n) for n in (numbers if keeps_numbers else range(part.timeline.frame_count))]
        self._is_video = not header.images
        self._record = record
        self._writer = writer
        self._reporter = reporter

    def make_missing(self, fallback: Fallback) -> Made:
        """Write the images that are not there yet.

        Raises:
            InputError, ModelError, OutputError, ResourceError: as whoever reads, enhances and writes.
        """
        timeline = self._footage.timeline
        planned = self._spec.context.segments(timeline)
        done = {segment for segment in planned if self._has(segment)}
        self._record.forget_all_but(done)
        todo = [segment for segment in planned if segment not in done]
        if done:
            there = sum(len(self._schedule.shows(segment)) for segment in done)  # a repeat has an image, too
            count = counted(timeline.frame_count, "frame is", "frames are")
            self._reporter.note(f"{self._target}: {there} of {count} there already")
        fitted: tuple[str, ...] = ()
        decisions: dict[Shot, Decision] = {}
        if todo:
            fitted = fallback.begin(self._geometry.of_model(self._footage.clip_size), self._reporter)
            decisions = self._make(todo, fallback)
        said = self._spec.summary(list(decisions.values()))
        for note in said:
            self._reporter.note(note)
        return Made(sum(map(len, todo)), tuple(d.description for d in decisions.values()), (*fitted, *said))

    def _has(self, segment: Segment) -> bool:
        """Whether a segment was made from this input, and its images are still complete."""
        is_known = self._record.has(segment, self._identity(segment))
        return is_known and all(is_whole(self._outputs[place]) for place in self._schedule.shows(segment))

    def _make(self, segments: list[Segment], fallback: Fallback) -> dict[Shot, Decision]:
        """Write the images of segments; return what was decided for each of their shots."""
        decisions: dict[Shot, Decision] = {}
        name = clip_name_of(self._footage.header.path)
        with (
            self._footage.open() as source,
            reported(self._reporter, f"enhance {name}", sum(map(len, segments))),
        ):
            for segment in segments:
                identity = self._identity(segment)  # before: an edit meanwhile must show at the next run
                self._make_one(segment, source, fallback, decisions)
                self._record.add(segment, identity)
                self._reporter.milestone()
        return decisions

    def _make_one(
        self, segment: Segment, source: FrameSource, fallback: Fallback, decisions: dict[Shot, Decision]
    ) -> None:
        """Write a segment's images; decide on its shot if that is not done yet, and remember it in `decisions`."""
        shot = segment.shot
        if shot not in decisions:
            indices = sample_indices(shot, self._spec.context.decision_frames)
            samples = Samples(source.read, indices)
            decisions[shot], _ = fallback.run(segment, lambda u: decide(u, samples, self._geometry, fallback.say))

        writer = self._writer
        if writer is None or not writer.needs_network(segment):
            self._make_colours(segment, source, fallback, decisions[shot], share=1.0)
            return
        with writer.enlarged_alpha(segment, fallback, on_work=lambda frames: self._reporter.worked(frames / 2)):
            self._make_colours(segment, source, fallback, decisions[shot], share=0.5)

    def _make_colours(
        self, segment: Segment, source: FrameSource, fallback: Fallback, decision: Decision, *, share: float
    ) -> None:
        """Write a segment's images; `share` is how much of its work that is."""
        outputs_of: dict[int, list[Path]] = {}
        for place in self._schedule.shows(segment):
            outputs_of.setdefault(self._schedule.frames[place], []).append(self._outputs[place])

        def attempt(upscaler: Upscaler) -> None:
            frames = source.read(segment.context_start, segment.context_stop)
            with (
                read_ahead(frames, depth=4) as ahead,
                WriteBehind(threads=2, depth=4) as writes,
                retracted_on_failure(self._reporter.worked) as counted,
            ):
                outputs = enhance_frames(
                    upscaler,
                    ahead,
                    segment,
                    decision,
                    geometry=self._geometry,
                    on_work=lambda frames: counted(share * frames),
                    steps=self._steps,
                )
                for index, pixels in enumerate(outputs, start=segment.start):
                    pixels = with_tint(pixels, self._clip.tint_at(index))
                    write = write_image if self._writer is None else partial(self._writer.write, index)
                    for path in outputs_of[index]:
                        writes.call(partial(write, path, pixels))

        fallback.run(segment, attempt)

    def _identity(self, segment: Segment) -> str:
        """Hash of what the segment's images are made from: names, sizes and times of its files, its place, tints."""
        files = self._files if self._is_video else self._files[segment.context_start : segment.context_stop]
        facts = [(p.resolve().name, (seen := FileIdentity.of(p)).size_bytes, seen.modified_ns) for p in files]
        place = (segment.start, segment.stop, segment.context_start, segment.context_stop)
        shot = (segment.shot.start, segment.shot.stop)
        tints = dict.fromkeys(str(self._clip.tint_at(index)) for index in range(segment.start, segment.stop))
        return hashlib.sha256(json.dumps([facts, place, shot, *tints]).encode()).hexdigest()[:32]
