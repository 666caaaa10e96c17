"""The web page over the batch's queue (`vsr serve`). It computes nothing and keeps no state of its own.

A clip comes in by `tus.py` (uploads, kept by `uploads.py`), is offered by `add_page.py`, and goes into the queue of
`jobs/batch`. A batch that runs as a process of its own (`batch_process.py`) works it off. Every page is a view of
queue, ledgers and reports; `app.py` has all routes, `pages.py` what each page shows.
"""
