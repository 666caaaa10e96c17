"""`vsr live`: a camera, a stream or a file, larger, now.

`capture` decodes a `source` in a thread and puts each frame into a one-slot `mailbox`, where the newest wins. `engine`
takes it through the model of the present level (`levels`) and gives it to the sinks (`sinks`, `page`), each behind a
mailbox of its own. `meter` counts frames and ages; once a second `controller` decides by them on the level, and
`status` says so. `run` puts the parts together and takes them apart, whatever ends the run.
"""
