"""Velatura as nodes of ComfyUI: put this folder, or a link to it, into ComfyUI's ``custom_nodes``."""

from .model_nodes import LoadModel
from .style_nodes import FitStyle, LoadStyle, MixStyles, StyleInWords
from .stylise_nodes import Region, Stylise, Sweep

NODE_CLASS_MAPPINGS = {
    "VelaturaLoadModel": LoadModel,
    "VelaturaLoadStyle": LoadStyle,
    "VelaturaFitStyle": FitStyle,
    "VelaturaStyleInWords": StyleInWords,
    "VelaturaMixStyles": MixStyles,
    "VelaturaRegion": Region,
    "VelaturaStylise": Stylise,
    "VelaturaSweep": Sweep,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "VelaturaLoadModel": "Load Model (Velatura)",
    "VelaturaLoadStyle": "Load Style (Velatura)",
    "VelaturaFitStyle": "Fit Style (Velatura)",
    "VelaturaStyleInWords": "Style in Words (Velatura)",
    "VelaturaMixStyles": "Mix Styles (Velatura)",
    "VelaturaRegion": "Region (Velatura)",
    "VelaturaStylise": "Stylise (Velatura)",
    "VelaturaSweep": "Strength Sweep (Velatura)",
}

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
