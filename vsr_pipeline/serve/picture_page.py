"""The page that enlarges a picture at once."""

from collections.abc import Mapping
from contextlib import suppress

from vsr_pipeline.checkpoints.manifest import find
from vsr_pipeline.errors import ModelError
from vsr_pipeline.media.picture_facts import picture_size
from vsr_pipeline.runtime.progress import size_text
from vsr_pipeline.serve.errors import NotThereError
from vsr_pipeline.serve.pages import PicturePage
from vsr_pipeline.serve.pictures import MAX_BYTES, MAX_MEGAPIXELS, Pictures
from vsr_pipeline.serve.settings_form import models_here
from vsr_pipeline.serve.site import Site


def picture_page(site: Site, pictures: Pictures, form: Mapping[str, str]) -> PicturePage:
    """Return what the page shows now: the form, and the picture that `id` names."""
    picture_id, width, height, name = form.get("id", ""), 0, 0, ""
    with suppress(NotThereError):
        if picture_id:
            after = pictures.file(picture_id, "after")
            width, height = picture_size(after.read_bytes()) or (0, 0)
            name = after.name
    return PicturePage(
        models=models_for_pictures(),
        model=form.get("model", ""),
        scale=form.get("scale", ""),
        picture_id=picture_id if name else "",
        width=width,
        height=height,
        name=name,
        max_size=size_text(min(MAX_BYTES, site.options.max_upload_bytes)),
        max_megapixels=MAX_MEGAPIXELS,
        batch_is_running=site.batch.state().is_running,
    )


def models_for_pictures() -> tuple[str, ...]:
    """Return the models that are here and need one picture only, those for pictures first."""
    found = models_here()
    with suppress(ModelError):
        return tuple(sorted(found, key=lambda name: find(name).kind == "recurrent"))
    return found


def chosen_for_picture(model: str, scale: float | None, faces: str = "off") -> dict[str, object]:
    """Return the settings of a picture; what is empty is the default."""
    chosen: dict[str, object] = {"model": model} if model not in ("", "auto") else {}
    chosen |= {"scale": scale} if scale is not None else {}
    return chosen | ({"faces": faces} if faces != "off" else {})
