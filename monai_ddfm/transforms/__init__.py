"""Array and dictionary transforms around the fusion, from loading to color.

Import them from their modules, for example ``monai_ddfm.transforms.registration``.
"""
