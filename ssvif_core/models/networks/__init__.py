"""The fusion networks, one file each. Each file registers its network; see `models.registry`."""
