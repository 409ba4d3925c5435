"""What the headers of sound files promise, compared with what is in the file.

libsndfile reads a file that was cut as a shorter one, without an error.
"""

import struct

_UNKNOWN = 0x7FFFF000  # sizes from here on are what programs write that could not go back
_KBIT = {  # of MPEG layer III
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


def cut_where(data: bytes, format: str) -> str | None:
    """Says what is missing in the file; None if all is there that its header promises.

    Args:
        data: The file's content.
        format: Its format, as libsndfile names it.
    """
    if format in ("WAV", "WAVEX", "RF64"):
        return _beyond(data, _riff_end(data))
    if format == "AIFF":
        return _beyond(data, _aiff_end(data))
    if format == "AU":
        return _beyond(data, _au_end(data))
    if format == "W64":
        return _beyond(data, _w64_end(data))
    if format == "CAF":
        return _beyond(data, _caf_end(data))
    if format == "OGG":
        return _ogg_fault(data)
    return _mp3_fault(data) if format == "MP3" else None


def _beyond(data, end):
    if end is None or end <= len(data):
        return None
    return f"its header promises {end:,} bytes, and {len(data):,} are there"


def _riff_end(data):
    order = ">" if data[:4] == b"RIFX" else "<"
    place, long_size = 12, None
    while place + 8 <= len(data):
        name, size = data[place : place + 4], struct.unpack_from(f"{order}I", data, place + 4)[0]
        if name == b"ds64" and place + 24 <= len(data):
            long_size = struct.unpack_from("<Q", data, place + 16)[0]
        if name == b"data":
            if size == 0xFFFFFFFF and long_size:
                size = long_size
            elif size >= _UNKNOWN:
                return None
            return place + 8 + size
        place += 8 + size + size % 2
    return place


def _aiff_end(data):
    place, frame_bytes, frames = 12, 0, 0
    while place + 8 <= len(data):
        name, size = data[place : place + 4], struct.unpack_from(">I", data, place + 4)[0]
        if name == b"COMM" and place + 16 <= len(data):
            channels, frames, bits = struct.unpack_from(">hIh", data, place + 8)
            kind = data[place + 26 : place + 30] if size > 18 else b"NONE"
            plain = kind in (b"NONE", b"sowt", b"twos", b"raw ", b"fl32", b"FL32", b"fl64", b"FL64")
            frame_bytes = channels * ((bits + 7) // 8) if plain else 0
        if name == b"SSND":
            return None if size >= _UNKNOWN else place + 8 + max(size, 8 + frames * frame_bytes)
        place += 8 + size + size % 2
    return place


def _au_end(data):
    order = ">" if data[:4] == b".snd" else "<"
    start, size = struct.unpack_from(f"{order}II", data, 4)
    return None if size >= _UNKNOWN else start + size


def _w64_end(data):
    place = 40
    while place + 24 <= len(data):
        size = struct.unpack_from("<Q", data, place + 16)[0]
        if data[place : place + 4] == b"data" or size < 24:
            return place + size
        place += (size + 7) // 8 * 8
    return place


def _caf_end(data):
    place = 8
    while place + 12 <= len(data):
        name, size = data[place : place + 4], struct.unpack_from(">q", data, place + 4)[0]
        if name == b"data" or size < 0:
            return None if size < 0 else place + 12 + size
        place += 12 + size
    return place


def _ogg_fault(data):
    place, streams = 0, set()
    while data[place : place + 4] == b"OggS":
        header = data[place : place + 27 + 255]
        table = header[27 : 27 + header[26]] if len(header) > 26 else b""
        end = place + 27 + len(table) + sum(table)
        if len(header) < 27 or len(table) < header[26] or end > len(data):
            return "its last page is cut"
        if header[5] & 2:  # a stream begins
            streams.add(header[14:18])
        if header[5] & 4:  # it ends
            streams.discard(header[14:18])
        place = end
    return "the page that ends its stream is missing" if streams else None


def mpeg_frames(data: bytes) -> tuple[int, int, bool, int | None]:
    """Walks the frames of an MP3 file.

    Returns:
        How many whole frames there are after the one that describes the file, samples a frame,
        whether the last one is cut, and how many the file promises (None: it doesn't say).
    """
    place = _after_id3(data)
    count, samples, promised, first = 0, 1152, None, True
    while place + 4 <= len(data):
        size, samples_here = _mpeg_frame(data, place)
        if not size:
            break
        samples = samples_here
        if place + size > len(data):
            return count, samples, True, promised
        head = data[place : place + 64] if first else b""
        mark = max(head.find(b"Xing"), head.find(b"Info"))
        if mark > 0 and head[mark + 7] & 1:
            promised = struct.unpack_from(">I", head, mark + 8)[0]
        else:
            count += mark < 0
        place, first = place + size, False
    return count, samples, False, promised


def _after_id3(data):
    if data[:3] != b"ID3" or len(data) < 10:
        return 0
    a, b, c, d = data[6:10]  # 7 bits each
    return 10 + (a << 21 | b << 14 | c << 7 | d)


def _mpeg_frame(data, place):
    """Bytes and samples of the frame of layer III at this place; 0 bytes if there is none."""
    a, b, c = data[place : place + 3]
    version, bit_rate, rate = b >> 3 & 3, c >> 4, c >> 2 & 3
    if a != 0xFF or b & 0xE0 != 0xE0 or version == 1 or b >> 1 & 3 != 1:
        return 0, 0
    if bit_rate in (0, 15) or rate == 3:
        return 0, 0
    samples = 1152 if version == 3 else 576
    kbit = _KBIT[1 if version == 3 else 2][bit_rate]
    return samples // 8 * kbit * 1000 // _RATES[version][rate] + (c >> 1 & 1), samples


def _mp3_fault(data):
    count, _, cut, promised = mpeg_frames(data)
    if promised is not None and count < promised:
        return f"its header promises {promised:,} frames, and {count:,} are there"
    return "its last frame is cut" if cut else None
