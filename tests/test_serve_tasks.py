"""`vsr serve`: previews and comparisons, which take a while and need no tab."""

import json
import threading

import pytest

from tests.support.clips import make_video
from tests.support.serving import served, wait_until
from vsr_pipeline.errors import InputError
from vsr_pipeline.serve.errors import FullError, NotThereError
from vsr_pipeline.serve.store import id_of
from vsr_pipeline.serve.tasks import MOST_WAITING, Tasks
from vsr_pipeline.serve.uploads import ClipFacts

FORM = {"Accept": "text/html"}
QUICK = {"model": "bicubic", "size": "x2"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    make_video(folder / "in" / "a.mp4", frames=10, cut=4, width=128, height=96, audio=False)
    with served(folder) as (site, client):
        content = (folder / "in" / "a.mp4").read_bytes()
        upload = site.uploads.begin("b.mp4", len(content))
        site.uploads.data(upload.id).write_bytes(content)
        site.uploads.save_checked(upload.id, ClipFacts(width=128, height=96, frames=10))
        yield site, client, upload.id


def asked_for(client, path, **form):
    reply = client.post(path, data=form, headers=FORM)
    assert reply.status_code == 303, reply.text
    return reply.headers["location"]


def test_a_preview_of_an_upload(server):
    site, client, upload_id = server
    page = asked_for(client, "/previews", upload=upload_id, **QUICK)
    wait_until(lambda: not site.previews.get(page.rpartition("/")[2]).is_pending)
    html = client.get(page).text
    assert "10 frames. A part of 128×96 becomes 256×192; the whole frame becomes 256×192." in html
    assert f'name="upload" value="{upload_id}"' in html
    assert page in client.get("/add").text  # another tab finds it
    for which in ("before", "after"):
        video = client.get(f"{page}/{which}", headers={"Range": "bytes=4-7"})
        assert (video.status_code, video.content, video.headers["content-type"]) == (206, b"ftyp", "video/mp4")
    for name in ("asked.json", "..%2fasked.json", "before.mp4"):
        assert client.get(f"{page}/{name}").status_code == 404


def test_a_preview_of_a_clip_says_why_it_fails(server):
    site, client, _ = server
    page = asked_for(client, "/previews", clip=id_of("a.mp4"), at="1:00", **QUICK)
    wait_until(lambda: not site.previews.get(page.rpartition("/")[2]).is_pending)
    html = client.get(page).text
    assert "there is no frame at 60 s" in html
    assert str(site.options.folder) not in html


@pytest.mark.parametrize(
    ("form", "status", "reason"),
    [
        ({}, 400, "no video is ticked"),
        ({"upload": "0" * 32}, 404, "no such"),
        ({"clip": id_of("../token")}, 404, "no such"),
        ({"clip": id_of("a.mp4"), "at": "noon"}, 400, "the moment must be seconds"),
        ({"clip": id_of("a.mp4"), "model": "nothing"}, 422, "unknown model"),
        ({"clip": id_of("a.mp4"), "quality": "1000"}, 400, "quality"),
    ],
)
def test_previews_that_cannot_be_meant(server, form, status, reason):
    reply = server[1].post("/previews", data=form)
    assert (reply.status_code, reason in reply.json()["error"]) == (status, True), reply.text
    assert "\n" not in reply.json()["error"]


def test_models_and_results_are_compared(server):
    site, client, _ = server
    folder = site.options.results
    result = make_video(folder / "a_x2.mp4", frames=10, cut=4, width=256, height=192, audio=False)
    make_video(site.options.inbox / "sharp.mp4", frames=10, cut=4, width=256, height=192, audio=False)
    make_video(folder / "other.mp4", frames=2, cut=9, width=32, height=24, audio=False)
    html = client.get(f"/compare?clip={id_of('a.mp4')}").text
    assert (id_of("out/a_x2.mp4") in html, id_of("out/other.mp4") in html) == (True, False)
    form = {"clip": id_of("a.mp4"), "result": id_of("out/a_x2.mp4"), "reference": id_of("sharp.mp4"), "at": "0.1"}
    asked_for(client, "/compare", **form, model=["bicubic", "classical"])
    task = site.comparisons.all()[0]
    wait_until(lambda: not site.comparisons.get(task.id).is_pending)
    assert site.comparisons.get(task.id).reason == ""
    page = client.get(f"/compare/{task.id}")
    assert page.headers["content-security-policy"].startswith("sandbox allow-scripts; default-src 'none'")
    for text in ("3 versions", "bicubic", "classical", result.name, "PSNR", "SSIM", "MSE", "vsr run in/a.mp4"):
        assert text in page.text
    assert str(site.options.folder) not in page.text
    assert client.post(f"/compare/{task.id}/delete", headers=FORM).status_code == 303
    assert client.get(f"/compare/{task.id}").status_code == 404


@pytest.mark.parametrize(
    ("form", "status", "reason"),
    [
        ({"clip": "0" * 24}, 404, "no such"),
        ({"model": "bicubic"}, 400, "tick 2 to 12"),
        ({"model": ["bicubic", "../../x"]}, 404, "no model or result"),
        ({"model": "bicubic", "result": id_of("out/../.vsr/token")}, 404, "no model or result"),
        ({"model": ["bicubic", "nearest"], "reference": id_of("../.vsr/token")}, 404, "no such"),
        ({"model": ["bicubic", "nearest"], "at": "-1"}, 400, "the moment must be seconds"),
    ],
)
def test_comparisons_that_cannot_be_meant(server, form, status, reason):
    reply = server[1].post("/compare", data={"clip": id_of("a.mp4")} | form)
    assert (reply.status_code, reason in reply.json()["error"]) == (status, True), reply.text


def test_ids_of_tasks_name_nothing_else(server):
    for task_id in ("%2e%2e%2f%2e%2e", "x", "0" * 32):
        for path in (f"/previews/{task_id}", f"/previews/{task_id}/before", f"/compare/{task_id}"):
            assert server[1].get(path, headers={"Accept": "application/json"}).status_code == 404


def test_what_a_server_has_left_the_next_one_does(tmp_path):
    at_work, go_on = threading.Event(), threading.Event()

    def slow(_place, _asked):
        at_work.set()
        go_on.wait(30)
        raise InputError("the process was ended")

    first = Tasks(tmp_path, slow, str)
    task_id = first.begin({"of": "a"})
    assert at_work.wait(10)
    first.close()
    go_on.set()
    second = Tasks(tmp_path, lambda place, asked: {"name": place.name, **asked}, str)
    assert wait_until(lambda: second.get(task_id).result) == {"name": task_id, "of": "a"}
    second.close()


def test_of_a_task_that_fails_no_file_is_left(tmp_path):
    def fails(place, _asked):
        (place / "part.mkv").write_bytes(b"x")
        raise InputError("the process was ended")

    tasks = Tasks(tmp_path, fails, str)
    task_id = tasks.begin({"of": "a"})
    wait_until(lambda: tasks.get(task_id).reason)
    assert {path.name for path in (tmp_path / task_id).iterdir()} == {"asked.json", "done.json"}
    tasks.close()


def test_tasks_have_a_limit_an_end_and_a_reason(tmp_path, monkeypatch):
    go_on = threading.Event()

    def fails(_place, asked):
        go_on.wait(30)
        if asked["of"] == 1:
            raise KeyError("x")
        raise InputError("first line\nsecond line")

    tasks = Tasks(tmp_path, fails, str)
    ids = [tasks.begin({"of": number}) for number in range(MOST_WAITING)]
    with pytest.raises(FullError):
        tasks.begin({"of": 9})
    go_on.set()
    wait_until(lambda: not any(tasks.get(one).is_pending for one in ids))
    assert [tasks.get(one).reason for one in ids[:2]] == ["first line second line", "a bug: KeyError: 'x'"]
    assert json.loads((tmp_path / ids[0] / "done.json").read_text()) == {"reason": "first line second line"}
    monkeypatch.setattr("vsr_pipeline.serve.tasks._KEPT_SECONDS", -1)
    tasks.delete_old()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(NotThereError):
        tasks.get(ids[0])
    tasks.close()
