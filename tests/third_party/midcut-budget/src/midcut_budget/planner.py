import numpy as np

from midcut.planning import check_forecast, check_weight


class Budget:
    """Allow w**x of the way from the fastest cut's latency to the cheapest one's; take the cheapest."""

    def __init__(self, w=0.5, x=1.0):
        if x <= 0:
            raise ValueError(f"x must be positive, got {x}")
        self.w, self.x = w, x

    def choose(self, forecast, w):
        check_forecast(forecast)
        share = check_weight(w) ** self.x
        latency, cost = forecast.latency_s, forecast.cost_usd
        cheapest = np.where(cost == cost.min(-1, keepdims=True), latency, np.inf).min(-1)
        budget = (1 - share) * latency.min(-1) + share * cheapest
        within = np.where(latency <= budget[..., None], cost, np.inf)
        return np.where(within == within.min(-1, keepdims=True), latency, np.inf).argmin(-1)
