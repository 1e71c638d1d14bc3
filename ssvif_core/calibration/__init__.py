"""Calibration: finding a camera pair from recorded or live pairs. See `ssvif_core.cameras`.

board          from a checkerboard or a circle grid
scene          from any scene: `search` (coarse), then `refine` (fine)
features       edge orientation, which both spectra show alike
time_offset    the delay between the streams
drift          how far the images have moved away from the calibration
picture        an image that shows the registration before and after
"""
