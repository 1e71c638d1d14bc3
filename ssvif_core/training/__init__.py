"""Self-supervised training of F, S_f and S_p, and what is done with a trained model.

The modules, in the order of the data flow:

config       settings of a run, read from YAML
data         pairs, crops and views
stages       what a stage trains, on which losses
processes    how the processes of a run start, stop and agree
trainer      the loop over stages and steps
health       figures that show a collapse of the training
checkpoint   saved states, from which a run resumes
monitor      log, TensorBoard files and pictures of a run
report       machine, times and health of the finished stages
summary      a run as an HTML page
prediction   what a model gives for one pair
picking      which pairs are worth labelling
naming       a linear layer from pseudo-classes and features to named classes
overlay      training of a named model on labelled and unlabelled pairs
tuning       that, with a few labelled images; the fused image stays
adaptation   the fused image learns from a recording; worse weights are not kept
"""
