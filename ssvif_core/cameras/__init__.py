"""Cameras, camera pairs, and the sampling map that the graph reads.

    model          cameras and camera pairs: lenses, mapping, time offset
    yaml_file      the file of a camera pair, camera_pair.yaml
    camera_info    CameraInfo messages -> cameras
    sampling       a camera pair -> the sampling map
    overlap        a pair -> the part of it that both cameras see

Conventions in this package and in `ssvif_core.calibration`:

- The centre of the top-left pixel is (0, 0), so the image's outer corner is (-0.5, -0.5).
- Points are (n, 2) arrays of x, y in pixels.
- Sizes are (width, height).
- A homography maps thermal to visible pixels. Both are undistorted.
"""
