"""``python -m monai_ddfm`` is the command ``monai-ddfm``."""

from __future__ import annotations

from monai_ddfm.cli import main

if __name__ == "__main__":
    main()
