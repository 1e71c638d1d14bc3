"""What the networks learn from.

fusion        L_fus: what a good fused image is
consistency   L_csc and L_MI: two branches agree, and use all classes
weighting     how much each task of the joint stage counts
segmentation  Dice loss for labelled classes
"""
