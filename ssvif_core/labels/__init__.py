"""Labels that people draw: what labelling programs write -> masks of class ids.

label         what is labelled in one image, and how it is drawn as class ids
masks         images of class ids or of colours
yolo          text files of boxes or polygons
labelme       JSON files of labelme and X-AnyLabeling
coco          JSON files of COCO, as CVAT and Label Studio write them
folder        finds the form of a folder of labels, and the label of a pair
prelabels     class ids -> polygons in files of labelme and of COCO, for people to correct
"""

from ssvif_core.labels.folder import Labels, label_of, read_labels, unknown_classes
from ssvif_core.labels.label import IGNORE, Box, Label, Shape, ShapeLabel
from ssvif_core.labels.masks import MaskLabel, fit_mask, read_mask

__all__ = [
    "IGNORE", "Box", "Label", "Labels", "MaskLabel", "Shape", "ShapeLabel", "fit_mask", "label_of",
    "read_labels", "read_mask", "unknown_classes",
]  # fmt: skip
