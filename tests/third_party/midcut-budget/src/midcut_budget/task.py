from midcut.errors import ConfigError


class Above:
    """Answer with every class whose share of the softmax is large enough, most likely first."""

    def __init__(self, class_names=(), share=0.1):
        if not 0 < share <= 1:
            raise ValueError(f"share must be over 0 and at most 1, got {share}")
        self.class_names, self.share = class_names, share

    def answer(self, outputs):
        logits = next(iter(outputs.values()))
        if logits.dim() != 2:
            raise ConfigError(f"task=above needs an output of shape (1, classes), got {tuple(logits.shape)}")
        shares = logits[0].softmax(0)
        found = [at for at in shares.argsort(descending=True).tolist() if shares[at] >= self.share]
        return {"task": "above", "found": [{"class": self.name(at), "share": float(shares[at])} for at in found]}

    def name(self, at):
        return self.class_names[at] if at < len(self.class_names) else str(at)
