"""Makes tests/golden/images with Pillow; run by hand, never by the tests.

python -m venv v && v/bin/pip install pillow==13.0.0
v/bin/python tests/golden/make_images.py
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

FOLDER = Path(__file__).parent / "images"

picture = Image.radial_gradient("L").resize((48, 20)).convert("RGB")
exif = Image.Exif()
exif[0x0112] = 1
picture.save(FOLDER / "plain.png")
picture.convert("P").save(FOLDER / "palette.png", interlace=True)
picture.save(FOLDER / "baseline.jpg", exif=exif)
picture.save(FOLDER / "progressive.jpg", progressive=True)
picture.save(FOLDER / "still.gif")
picture.save(FOLDER / "moving.gif", save_all=True, append_images=[picture.rotate(180)])
picture.save(FOLDER / "lossy.webp")
picture.save(FOLDER / "lossless.webp", lossless=True)
picture.convert("RGBA").save(FOLDER / "extended.webp", exif=exif)
