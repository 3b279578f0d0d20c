"""docs/format.md: an entry of the directory, and the layouts of its elements."""

from functools import cached_property
from struct import unpack_from

from .arithmetic import ceil_div

FOLDED, INT8, INT16, INT4 = range(4)


class Tensor:
    """Elements are read when they are asked for, and kept."""

    def __init__(self, data, entry):
        self.data = data
        (self.kind, self.layer, self.dtype, self.layout, self.input, self.exponent) = unpack_from("<5Bb", data, entry)
        (self.rows, self.cols, self.offset, self.scales_offset, self.bias_offset) = unpack_from("<5I", data, entry + 8)

    def parts(self):
        """Offsets and bytes of all that exists."""
        if self.dtype == FOLDED:
            return
        yield self.offset, self.data_len()
        if self.dtype in (INT8, INT4):
            yield self.scales_offset, 2 * self.rows
        if self.bias_offset:
            yield self.bias_offset, 4 * self.rows

    def data_len(self):
        if self.dtype == INT16:
            return 2 * self.rows * self.cols
        fours = ceil_div(self.rows, 4)
        if self.dtype == INT4:
            return 16 * fours * self.words + 2 * fours * self.groups
        return (self.rows if self.layout == 0 else 4 * fours) * self.padded

    @property
    def padded(self):
        return (self.cols + 3) // 4 * 4

    @property
    def words(self):
        return (self.cols + 7) // 8

    @property
    def groups(self):
        return (self.cols + 31) // 32

    @cached_property
    def values(self):
        """All int16, row by row, or `None` where there are none."""
        if self.dtype == INT16:
            return unpack_from(f"<{self.rows * self.cols}h", self.data, self.offset)
        return None

    @cached_property
    def scales(self):
        if self.dtype in (INT8, INT4):
            return unpack_from(f"<{self.rows}h", self.data, self.scales_offset)
        return None

    @cached_property
    def bias(self):
        if self.bias_offset:
            return unpack_from(f"<{self.rows}i", self.data, self.bias_offset)
        return None

    @cached_property
    def weights(self):
        """Rows of int8, also those that four bits stand for."""
        if self.dtype == INT4:
            return self.nibbles()
        return self.signed_rows() if self.layout == 0 else self.tiles()

    def signed_rows(self):
        starts = range(self.offset, self.offset + self.rows * self.padded, self.padded)
        return [unpack_from(f"<{self.cols}b", self.data, start) for start in starts]

    def tiles(self):
        data, rows = self.data, []
        columns = [c // 4 * 16 + c % 4 for c in range(self.cols)]
        for r in range(self.rows):
            start = self.offset + r // 4 * 4 * self.padded + r % 4 * 4
            row = [data[start + c] - 128 for c in columns]
            if self.layout == 2:
                # Odd columns are signed already.
                row[1::2] = [(w + 256) % 256 - 128 for w in row[1::2]]
            rows.append(row)
        return rows

    def nibbles(self):
        data, words, groups = self.data, self.words, self.groups
        columns = []
        for c in range(self.cols):
            w = c + 8 * words - self.padded
            g = (c + 32 * groups - self.padded) // 32
            bit = 16 * (w % 2) + 4 * (w % 8 // 2)
            columns.append((16 * (w // 8) + bit // 8, bit % 8, g))
        behind = self.offset + 16 * ceil_div(self.rows, 4) * words
        rows = []
        for r in range(self.rows):
            start = self.offset + 16 * (r // 4) * words + 4 * (r % 4)
            factors = unpack_from(f"<{groups}H", data, behind + 2 * (r // 4) * groups)
            factors = [f >> 4 * (r % 4) & 15 for f in factors]
            rows.append([((data[start + byte] >> bit & 15) - 8) * factors[g] for byte, bit, g in columns])
        return rows
