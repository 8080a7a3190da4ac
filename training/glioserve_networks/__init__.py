"""The networks that a recipe may name, and the artifact that carries their weights: shared by training and export.

Imports the contract only. ``build(recipe.architecture, in_channels=len(recipe.channels))`` makes the network;
:func:`save_artifact` and :func:`load_artifact` move its weights and its recipe as one folder.
"""

from glioserve_networks.architectures.registry import architectures, build
from glioserve_networks.artifact import Artifact, load_artifact, save_artifact
from glioserve_networks.gradcam import ClassifierNet, TailedNet

__all__ = ["Artifact", "ClassifierNet", "TailedNet", "architectures", "build", "load_artifact", "save_artifact"]
