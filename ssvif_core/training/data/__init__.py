"""The data of a training, from recordings to batches.

The modules, in the order of the data flow:

splits     which pairs are for training, validation and test
cache      files that keep decoded pairs on disk
pairs      decoded pairs on the visible image's grid
sets       the training and the validation pairs of a configuration
crops      squares cut from pairs at random
loader     batches of crops for one process
geometry   geometric views of crops, and points that two views share
views      photometric views of crops: light, weather, cameras
deck       pairs in the memory of a device, which cuts its crops itself
"""
