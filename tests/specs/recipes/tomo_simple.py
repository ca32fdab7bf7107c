"""Two simulated samples of 24 pixels."""


def recipe(folder):
    return ["source.samples=2", "read.clean.size=24", "read.clean.objects=5"]
