"""Figures, lab and values of lesson {id}."""

# Each is a plain function over the stack, found by its decorator, placed in the text by name. For example:
#
#   from teachllm.school.figures import Bars, Both, Predict, Slider, figure
#
#   @figure(
#       title=Both("同一组分数，不同的缩放", "One set of scores, scaled differently"),
#       predict=Predict(Both("…？", "…?"), low=0.0, high=1.0, answer=largest, explain=Both("…", "…")),
#   )
#   def scores(d: Annotated[int, Slider(1, 256, label=Both("维度", "dimension"))] = 64) -> Bars:
#       """What it shows, and why it moves as it does."""
#
# @value functions stand in sentences: {value variance_of_scores d=64 | .2f}. A @lab yields events: Progress,
# Metric, Sample (a point of the live line), Show (a chart), Say. A figure redraws within 100 ms: keep models
# and tokenizers with functools.cache.
