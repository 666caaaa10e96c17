"""Where frames come in and go out: files and folders to arrays and back. PyAV moves frames, ffmpeg moves streams."""
