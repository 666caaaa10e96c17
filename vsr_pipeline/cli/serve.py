"""`vsr serve`: the batch's queue in a browser."""

import importlib.util
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vsr_pipeline.cli.options import CpusPerWorker, ExecutorName, RayAddress
from vsr_pipeline.errors import ModelError, UsageError

if TYPE_CHECKING:
    from vsr_pipeline.serve.options import ServeOptions

app = typer.Typer(rich_markup_mode=None)

_PACKAGES = ("fastapi", "uvicorn", "python_multipart")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(s|min|h)")
_SECONDS = {"s": 1, "min": 60, "h": 3600}


@app.command(epilog="Example: vsr serve --folder /media/tapes")
def serve(
    folder: Annotated[Path, typer.Option("--folder", help="`in` in it has the videos, `out` the results.")],
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Where it listens; 0: any free port.")] = 8787,
    listen: Annotated[str, typer.Option(metavar="ADDRESS", help="Which address of this machine.")] = "127.0.0.1",
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[:PORT]", help="A name by which browsers reach it, besides localhost; repeatable."),
    ] = None,
    new_token: Annotated[bool, typer.Option("--new-token", help="Make another token: all must sign in anew.")] = False,
    print_url: Annotated[
        bool, typer.Option("--print-url", help="Print the address with the token, also into a log.")
    ] = False,
    root_path: Annotated[
        str, typer.Option(metavar="/PATH", help="What a reverse proxy puts before every path, such as /vsr.")
    ] = "",
    keep_model: Annotated[
        str,
        typer.Option(
            metavar="TIME", help="How long the model of a picture or a preview stays loaded, such as 30s, 10min."
        ),
    ] = "10min",
    max_upload_mb: Annotated[int, typer.Option(min=1, help="Largest upload in megabytes.")] = 200_000,
    config: Annotated[Path | None, typer.Option("--config", help="Settings of the batch: TOML.")] = None,
    executor: ExecutorName = "auto",
    ray_address: RayAddress = None,
    cpus_per_worker: CpusPerWorker = None,
) -> int:
    """Serve a page with the queue of a folder: add videos, try models, watch the batch, look at results.

    The address that it prints has a token: whoever knows it may do what the page can. See docs/serve.md.
    """
    _refuse_missing_packages()
    from vsr_pipeline.config import load_config
    from vsr_pipeline.serve.options import ServeOptions

    if listen not in _LOOPBACK and not allow_host:
        raise UsageError(
            f"--listen {listen} is open to other machines: give --allow-host NAME, the name in their browsers' address"
        )
    if config is not None:
        load_config(config)
    if root_path and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", root_path):
        raise UsageError(f"--root-path {root_path}: give a path such as /vsr, without a slash at its end")
    words = ["--executor", executor]
    words += ["--ray-address", ray_address] if ray_address is not None else []
    words += ["--cpus-per-worker", str(cpus_per_worker)] if cpus_per_worker is not None else []
    options = ServeOptions(
        folder=folder.absolute(),
        listen=listen,
        port=port,
        allow_hosts=tuple(allow_host or ()),
        root_path=root_path,
        keep_model_seconds=_seconds(keep_model),
        max_upload_bytes=max_upload_mb * 1000**2,
        config=config.absolute() if config is not None else None,
        batch_words=tuple(words),
    )
    _run(options, new_token=new_token, print_url=print_url)
    return 0


def _refuse_missing_packages() -> None:
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ModelError(f"{missing[0]} is missing: pip install 'vsr-pipeline[serve]'")


def _run(options: "ServeOptions", *, new_token: bool, print_url: bool) -> None:
    from vsr_pipeline.runtime.http import Access, allowed_hosts
    from vsr_pipeline.runtime.token_file import token_in
    from vsr_pipeline.serve.app import guarded
    from vsr_pipeline.serve.server import Server, listening_socket
    from vsr_pipeline.serve.site import opened_site

    hosts = allowed_hosts(options.allow_hosts)
    with listening_socket(options.listen, options.port) as opened, opened_site(options) as site:
        access = Access(token_in(options.token_file, new=new_token), hosts)
        url = _address(options, opened.getsockname()[1])

        def announce() -> None:
            if print_url or sys.stdout.isatty():
                print(f"{url}?token={access.token}", flush=True)
            else:
                print(f"{url} (its token is in {options.token_file}; --print-url prints it)", flush=True)

        Server(guarded(site, access), announce).run(sockets=[opened])


def _address(options: "ServeOptions", port: int) -> str:
    """Return the address to open. With other names and only this machine to listen to, a proxy speaks HTTPS."""
    if options.listen in _LOOPBACK and options.allow_hosts:
        return f"https://{options.allow_hosts[0]}{options.root_path}/"
    host = options.allow_hosts[0] if options.allow_hosts else options.listen
    if ":" in host.rpartition("]")[2]:  # an address of IPv6, or a name with a port
        return f"http://[{host}]:{port}/" if host.count(":") > 1 else f"http://{host}{options.root_path}/"
    return f"http://{host}:{port}{options.root_path}/"


def _seconds(text: str) -> float:
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"--keep-model {text}: give a number with s, min or h, such as 10min")
    return float(found[1]) * _SECONDS[found[2]]
