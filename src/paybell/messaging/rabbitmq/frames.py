"""Frames of AMQP 0-9-1 (section 4.2.3): how they are laid out, for who writes them and who reads them.

The client handles each of a message's frames by itself, as an object, which was half of what relay and
listener cost. We write our own messages as a whole (`frame_writer`), and read deliveries and confirms that
are whole and have nothing unusual about them (`frame_reader`); everything else is the client's.
"""

import struct

METHOD, HEADER, BODY = 1, 2, 3
# The class of all methods that carry or settle messages.
BASIC = 60
# Type, channel, size of what follows up to the end mark.
FRAME = struct.Struct(">BHI")
END = 0xCE
# A header frame up to its properties: the frame's own, class, weight, size of the body.
CONTENT = struct.Struct(">BHIHHQ")
CONTENT_SIZE = CONTENT.size - FRAME.size
LONG = struct.Struct(">I")


class Incomplete(Exception):
    """The rest of what begins here has not arrived."""


def cut_frame(data: bytes, at: int) -> bytes:
    """Return the bytes of the frame that begins here, fewer if it is not whole."""
    if len(data) < at + FRAME.size:
        return data[at:]
    return data[at : at + FRAME.size + LONG.unpack_from(data, at + 3)[0] + 1]


def frame_at(data: bytes, at: int) -> tuple[int, int, int, int]:
    """Return a frame's type and channel, and where what it holds begins and ends; 0 for no frame of AMQP.

    Raises:
        Incomplete: it has not arrived as a whole.
    """
    if len(data) < at + FRAME.size:
        raise Incomplete
    kind, channel, size = FRAME.unpack_from(data, at)
    end = at + FRAME.size + size
    if len(data) <= end:
        raise Incomplete
    return kind if data[end] == END else 0, channel, at + FRAME.size, end
