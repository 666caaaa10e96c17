"""The slide-wipe video: the input and the result in one picture, parted by a line that moves.

What is left of the line is BEFORE (the input, enlarged), what is right of it is AFTER (the result). The video

1. plays BEFORE alone, the line at the right edge, until `start_frame`;
2. slides the line to the left by `slide_step` pixels per frame while the clip plays on;
3. from `pause_frame` on plays at half speed, again and again, and sweeps the line to the left edge and back to the
   right one, `repeats` times, resting a moment at each edge: so motion can be judged on both sides;
4. plays the clip to its end while the line goes to the middle and stays there. A clip of which too little is left
   for judging motion is played again from its start until 3 seconds of it have been seen.

Frames stream through: memory does not grow with the length. Each input is decoded once to count its frames and once,
or once per replay, to show them.
"""

from vsr_pipeline.demo.choreography import Choreography, DemoOptions, Moment
from vsr_pipeline.demo.video import DemoResult, make_demo

__all__ = ["Choreography", "DemoOptions", "DemoResult", "Moment", "make_demo"]
