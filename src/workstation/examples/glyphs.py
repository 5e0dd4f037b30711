"""Printed characters, drawn from the fonts that come with matplotlib: clean and many, to learn from first."""

from __future__ import annotations

import string
from functools import cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

CHARACTERS = string.digits + string.ascii_letters
SOURCE = "printed characters, drawn from matplotlib's own DejaVu and STIX fonts (free licences beside them)"
INK, BOX, SIDE = 48, 64, 8  # drawn large, then averaged down: the edges stay soft, as a scanner's do


@cache
def printed() -> tuple[Tensor, Tensor]:
    """Each of 62 characters in each of 16 fonts: (992, 1, 8, 8) from 0 to 1, and its number in CHARACTERS, (992,)."""
    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    fonts = [path for path in sorted(folder.glob("*.ttf")) if path.name.startswith(("DejaVu", "STIXGeneral"))]
    faces = [ImageFont.truetype(str(path), INK) for path in fonts if "Display" not in path.name]
    drawn = [_draw(character, face) for character in CHARACTERS for face in faces]
    images = torch.tensor(np.stack(drawn), dtype=torch.float32).unsqueeze(1)
    return images, torch.arange(len(CHARACTERS)).repeat_interleave(len(faces))


def _draw(character: str, face: ImageFont.FreeTypeFont) -> np.ndarray:
    left, top, right, bottom = (round(edge) for edge in face.getbbox(character))
    ink = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(ink).text((-left, -top), character, fill=255, font=face)
    scale = (BOX - BOX // SIDE) / max(ink.size)
    ink = ink.resize((max(1, int(ink.width * scale)), max(1, int(ink.height * scale))))
    page = Image.new("L", (BOX, BOX))
    page.paste(ink, ((BOX - ink.width) // 2, (BOX - ink.height) // 2))
    return np.asarray(page.resize((SIDE, SIDE), Image.Resampling.BOX)) / 255
