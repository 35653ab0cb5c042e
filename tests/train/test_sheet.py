from fromnoise.images.pixels import from_image
from fromnoise.request import Picture
from fromnoise.train.sheet import GAP, sheet


def test_bytes_lie_on_the_page_as_they_are() -> None:
    pictures = [Picture(2, 1, bytes([shade, 7, 255] * 2)) for shade in (1, 2, 3)]
    page = sheet(pictures, columns=2)
    assert page.size == (4 + GAP, 2 + GAP)
    places = [(0, 0), (2 + GAP, 0), (0, 1 + GAP)]
    assert [from_image(page.crop((x, y, x + 2, y + 1))) for x, y in places] == pictures
