"""Velatura as nodes of ComfyUI: put this folder, or a link to it, into ComfyUI's ``custom_nodes``."""

from .nodes import FitStyle, LoadModel, LoadStyle, Region, Stylise, Sweep

NODE_CLASS_MAPPINGS = {
    "VelaturaLoadModel": LoadModel,
    "VelaturaLoadStyle": LoadStyle,
    "VelaturaFitStyle": FitStyle,
    "VelaturaRegion": Region,
    "VelaturaStylise": Stylise,
    "VelaturaSweep": Sweep,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "VelaturaLoadModel": "Load Model (Velatura)",
    "VelaturaLoadStyle": "Load Style (Velatura)",
    "VelaturaFitStyle": "Fit Style (Velatura)",
    "VelaturaRegion": "Region (Velatura)",
    "VelaturaStylise": "Stylise (Velatura)",
    "VelaturaSweep": "Strength Sweep (Velatura)",
}

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
