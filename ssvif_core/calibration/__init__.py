"""Registration: where in the visible image each thermal pixel lies.

    camera_pair    the calibration: lenses, mapping, delay; one YAML file
    camera_info    CameraInfo messages -> cameras
    sampling       calibration -> map and coverage, inputs of the graph
    features       what both spectra show alike: edge orientation
    search, refine, scene    calibration from any scene, without a target
    target         calibration from a checkerboard or circle grid
    time_offset    the delay between the streams
    drift          whether a mapping still fits
    picture        before and after, for eyes

Conventions: the centre of the top-left pixel is (0, 0); sizes are (width, height); a homography
maps thermal to visible pixels, both undistorted.
"""
