"""The brain in the repository, one plane of it."""


def recipe(folder):
    return ['rois.0.planes=["xy"]']
