"""Declares the operators that torchvision registers at import, for one whose compiled part does not fit this torch. To be imported before timm, diffusers or transformers."""
import torch

library = torch.library.Library("torchvision", "DEF")
for op in ("nms", "qnms"):
    library.define(op + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
