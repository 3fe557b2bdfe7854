"""Write scikit-learn's 1,797 handwritten digits as PNG files, as data for `corrinit compare`.

    python examples/digit_images.py digit-images

makes a folder per class. `--data folder:digit-images` then splits them for training and testing.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits


def main(directory: Path) -> None:
    """Write the images below a directory, a folder per class."""
    digits = load_digits()
    for index, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        folder = directory / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        grey = np.round(image * 255 / 16).astype(np.uint8)
        Image.fromarray(grey).save(folder / f"{index:04}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
