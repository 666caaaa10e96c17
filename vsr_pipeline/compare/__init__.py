"""`vsr compare`: the same moments of a clip by several models, to choose by eye, with what each costs.

A clip comes in through `clip/`, is looked at for moments that tell much (`moments`), and only a crop around each is
read. Every model (`candidates`) makes the crops (`making`), is judged (`judging`) and becomes a row of the page
(`page`) and of the sheet (`sheet`). `tool` is the way from one to the next.
"""
