"""Evaluates planners on many observations at once, without sockets.

Two sets of predictors take part. Planners decide on the forecasts of the first set. The second set is taken as the
truth: it says how long their picks really take and what they cost.
"""
