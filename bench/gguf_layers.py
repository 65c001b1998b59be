"""A GGUF file of many layers made of one with a single layer: for measuring, where what the weights
are does not matter but how many there are does. Memory: a piece of a file; disk: the result."""

import struct

ALIGNMENT = 32
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9


class Header:
    """What stands before the tensors' data. Source: GGUF's specification (ggml/docs/gguf.md)."""

    def __init__(self, file):
        self.file = file
        magic, version, n_tensors, n_values = self.read("4sIQQ")
        if magic != b"GGUF" or version != 3:
            raise ValueError("no GGUF file of version 3")
        self.values = [self.value() for _ in range(n_values)]
        self.tensors = [self.tensor() for _ in range(n_tensors)]
        if any(name == b"general.alignment" for name, _, _ in self.values):
            raise ValueError("the file has an alignment of its own")
        self.data = up_to_alignment(file.tell())

    def read(self, form):
        return struct.unpack("<" + form, self.file.read(struct.calcsize("<" + form)))

    def string(self):
        return self.file.read(self.read("Q")[0])

    def value(self):
        """Name, type and bytes of one value."""
        name, (kind,) = self.string(), self.read("I")
        start = self.file.tell()
        self.skip(kind)
        end = self.file.tell()
        self.file.seek(start)
        return name, kind, self.file.read(end - start)

    def skip(self, kind):
        if kind == STRING:
            self.string()
        elif kind == ARRAY:
            of, n = self.read("IQ")
            for _ in range(n):
                self.skip(of)
        else:
            self.read(SCALARS[kind])

    def tensor(self):
        name, (n_dims,) = self.string(), self.read("I")
        dims = self.read("%dQ" % n_dims)
        kind, offset = self.read("IQ")
        return name, dims, kind, offset


def up_to_alignment(n):
    return (n + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


def packed_string(text):
    return struct.pack("<Q", len(text)) + text


def copies_of(header, n_layers, data_end):
    """The result's tensors: name, dimensions, type, where the data stands, how long it is."""
    ends = [t[3] for t in header.tensors[1:]] + [data_end - header.data]
    for (name, dims, kind, offset), end in zip(header.tensors, ends):
        names = [name]
        if name.startswith(b"blk.0."):
            names = [b"blk.%d." % i + name[6:] for i in range(n_layers)]
        for its_name in names:
            yield its_name, dims, kind, header.data + offset, end - offset


def copy(source, start, length, to):
    source.seek(start)
    while length > 0:
        piece = source.read(min(length, 1 << 24))
        to.write(piece)
        length -= len(piece)
    to.write(b"\0" * (up_to_alignment(to.tell()) - to.tell()))


def repeat_layers(path, n_layers, result_path):
    """Writes `path`, of one layer, as a file of `n_layers` that are alike."""
    with open(path, "rb") as source, open(result_path, "wb") as to:
        header = Header(source)
        source.seek(0, 2)
        tensors = list(copies_of(header, n_layers, source.tell()))
        to.write(struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(header.values)))
        for name, kind, packed in header.values:
            if name.endswith(b".block_count"):
                packed = struct.pack("<" + SCALARS[kind], n_layers)
            to.write(packed_string(name) + struct.pack("<I", kind) + packed)
        offset = 0
        for name, dims, kind, _, length in tensors:
            to.write(packed_string(name) + struct.pack("<I%dQIQ" % len(dims), len(dims), *dims, kind,
                                                       offset))
            offset += up_to_alignment(length)
        to.write(b"\0" * (up_to_alignment(to.tell()) - to.tell()))
        for _, _, _, start, length in tensors:
            copy(source, start, length, to)
